//! Times as letters have them, and moments until which something holds.

use std::time::{Duration, SystemTime};
use surehand::Clock;
use tokio::time::Instant;

/// Milliseconds since the epoch; 0 for a time before it.
pub(crate) fn epoch_ms(time: SystemTime) -> u64 {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// A moment by two clocks. The monotonic clock stands still while the machine sleeps, and the wall
/// clock may be set back; a visibility timeout in SQS runs out in either case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(crate) fn now(clock: &Clock) -> Self {
        Self {
            monotonic: Instant::now(),
            wall: clock.now(),
        }
    }

    /// The moment that is so much later.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self {
            monotonic: self.monotonic + duration,
            wall: self.wall + duration,
        }
    }

    /// Whether it is over, by either clock.
    pub(crate) fn is_over(self, now: Self) -> bool {
        self.monotonic <= now.monotonic || self.wall <= now.wall
    }

    /// The moment by the clock that timers go by.
    pub(crate) fn instant(self) -> Instant {
        self.monotonic
    }
}
