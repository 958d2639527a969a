//! Serverless event handlers whose effects happen once.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The derive's output names this crate, also inside it.
#[allow(unused_extern_crates)]
extern crate self as surehand;

mod attribute;
pub mod aws;
mod batch;
mod clock;
pub mod dead_letter;
mod deadline;
pub mod description;
mod envelope;
pub mod environment;
mod error;
mod event;
mod extract;
mod function;
mod handler;
mod idempotency;
#[cfg(feature = "dynamodb")]
mod outbox;
mod panic;
mod publish;
mod ready;
mod record;
mod redact;
mod redelivery;
pub mod rehearsal;
mod router;
mod source;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trace;
#[cfg(feature = "dynamodb")]
mod transaction;

pub use attribute::{Attribute, AttributeValue};
pub use clock::Clock;
#[cfg(feature = "sqs")]
pub use dead_letter::SqsDeadLetters;
pub use dead_letter::{DeadLetters, FailureNote, OnMalformed, OnPark};
pub use deadline::Deadline;
pub use envelope::{Envelope, Metadata, Outgoing, RawEvent};
pub use error::{BoxError, Disposition, Error, ErrorKind, Result};
pub use event::{Event, Payload};
pub use extract::{FromRecord, FromRef, Json, State};
pub use function::Function;
pub use handler::{Consumes, Enveloped, Handler, HandlerService, IntoReply, Signature};
pub use idempotency::{
    AttemptEnd, Beginning, Claim, ClaimRequest, Completion, Facts, Idempotency, IdempotencyKey,
    KeyStyle, Lease, MemoryStore, OnUnknown, Once, Store,
};
#[cfg(feature = "dynamodb")]
pub use idempotency::{Commit, Committed, DynamoDbStore, Handled};
#[cfg(feature = "dynamodb")]
pub use outbox::{Outbox, OutboxStream, Swept};
#[cfg(feature = "eventbridge")]
pub use publish::EventBus;
#[cfg(feature = "sqs")]
pub use publish::SqsQueue;
pub use publish::{BySource, PublishError, Publisher, Transport, Unpublished};
pub use record::{Batch, Delivery, Outcome, Record, Reply};
#[cfg(feature = "sqs")]
pub use redelivery::SqsVisibility;
pub use redelivery::{Backoff, Redelivery};
pub use router::{Routed, Router};
#[cfg(feature = "dynamodb")]
pub use source::{Change, ChangeKind};
pub use source::{Direct, DynamoDbStream, EventBridge, Source, Sqs, StreamEvent};
pub use surehand_macros::Event;
pub use telemetry::metrics::{Emf, Metrics, Unit};
#[cfg(feature = "dynamodb")]
pub use transaction::{Item, StagedCondition, Transaction};

/// The guides' examples are run like those of the documentation.
#[cfg(all(doctest, feature = "dynamodb", feature = "testing"))]
#[doc = include_str!("../../../docs/exactly-once.md")]
#[doc = include_str!("../../../docs/telemetry.md")]
pub struct Guides;

/// What the derive's output names. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::event::no_upcaster;
    pub use serde_json::Value;
}
