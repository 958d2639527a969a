//! The dead-letter queues, and what their letters say.

use anyhow::Result;
use serde_json::Value;
use surehand::dead_letter::FailureNote;

use super::pages::messages;
use crate::commands::demo::{clients::Clients, witness::order_id};

/// A dead letter without a known reason.
pub(crate) const NO_NOTE: &str = "no reason";

/// A message in a dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// The name of its queue.
    pub(crate) queue: String,
    /// The note's kind, or [`NO_NOTE`].
    pub(crate) reason: String,
    /// The note's message.
    pub(crate) message: String,
    pub(crate) order_id: Option<String>,
}

/// Reads every dead letter without removing it.
pub(crate) async fn dead_letters(clients: &Clients) -> Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for (queue, url) in &clients.dead_letters {
        let messages = messages(clients, url).await?;
        letters.extend(messages.iter().map(|message| dead_letter(queue, message)));
    }
    Ok(letters)
}

fn dead_letter(queue: &str, message: &Value) -> DeadLetter {
    let note = message["MessageAttributes"][FailureNote::ATTRIBUTE]["StringValue"]
        .as_str()
        .and_then(|note| serde_json::from_str::<FailureNote>(note).ok());
    let body = message["Body"].as_str().unwrap_or_default();
    let event: Value = serde_json::from_str(body).unwrap_or_default();
    // It is an event of a rule, or an envelope that was sent directly to a queue.
    let order_id = order_id(&event["detail"]).or_else(|| order_id(&event));
    DeadLetter {
        queue: queue
            .strip_suffix("DeadLetterQueue")
            .unwrap_or(queue)
            .to_owned(),
        reason: note
            .as_ref()
            .map_or_else(|| NO_NOTE.to_owned(), |note| note.kind.clone()),
        message: note.map(|note| note.message).unwrap_or_default(),
        order_id: order_id.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dead_letter_tells_its_reason() {
        let body = json!({"detail": {"data": {"order_id": "7"}}}).to_string();
        let note = json!({
            "kind": "rejected",
            "message": "no such sku",
            "handler": "reserve_stock",
            "function": "shop-reserve-stock",
            "request_id": "r",
            "attempts": 1,
            "last_failure": "2026-11-21T10:00:00Z",
        })
        .to_string();
        let parked = json!({
            "Body": body,
            "MessageAttributes": {"SurehandFailure": {"DataType": "String", "StringValue": note}},
        });
        assert_eq!(
            dead_letter("ReserveStockDeadLetterQueue", &parked),
            DeadLetter {
                queue: "ReserveStock".to_owned(),
                reason: "rejected".to_owned(),
                message: "no such sku".to_owned(),
                order_id: Some("7".to_owned()),
            }
        );
        let moved = json!({"Body": "nonsense", "MessageAttributes": {}});
        let letter = dead_letter("Q", &moved);
        assert_eq!((letter.reason.as_str(), letter.order_id), (NO_NOTE, None));
    }
}
