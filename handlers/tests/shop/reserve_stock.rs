use crate::{
    shop_table::ShopTable,
    stand_in::{Answer, StandIn},
};
use aws_sdk_dynamodb::types::AttributeValue;
use shop::{
    events::{Line, OrderPlaced, OrderRejected, StockReserved},
    reserve_stock::{Warehouse, reserve_stock},
    stock::{Reservation, Stock},
    table::Table,
};
use surehand::{
    Function, MemoryStore, Outgoing, Publisher, Sqs,
    testing::{self, Message, RecordedDeadLetters, RecordedEvents},
};

struct Fixture {
    table: ShopTable,
    events: RecordedEvents,
    dead_letters: RecordedDeadLetters,
}

impl Fixture {
    /// A shop with this much of each sku.
    async fn with_stock(stock: &[(&str, i64)]) -> Self {
        let table = ShopTable::create().await;
        for (sku, available) in stock {
            table
                .set_stock(sku, AttributeValue::N(available.to_string()))
                .await;
        }
        Self {
            table,
            events: RecordedEvents::new(),
            dead_letters: RecordedDeadLetters::new().max_receive_count(5),
        }
    }

    /// The messages that come back, of an attempt that knows of none before.
    async fn attempt(&self, messages: impl IntoIterator<Item = Message>) -> Vec<String> {
        let warehouse = Warehouse {
            stock: Stock::new(self.table.table()),
            events: Publisher::new(self.events.clone()),
        };
        let function = Function::new(Sqs, reserve_stock, warehouse)
            .idempotent(MemoryStore::new())
            .dead_letters(self.dead_letters.clone());
        let event = testing::sqs_event("reserve-stock", messages);
        let response = function.invoke(event, testing::context()).await.unwrap();
        let failed = testing::failed_ids(&response);
        failed.into_iter().map(str::to_owned).collect()
    }

    async fn reservation(&self, order_id: &str) -> Option<Reservation> {
        self.table
            .get(&format!("ORDER#{order_id}"), "RESERVATION")
            .await
    }
}

fn order(order_id: &str, lines: &[(&str, i64)]) -> OrderPlaced {
    let lines = lines.iter().map(|(sku, quantity)| Line {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_cents: 100,
    });
    OrderPlaced {
        order_id: order_id.to_owned(),
        customer_id: "c-1".into(),
        email: "ada@example.com".into(),
        lines: lines.collect(),
        total_cents: 100,
    }
}

fn message(order_id: &str, lines: &[(&str, i64)]) -> Message {
    Message::event(&order(order_id, lines)).id(order_id)
}

fn reserved(order_id: &str) -> StockReserved {
    StockReserved {
        order_id: order_id.to_owned(),
        customer_id: "c-1".into(),
        email: "ada@example.com".into(),
    }
}

#[tokio::test]
async fn stock_is_taken_once_however_often_an_order_is_tried() {
    let shop = Fixture::with_stock(&[("book", 5), ("pen", 5)]).await;
    let event = Outgoing::new(&order("o-1", &[("book", 2), ("pen", 1)])).unwrap();
    for _ in 0..3 {
        let message = Message::outgoing(&event);
        assert!(shop.attempt([message]).await.is_empty());
    }
    assert_eq!(shop.table.stock("book").await, 3);
    assert_eq!(shop.table.stock("pen").await, 4);
    assert_eq!(shop.reservation("o-1").await, Some(Reservation::Reserved));

    let sent = shop.events.sent();
    assert_eq!(
        shop.events.of_type::<StockReserved>(),
        vec![reserved("o-1"); 3]
    );
    assert!(
        sent.iter().all(|event| event.id() == sent[0].id()),
        "consumers see one event"
    );
    assert_eq!(sent[0].metadata().causation_id.as_deref(), Some(event.id()));
}

#[tokio::test]
async fn an_order_that_is_not_all_in_stock_takes_nothing_and_stays_rejected() {
    let shop = Fixture::with_stock(&[("book", 5), ("lamp", 0), ("pen", 1)]).await;
    let event = Outgoing::new(&order("o-1", &[("pen", 2), ("book", 1), ("lamp", 1)])).unwrap();
    assert!(shop.attempt([Message::outgoing(&event)]).await.is_empty());
    assert_eq!(shop.table.stock("book").await, 5);
    assert_eq!(shop.table.stock("pen").await, 1);

    // What was said stands, even if there is enough by now.
    for sku in ["lamp", "pen"] {
        shop.table
            .set_stock(sku, AttributeValue::N("100".into()))
            .await;
    }
    assert!(shop.attempt([Message::outgoing(&event)]).await.is_empty());
    assert_eq!(shop.table.stock("lamp").await, 100);
    let reason = "not enough in stock of lamp, pen".to_owned();
    assert_eq!(
        shop.reservation("o-1").await,
        Some(Reservation::Rejected {
            reason: reason.clone()
        })
    );
    let rejected = OrderRejected {
        order_id: "o-1".into(),
        customer_id: "c-1".into(),
        email: "ada@example.com".into(),
        reason,
    };
    assert_eq!(shop.events.of_type::<OrderRejected>(), vec![rejected; 2]);
    let sent = shop.events.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].id(), sent[1].id(), "consumers see one event");
}

