//! outbox-sweep: publishes what outbox-relay could not.

use crate::outbox::ShopOutbox;
use std::time::Duration;
use surehand::{Deadline, Metrics, State, outbox::Swept};

/// So long outbox-relay has an item to itself. It needs less than a second.
const AGE: Duration = Duration::from_secs(60);
/// What publishing the last item may take, before the handler itself is stopped.
const LAST: Duration = Duration::from_secs(1);

/// Publishes what has waited for too long, the oldest first, while there is time, and says how much
/// that was.
///
/// # Errors
/// If the table does not answer.
pub async fn outbox_sweep(
    deadline: Deadline,
    State(ShopOutbox(outbox)): State<ShopOutbox>,
    metrics: Metrics,
) -> surehand::Result<Swept> {
    let swept = outbox.sweep(AGE, || deadline.remaining() < LAST).await?;
    // Commits, each with its events. Those that wait still, the next sweep meets again.
    metrics.count("CommitsSwept", swept.published as u64);
    metrics.count("CommitsWaiting", swept.failed as u64);
    if swept != Swept::default() {
        tracing::warn!(
            published = swept.published,
            failed = swept.failed,
            "events had waited for too long"
        );
    }
    Ok(swept)
}
