//! Layers that users put around their handlers.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};
use surehand::{
    Envelope, Error, Event, Function, MemoryStore, Record, Reply, Result, Sqs, State, Transaction,
    testing::{self, Message},
};

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
}

/// Calls the inner service again if it fails.
#[derive(Clone)]
struct Again<S>(S);

impl<S> tower::Service<Record> for Again<S>
where
    S: tower::Service<Record, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        let mut inner = self.0.clone();
        Box::pin(async move {
            match inner.call(record.clone()).await {
                Ok(reply) => Ok(reply),
                Err(_) => inner.call(record).await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_tries_again_begins_with_nothing_staged() {
    async fn stage(
        _: Envelope<OrderPlaced>,
        State(runs): State<Arc<AtomicU32>>,
        tx: Transaction,
    ) -> Result<()> {
        tx.publish(&OrderPlaced {
            order_id: "2".into(),
        });
        match runs.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::transient("busy")),
            _ => Ok(()),
        }
    }
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let function = Function::new(Sqs, stage, runs.clone())
        .layer(tower::layer::layer_fn(Again))
        .idempotent(store.clone());
    let placed = OrderPlaced {
        order_id: "1".into(),
    };
    let event = testing::sqs_event("orders", [Message::event(&placed)]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&response), [""; 0]);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(
        store.events().len(),
        1,
        "what a failed try has staged must not be committed"
    );
}
