//! The services around a handler: its time is measured, it is stopped in time, and its panic is the
//! failure of its record alone.

use crate::{Deadline, Error, ErrorKind, Record, Reply, Result, metrics::Collector};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower::Service;

/// A service around another: it calls `handle` with the inner service and the record.
#[derive(Clone, Debug)]
pub(crate) struct Around<S, F> {
    inner: S,
    handle: F,
}

impl<S, F> Around<S, F> {
    pub(crate) fn new(inner: S, handle: F) -> Self {
        Self { inner, handle }
    }
}

impl<S, F, Fut> Service<Record> for Around<S, F>
where
    S: Service<Record, Response = Reply, Error = Error> + Clone,
    F: Fn(S, Record) -> Fut,
    Fut: Future<Output = Result<Reply>> + Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        Box::pin((self.handle)(take_ready(&mut self.inner), record))
    }
}

/// Takes the instance that was polled ready, which is the one to call, and leaves a fresh one.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let fresh = service.clone();
    std::mem::replace(service, fresh)
}

tokio::task_local! {
    /// The record that the layer around this one was called with.
    static AROUND: Record;
}

/// Binds a record to the attempt in which it is handled. What a layer passes on may be a record that it
/// made anew, which knows nothing of the attempt: without this its events would be counted from the
/// beginning again, and two of an attempt could have one id.
fn in_attempt(record: Record) -> Record {
    AROUND
        .try_with(|around| record.clone().in_attempt_of(around))
        .unwrap_or(record)
}

/// Stops the handler at the deadline and measures its time. It is the innermost layer, because
/// claims are not part of the handler's time.
pub(crate) async fn guarded<S>(handler: S, record: Record) -> Result<Reply>
where
    S: Service<Record, Response = Reply, Error = Error>,
{
    let record = in_attempt(record);
    if !record.companion().is_of_an_attempt() {
        return Err(Error::new(
            ErrorKind::Invocation,
            "a layer made the record anew in a task of its own, so that its attempt is not known: pass on the record that it was called with, or a clone of it",
        ));
    }
    let _timer = record.companion().metrics.collector().map(Timer::start);
    let deadline = record.deadline().clone();
    // The claim may have used up the time; the handler must not begin then.
    if deadline.is_over() {
        return Err(Deadline::not_started());
    }
    record.companion().handler_called();
    let called = record.companion().ending.called();
    let call = record.companion().ending.call_begins();
    let handled = async {
        let result = caught(handler, record).await;
        call.returned();
        result
    };
    let handled = tokio::time::timeout_at(deadline.cutoff(), handled);
    handled.await.unwrap_or_else(|_| {
        deadline.cancel();
        Err(deadline.stopped(called))
    })
}

/// Binds what a user's layer passes on to the attempt, and turns its panic into an error.
pub(crate) async fn layered<S>(layer: S, record: Record) -> Result<Reply>
where
    S: Service<Record, Response = Reply, Error = Error>,
{
    let record = in_attempt(record);
    record.companion().ending.called();
    AROUND.scope(record.clone(), caught(layer, record)).await
}

/// Turns a panic of the handler, or of a user's layer, into an error.
pub(crate) async fn caught<S>(mut inner: S, record: Record) -> Result<Reply>
where
    S: Service<Record, Response = Reply, Error = Error>,
{
    // The instance that panicked is dropped, so that its broken state is never used again. The call
    // itself is inside the future as well: a handler may panic before its first await.
    let handled = AssertUnwindSafe(async move { inner.call(record).await }).catch_unwind();
    handled.await.unwrap_or_else(|payload| {
        Err(Error::new(
            ErrorKind::Panicked,
            format!("the handler panicked: {}", message(&*payload)),
        ))
    })
}

/// What `call` returns, or an error that says that it panicked.
pub(crate) async fn without_panic<T, Fut>(what: &str, call: impl FnOnce() -> Fut) -> Result<T>
where
    Fut: Future<Output = Result<T>>,
{
    let called = AssertUnwindSafe(async move { call().await }).catch_unwind();
    called.await.unwrap_or_else(|payload| {
        Err(Error::new(
            ErrorKind::Panicked,
            format!("{what} panicked: {}", message(&*payload)),
        ))
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is not text")
}

/// Records the handler's time when it is dropped, and so also for a handler that is stopped.
struct Timer {
    collector: Arc<Collector>,
    start: Instant,
}

impl Timer {
    fn start(collector: &Arc<Collector>) -> Self {
        Self {
            collector: Arc::clone(collector),
            start: Instant::now(),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.collector.handler_ran(self.start.elapsed());
    }
}
