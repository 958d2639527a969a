//! Serverless event handlers whose effects happen once.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The derive's output names this crate, also inside it.
#[allow(unused_extern_crates)]
extern crate self as surehand;

mod clock;
mod deadline;
mod envelope;
mod error;
mod event;
mod extract;
mod handler;
mod panic;
mod record;
mod router;

pub use clock::Clock;
pub use deadline::Deadline;
pub use envelope::{Envelope, Metadata, Outgoing, RawEvent};
pub use error::{BoxError, Disposition, Error, ErrorKind, Result};
pub use event::{Event, Payload};
pub use extract::{FromRecord, FromRef, Json, State};
pub use handler::{Consumes, Handler, HandlerService};
pub use record::{Attribute, AttributeValue, Batch, Delivery, Outcome, Record, Reply};
pub use router::{Routed, Router};
pub use surehand_macros::Event;

/// What the derive's output names. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::event::no_upcaster;
    pub use serde_json::Value;
}
