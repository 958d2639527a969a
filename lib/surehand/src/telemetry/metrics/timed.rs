//! The service that measures how long handlers run.

use super::{Collector, Metrics};
use crate::{Error, Record, Reply, Result};
use futures_util::future::BoxFuture;
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower::Service;

/// Around the handler and its deadline, and inside of all else: claims and the like are not the
/// handler's time.
#[derive(Clone, Debug)]
pub(crate) struct Timed<S>(pub(crate) S);

impl<S> Service<Record> for Timed<S>
where
    S: Service<Record, Response = Reply, Error = Error, Future = BoxFuture<'static, Result<Reply>>>,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        let collector = record
            .extensions
            .get::<Metrics>()
            .and_then(Metrics::collector);
        let Some(collector) = collector.cloned() else {
            return self.0.call(record);
        };
        let timer = Timer {
            collector,
            start: Instant::now(),
        };
        let handled = self.0.call(record);
        Box::pin(async move {
            let _timer = timer;
            handled.await
        })
    }
}

/// Also of a handler that is dropped.
struct Timer {
    collector: Arc<Collector>,
    start: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.collector.handler_ran(self.start.elapsed());
    }
}
