//! Event handlers for AWS Lambda whose effects happen once per event.
//!
//! You write an async function over a typed event. Surehand claims each event before the function runs,
//! so that an event that is delivered twice is handled once. It commits what the function writes
//! together with that claim, stops it before Lambda's timeout, keeps the order of message groups and
//! partition keys, and sends an event that cannot be handled to a dead-letter queue, with the reason.
//! Events come from SQS, SQS FIFO, EventBridge, DynamoDB streams and direct invocations.
//!
//! This page is a tour: [a handler](#a-handler), [its test](#its-test), [its main](#its-main),
//! [what happens to a record](#what-happens-to-a-record), [effects that happen
//! once](#effects-that-happen-once), [the modules](#the-modules), [the features](#the-features), and
//! [where to read on](#where-to-read-on).
//!
//! # A handler
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use surehand::{Envelope, Error, Event};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(source = "hello.users", detail_type = "UserRegistered")]
//! struct UserRegistered {
//!     name: String,
//! }
//!
//! async fn greet(user: Envelope<UserRegistered>) -> surehand::Result<()> {
//!     if user.data.name.is_empty() {
//!         return Err(Error::rejected("the user has no name"));
//!     }
//!     println!("welcome, {}", user.data.name);
//!     Ok(())
//! }
//! # let _ = surehand::Function::new(surehand::Sqs, greet, ());
//! ```
//!
//! The [`Event`](derive@Event) derive gives the type its name on the bus. An [`Envelope`] is the event
//! with its [`Metadata`]: its id, its time, what caused it. A handler takes up to eight such arguments;
//! [`extract`] lists them: the function's [`State`], the [`Delivery`], the [`Deadline`], a
//! [`Transaction`], a [`Publisher`], and types of your own. A [`Router`] makes one handler of several, one
//! for each type of event.
//!
//! # Its test
//!
//! A function is a value, and `invoke` handles one event as Lambda would have it handled. Claims are
//! kept in memory, and what leaves the function is recorded. This needs the feature `testing` among
//! the `dev-dependencies`:
//!
//! ```
//! # #[cfg(not(feature = "testing"))] fn main() {}
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # use serde::{Deserialize, Serialize};
//! # use surehand::{Envelope, Event};
//! # #[derive(Serialize, Deserialize, Event)]
//! # #[event(source = "hello.users", detail_type = "UserRegistered")]
//! # struct UserRegistered { name: String }
//! # async fn greet(_: Envelope<UserRegistered>) -> surehand::Result<()> { Ok(()) }
//! use surehand::{
//!     Function, MemoryStore, Sqs,
//!     testing::{self, Message, RecordedDeadLetters},
//! };
//!
//! let dead_letters = RecordedDeadLetters::new();
//! let function = Function::new(Sqs, greet, ())
//!     .idempotent(MemoryStore::new())
//!     .dead_letters(dead_letters.clone());
//!
//! let event = testing::sqs_event("users", [
//!     Message::event(&UserRegistered { name: "Ada".into() }).id("good"),
//!     Message::body("no JSON").id("bad"),
//! ]);
//! let response = function.invoke(event, testing::context()).await.unwrap();
//!
//! // Neither message comes back: one was handled, the other is a dead letter.
//! assert!(testing::failed_ids(&response).is_empty());
//! assert_eq!(dead_letters.kinds(), [("bad".into(), "malformed".into())]);
//! # }
//! ```
//!
//! The same function runs against a simulated queue that kills, delays and repeats, by a seed that
//! repeats the run: `surehand::testing::simulation`.
//!
//! # Its main
//!
//! ```no_run
//! # use serde::{Deserialize, Serialize};
//! # use surehand::{Envelope, Event};
//! # #[derive(Serialize, Deserialize, Event)]
//! # #[event(source = "hello.users", detail_type = "UserRegistered")]
//! # struct UserRegistered { name: String }
//! # async fn greet(_: Envelope<UserRegistered>) -> surehand::Result<()> { Ok(()) }
//! use surehand::{BoxError, Function, Sqs};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), BoxError> {
//!     Function::from_env(Sqs, greet, ()).await?.run().await
//! }
//! ```
//!
//! [`Function::from_env`] is the usual function of its source. For SQS it keeps its claims in a DynamoDB
//! table (`IDEMPOTENCY_TABLE`), parks in the source queue's dead-letter queue (`DEAD_LETTER_QUEUE_URL`) what has
//! failed in five attempts (`MAX_ATTEMPTS`), and sets how long a failed message stays hidden before the next one
//! (`MAX_BACKOFF_S`). [`Function::new`] has none of the three until you set it. The command `surehand new`, of the package `surehand-cli`, makes an
//! application around such a function, with its template, queues, table, alarms and tests.
//!
//! # What happens to a record
//!
//! A *record* is one message, event or change. A [`Source`](source::Source) splits what Lambda delivers
//! into records; those of one *lane* (a message group, a partition key, an item of a table) are handled
//! one after the other, and lanes side by side. Around the handler are, from the inside: its panic,
//! its deadline, [layers](Function::layer) of your own, its claim. What comes out decides what becomes
//! of the record:
//!
//! | What happened | [`ErrorKind`] | The record |
//! |---|---|---|
//! | the handler returned `Ok` | | is acknowledged, and its claim is completed |
//! | it was handled before | | is acknowledged with the reply of that time; the handler does not run |
//! | it cannot be read, or no handler takes its type | `Malformed` | is parked, unless [`OnMalformed`] says otherwise |
//! | the handler returned [`Error::rejected`] | `Rejected` | is parked |
//! | its key was used before, for another payload | `KeyReused` | is parked |
//! | an earlier attempt began and never ended, and [`OnUnknown::Park`] is set | `Interrupted` | is parked |
//! | as many attempts as are allowed began and never ended | `Interrupted` | is parked |
//! | the handler returned any other error, by `?` for example | `Transient` | comes back after the [`Backoff`] |
//! | an event could not be published | `Publish` | comes back after the backoff |
//! | the handler panicked | `Panicked` | comes back after the backoff |
//! | the handler was stopped before the invocation's end | `Deadline` | comes back |
//! | it was not started: time ran out, or an earlier record of its lane failed | `Skipped` | comes back |
//! | another attempt holds its claim | `InProgress` | comes back when that claim's lease has ended |
//! | its lease ended, and another attempt has claimed it since | `Fenced` | comes back; that attempt's result stands |
//! | the store did not answer | `Store` | comes back |
//! | the invocation cannot be understood | `Invocation` | comes back |
//!
//! *Acknowledged* means that the response leaves the record out (SQS), the checkpoint passes it
//! (streams), or the invocation succeeds (EventBridge). *Parked* means that the dead-letter queue has it,
//! with a [`FailureNote`](dead_letter::FailureNote); only then is it acknowledged. A record that would
//! come back is parked as well when its attempts are used up ([`Function::max_attempts`]). The functions
//! that decide are [`ErrorKind::disposition`] and [`ErrorKind::counts`].
//!
//! # Effects that happen once
//!
//! A claim keeps a record from being handled twice by two attempts. An effect that is outside of the
//! claim can still happen twice, if the process dies between the two. A handler that takes a
//! [`Transaction`] stages its writes and its events instead, and Surehand commits them in one call with
//! the claim, all or nothing; the [`outbox`] publishes the events. What it writes are [entities](tables):
//! types whose values are items of DynamoDB tables. For any other effect, a payment for
//! example, take the [`IdempotencyKey`] and pass it on. The guide `docs/exactly-once.md` says what is
//! covered and what is not, and `docs/tables.md` goes through entities.
//!
//! # The modules
//!
//! This page has what a handler and its function name. A module has all of its subject, also what you
//! need to implement one of its traits, and its page says what such an implementation must keep to.
//!
//! | To | Module | Trait to implement |
//! |---|---|---|
//! | declare events, and read their older versions | [`event`] | [`Event`](trait@Event), by derive |
//! | read and write the envelope around an event | [`envelope`] | |
//! | take arguments | [`extract`] | [`FromRecord`](extract::FromRecord) |
//! | write handlers | [`handler`] | |
//! | have one function handle several types of event | [`router`] | |
//! | choose what triggers a function | [`source`] | [`Source`](source::Source) |
//! | see one unit of work, with its delivery and its reply | [`record`] | |
//! | say what went wrong, and what follows | [`mod@error`] | |
//! | handle each record once | [`idempotency`] | [`Store`](idempotency::Store), [`CommitStore`](idempotency::CommitStore) |
//! | read and write tables as types | [`tables`] | [`Entity`](trait@Entity), by derive |
//! | write to DynamoDB together with the claim | [`transaction`] | |
//! | publish what a transaction staged | [`outbox`] | |
//! | publish events | [`publish`] | [`Transport`](publish::Transport) |
//! | choose where records go that cannot be handled | [`dead_letter`] | [`DeadLetters`](dead_letter::DeadLetters) |
//! | choose when records come back | [`redelivery`] | [`Redelivery`](redelivery::Redelivery) |
//! | count and measure | [`metrics`] | |
//! | set up the log of a program that is not a function | [`telemetry`] | |
//! | read a function's variables | [`environment`] | |
//! | make AWS clients | [`aws`] | |
//! | test without AWS | `testing` | |
//! | read what a function says of itself | [`description`] | |
//! | read what a function would do with a record | [`rehearsal`] | |
//!
//! What is put around a handler is a [`tower::Layer`]: see [`Function::layer`].
//!
//! # The features
//!
//! | Feature | On by default | What it adds |
//! |---|---|---|
//! | `dynamodb` | yes | [`DynamoDbStore`], [`Transaction`], [`Tables`], the [`outbox`], [`Change`] |
//! | `sqs` | yes | [`SqsDeadLetters`], [`SqsVisibility`], [`SqsQueue`] |
//! | `eventbridge` | yes | [`EventBus`] |
//! | `otel` | no | traces by OpenTelemetry's protocol |
//! | `testing` | no | the module `testing`: events, recorders, a contract for stores, a simulated queue |
//! | `testing-dynamodb` | no | `testing::DynamoDb`: a DynamoDB inside the test, for conditions and tables |
//!
//! A feature adds items and never changes what one means. Without the first three the crate compiles
//! without the AWS SDK.
//!
//! # Where to read on
//!
//! - `docs/exactly-once.md`, in this package: which effects happen once, and which do not.
//! - `docs/tables.md`, in this package: how tables are read and written as types.
//! - `docs/telemetry.md`, in this package: the names, keys and variables of metrics and the log.
//! - `examples/`, in this package: programs that answer one question each, and run without AWS.
//! - The crate `surehand-redrive`: dead letters, put back where they came from.
//! - The command `surehand`, of the package `surehand-cli`: `new` makes an application, `dev` runs it
//!   on your machine, `check` compares it with its template, `dlq` redrives its dead letters.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The derive's output names this crate, also inside it.
#[allow(unused_extern_crates)]
extern crate self as surehand;

