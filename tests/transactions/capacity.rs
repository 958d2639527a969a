//! What a record costs at the store: the table of docs/benchmarks.md.

use super::{
    meter::Spent,
    world::{World, text},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use surehand::{
    Envelope, Event, Function, Idempotency, Publisher, Sqs, State, Transaction,
    outbox::Outbox,
    testing::{self, Message, RecordedEvents},
};

const BENCHMARKS: &str = include_str!("../../docs/benchmarks.md");

/// The size of the work.
#[derive(Clone, Copy, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    effects: usize,
    events: usize,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockReserved")]
struct StockReserved {
    order_id: String,
    customer_id: String,
}

async fn commit(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
    for effect in 0..order.data.effects {
        tx.put_item("shop", &json!({ "id": format!("effect-{effect}") }));
    }
    for event in 0..order.data.events {
        tx.publish(&StockReserved {
            order_id: format!("order-{event}"),
            customer_id: "customer-7".into(),
        });
    }
    Ok(())
}

/// The same effects, each by a call of its own. Its events would be calls to another service.
async fn write(
    order: Envelope<OrderPlaced>,
    State(client): State<aws_sdk_dynamodb::Client>,
) -> surehand::Result<()> {
    for effect in 0..order.data.effects {
        let put = client.put_item().table_name("shop");
        let put = put.item("id", text(&format!("effect-{effect}")));
        put.send().await?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Transaction,
    Lease,
}

/// Returns what a message costs on its first delivery, and on later ones.
async fn cost(mode: Mode, order: OrderPlaced) -> [Spent; 3] {
    let world = World::new().await;
    let once = Idempotency::new(world.store.clone()).cache(0);
    let function = match mode {
        Mode::Transaction => Function::new(Sqs, commit, ()),
        Mode::Lease => Function::new(Sqs, write, world.metered.clone()),
    };
    let function = function.idempotent(once);
    let message = Message::event(&order);
    let mut spent = Vec::new();
    for receive_count in [1, 1, 2] {
        let message = message.clone().receive_count(receive_count);
        let event = testing::sqs_event("orders", [message]);
        let response = function.invoke(event, testing::context()).await.unwrap();
        assert!(testing::failed_ids(&response).is_empty());
        spent.push(world.spent());
    }
    spent.try_into().unwrap()
}

/// A line of the table in the documentation.
fn line(what: &str, spent: Spent) -> String {
    let cell = |units: f64| match units {
        0.0 => String::new(),
        units => format!("{units} "),
    };
    let write = match spent.refused {
        0 => cell(spent.write),
        1 => "refused ".to_owned(),
        more => panic!("{more} calls were refused"),
    };
    let (calls, index, read) = (spent.calls, cell(spent.index), cell(spent.read));
    format!("| {what} | {calls} | {write}| {index}| {read}|\n")
}

async fn lines_of_records() -> String {
    let order = |effects, events| OrderPlaced { effects, events };
    let mut lines = String::new();
    for (what, mode, order) in [
        ("nothing staged", Mode::Transaction, order(0, 0)),
        ("1 event", Mode::Transaction, order(0, 1)),
        ("1 effect", Mode::Transaction, order(1, 0)),
        ("2 effects, 1 event", Mode::Transaction, order(2, 1)),
        ("2 effects, 3 events", Mode::Transaction, order(2, 3)),
        ("10 effects, 10 events", Mode::Transaction, order(10, 10)),
        ("nothing done", Mode::Lease, order(0, 0)),
        ("2 effects by the handler", Mode::Lease, order(2, 0)),
    ] {
        let [first, again, later] = cost(mode, order).await;
        assert_eq!((again.calls, later.calls), (1, 1), "a duplicate: {what}");
        match (mode, order.effects) {
            (Mode::Transaction, 10) => {
                lines += &line(&format!("transaction: {what}"), first);
                lines += &line("… its duplicate, received once", again);
                lines += &line("… its duplicate, received again", later);
            }
            (Mode::Transaction, _) => lines += &line(&format!("transaction: {what}"), first),
            (Mode::Lease, 0) => {
                lines += &line(&format!("lease: {what}"), first);
                lines += &line("… its duplicate", again);
                assert_eq!(again, later);
            }
            (Mode::Lease, _) => lines += &line(&format!("lease: {what}"), first),
        }
    }
    lines
}

/// Returns the cost of marking a claim's events as published.
async fn line_of_relay(events: usize) -> String {
    let world = World::new().await;
    let function = Function::new(Sqs, commit, ()).idempotent(world.store.clone());
    let order = OrderPlaced { effects: 0, events };
    let event = testing::sqs_event("orders", [Message::event(&order)]);
    function.invoke(event, testing::context()).await.unwrap();
    let publisher = Publisher::new(RecordedEvents::new());
    let outbox = Outbox::new(world.metered.clone(), "idempotency", publisher);
    let items = world.items("idempotency").await;
    world.spent();
    assert_eq!(outbox.publish_item(&items[0]).await.unwrap(), events);
    line(
        &format!("relay: a claim with {events} published"),
        world.spent(),
    )
}

#[tokio::test]
async fn calls_and_capacity_of_a_record_are_as_documented() {
    let mut table = lines_of_records().await;
    for events in [1, 3, 10] {
        table += &line_of_relay(events).await;
    }
    assert!(
        BENCHMARKS.contains(&table),
        "docs/benchmarks.md does not have these lines:\n{table}"
    );
}
