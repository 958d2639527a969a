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

/// Tells the source when records that failed are to be delivered again.
///
/// It is a courtesy: if it fails the records still come back, only at another time.
pub trait Redelivery: Send + Sync + 'static {
    /// What it is called in a function's [description](crate::description).
    fn kind(&self) -> &'static str {
        "custom"
    }

    /// Has each record delivered again after its delay.
    fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>>;
}

/// Exponential backoff with full jitter: after the n-th receive a random time between zero and
/// `base * 2^(n-1)`, at most `cap`.
///
/// The jitter is what keeps records that failed together from coming back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound after the first receive.
    pub base: Duration,
    /// The bound after any. SQS takes up to 12 hours.
    pub cap: Duration,
}

impl Backoff {
    /// Backoff from `base` to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest delay after the given receive, counted from 1.
    pub(crate) fn bound(&self, receive_count: u32) -> Duration {
        let doublings = receive_count.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A delay after the given receive.
    pub(crate) fn delay(&self, receive_count: u32) -> Duration {
        self.bound(receive_count).mul_f64(fastrand::f64())
    }
}

impl Default for Backoff {
    /// From 2 s to 15 minutes.
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