#[tokio::test]
async fn lines_of_one_sku_are_taken_together() {
    let shop = Fixture::with_stock(&[("book", 5)]).await;
    let messages = [
        message("o-1", &[("book", 2), ("book", 2)]),
        message("o-2", &[("book", 1), ("book", 1)]),
    ];
    for message in messages {
        assert!(shop.attempt([message]).await.is_empty());
    }
    assert_eq!(shop.table.stock("book").await, 1);
    assert_eq!(shop.events.of_type::<StockReserved>(), [reserved("o-1")]);
    assert_eq!(shop.events.of_type::<OrderRejected>().len(), 1);
}

#[tokio::test]
async fn the_last_ones_go_to_as_many_orders_as_there_are() {
    let shop = Fixture::with_stock(&[("book", 3)]).await;
    let orders: Vec<String> = (0..10).map(|n| format!("o-{n}")).collect();
    let messages = orders.iter().map(|id| message(id, &[("book", 1)]));
    assert!(shop.attempt(messages).await.is_empty());
    assert_eq!(shop.table.stock("book").await, 0);
    assert_eq!(shop.events.of_type::<StockReserved>().len(), 3);
    assert_eq!(shop.events.of_type::<OrderRejected>().len(), 7);
}

#[tokio::test]
async fn what_no_attempt_can_reserve_is_parked_at_once() {
    let shop = Fixture::with_stock(&[("book", 5), ("lamp", 0)]).await;
    let messages = [
        message("a-unknown", &[("book", 1), ("lamp", 1), ("unicorn", 1)]),
        message("b-negative", &[("book", -1)]),
        message("c-empty", &[]),
    ];
    assert!(shop.attempt(messages).await.is_empty());
    let kinds = shop.dead_letters.kinds();
    let expected = ["a-unknown", "b-negative", "c-empty"].map(|id| (id.into(), "rejected".into()));
    assert_eq!(kinds, expected);
    let parked = shop.dead_letters.parked();
    let unknown = parked
        .iter()
        .find(|(record, _)| record.id() == "a-unknown")
        .unwrap();
    assert_eq!(unknown.1.message, "sku `unicorn` does not exist");
    assert_eq!(shop.table.stock("book").await, 5);
    assert!(shop.events.sent().is_empty());
}

#[tokio::test]
async fn a_corrupt_stock_row_is_tried_again_until_somebody_mends_it() {
    let shop = Fixture::with_stock(&[("book", 5)]).await;
    shop.table
        .set_stock("lamp", AttributeValue::S("plenty".into()))
        .await;
    let message = message("o-1", &[("book", 1), ("lamp", 1)]);
    assert_eq!(shop.attempt([message.clone()]).await, ["o-1"]);
    assert!(shop.dead_letters.kinds().is_empty());

    let last = message.clone().receive_count(5);
    assert!(shop.attempt([last]).await.is_empty());
    assert_eq!(
        shop.dead_letters.kinds(),
        [("o-1".into(), "transient".into())]
    );
    let note = shop.dead_letters.parked().remove(0).1;
    assert_eq!(
        note.message,
        "the stock row of sku `lamp` has no number in `available`"
    );
    assert_eq!(shop.reservation("o-1").await, None);

    shop.table
        .set_stock("lamp", AttributeValue::N("1".into()))
        .await;
    assert!(shop.attempt([message]).await.is_empty());
    assert_eq!(shop.table.stock("lamp").await, 0);
    assert_eq!(shop.events.of_type::<StockReserved>(), [reserved("o-1")]);
}

const CONFLICT: Answer = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled", "CancellationReasons": [
            {"Code": "None"}, {"Code": "TransactionConflict", "Message": "in conflict"}]}"#,
);

async fn reserve(answers: &'static [Answer]) -> (Vec<String>, usize) {
    let dynamodb = StandIn::answering(answers).await;
    let table = Table::new(aws_sdk_dynamodb::Client::new(&dynamodb.aws), "shop");
    let warehouse = Warehouse {
        stock: Stock::new(table),
        events: Publisher::new(RecordedEvents::new()),
    };
    let function = Function::new(Sqs, reserve_stock, warehouse).idempotent(MemoryStore::new());
    let event = testing::sqs_event("reserve-stock", [message("o-1", &[("book", 1)])]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    let failed = testing::failed_ids(&response);
    let failed = failed.into_iter().map(str::to_owned).collect();
    (failed, dynamodb.requests().len())
}

#[tokio::test]
async fn orders_that_meet_at_one_row_try_again_at_once_and_then_later() {
    let passing = reserve(&[CONFLICT, CONFLICT, (200, "{}")]).await;
    assert_eq!(passing, (vec![], 3));
    let lasting = reserve(&[CONFLICT]).await;
    assert_eq!(lasting, (vec!["o-1".to_owned()], 6));
}
