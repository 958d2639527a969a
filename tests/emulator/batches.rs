//! Batches in which some records fail: these come back alone, or go to the dead letters with their
//! reason.

use super::{
    dev::Dev,
    order::{self, body, line},
    shop::{Message, Shop, until},
};
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use std::collections::BTreeMap;

/// The number of readers in the template.
const READERS: i32 = 10;

/// What the log reports about an attempt at a message.
#[derive(Debug)]
pub(crate) struct Attempt {
    request_id: String,
    receive_count: u64,
    /// The kind of the failure, or the outcome.
    pub(crate) outcome: String,
}

/// The attempts at these messages, by their place among them.
pub(crate) fn attempts(dev: &Dev, ids: &[String]) -> BTreeMap<usize, Vec<Attempt>> {
    let mut attempts = BTreeMap::<usize, Vec<Attempt>>::new();
    for line in dev.log() {
        let place = ids.iter().position(|id| line["message_id"] == id.as_str());
        let (Some(place), "record handled") = (place, line["message"].as_str().unwrap_or_default())
        else {
            continue;
        };
        let outcome = line["kind"].as_str().or(line["outcome"].as_str());
        attempts.entry(place).or_default().push(Attempt {
            request_id: line["function_request_id"].as_str().unwrap().to_owned(),
            receive_count: line["receive_count"].as_u64().unwrap(),
            outcome: outcome.unwrap().to_owned(),
        });
    }
    attempts
}

/// Checks that all first attempts were in the same batch; returns how they ended.
fn first_outcomes(attempts: &BTreeMap<usize, Vec<Attempt>>) -> Vec<&str> {
    let first: Vec<&Attempt> = attempts.values().map(|all| &all[0]).collect();
    for attempt in &first {
        assert_eq!(attempt.request_id, first[0].request_id, "{attempts:?}");
        assert_eq!(attempt.receive_count, 1, "{attempts:?}");
    }
    first.iter().map(|it| it.outcome.as_str()).collect()
}

/// Ten messages in one batch: good ones, a duplicate, malformed ones, a rejected one, and one that
/// fails until its row is corrected.
pub(crate) async fn check_parts(dev: &Dev, shop: &Shop) {
    shop.stock("pen", 100).await;
    let broken = AttributeValue::S("plenty".into());
    shop.stock_row("ink", broken).await;
    let event = |id: &str, sku: &str| {
        let id = format!("parts-{id}");
        let data = order::placed(&id, &[line(sku, 2, 1)]);
        body(&id, "shop.orders", "OrderPlaced", &data)
    };
    let malformed = body(
        "parts-malformed",
        "shop.orders",
        "OrderPlaced",
        &json!({ "order_id": 7 }),
    );
    let bodies = [
        event("0", "pen"),
        "no JSON".to_owned(),
        event("2", "pen"),
        event("broken", "ink"),
        event("4", "pen"),
        event("2", "pen"),
        malformed,
        event("7", "pen"),
        event("unknown", "unicorn"),
        event("9", "pen"),
    ];
    let messages = bodies.map(|body| Message {
        body,
        ..Message::default()
    });
    let function = shop.output("ReserveStockFunctionName");
    shop.set_readers(function, None).await;
    let ids = shop.send("ReserveStockQueueUrl", &messages).await;
    shop.set_readers(function, Some(READERS)).await;

    let failed_again = || attempts(dev, &ids).get(&3).is_some_and(|all| all.len() > 1);
    until("the failed record is delivered again", failed_again).await;
    shop.stock("ink", 100).await;
    let good = ["0", "2", "4", "7", "9", "broken"].map(|id| format!("parts-{id}"));
    let books = shop
        .settled("a batch with failures", |books| {
            let is_done = |id: &String| books.events_of(id).contains(&"StockReserved");
            good.iter().all(is_done)
        })
        .await;

    let attempts = attempts(dev, &ids);
    let expected = [
        "ok",
        "malformed",
        "ok",
        "transient",
        "ok",
        "duplicate",
        "malformed",
        "ok",
        "rejected",
        "ok",
    ];
    assert_eq!(first_outcomes(&attempts), expected);
    for (place, all) in &attempts {
        // The response named one message, so only that one was delivered again.
        assert_eq!(all.len() > 1, *place == 3, "message {place}: {all:?}");
    }
    assert_eq!(attempts[&3].last().unwrap().outcome, "ok");
    assert_eq!((books.stock["pen"], books.stock["ink"]), (90, 98));
    for id in &good {
        assert_eq!(books.reservations[id], "RESERVED");
        assert_eq!(books.events_of(id), ["StockReserved"]);
    }
    let mails = shop.mails().await;
    let mails = mails.iter().filter(|mail| mail.to.starts_with("parts-"));
    assert_eq!(mails.count(), good.len());

    let letters = shop.take_dead_letters().await;
    let mut reasons: Vec<(String, String)> = letters
        .into_iter()
        .map(|letter| {
            (
                letter.note.expect("it carries its reason").kind,
                letter.body,
            )
        })
        .collect();
    reasons.sort();
    let body_of = |place: usize| messages[place].body.clone();
    let mut expected = [
        ("malformed".to_owned(), body_of(1)),
        ("malformed".to_owned(), body_of(6)),
        ("rejected".to_owned(), body_of(8)),
    ];
    expected.sort();
    assert_eq!(reasons, expected);
}

