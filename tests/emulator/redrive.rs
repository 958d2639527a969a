//! Dead letters that the function `redrive` puts back, of every way into a dead-letter queue.

use super::{
    books::Books,
    collector::Collector,
    dev::Dev,
    order::{self, BOOK_CENTS, line},
    shop::{Message, Shop, eventually},
};
use futures_util::{StreamExt, stream};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many orders are for a sku that does not exist.
const ORDERS: usize = 72;
/// The rate in dead letters per second: three quarters of an invocation's 10 s suffice for 30 of
/// them.
const RATE: usize = 4;
const STOCK: i64 = 1_000;

pub(crate) async fn check(dev: &Dev, shop: &Shop, collector: &Collector) {
    let traces_before = traces(collector);
    let orders: Vec<String> = stream::iter(0..ORDERS)
        .map(async |index| {
            let lines = [line("scarf", 1, BOOK_CENTS)];
            let request = order::request(&format!("redrive-{index}"), "fay", &lines);
            let order = shop.place(&request).await.unwrap();
            order["order_id"].as_str().unwrap().to_owned()
        })
        .buffer_unordered(4)
        .collect()
        .await;
    eventually("the orders are dead letters", async || {
        shop.depth_of("ReserveStockDeadLetterQueueUrl").await == ORDERS
    })
    .await;

    let dry = json!({ "queue": "reserve-stock" });
    let seen = ask(shop, &dry).await.unwrap();
    assert_eq!(seen["selected"], ORDERS, "{seen}");
    assert_eq!(seen["groups"][0]["count"], ORDERS, "one reason: {seen}");
    assert_eq!(
        shop.depth_of("ReserveStockDeadLetterQueueUrl").await,
        ORDERS
    );

    // The fix.
    shop.stock("scarf", STOCK).await;
    let request = json!({ "queue": "reserve-stock", "rate": RATE, "apply": true });
    let run = ask(shop, &request).await.unwrap()["run"].clone();
    let said = ask(shop, &request).await.unwrap_err();
    assert!(said.contains("works on"), "{said}");

    let is_done = |books: &Books| {
        let is_reserved = |order: &String| books.reservations.contains_key(order);
        orders.iter().all(is_reserved)
    };
    let books = shop.settled("orders that were redriven", is_done).await;
    assert!(orders.iter().all(|it| books.reservations[it] == "RESERVED"));
    assert_eq!(books.stock["scarf"], STOCK - ORDERS as i64, "once each");
    for order in &orders {
        let outcome = ["OrderPlaced", "StockReserved"];
        assert_eq!(books.events_of(order), outcome, "{order}");
    }
    let charges = books.entries["fay"].iter().map(|entry| &entry.order_id);
    let charged: BTreeSet<&String> = charges.clone().collect();
    assert_eq!((charged.len(), charges.count()), (ORDERS, ORDERS));

    let status = ask(shop, &json!({ "run": run })).await.unwrap();
    let done = json!({
        "run": run, "rounds": 1, "planned": ORDERS, "sent": 0, "done": ORDERS, "ended": true,
        "complete": true, "failed": {}, "missing": [],
    });
    assert_eq!(status, done);
    let of_run = |line: &&Value| line["run"] == run && line["done"].is_number();
    let log = dev.log();
    let invocations = log.iter().filter(of_run).count();
    assert!(invocations >= 3, "{invocations} invocations");
    assert_eq!(shop.take_dead_letters().await.len(), 0);
    check_traces(collector, &traces_before).await;
}

/// Checks that the failed attempt and the redriven one are in one trace, the order's.
async fn check_traces(collector: &Collector, before: &BTreeMap<Vec<u8>, usize>) {
    eventually("every order's trace has both attempts", async || {
        let mut attempts = traces(collector);
        attempts.retain(|trace, _| !before.contains_key(trace));
        attempts.len() == ORDERS && attempts.values().all(|attempts| *attempts >= 2)
    })
    .await;
}

/// How often reserve-stock handled an order, by the trace that place-order began.
fn traces(collector: &Collector) -> BTreeMap<Vec<u8>, usize> {
    let spans = collector.spans();
    let begun = spans.iter().filter(|(function, span)| {
        function.ends_with("place-order") && span.kind() == SpanKind::Server
    });
    let mut traces: BTreeMap<Vec<u8>, usize> =
        begun.map(|(_, span)| (span.trace_id.clone(), 0)).collect();
    for (function, span) in &spans {
        if function.ends_with("reserve-stock") && span.kind() == SpanKind::Consumer {
            traces
                .entry(span.trace_id.clone())
                .and_modify(|attempts| *attempts += 1);
        }
    }
    traces
}

