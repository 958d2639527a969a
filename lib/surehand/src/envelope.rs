//! The envelope around an event: what it is, where it came from, what caused it.

mod read;
mod write;

pub(crate) use read::{Fallback, read};
pub use write::Outgoing;

use crate::{
    Record, Result,
    event::{EventName, Payload},
    extract::FromRecord,
};
use std::time::SystemTime;

/// An event with its metadata.
///
/// As a handler's argument it reads every form in which events arrive: the one that
/// [`Publisher`](crate::Publisher) writes, plain EventBridge events, CloudEvents 1.0 in structured
/// JSON, SNS notifications around any of these, and other JSON.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use surehand::{Envelope, Event};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// # struct OrderPlaced { order_id: String }
/// async fn log(order: Envelope<OrderPlaced>) -> surehand::Result<()> {
///     println!("{} says that {} was placed", order.metadata.id, order.data.order_id);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<T> {
    /// What the event is.
    pub metadata: Metadata,
    /// What it says.
    pub data: T,
}

impl<S, T: Payload> FromRecord<S> for Envelope<T> {
    const CONSUMES: Option<EventName> = T::NAME;

    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        let raw = record.event()?;
        Ok(Self {
            data: T::decode(&raw.metadata, &raw.data)?,
            metadata: raw.metadata.clone(),
        })
    }
}

/// What is known of an event beside its data.
///
/// The names follow [CloudEvents 1.0](https://github.com/cloudevents/spec) and its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The event's identity. Its producer made it, and neither a replay, another bus nor a redrive
    /// changes it. For events that carry none, the id that their transport gave them.
    pub id: String,
    /// When it happened.
    pub time: Option<SystemTime>,
    /// Who published it, where that is known.
    pub source: Option<String>,
    /// What happened, where that is known.
    pub detail_type: Option<String>,
    /// The version of `data`, from 1.
    pub version: u32,
    /// What it is about, for example `order/42`.
    pub subject: Option<String>,
    /// Events of one key are handled in order.
    pub partition_key: Option<String>,
    /// What all events of one story share: the id of the first.
    pub correlation_id: Option<String>,
    /// The id of the event whose handling published this one.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The service that published it, for example `shop.checkout`.
    pub producer: Option<String>,
}

impl Metadata {
    /// The metadata of an event of which only the id is known.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            time: None,
            source: None,
            detail_type: None,
            version: 1,
            subject: None,
            partition_key: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            producer: None,
        }
    }

    /// The correlation id; the event's own id where it starts a story.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.id)
    }
}

/// An event whose metadata is read and whose data is still JSON text.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// What the event is.
    pub metadata: Metadata,
    /// Its data, as it came.
    pub data: String,
}

impl RawEvent {
    /// Reads the event in a message's body, in any of the forms in which events arrive.
    ///
    /// `message_id` and `sent` are the transport's, for an event that has no id or no time of its own.
    ///
    /// # Errors
    /// [Malformed](crate::ErrorKind::Malformed) if the body is not JSON, or its metadata is not of the form that it claims.
    pub fn read(body: &str, message_id: &str, sent: Option<SystemTime>) -> Result<Self> {
        let fallback = Fallback {
            id: message_id,
            time: sent,
        };
        read(body, &fallback)
    }
}
