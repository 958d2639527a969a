//! How do writes and events happen together with the claim, or not at all?
//!
//! The handler stages them in a `Transaction`, and Surehand commits all of it in one call. Here that is to a DynamoDB
//! inside the program, which evaluates the condition.
//!
//! `cargo run -p surehand --example transaction --features testing-dynamodb`

use serde::{Deserialize, Serialize};
use surehand::{
    Entity, Envelope, Error, Event, Function, Sqs, State, Tables, Transaction,
    tables::Access,
    testing::{self, DynamoDb, Message},
};

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "STOCK_TABLE", key(sku))]
struct StockRow {
    sku: String,
    available: i64,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
    fails: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockReserved")]
struct StockReserved {
    order_id: String,
}

async fn reserve(
    order: Envelope<OrderPlaced>,
    State(shop): State<Tables>,
    tx: Transaction,
) -> surehand::Result<()> {
    let OrderPlaced { order_id, fails } = order.data;
    tx.update(&shop, StockRow::key("book"))
        .subtract(|row| row.available, 1)
        .only_if(|row| row.available.ge(1))
        .or(Error::transient("out of stock"));
    tx.publish(&StockReserved { order_id });
    if fails {
        return Err(Error::transient("the scales are broken"));
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> surehand::Result<()> {
    let dynamo = DynamoDb::start(Access::new().updates::<StockRow>()).await;
    let (sku, available) = ("book".to_owned(), 1);
    dynamo.put(&StockRow { sku, available }).await;
    let function = Function::new(Sqs, reserve, dynamo.tables()).idempotent(dynamo.store());

    let order = |order_id: &str, fails| {
        let order_id = order_id.to_owned();
        Message::event(&OrderPlaced { order_id, fails })
    };
    let good = order("order-1", false).id("good");
    let batch = [good.clone(), order("order-2", true).id("fails")];
    let event = testing::sqs_event("orders", batch);
    let response = function.invoke(event, testing::context()).await?;

    // Nothing of what the failed attempt staged has happened, and its message comes back.
    assert_eq!(testing::failed_ids(&response), ["fails"]);
    let order_id = "order-1".to_owned();
    let reserved = [StockReserved { order_id }];
    assert_eq!(dynamo.events_of::<StockReserved>().await, reserved);

    // SQS delivers the good one again, and nothing happens a second time. Another order finds no book.
    let batch = [good, order("order-3", false).id("late")];
    let event = testing::sqs_event("orders", batch);
    let response = function.invoke(event, testing::context()).await?;
    assert_eq!(testing::failed_ids(&response), ["late"]);
    assert_eq!(dynamo.events_of::<StockReserved>().await, reserved);

    let row = dynamo.get(StockRow::key("book")).await;
    println!("left: {:?}", row.map(|row| row.available));
    Ok(())
}
