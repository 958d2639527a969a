use crate::{
    shop_tables,
    stand_in::{Answer, StandIn},
};
use aws_sdk_dynamodb::types::AttributeValue;
use shop::{
    events::{Line, OrderPlaced, OrderRejected, StockReserved},
    reserve_stock::reserve_stock,
    stock::{Decision, Reservation, Stock, StockRow, UnknownSku},
};
use surehand::{
    DynamoDbStore, Function, Sqs, Tables,
    envelope::Outgoing,
    testing::{self, DynamoDb, Message, RecordedDeadLetters},
};

struct Fixture {
    dynamo: DynamoDb,
    dead_letters: RecordedDeadLetters,
    unknown: UnknownSku,
}

impl Fixture {
    /// The keys that are completed. Of an attempt that failed only its count is there.
    async fn completed(&self) -> usize {
        let claims = self.dynamo.claims().await;
        claims
            .iter()
            .filter(|item| !item.contains_key("attempt"))
            .count()
    }

    /// A shop with this much of each sku.
    async fn with_stock(stock: &[(&str, i64)]) -> Self {
        let dynamo = shop_tables().await;
        for (sku, available) in stock {
            dynamo.put(&row(sku, *available)).await;
        }
        Self {
            dynamo,
            dead_letters: RecordedDeadLetters::new(),
            unknown: UnknownSku::default(),
        }
    }

    /// Handles the messages in a new process, and returns those that are to be retried.
    async fn attempt(&self, messages: impl IntoIterator<Item = Message>) -> Vec<String> {
        let stock = Stock::new(self.dynamo.tables_for(Stock::access())).unknown(self.unknown);
        let function = Function::new(Sqs, reserve_stock, stock)
            .idempotent(self.dynamo.store())
            .dead_letters(self.dead_letters.clone());
        let event = testing::sqs_event("reserve-stock", messages);
        let response = function.invoke(event, testing::context()).await.unwrap();
        let failed = testing::failed_ids(&response);
        failed.into_iter().map(str::to_owned).collect()
    }

    async fn decision(&self, order_id: &str) -> Option<Decision> {
        let reservation = self.dynamo.get(Reservation::key(order_id)).await;
        reservation.map(|it| it.decision)
    }

    async fn stock(&self, sku: &str) -> i64 {
        self.dynamo.get(StockRow::key(sku)).await.unwrap().available
    }
}

