//! What is said and counted about one record in one invocation.

use super::names::{PAYLOAD_TARGET, TARGET, VERDICT};
use crate::{
    Error, Record, Reply,
    metrics::{CountedAs, Metrics},
    redact,
};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// A record's time from its turn to its verdict.
pub(crate) struct Attempt<'a> {
    record: &'a Record,
    metrics: &'a Metrics,
    started: Instant,
    /// The time from the event's `time` to the start.
    lag: Option<Duration>,
}

impl<'a> Attempt<'a> {
    /// Begins an attempt now.
    pub(crate) fn start(record: &'a Record, metrics: &'a Metrics, now: SystemTime) -> Self {
        debug!(target: PAYLOAD_TARGET, body = record.body(), "record received");
        let time = record.event().ok().and_then(|event| event.metadata.time);
        Self {
            record,
            metrics,
            started: Instant::now(),
            // A producer's clock may be ahead of this one; the lag is then zero.
            lag: time.map(|time| now.duration_since(time).unwrap_or_default()),
        }
    }

    /// Makes the attempt of a record that was cut off, or whose turn never came, in a batch that
    /// began at `started`.
    pub(crate) fn cut_off(record: &'a Record, metrics: &'a Metrics, started: Instant) -> Self {
        Self {
            record,
            metrics,
            started,
            lag: None,
        }
    }

    // Every outcome is one line with the same sentence, so that one query finds all of them.

    pub(crate) fn handled(&self, reply: &Reply) {
        let (outcome, counted) = if reply.is_duplicate() {
            ("duplicate", CountedAs::Duplicate)
        } else {
            ("ok", CountedAs::Processed)
        };
        self.count(counted);
        info!(
            name: VERDICT,
            target: TARGET,
            outcome,
            duration_ms = self.duration_ms(),
            event_lag_ms = self.lag_ms(),
            "record handled"
        );
    }

    pub(crate) fn retried(&self, error: &Error, delay: Duration) {
        self.count(CountedAs::Retried(error.kind()));
        self.failed("retry", error, Some(delay));
    }

    pub(crate) fn parked(&self, error: &Error) {
        self.count(CountedAs::Parked(error.kind()));
        self.failed("park", error, None);
    }

    pub(crate) fn discarded(&self, error: &Error) {
        self.count(CountedAs::Discarded(error.kind()));
        self.failed("discard", error, None);
    }

    fn failed(&self, outcome: &str, error: &Error, delay: Option<Duration>) {
        warn!(
            name: VERDICT,
            target: TARGET,
            outcome,
            kind = error.kind().as_str(),
            error = redact::failure(error),
            at = error.at().map(tracing::field::display),
            delay_s = delay.map(seconds),
            duration_ms = self.duration_ms(),
            event_lag_ms = self.lag_ms(),
            "record handled"
        );
    }

    /// The record stays in its source, which is safe, but its reason is only in this line.
    pub(crate) fn not_parked(error: &Error) {
        warn!(
            target: TARGET,
            error = redact::failure(error),
            "record could not be parked, so it stays in its source"
        );
    }

    fn count(&self, counted: CountedAs) {
        let Some(collector) = self.metrics.collector() else {
            return;
        };
        let event = self.record.event().ok();
        let event_type = event.and_then(|event| event.metadata.detail_type.as_deref());
        collector.record(counted, self.lag.map(|lag| (lag, event_type)));
    }

    fn duration_ms(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn lag_ms(&self) -> Option<u64> {
        self.lag.map(milliseconds)
    }
}

/// To the millisecond: nobody reads the digits behind.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_has_no_more_digits_than_anybody_reads() {
        assert_eq!(
            seconds(Duration::from_nanos(2_375_520_235)).to_string(),
            "2.376"
        );
    }
}
