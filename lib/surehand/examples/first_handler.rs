//! How is a handler written, and how is it called without AWS?
//!
//! A batch of three messages: one event, the same event again, and an order that can never be handled.
//!
//! `cargo run -p surehand --example first_handler --features testing`

use serde::{Deserialize, Serialize};
use surehand::{
    Envelope, Error, Event, Function, MemoryStore, Sqs,
    testing::{self, Message, RecordedDeadLetters},
};

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
    parcels: u32,
}

async fn pack(order: Envelope<OrderPlaced>) -> surehand::Result<()> {
    let order = order.data;
    if order.parcels == 0 {
        return Err(Error::rejected("there is nothing to pack"));
    }
    println!("packing {} in {} parcels", order.order_id, order.parcels);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> surehand::Result<()> {
    let (claims, dead_letters) = (MemoryStore::new(), RecordedDeadLetters::new());
    let function = Function::new(Sqs, pack, ())
        .idempotent(claims.clone())
        .dead_letters(dead_letters.clone());

    let order = |order_id: &str, parcels| {
        let order_id = order_id.to_owned();
        Message::event(&OrderPlaced { order_id, parcels })
    };
    let good = order("order-1", 2).id("good");
    let batch = [
        good.clone(),
        good.id("the same event"),
        order("order-2", 0).id("empty"),
    ];
    let event = testing::sqs_event("orders", batch);
    let response = function.invoke(event, testing::context()).await?;

    // The order was packed once, and Lambda deletes all three messages from the queue.
    assert_eq!(claims.completed(), 1);
    assert!(testing::failed_ids(&response).is_empty());
    let [(record, note)] = &dead_letters.parked()[..] else {
        panic!("one message is parked");
    };
    assert_eq!((record.id(), note.kind.as_str()), ("empty", "rejected"));
    println!("parked `{}`: {}", record.id(), note.message);
    Ok(())
}
