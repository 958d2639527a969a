//! A dead letter, wherever it came from.

mod line;
mod origin;

pub use origin::{Cause, InvocationFailure, Origin};

use crate::time::epoch_ms;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::SystemTime};
use surehand::{Metadata, envelope::RawEvent, record::Attribute};

/// A message of a dead-letter queue, as it is there.
///
/// What it means is read off it: [`event`](Self::event), [`origin`](Self::origin),
/// [`cause`](Self::cause), [`destination`](Self::destination). Nothing of that is stored, so that it
/// cannot disagree with the message.
///
/// As JSON it is one line without loss, binary attributes in base64. The line also holds what is read
/// off the letter (`event`, `cause`), for tools like `jq`; that is not read back.
///
/// ```
/// use surehand_redrive::Letter;
///
/// let letter = Letter::new("m-1", r#"{"order_id": "42"}"#);
/// let line = serde_json::to_string(&letter)?;
/// assert_eq!(serde_json::from_str::<Letter>(&line)?, letter);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[non_exhaustive]
pub struct Letter {
    /// SQS's id of the message. Putting it back gives it another.
    pub id: String,
    /// The body.
    pub body: String,
    /// The message's attributes, of every type and label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "line")]
    pub attributes: BTreeMap<String, Attribute>,
    /// Names of attributes that hold lists. SQS reserves them and takes none, so they do not travel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_attributes: Vec<String>,
    /// When it was sent, in milliseconds since the epoch. A message that SQS moved keeps the time at
    /// which it was sent to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at_ms: Option<u64>,
    /// How often it was received; reading it counts as well.
    #[serde(default)]
    pub receive_count: u32,
    /// The message group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// On a FIFO queue: by what SQS recognises a repeated send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_id: Option<String>,
    /// X-Ray's header, a system attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_header: Option<String>,
    /// The ARN of the queue that SQS moved it from. None on what was sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_arn: Option<String>,
}

/// What a letter's event is, for people and for selections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventSummary {
    /// Its id; the message's where it carries none.
    pub id: String,
    /// Its `detail-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Who published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// [`Metadata::own_type`]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_type: Option<String>,
    /// [`Metadata::own_source`]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_source: Option<String>,
    /// Its partition key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// What it shares with the events of its story.
    pub correlation_id: String,
    /// When it happened, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
}

impl EventSummary {
    /// What says which event it is: its id, and the sources and types within which that is unique.
    pub fn identity(&self) -> Metadata {
        let mut metadata = Metadata::new(&*self.id);
        metadata.source.clone_from(&self.source);
        metadata.detail_type.clone_from(&self.event_type);
        metadata.own_source.clone_from(&self.own_source);
        metadata.own_type.clone_from(&self.own_type);
        metadata
    }
}

impl Letter {
    /// A message without attributes.
    pub fn new(id: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            body: body.into(),
            attributes: BTreeMap::new(),
            dropped_attributes: Vec::new(),
            sent_at_ms: None,
            receive_count: 0,
            group: None,
            deduplication_id: None,
            trace_header: None,
            source_arn: None,
        }
    }

    /// Its event, if it decodes.
    pub fn event(&self) -> Option<EventSummary> {
        let RawEvent { metadata, .. } = self.raw_event()?;
        Some(EventSummary {
            correlation_id: metadata.correlation_id().to_owned(),
            id: metadata.id,
            event_type: metadata.detail_type,
            source: metadata.source,
            own_type: metadata.own_type,
            own_source: metadata.own_source,
            partition_key: metadata.partition_key,
            time_ms: metadata.time.map(epoch_ms),
        })
    }

    pub(crate) fn raw_event(&self) -> Option<RawEvent> {
        let sent = self.sent_at_ms.and_then(|ms| i64::try_from(ms).ok());
        let sent = sent.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let (body, sent) = (self.payload()?, sent.map(SystemTime::from));
        RawEvent::read(&body, &self.attributes, &self.id, sent).ok()
    }

    /// The SHA-256 of the body, in hex: how a plan knows that it is still the letter that was looked
    /// at.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.body))
    }
}
