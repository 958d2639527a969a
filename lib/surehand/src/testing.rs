//! Tests of handlers, without AWS.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use surehand::{Envelope, Event, Function, MemoryStore, Sqs, testing::{self, Message}};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(source = "shop.orders", detail_type = "OrderPlaced")]
//! struct OrderPlaced { order_id: String }
//!
//! async fn handle(order: Envelope<OrderPlaced>) -> surehand::Result<()> { Ok(()) }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let function = Function::new(Sqs, handle, ()).idempotent(MemoryStore::new());
//! let event = testing::sqs_event("orders", [
//!     Message::event(&OrderPlaced { order_id: "42".into() }).id("good"),
//!     Message::body("no JSON").id("bad"),
//! ]);
//! let response = function.invoke(event, testing::context()).await.unwrap();
//! assert_eq!(testing::failed_ids(&response), ["bad"]);
//! # });
//! ```
//!
//! What would leave the function can be recorded: dead letters by [`RecordedDeadLetters`], delays by
//! [`RecordedRedelivery`], published events by [`RecordedEvents`], metrics by [`RecordedMetrics`].
//! Claims stay in a [`MemoryStore`](crate::MemoryStore), which takes the conditions of staged writes to hold: there are no
//! items for it to look at. With the feature `testing-dynamodb`, `DynamoDb` is a DynamoDB inside the test, which
//! evaluates them.

#[cfg(feature = "testing-dynamodb")]
mod dynamodb;
mod events;
mod recorded;
pub mod simulation;
pub mod store_contract;

#[cfg(feature = "testing-dynamodb")]
pub use dynamodb::DynamoDb;
pub use events::{
    Message, context, context_ending_in, direct_event, eventbridge_event, failed_ids, sqs_event,
    stream_event,
};
pub use recorded::{RecordedDeadLetters, RecordedEvents, RecordedMetrics, RecordedRedelivery};
