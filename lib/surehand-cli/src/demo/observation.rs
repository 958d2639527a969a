//! What can be seen after the run: rows, mails, dead letters, events and log lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use serde_json::{Map, Value};
use surehand::FailureNote;

use super::{
    clients::Clients,
    witness::{Sighting, order_id},
};
use crate::{emulator, logs};

/// A dead letter without a note came there by SQS's own redrive policy.
pub(crate) const NO_NOTE: &str = "moved by SQS (no note)";

/// The rows of the shop's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The ids of the stored orders.
    pub(crate) orders: BTreeSet<String>,
    /// What is left, by sku; rows that hold no number are left out.
    pub(crate) stock: BTreeMap<String, u64>,
    /// What became of an order's stock, by order id.
    pub(crate) reservations: BTreeMap<String, String>,
    /// In cents, by customer and order id.
    pub(crate) entries: BTreeMap<(String, String), u64>,
    /// Cents and number of entries, by customer.
    pub(crate) balances: BTreeMap<String, (u64, u64)>,
    /// The ids of the audited events.
    pub(crate) audited: BTreeSet<String>,
}

/// A message in a dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// The name of its queue.
    pub(crate) queue: String,
    /// The note's kind, or [`NO_NOTE`].
    pub(crate) reason: String,
    /// What the note says.
    pub(crate) message: String,
    pub(crate) order_id: Option<String>,
}

/// How often a function came to an outcome: by function, outcome and, of errors, their kind.
pub(crate) type Outcomes = BTreeMap<(String, String, String), usize>;

/// Everything together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) rows: Rows,
    /// The addresses of all mails, once per mail.
    pub(crate) mails: Vec<String>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) events: Vec<Sighting>,
    pub(crate) outcomes: Outcomes,
}

/// Reads the whole table.
pub(crate) async fn rows(clients: &Clients) -> Result<Rows> {
    let mut rows = Rows::default();
    let mut items = clients
        .dynamodb
        .scan()
        .table_name(&clients.shop_table)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    while let Some(item) = items.next().await {
        rows.add(&item.context("cannot read the shop's table")?);
    }
    Ok(rows)
}

