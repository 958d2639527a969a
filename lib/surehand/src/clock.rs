//! The wall clock, as a value, so that tests can turn it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A source of the wall-clock time.
///
/// Leases and deadlines are instants that several machines compare, so they are wall-clock times.
/// All code that reads the time takes a `Clock`, for which tests pass their own, such as a skewed
/// one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// Returns the machine's own clock.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// Makes a clock that gets the time from `now`.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Makes a clock that follows tokio's, so that a paused runtime controls it as well: it shows
    /// `start` now and advances with [`tokio::time::Instant`].
    pub fn virtual_from(start: SystemTime) -> Self {
        let zero = tokio::time::Instant::now();
        Self::from_fn(move || start + zero.elapsed())
    }

    /// Returns the time.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// Returns the milliseconds since the epoch; 0 for a time before it.
pub(crate) fn epoch_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Returns the time that is `ms` milliseconds after the epoch, capped at the latest time of the
/// platform's clock.
pub(crate) fn from_epoch_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(ms))
        .unwrap_or(UNIX_EPOCH)
}
