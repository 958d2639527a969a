//! outbox-sweep: publishes what outbox-relay could not.

use crate::outbox::ShopOutbox;
use std::time::Duration;
use surehand::{Deadline, Metrics, State, metrics::Unit, outbox::Swept};

/// How long the sweep leaves an item to outbox-relay, which needs less than a second.
const AGE: Duration = Duration::from_secs(60);
/// How long publishing the last item may take, before the handler itself is stopped.
const LAST: Duration = Duration::from_secs(1);

/// Publishes events that have waited for too long, the oldest first, as long as there is time, and
/// reports how many there were.
///
/// # Errors
/// If the table does not answer.
pub async fn outbox_sweep(
    deadline: Deadline,
    State(ShopOutbox(outbox)): State<ShopOutbox>,
    metrics: Metrics,
) -> surehand::Result<Swept> {
    let swept = outbox.sweep(AGE, || deadline.remaining() < LAST).await?;
    // The count is of commits, each with its events. The next sweep finds those that still wait.
    metrics.count("CommitsSwept", swept.published as u64);
    metrics.count("CommitsWaiting", swept.failed as u64);
    metrics.count("EventsParked", swept.parked as u64);
    // Also when nothing waits: an alarm takes the lack of values for a sweep that does not run.
    let oldest = swept.oldest_ms as f64 / 1_000.0;
    metrics.record("OutboxAge", oldest, Unit::Seconds);
    if swept != Swept::default() {
        tracing::warn!(
            published = swept.published,
            failed = swept.failed,
            parked = swept.parked,
            "events had waited for too long"
        );
    }
    Ok(swept)
}