impl Rows {
    fn add(&mut self, item: &HashMap<String, AttributeValue>) {
        let text = |name: &str| {
            let value = item.get(name).and_then(|value| value.as_s().ok());
            value.map(String::as_str).unwrap_or_default()
        };
        let number = |name: &str| {
            let value = item.get(name).and_then(|value| value.as_n().ok());
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let (Some((kind, id)), sort) = (text("pk").split_once('#'), text("sk")) else {
            return;
        };
        let id = id.to_owned();
        match (kind, sort) {
            ("ORDER", "ORDER") => {
                self.orders.insert(id);
            }
            ("ORDER", "RESERVATION") => {
                self.reservations.insert(id, text("status").to_owned());
            }
            ("STOCK", "STOCK") => {
                if let Some(available) = number("available") {
                    self.stock.insert(id, available);
                }
            }
            ("CUSTOMER", "BALANCE") => {
                let balance = number("balance_cents").unwrap_or_default();
                let entries = number("entries").unwrap_or_default();
                self.balances.insert(id, (balance, entries));
            }
            ("CUSTOMER", entry) => {
                if let Some(order) = entry.strip_prefix("ENTRY#") {
                    let amount = number("amount_cents").unwrap_or_default();
                    self.entries.insert((id, order.to_owned()), amount);
                }
            }
            ("AUDIT", "EVENT") => {
                self.audited.insert(id);
            }
            _ => {}
        }
    }
}

/// How many messages a queue holds, whether they wait, are in flight or are delayed.
///
/// The emulator's own page is exact, where SQS's attributes are approximate by contract.
pub(crate) async fn depth(clients: &Clients, url: &str) -> Result<usize> {
    Ok(messages(clients, url).await?.len())
}

/// How many items have events that wait to be published.
pub(crate) async fn outbox(clients: &Clients) -> Result<usize> {
    let scan = clients
        .dynamodb
        .scan()
        .table_name(&clients.idempotency_table)
        .index_name("outbox")
        .select(Select::Count);
    let mut pages = scan.into_paginator().send();
    let mut waiting = 0;
    while let Some(page) = pages.next().await {
        waiting += page.context("cannot read the outbox")?.count();
    }
    Ok(usize::try_from(waiting)?)
}

async fn messages(clients: &Clients, url: &str) -> Result<Vec<Value>> {
    let path = format!("/_ministack/sqs/messages?QueueUrl={url}");
    let answer = emulator::get(&clients.endpoint, &path).await?;
    let mut found = Vec::new();
    for regions in objects(&answer["messages"]) {
        for queues in objects(regions) {
            for messages in objects(queues) {
                found.extend(messages.as_array().into_iter().flatten().cloned());
            }
        }
    }
    Ok(found)
}

fn objects(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_object().into_iter().flat_map(Map::values)
}

/// Reads every dead letter and leaves it where it is.
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
    // An event of a rule, or an envelope that was sent to a queue directly.
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

/// The addresses that mails went to.
pub(crate) async fn mails(clients: &Clients) -> Result<Vec<String>> {
    let answer = emulator::get(&clients.endpoint, "/_ministack/ses/messages").await?;
    Ok(objects(&answer["messages"])
        .flat_map(|mails| mails.as_array().into_iter().flatten())
        .flat_map(|mail| mail["To"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect())
}

/// Counts the lines that say what became of a record.
pub(crate) fn outcomes(lines: &[logs::Line]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in lines {
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&line.message) else {
            continue;
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        if let Some(outcome) = text("outcome") {
            let kind = text("kind").unwrap_or_default();
            let key = (line.function.clone(), outcome.to_owned(), kind.to_owned());
            *outcomes.entry(key).or_default() += 1;
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_keys() {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: &str| AttributeValue::N(value.to_owned());
        let items = [
            vec![("pk", text("ORDER#1")), ("sk", text("ORDER"))],
            vec![
                ("pk", text("ORDER#1")),
                ("sk", text("RESERVATION")),
                ("status", text("RESERVED")),
            ],
            vec![
                ("pk", text("STOCK#book")),
                ("sk", text("STOCK")),
                ("available", number("7")),
            ],
            vec![
                ("pk", text("STOCK#corrupt")),
                ("sk", text("STOCK")),
                ("available", text("plenty")),
            ],
            vec![
                ("pk", text("CUSTOMER#c")),
                ("sk", text("ENTRY#1")),
                ("amount_cents", number("1200")),
            ],
            vec![
                ("pk", text("CUSTOMER#c")),
                ("sk", text("BALANCE")),
                ("balance_cents", number("1200")),
                ("entries", number("1")),
            ],
            vec![("pk", text("AUDIT#e")), ("sk", text("EVENT"))],
        ];
        let mut rows = Rows::default();
        for item in items {
            let item = item.into_iter();
            rows.add(&item.map(|(name, value)| (name.to_owned(), value)).collect());
        }
        assert!(rows.orders.contains("1"));
        assert_eq!(rows.reservations["1"], "RESERVED");
        assert_eq!(rows.stock, BTreeMap::from([("book".to_owned(), 7)]));
        assert_eq!(rows.entries[&("c".to_owned(), "1".to_owned())], 1200);
        assert_eq!(rows.balances["c"], (1200, 1));
        assert!(rows.audited.contains("e"));
    }

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

    #[test]
    fn outcomes_are_counted_by_function_and_kind() {
        let line = |message: &str| logs::Line {
            function: "audit".to_owned(),
            time: 0,
            message: message.to_owned(),
        };
        let lines = [
            line(r#"{"message":"record handled","outcome":"ok"}"#),
            line(r#"{"message":"record handled","outcome":"retry","kind":"transient"}"#),
            line(r#"{"message":"record handled","outcome":"ok"}"#),
            line("START RequestId: 1"),
        ];
        let key =
            |outcome: &str, kind: &str| ("audit".to_owned(), outcome.to_owned(), kind.to_owned());
        assert_eq!(
            outcomes(&lines),
            BTreeMap::from([(key("ok", ""), 2), (key("retry", "transient"), 1)])
        );
    }
}
