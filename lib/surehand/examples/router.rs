//! How does one function handle several types of event?
//!
//! Two handlers for two types, and a third one for everything else that is in the queue.
//!
//! `cargo run -p surehand --example router --features testing`

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use surehand::{
    Envelope, Event, Function, Router, Sqs, State,
    testing::{self, Message},
};

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderCancelled")]
struct OrderCancelled {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockCounted")]
struct StockCounted {}

/// What the handlers did.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn write(&self, line: impl Into<String>) {
        let line = line.into();
        println!("{line}");
        self.0.lock().expect("no handler panics").push(line);
    }
}

async fn placed(_: Envelope<OrderPlaced>, State(journal): State<Journal>) -> surehand::Result<()> {
    journal.write("placed");
    Ok(())
}

async fn cancelled(
    _: Envelope<OrderCancelled>,
    State(journal): State<Journal>,
) -> surehand::Result<()> {
    journal.write("cancelled");
    Ok(())
}

/// Without it, an event of another type is malformed and parked.
async fn other(event: Envelope<Value>, State(journal): State<Journal>) -> surehand::Result<()> {
    let detail_type = event.metadata.detail_type.unwrap_or_default();
    journal.write(format!("not for us: {detail_type}"));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> surehand::Result<()> {
    let journal = Journal::default();
    let router = Router::new().on(placed).on(cancelled).otherwise(other);
    // One record at a time, so that the journal is in the batch's order.
    let function = Function::new(Sqs, router, journal.clone()).concurrency(1);

    let batch = [
        Message::event(&OrderPlaced {}),
        Message::event(&StockCounted {}),
        Message::event(&OrderCancelled {}),
    ];
    let event = testing::sqs_event("orders", batch);
    let response = function.invoke(event, testing::context()).await?;

    assert!(testing::failed_ids(&response).is_empty());
    let lines = journal.0.lock().expect("no handler panics").clone();
    assert_eq!(lines, ["placed", "not for us: StockCounted", "cancelled"]);
    Ok(())
}
