//! How do writes and events happen together with the claim, or not at all?
//!
//! The handler stages them in a `Transaction`, and Surehand commits all of it in one call.
//!
//! `cargo run -p surehand --example transaction --features testing`

use serde::{Deserialize, Serialize};
use serde_json::json;
use surehand::{
    Envelope, Error, Event, Function, MemoryStore, Sqs, Transaction,
    testing::{self, Message},
};

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
    fails: bool,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockReserved")]
struct StockReserved {
    order_id: String,
}

async fn reserve(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
    let OrderPlaced { order_id, fails } = order.data;
    tx.put_item("reservations", &json!({ "order_id": order_id }));
    tx.publish(&StockReserved { order_id });
    if fails {
        return Err(Error::transient("the scales are broken"));
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> surehand::Result<()> {
    // It keeps what is committed. A `DynamoDbStore` writes it in one TransactWriteItems.
    let store = MemoryStore::new();
    let function = Function::new(Sqs, reserve, ()).idempotent(store.clone());

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
    assert_eq!((store.writes().len(), store.events().len()), (1, 1));
    println!("committed: {:?}", store.writes()[0]);
    println!("to publish: {}", store.events()[0].body());

    // SQS delivers the good one again, and nothing happens a second time.
    let event = testing::sqs_event("orders", [good]);
    function.invoke(event, testing::context()).await?;
    assert_eq!((store.writes().len(), store.events().len()), (1, 1));
    Ok(())
}
