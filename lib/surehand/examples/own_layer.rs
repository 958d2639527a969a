//! How is something put around every handler of a function?
//!
//! By a `tower` layer. This one stops the work while the warehouse is closed: records come back in an hour,
//! and the handler does not run.
//!
//! `cargo run -p surehand --example own_layer --features testing`

use futures_util::future::{Either, Ready, ready};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use surehand::{
    Error, Function, Json, MemoryStore, Record, Reply, Result, Sqs,
    testing::{self, Message, RecordedRedelivery},
};
use tower::{Layer, Service};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Default)]
struct OpeningHours {
    is_closed: Arc<AtomicBool>,
}

impl<S> Layer<S> for OpeningHours {
    type Service = Door<S>;

    fn layer(&self, inner: S) -> Door<S> {
        let is_closed = Arc::clone(&self.is_closed);
        Door { inner, is_closed }
    }
}

/// What the layer puts around the handler.
#[derive(Clone)]
struct Door<S> {
    inner: S,
    is_closed: Arc<AtomicBool>,
}

impl<S> Service<Record> for Door<S>
where
    S: Service<Record, Response = Reply, Error = Error>,
{
    type Response = Reply;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Reply>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        if self.is_closed.load(Ordering::Relaxed) {
            let closed = Error::retry_after(HOUR, "the warehouse is closed");
            return Either::Right(ready(Err(closed)));
        }
        Either::Left(self.inner.call(record))
    }
}

async fn pack(Json(order): Json<String>) -> Result<()> {
    println!("packing {order}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let hours = OpeningHours::default();
    let (claims, redelivery) = (MemoryStore::new(), RecordedRedelivery::new());
    let function = Function::new(Sqs, pack, ())
        .layer(hours.clone())
        .idempotent(claims.clone())
        .redelivery(redelivery.clone());
    let order = Message::body(r#""order-1""#).id("m-1");
    let invoke = || {
        let event = testing::sqs_event("orders", [order.clone()]);
        function.invoke(event, testing::context())
    };

    hours.is_closed.store(true, Ordering::Relaxed);
    let response = invoke().await?;
    assert_eq!(testing::failed_ids(&response), ["m-1"]);
    assert_eq!(redelivery.delays(), [("m-1".to_owned(), HOUR)]);
    println!("closed: the order comes back in an hour");

    // The claim was released with the failure, so the next attempt gets it at once.
    hours.is_closed.store(false, Ordering::Relaxed);
    let response = invoke().await?;
    assert!(testing::failed_ids(&response).is_empty());
    assert_eq!(claims.completed(), 1);
    Ok(())
}