/// Sends charges of three customers in one FIFO batch, where one customer's ledger is broken: that
/// customer's charges wait, in order, and the others are booked.
pub(crate) async fn check_groups(dev: &Dev, shop: &Shop) {
    let customers = ["groups-a", "groups-b", "groups-c"];
    let charge = |index: usize| {
        let customer = customers[index % 3];
        let id = format!("{customer}-{index}");
        let data = json!({ "order_id": id, "customer_id": customer, "amount_cents": 10 + index });
        Message {
            body: body(&id, "shop.ledger", "OrderCharged", &data),
            group: Some(customer.to_owned()),
            ..Message::default()
        }
    };
    let messages: Vec<Message> = (0..9).map(charge).collect();
    let balance = |customer: &str| format!("CUSTOMER#{customer}");
    let broken = AttributeValue::S("a lot".into());
    shop.put(balance("groups-b"), "BALANCE", "balance_cents", broken)
        .await;
    let function = shop.output("CustomerLedgerFunctionName");
    shop.set_readers(function, None).await;
    let ids = shop.send("CustomerLedgerQueueUrl", &messages).await;
    shop.set_readers(function, Some(READERS)).await;

    let failed_again = || attempts(dev, &ids).get(&1).is_some_and(|all| all.len() > 1);
    until("the failed charge is delivered again", failed_again).await;
    let charges = |customer: usize| -> Vec<(String, i64)> {
        let indices = (0..9).filter(|index| index % 3 == customer);
        indices
            .map(|index| {
                (
                    format!("{}-{index}", customers[customer]),
                    10 + index as i64,
                )
            })
            .collect()
    };
    let books = shop.books().await;
    books.check_ledger("groups-a", &charges(0));
    books.check_ledger("groups-c", &charges(2));
    assert_eq!(books.entries.get("groups-b"), None);

    shop.delete(balance("groups-b"), "BALANCE").await;
    let books = shop
        .settled("a group that failed", |books| {
            books
                .entries
                .get("groups-b")
                .is_some_and(|it| it.len() == 3)
        })
        .await;
    books.check_ledger("groups-b", &charges(1));
    let attempts = attempts(dev, &ids);
    let expected = [
        "ok",
        "transient",
        "ok",
        "ok",
        "skipped",
        "ok",
        "ok",
        "skipped",
        "ok",
    ];
    assert_eq!(first_outcomes(&attempts), expected);
    assert_eq!(shop.take_dead_letters().await.len(), 0);
}
