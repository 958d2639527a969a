//! A queue of the demo's own that sees every event of the shop, so that the accounts do not rest on what the
//! functions say of themselves.

use anyhow::{Context, Result};
use aws_sdk_eventbridge::types::Target;
use serde::Deserialize;
use serde_json::Value;

use super::clients::Clients;

const NAME: &str = "surehand-demo-witness";

/// An event as it was on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// The id that idempotency uses: the envelope's, or that of the bus.
    pub(crate) id: String,
    pub(crate) detail_type: String,
    pub(crate) detail: Value,
}

/// EventBridge's form of an event.
#[derive(Deserialize)]
struct BusEvent {
    id: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    detail: Value,
}

/// A rule and its queue.
pub(crate) struct Witness {
    queue_url: String,
}

impl Witness {
    pub(crate) async fn place(clients: &Clients) -> Result<Self> {
        let queue = clients
            .sqs
            .create_queue()
            .queue_name(NAME)
            .send()
            .await
            .context("cannot create the witness queue")?;
        let queue_url = queue
            .queue_url()
            .context("the queue has no URL")?
            .to_owned();
        let arn = clients.queue_info(&queue_url).await?.arn;
        clients
            .eventbridge
            .put_rule()
            .name(NAME)
            .event_bus_name(&clients.bus)
            .event_pattern(r#"{"source": [{"prefix": "shop."}]}"#)
            .send()
            .await
            .context("cannot create the witness rule")?;
        clients
            .eventbridge
            .put_targets()
            .rule(NAME)
            .event_bus_name(&clients.bus)
            .targets(Target::builder().id("queue").arn(arn).build()?)
            .send()
            .await
            .context("cannot create the witness rule's target")?;
        Ok(Self { queue_url })
    }

    /// Takes the messages in the queue, oldest first as far as the queue keeps the order.
    pub(crate) async fn take(&self, clients: &Clients) -> Result<Vec<Sighting>> {
        let mut sightings = Vec::new();
        loop {
            let batch = clients
                .sqs
                .receive_message()
                .queue_url(&self.queue_url)
                .max_number_of_messages(10)
                // This is long enough that no message becomes visible again before it is deleted.
                .visibility_timeout(600)
                .send()
                .await
                .context("cannot read the witness queue")?;
            if batch.messages().is_empty() {
                return Ok(sightings);
            }
            for message in batch.messages() {
                let body = message.body().unwrap_or_default();
                sightings.push(sighting(body).context("the witness cannot read an event")?);
            }
        }
    }
}

fn sighting(body: &str) -> Result<Sighting> {
    let event: BusEvent = serde_json::from_str(body)?;
    let id = event.detail["metadata"]["id"]
        .as_str()
        .map_or(event.id, str::to_owned);
    Ok(Sighting {
        id,
        detail_type: event.detail_type,
        detail: event.detail,
    })
}

/// The order that an event of the shop is about.
pub(crate) fn order_id(detail: &Value) -> Option<&str> {
    detail["data"]["order_id"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelopes_id_counts_and_else_that_of_the_bus() {
        let body = |detail: &str| {
            format!(r#"{{"id":"bus","source":"shop.x","detail-type":"X","detail":{detail}}}"#)
        };
        let enveloped = sighting(&body(
            r#"{"metadata":{"id":"own"},"data":{"order_id":"7"}}"#,
        ));
        let enveloped = enveloped.unwrap();
        assert_eq!(enveloped.id, "own");
        assert_eq!(order_id(&enveloped.detail), Some("7"));
        assert_eq!(sighting(&body("{}")).unwrap().id, "bus");
    }
}
