//! The service that makes a handler's panic the failure of its record alone.

use crate::{Error, ErrorKind, Record, Reply, Result, ready::take_ready};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    task::{Context, Poll},
};
use tower::Service;

/// Around the handler, and around each layer of the user's.
#[derive(Clone, Debug)]
pub(crate) struct CatchPanic<S>(pub(crate) S);

impl<S> Service<Record> for CatchPanic<S>
where
    S: Service<Record, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        // What a panic leaves behind is dropped with the instance, so nothing broken is seen again.
        let mut inner = take_ready(&mut self.0);
        // The call itself is inside the future as well: a handler may panic before its first await.
        let handled = AssertUnwindSafe(async move { inner.call(record).await }).catch_unwind();
        Box::pin(async move {
            handled.await.unwrap_or_else(|payload| {
                Err(Error::new(
                    ErrorKind::Panicked,
                    format!("the handler panicked: {}", message(&*payload)),
                ))
            })
        })
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}
