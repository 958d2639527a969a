//! The time an invocation has left.

use crate::{Clock, Error, ErrorKind};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When Lambda ends the invocation, and when handlers are stopped so that it does not have to.
///
/// A handler can take it as an argument to plan its work. When [`Deadline::remaining`] reaches
/// zero, the handler's future is dropped, its lease released, and the record returned to its
/// source. Tasks that the handler spawned outlive the drop; they can wait for
/// [`Deadline::cancelled`].
#[derive(Clone, Debug)]
pub struct Deadline {
    ends_at: SystemTime,
    began: Instant,
    end: Instant,
    margin: Duration,
    token: CancellationToken,
}

impl Deadline {
    /// Makes the deadline of an invocation that Lambda ends at `ends_at`.
    ///
    /// The margin before it, in which no record is started and results are reported, is the larger
    /// of 500 ms and 5 % of the time left now, but at most half of that time, so that a function
    /// with a short timeout still starts its records.
    pub fn new(ends_at: SystemTime, clock: &Clock) -> Self {
        const MIN_MARGIN: Duration = Duration::from_millis(500);
        // A remaining time of 0 is valid: no record is started.
        let left = ends_at.duration_since(clock.now()).unwrap_or_default();
        let began = Instant::now();
        Self {
            ends_at,
            began,
            end: began + left,
            margin: (left / 20).max(MIN_MARGIN).min(left / 2),
            token: CancellationToken::new(),
        }
    }

    /// Returns the same deadline with another margin.
    pub(crate) fn with_margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Returns how long the handler may still run; zero once it must stop.
    pub fn remaining(&self) -> Duration {
        self.cutoff().saturating_duration_since(Instant::now())
    }

    /// Returns when Lambda ends the invocation. Leases end at that time too.
    pub fn ends_at(&self) -> SystemTime {
        self.ends_at
    }

    /// Returns true once handlers must stop.
    pub fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Completes when handlers are stopped.
    pub async fn cancelled(&self) {
        tokio::select! {
            biased;
            () = self.token.cancelled() => {}
            () = tokio::time::sleep_until(self.cutoff()) => {}
        }
    }

    /// Returns when handlers are stopped: the margin before the end.
    pub(crate) fn cutoff(&self) -> Instant {
        self.end
            .checked_sub(self.margin)
            .unwrap_or_else(Instant::now)
    }

    /// Returns when the response must be made, even if work is still running: half the margin is
    /// kept for it. The time between the two instants is for releasing leases.
    pub(crate) fn last_call(&self) -> Instant {
        self.end
            .checked_sub(self.margin / 2)
            .unwrap_or_else(Instant::now)
    }

    /// Returns when the response must be handed to Lambda: a quarter of the margin is left for
    /// sending it.
    pub(crate) fn response_due(&self) -> Instant {
        self.end
            .checked_sub(self.margin / 4)
            .unwrap_or_else(Instant::now)
    }

    /// Returns how long the invocation may take.
    pub(crate) fn length(&self) -> Duration {
        self.end.saturating_duration_since(self.began)
    }

    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Nothing is wrong with a record that was never started.
    pub(crate) fn not_started() -> Error {
        Error::new(
            ErrorKind::Skipped,
            "time was out before the record was started",
        )
    }

    /// What becomes of a handler that was called then, and is stopped now. One that had less than half of the time
    /// was not too slow: others, or the store, have taken it.
    pub(crate) fn stopped(&self, called: Instant) -> Error {
        let cutoff = self.cutoff();
        let had = cutoff.saturating_duration_since(called);
        let all = cutoff.saturating_duration_since(self.began);
        if had >= all / 2 {
            return Self::error();
        }
        Error::new(
            ErrorKind::Deadline,
            "the invocation is nearly out of time, and less than half of it was left when the handler was called",
        )
        .uncounted()
    }

    pub(crate) fn error() -> Error {
        Error::new(ErrorKind::Deadline, "the invocation is nearly out of time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_margin_is_five_percent_from_half_a_second_to_half_the_time() {
        let clock = Clock::virtual_from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        for (left_ms, runs_ms) in [
            (0, 0),
            (400, 200),
            (1_000, 500),
            (10_000, 9_500),
            (100_000, 95_000),
        ] {
            let deadline = Deadline::new(clock.now() + Duration::from_millis(left_ms), &clock);
            assert_eq!(
                deadline.remaining(),
                Duration::from_millis(runs_ms),
                "{left_ms} ms"
            );
            assert!(deadline.cutoff() <= deadline.last_call());
            assert!(deadline.last_call() <= deadline.response_due());
        }
        let past = Deadline::new(SystemTime::UNIX_EPOCH, &clock);
        assert!(past.is_over());
        past.cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_had_less_than_half_of_the_time_was_not_too_slow() {
        let clock = Clock::virtual_from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let deadline = Deadline::new(clock.now() + Duration::from_secs(100), &clock);
        // Of 95 seconds.
        for (called_s, counts) in [(0, true), (47, true), (48, false), (95, false)] {
            let called = deadline.began + Duration::from_secs(called_s);
            let error = deadline.stopped(called);
            assert_eq!(error.kind(), ErrorKind::Deadline);
            assert_eq!(error.counts(), counts, "called after {called_s} s");
        }
    }
}
