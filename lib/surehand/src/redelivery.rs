//! When a record that must come back does so.
//!
//! Without more, a message of SQS comes back when the visibility timeout of its queue ends. With [`SqsVisibility`],
//! set by [`Function::redelivery`](crate::Function::redelivery), it comes back after the [`Backoff`], or when its error
//! [says](crate::Error::with_retry_after).
//!
//! A source with another way to delay implements [`Redelivery`]. It is a courtesy: it is called once a batch, after
//! the records, with those that come back. An error of it, or no answer in time, is a warning in the log, and the
//! records come back anyway.

use crate::{Delivery, Result};
use futures_util::future::BoxFuture;
use std::time::Duration;

#[cfg(feature = "sqs")]
mod visibility;
#[cfg(feature = "sqs")]
pub use visibility::SqsVisibility;

/// Sets when the source delivers failed records again.
///
/// It is a courtesy: if it fails the records still come back, only at another time.
///
/// It may rely on being called at most once a batch, after the last handler, with records that all come back.
/// It is dropped in the middle when the response is due.
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// use futures_util::future::BoxFuture;
/// use std::{sync::{Arc, Mutex}, time::Duration};
/// use surehand::{
///     Delivery, Error, Function, Json, Result, Sqs,
///     redelivery::Redelivery,
///     testing::{self, Message},
/// };
///
/// /// When each message comes back.
/// #[derive(Clone, Default)]
/// struct Timetable(Arc<Mutex<Vec<(String, Duration)>>>);
///
/// impl Redelivery for Timetable {
///     fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>> {
///         Box::pin(async move {
///             let lines = records.iter().map(|(delivery, delay)| (delivery.message_id.clone(), *delay));
///             self.0.lock().unwrap().extend(lines);
///             Ok(())
///         })
///     }
/// }
///
/// const MINUTE: Duration = Duration::from_secs(60);
///
/// async fn pack(Json(_): Json<String>) -> Result<()> {
///     Err(Error::retry_after(MINUTE, "the packers have a break"))
/// }
///
/// let timetable = Timetable::default();
/// let function = Function::new(Sqs, pack, ()).redelivery(timetable.clone());
/// let event = testing::sqs_event("orders", [Message::body(r#""tea""#).id("m-1")]);
/// function.invoke(event, testing::context()).await?;
/// assert_eq!(*timetable.0.lock().unwrap(), [("m-1".to_owned(), MINUTE)]);
/// # Ok(()) }
/// ```
pub trait Redelivery: Send + Sync + 'static {
    /// Returns its name in a function's [description](crate::description).
    fn kind(&self) -> &'static str {
        "custom"
    }

    /// Makes the source deliver each record again after its delay.
    fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>>;
}

/// Exponential backoff with full jitter: after the n-th receive the delay is a random time between
/// zero and `base * 2^(n-1)`, at most `cap`.
///
/// The jitter keeps records that failed together from being delivered together again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The longest delay after the first receive.
    pub base: Duration,
    /// The longest delay after any receive. SQS takes up to 12 hours.
    pub cap: Duration,
}

impl Backoff {
    /// Makes a backoff from `base` to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the longest delay after the given receive, counted from 1.
    pub(crate) fn bound(&self, receive_count: u32) -> Duration {
        let doublings = receive_count.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Draws a delay after the given receive, counted from 1.
    pub fn delay(&self, receive_count: u32) -> Duration {
        self.bound(receive_count).mul_f64(fastrand::f64())
    }
}

impl Default for Backoff {
    /// The backoff from 2 s to 15 minutes.
    fn default() -> Self {
        Self::new(Duration::from_secs(2), Duration::from_secs(15 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        let bounds = [0, 1, 2, 3, 5, 6, 7, 1000, u32::MAX].map(|n| backoff.bound(n).as_secs());
        assert_eq!(bounds, [2, 2, 4, 8, 32, 60, 60, 60, 60]);
        for receive in 1..100 {
            assert!(backoff.delay(receive) <= backoff.bound(receive));
        }
    }
}