pub mod aws;
pub mod dead_letter;
pub mod description;
pub mod envelope;
pub mod environment;
pub mod error;
pub mod event;
pub mod extract;
pub mod handler;
pub mod idempotency;
pub mod metrics;
#[cfg(feature = "dynamodb")]
pub mod outbox;
pub mod publish;
pub mod record;
pub mod redelivery;
pub mod rehearsal;
pub mod router;
pub mod source;
#[cfg(feature = "dynamodb")]
pub mod tables;
pub mod telemetry;
#[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
pub mod testing;
#[cfg(feature = "dynamodb")]
pub mod transaction;

mod attribute;
mod batch;
mod clock;
mod companion;
mod deadline;
mod function;
mod key;
mod layers;
mod lineage;
mod metadata;
mod redact;
#[cfg(feature = "dynamodb")]
mod stage;
mod trace;
mod trace_header;

pub use clock::Clock;
#[cfg(feature = "sqs")]
#[doc(inline)]
pub use dead_letter::SqsDeadLetters;
#[doc(inline)]
pub use dead_letter::{OnMalformed, OnPark};
pub use deadline::Deadline;
#[doc(inline)]
pub use envelope::Envelope;
#[doc(inline)]
pub use error::{BoxError, Error, ErrorKind, Result};
#[doc(inline)]
pub use event::Event;
#[doc(inline)]
pub use extract::{FromRef, Json, State};
pub use function::Function;
#[cfg(feature = "dynamodb")]
#[doc(inline)]
pub use idempotency::DynamoDbStore;
#[doc(inline)]
pub use idempotency::{Idempotency, MemoryStore, OnUnknown};
pub use key::IdempotencyKey;
pub use metadata::Metadata;
#[doc(inline)]
pub use metrics::Metrics;
#[cfg(feature = "eventbridge")]
#[doc(inline)]
pub use publish::EventBus;
#[doc(inline)]
pub use publish::Publisher;
#[cfg(feature = "sqs")]
#[doc(inline)]
pub use publish::SqsQueue;
#[doc(inline)]
pub use record::{Delivery, Record, Reply};
#[doc(inline)]
pub use redelivery::Backoff;
#[cfg(feature = "sqs")]
#[doc(inline)]
pub use redelivery::SqsVisibility;
#[doc(inline)]
pub use router::Router;
#[cfg(feature = "dynamodb")]
#[doc(inline)]
pub use source::Change;
#[doc(inline)]
pub use source::{Direct, DynamoDbStream, EventBridge, Sqs};
#[cfg(feature = "dynamodb")]
#[doc(inline)]
pub use tables::{Entity, Tables};
#[cfg(feature = "dynamodb")]
#[doc(inline)]
pub use transaction::Transaction;

/// The guides' examples are run like those of the documentation.
#[cfg(all(doctest, feature = "testing-dynamodb"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/exactly-once.md")]
#[doc = include_str!("../docs/tables.md")]
#[doc = include_str!("../docs/telemetry.md")]
pub struct Guides;

/// What the derive's output names. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::event::no_upcaster;
    pub use serde_json::Value;
}