fn row(sku: &str, available: i64) -> StockRow {
    StockRow {
        sku: sku.to_owned(),
        available,
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
    for _ in 0..2 {
        assert!(shop.attempt([Message::outgoing(&event)]).await.is_empty());
    }
    let again = Message::outgoing(&event).receive_count(2);
    assert!(shop.attempt([again]).await.is_empty());
    let events = shop.dynamo.publish().await;
    assert_eq!(events.of_type::<StockReserved>(), [reserved("o-1")]);
    let metadata = events.sent().remove(0).metadata().clone();
    assert_eq!(metadata.causation_id.as_deref(), Some(event.id()));

    // This is a redrive after the claim has expired.
    shop.dynamo.forget_claims().await;
    assert!(shop.attempt([Message::outgoing(&event)]).await.is_empty());
    assert!(shop.dynamo.publish().await.sent().is_empty());
    assert_eq!(shop.stock("book").await, 3);
    assert_eq!(shop.stock("pen").await, 4);
    assert_eq!(shop.decision("o-1").await, Some(Decision::Reserved));
}

#[tokio::test]
async fn an_order_that_is_not_all_in_stock_takes_nothing_and_stays_rejected() {
    let shop = Fixture::with_stock(&[("book", 5), ("lamp", 0), ("pen", 1)]).await;
    let event = Outgoing::new(&order("o-1", &[("pen", 2), ("book", 1), ("lamp", 1)])).unwrap();
    assert!(shop.attempt([Message::outgoing(&event)]).await.is_empty());
    assert_eq!(shop.stock("book").await, 5);
    assert_eq!(shop.stock("pen").await, 1);
    let reason = "not enough in stock of lamp, pen".to_owned();
    let rejected = OrderRejected {
        order_id: "o-1".into(),
        customer_id: "c-1".into(),
        email: "ada@example.com".into(),
        reason: reason.clone(),
    };
    let events = shop.dynamo.publish().await;
    assert_eq!(events.of_type::<OrderRejected>(), [rejected]);

    // The decision stays, even if there is enough stock by now.
    for sku in ["lamp", "pen"] {
        shop.dynamo.put(&row(sku, 100)).await;
    }
    shop.dynamo.forget_claims().await;
    assert!(shop.attempt([Message::outgoing(&event)]).await.is_empty());
    assert_eq!(shop.stock("lamp").await, 100);
    assert_eq!(
        shop.decision("o-1").await,
        Some(Decision::Rejected { reason })
    );
    assert!(shop.dynamo.publish().await.sent().is_empty());
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
    assert_eq!(shop.stock("book").await, 1);
    let events = shop.dynamo.publish().await;
    assert_eq!(events.of_type::<StockReserved>(), [reserved("o-1")]);
    assert_eq!(events.of_type::<OrderRejected>().len(), 1);
}

#[tokio::test]
async fn the_last_ones_go_to_as_many_orders_as_there_are() {
    let shop = Fixture::with_stock(&[("book", 3)]).await;
    let orders: Vec<String> = (0..10).map(|n| format!("o-{n}")).collect();
    let message = |id: &String| message(id, &[("book", 1)]);
    let mut lost = shop.attempt(orders.iter().map(message)).await;
    let mut decided = 10 - lost.len();
    assert_eq!(shop.completed().await, decided);
    // The orders that read the row before it was empty and came too late have left nothing but a count.
    for id in &lost {
        assert_eq!(shop.decision(id).await, None);
    }
    while !lost.is_empty() {
        lost = shop.attempt(lost.iter().map(message)).await;
        decided = 10 - lost.len();
    }
    assert_eq!(decided, 10);
    assert_eq!(shop.stock("book").await, 0);
    let events = shop.dynamo.publish().await;
    assert_eq!(events.of_type::<StockReserved>().len(), 3);
    assert_eq!(events.of_type::<OrderRejected>().len(), 7);
}

#[tokio::test]
async fn an_order_that_can_never_be_reserved_is_parked_immediately() {
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
    assert_eq!(shop.stock("book").await, 5);
    assert!(shop.completed().await == 0, "no claim, and no event");
}

#[tokio::test]
async fn an_order_with_a_corrupt_stock_row_is_tried_again_until_the_row_is_corrected() {
    let shop = Fixture::with_stock(&[("book", 5)]).await;
    let corrupt = shop.dynamo.client().put_item().table_name("SHOP_TABLE");
    let corrupt = [
        ("pk", "STOCK#lamp"),
        ("sk", "STOCK"),
        ("sku", "lamp"),
        ("available", "plenty"),
    ]
    .into_iter()
    .fold(corrupt, |put, (name, text)| {
        put.item(name, AttributeValue::S(text.into()))
    });
    corrupt.send().await.unwrap();
    let message = message("o-1", &[("book", 1), ("lamp", 1)]);
    assert_eq!(shop.attempt([message.clone()]).await, ["o-1"]);
    assert!(shop.dead_letters.kinds().is_empty());

    for receive in 2..5 {
        let again = message.clone().receive_count(receive);
        assert_eq!(shop.attempt([again]).await, ["o-1"]);
    }
    let last = message.clone().receive_count(5);
    assert!(shop.attempt([last]).await.is_empty());
    assert_eq!(
        shop.dead_letters.kinds(),
        [("o-1".into(), "transient".into())]
    );
    let note = shop.dead_letters.parked().remove(0).1;
    assert_eq!(
        note.message,
        "the item {pk: \"STOCK#lamp\", sk: \"STOCK\"} is no StockRow: available: Expected num"
    );
    assert_eq!(shop.decision("o-1").await, None);

    shop.dynamo.put(&row("lamp", 1)).await;
    assert!(shop.attempt([message]).await.is_empty());
    assert_eq!(shop.stock("lamp").await, 0);
    let events = shop.dynamo.publish().await;
    assert_eq!(events.of_type::<StockReserved>(), [reserved("o-1")]);
}

const ROWS: Answer = (
    200,
    r#"{"Responses": {"shop": [
        {"pk": {"S": "STOCK#book"}, "sk": {"S": "STOCK"}, "sku": {"S": "book"}, "available": {"N": "5"}}]}}"#,
);
const CONFLICT: Answer = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled", "CancellationReasons": [
            {"Code": "None"}, {"Code": "TransactionConflict", "Message": "in conflict"},
            {"Code": "None"}]}"#,
);
const TAKEN: Answer = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled", "CancellationReasons": [
            {"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "not so"},
            {"Code": "None"}]}"#,
);

