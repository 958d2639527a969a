//! When a record that must come back does so.
//!
//! Without more, a message of SQS comes back when the visibility timeout of its queue ends. With [`SqsVisibility`],
//! set by [`Function::redelivery`](crate::Function::redelivery), it comes back after the [`Backoff`], or when its error
//! [says](crate::Error::with_retry_after).
//!
//! A source with another way to delay implements [`Redelivery`]. It is a courtesy: it is called after the records of a
//! batch, with those that come back, and before one that may kill the process. An error of it, or no answer in time, is
//! a warning in the log, and the records come back anyway.

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
/// It may rely on being called with records that all come back, and whose handlers have ended: at most once a batch
/// after the last handler, and at most once before the handler of a record that has killed its process before, which
/// runs last. A record is in the second call only if the first one failed, or did not name it. It is dropped in the
/// middle when its time is out, at the latest when the response is due.
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

/// The delay after each failed attempt: `base` after the first, six times as much after each further one, at
/// most `cap`; of that a random share between three quarters and all of it.
///
/// With the default of 10 s, one minute, six minutes and 36 minutes follow: a call that was throttled is over
/// the first, a failover the second, a deployment that is rolled back the third, and the last is for an
/// outage that somebody has to end. Five attempts take 32 minutes at least and 43 at most. The share that is
/// drawn keeps records that failed together from coming back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The longest delay after the first attempt.
    pub base: Duration,
    /// The longest delay after any attempt. SQS takes up to 12 hours.
    pub cap: Duration,
    /// What the delay is multiplied by from one attempt to the next.
    pub factor: u32,
    /// The shortest delay, in percent of the longest.
    pub least_percent: u32,
}

impl Backoff {
    /// Makes a backoff from `base` to `cap`, with the default's factor and share.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            factor: 6,
            least_percent: 75,
        }
    }

    /// The delay of a record for which no attempt counts: nothing is used up that a soon return would waste.
    pub(crate) const fn uncounted() -> Self {
        Self {
            base: Duration::from_secs(2),
            cap: Duration::from_secs(15 * 60),
            factor: 2,
            least_percent: 50,
        }
    }

    /// Makes a backoff between two tries of one call: it doubles, and the delay is any time up to that.
    #[cfg(any(feature = "dynamodb", feature = "eventbridge", feature = "sqs"))]
    pub(crate) const fn of_calls(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            factor: 2,
            least_percent: 0,
        }
    }

    /// Sets the longest delay after any attempt.
    pub const fn capped(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets what the delay is multiplied by from one attempt to the next; 6 unless set.
    pub const fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// Returns the longest delay after the given attempt, counted from 1.
    pub(crate) fn bound(&self, attempt: u32) -> Duration {
        let times = self.factor.saturating_pow(attempt.saturating_sub(1));
        self.base.saturating_mul(times).min(self.cap)
    }

    /// Draws a delay after the given attempt, counted from 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        let least = f64::from(self.least_percent.min(100)) / 100.0;
        let share = least + (1.0 - least) * fastrand::f64();
        self.bound(attempt).mul_f64(share)
    }

    /// Returns the time that passes at least between the first of so many attempts and the last: what an
    /// outage may take without a record being parked for it.
    pub fn least_over(&self, attempts: u32) -> Duration {
        self.most_over(attempts) / 100 * self.least_percent.min(100)
    }

    /// Returns the longest time that the delays between so many attempts can take together.
    pub fn most_over(&self, attempts: u32) -> Duration {
        let delays = (1..attempts).map(|attempt| self.bound(attempt));
        delays.fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Default for Backoff {
    /// The backoff from 10 s to an hour.
    fn default() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(60 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_grows_up_to_the_cap() {
        let bounds = |backoff: Backoff| {
            [0, 1, 2, 3, 5, 6, 7, 1000, u32::MAX].map(|n| backoff.bound(n).as_secs())
        };
        let doubling = Backoff::new(Duration::from_secs(2), Duration::from_secs(60)).factor(2);
        assert_eq!(bounds(doubling), [2, 2, 4, 8, 32, 60, 60, 60, 60]);
        let attempts = Backoff::default();
        assert_eq!(
            bounds(attempts),
            [10, 10, 60, 360, 3600, 3600, 3600, 3600, 3600]
        );
        for attempt in 1..100 {
            let (bound, delay) = (attempts.bound(attempt), attempts.delay(attempt));
            assert!(delay <= bound && delay >= bound.mul_f64(0.7499));
        }
    }

    #[test]
    fn five_attempts_outlast_half_an_hour() {
        let over = Backoff::default().least_over(5);
        assert_eq!(over.as_secs(), (10 + 60 + 360 + 2160) * 3 / 4);
        assert!(over >= Duration::from_secs(30 * 60));
        let most = Backoff::default().most_over(5);
        assert_eq!(most.as_secs(), 10 + 60 + 360 + 2160);
        assert_eq!(Backoff::default().least_over(1), Duration::ZERO);
    }
}
