//! outbox-relay: publishes what transactions left to publish, a moment after their commit.

use crate::outbox::ShopOutbox;
use surehand::{Change, Metrics, State};

/// Publishes the events of a changed item, and marks them as published.
///
/// # Errors
/// If not all events are published and marked. All of them are then published again.
pub async fn outbox_relay(
    change: Change,
    State(ShopOutbox(outbox)): State<ShopOutbox>,
    metrics: Metrics,
) -> surehand::Result<()> {
    if let Some(item) = &change.new_image {
        let events = outbox.publish_item(item).await?;
        metrics.count("EventsPublished", events as u64);
    }
    Ok(())
}