/// Makes one attempt with a DynamoDB that gives these answers. Returns what is to be retried, what
/// is parked and why, and how many requests it took.
async fn reserve(
    answers: &'static [Answer],
    message: Message,
) -> (Vec<String>, Vec<String>, usize) {
    let dynamodb = StandIn::answering(answers).await;
    let client = aws_sdk_dynamodb::Client::new(&dynamodb.aws);
    let stock = Stock::new(Tables::new(client.clone(), Stock::access(), |_| {
        "shop".to_owned()
    }));
    let dead_letters = RecordedDeadLetters::new();
    let function = Function::new(Sqs, reserve_stock, stock)
        .idempotent(DynamoDbStore::new(client, "idempotency"))
        .dead_letters(dead_letters.clone());
    let event = testing::sqs_event("reserve-stock", [message]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    let failed = testing::failed_ids(&response);
    let parked = dead_letters.parked().into_iter();
    (
        failed.into_iter().map(str::to_owned).collect(),
        parked.map(|(_, note)| note.message).collect(),
        dynamodb.requests().len(),
    )
}

#[tokio::test]
async fn orders_that_conflict_over_a_row_are_tried_again_immediately() {
    let message = message("o-1", &[("book", 1)]);
    let passing = reserve(&[ROWS, CONFLICT, CONFLICT, (200, "{}")], message).await;
    assert_eq!(passing, (vec![], vec![], 4));
}

#[tokio::test]
async fn an_order_that_loses_the_race_for_a_row_is_tried_again_later() {
    let message = message("o-1", &[("book", 1)]);
    const FIRST: Answer = (200, r#"{"Attributes": {"attempt": {"N": "1"}}}"#);
    let lost = reserve(&[ROWS, TAKEN, FIRST], message.clone()).await;
    assert_eq!(lost, (vec!["o-1".to_owned()], vec![], 3));

    const LAST: Answer = (200, r#"{"Attributes": {"attempt": {"N": "5"}}}"#);
    let last = reserve(&[LAST, ROWS, TAKEN, LAST], message.receive_count(9)).await;
    let reason = "the stock of sku `book` was taken by another order".to_owned();
    assert_eq!(last, (vec![], vec![reason], 4));
}

#[tokio::test]
async fn an_order_for_an_unknown_sku_can_be_rejected_instead() {
    let shop = Fixture::with_stock(&[("book", 5)]).await;
    let refused = message("o-1", &[("book", 1), ("unicorn", 1)]);
    assert!(shop.attempt([refused.clone()]).await.is_empty());
    assert_eq!(
        shop.dead_letters.kinds(),
        [("o-1".into(), "rejected".into())]
    );

    let shop = Fixture {
        unknown: UnknownSku::SoldOut,
        ..shop
    };
    assert!(shop.attempt([refused]).await.is_empty());
    let Some(Decision::Rejected { reason }) = shop.decision("o-1").await else {
        panic!("the order is rejected");
    };
    assert_eq!(reason, "not enough in stock of unicorn");
    assert_eq!(shop.stock("book").await, 5);
}