async fn ask(shop: &Shop, request: &Value) -> Result<Value, String> {
    shop.invoke("RedriveFunctionName", request).await
}

/// Checks dead letters of rules and of asynchronous invocations, as AWS documents them: the
/// emulator makes none.
pub(crate) async fn check_origins(shop: &Shop) {
    shop.stock("glove", STOCK).await;
    let event = |id: &str| {
        let data = order::placed(id, &[line("glove", 1, BOOK_CENTS)]);
        order::body(id, "shop.orders", "OrderPlaced", &data)
    };
    let audit = shop.output("AuditFunctionName");
    let audit = format!("arn:aws:lambda:us-east-1:000000000000:function:{audit}");
    let queue = shop.arn_of("ReserveStockQueueUrl").await;

    // One for a queue, one for a function.
    let undelivered = "EventBusDeadLetterQueueUrl";
    let to_queue = of_rule(event("redriven-1"), &queue);
    let to_function = of_rule(event("redriven-2"), &audit);
    shop.send(undelivered, &[to_queue, to_function]).await;
    run(shop, &json!({ "queue": "event-bus", "apply": true })).await;
    let has_both = |books: &Books| {
        books.reservations.contains_key("redriven-1") && is_audited(books, "redriven-2")
    };
    let books = shop.settled("undelivered events", has_both).await;
    assert_eq!(books.stock["glove"], STOCK - 1);
    // The event went to its target alone, and not to the other targets of the bus.
    assert!(!is_audited(&books, "redriven-1"));
    assert!(!books.reservations.contains_key("redriven-2"));

    // The same event is sent again, now to all targets: those that have handled it do nothing.
    shop.send(undelivered, &[of_rule(event("redriven-1"), &queue)])
        .await;
    let to = shop.output("EventBusArn");
    run(
        shop,
        &json!({ "queue": "event-bus", "to": to, "apply": true }),
    )
    .await;
    let books = shop
        .settled("an event on the bus", |it| is_audited(it, "redriven-1"))
        .await;
    assert_eq!(books.stock["glove"], STOCK - 1);

    // This is the record of an invocation that failed.
    let record = of_invocation(&event("redriven-3"), &audit);
    shop.send("AuditDeadLetterQueueUrl", &[record]).await;
    run(shop, &json!({ "queue": "audit", "apply": true })).await;
    let books = shop
        .settled("a failed invocation", |it| is_audited(it, "redriven-3"))
        .await;
    assert!(!books.reservations.contains_key("redriven-3"));
    let left = shop.take_dead_letters().await;
    assert!(left.is_empty(), "{left:?}");
}

/// Starts a redrive, and waits until it is done.
async fn run(shop: &Shop, request: &Value) {
    let started = ask(shop, request).await.unwrap();
    let run = json!({ "run": started["run"] });
    eventually("the run ends", async || {
        match ask(shop, &run).await {
            Ok(status) => status["ended"] == true && status["failed"] == json!({}),
            // It has not begun.
            Err(_) => false,
        }
    })
    .await;
}

fn is_audited(books: &Books, id: &str) -> bool {
    books.audited.iter().any(|event| event.id == id)
}

/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>
fn of_rule(event: String, target: &str) -> Message {
    let attributes = [
        (
            "RULE_ARN",
            "arn:aws:events:us-east-1:000000000000:rule/shop-bus/shop-reserve-stock",
        ),
        ("TARGET_ARN", target),
        ("ERROR_CODE", "NO_PERMISSIONS"),
        ("ERROR_MESSAGE", "No permissions"),
        ("RETRY_ATTEMPTS", "0"),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Message {
        body: event,
        attributes: attributes.into(),
        ..Message::default()
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
fn of_invocation(event: &str, function: &str) -> Message {
    let payload: Value = serde_json::from_str(event).unwrap();
    let record = json!({
        "version": "1.0",
        "timestamp": "2026-11-21T10:00:00.000Z",
        "requestContext": {
            "requestId": "9b0f1b3a-6a1f-4a53-9d2e-0a4a3c9f2f50",
            "functionArn": format!("{function}:$LATEST"),
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": payload,
        "responseContext": {
            "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
        },
        "responsePayload": { "errorType": "transient", "errorMessage": "the table does not answer" },
    });
    Message {
        body: record.to_string(),
        ..Message::default()
    }
}
