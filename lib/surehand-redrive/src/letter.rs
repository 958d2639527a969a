//! A dead letter, wherever it came from.

mod line;
mod origin;

pub use origin::{Cause, InvocationFailure, Origin};

use crate::{destination::Destination, time::epoch_ms};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};
use surehand::{Attribute, AttributeValue, FailureNote, RawEvent};

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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letter {
    /// SQS's id of the message. Putting it back gives it another.
    pub id: String,
    /// The body.
    pub body: String,
    /// The message's attributes, of every type and label.
    pub attributes: BTreeMap<String, Attribute>,
    /// Names of attributes that hold lists. SQS reserves them and takes none, so they do not travel.
    pub dropped_attributes: Vec<String>,
    /// When it was sent, in milliseconds since the epoch. A message that SQS moved keeps the time at
    /// which it was sent to its source.
    pub sent_at_ms: Option<u64>,
    /// How often it was received; reading it counts as well.
    pub receive_count: u32,
    /// The message group.
    pub group: Option<String>,
    /// On a FIFO queue: by what SQS recognises a repeated send.
    pub deduplication_id: Option<String>,
    /// X-Ray's header, a system attribute.
    pub trace_header: Option<String>,
    /// The ARN of the queue that SQS moved it from. None on what was sent here.
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
    /// Its partition key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// What it shares with the events of its story.
    pub correlation_id: String,
    /// When it happened, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
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

    /// What its consumer gets when it is put back: the body, without what parking or Lambda wrapped
    /// around it. None for a batch of stream records, of which a dead letter names only the position,
    /// and for an invocation whose payload Lambda left out of its record, as it does with large ones.
    pub fn payload(&self) -> Option<Cow<'_, str>> {
        origin::payload(self)
    }

    /// Why there is no [`payload`](Self::payload), where there is none.
    pub(crate) fn why_without_payload(&self) -> &'static str {
        match self.origin() {
            Origin::Invocation(_) => {
                "it cannot be put back: Lambda left the payload out of its record, which would have been too large"
            }
            _ => {
                "a batch of stream records cannot be put back: the letter holds only its position in the stream"
            }
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
            partition_key: metadata.partition_key,
            time_ms: metadata.time.map(epoch_ms),
        })
    }

    fn raw_event(&self) -> Option<RawEvent> {
        let sent = self.sent_at_ms.and_then(|ms| i64::try_from(ms).ok());
        let sent = sent.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        RawEvent::read(&self.payload()?, &self.id, sent.map(SystemTime::from)).ok()
    }

    /// Who put it into the dead-letter queue.
    pub fn origin(&self) -> Origin {
        origin::origin(self)
    }

    /// Why it is there.
    pub fn cause(&self) -> Cause {
        self.origin().cause()
    }

    /// Where it goes back to, unless a plan says otherwise: the queue it came from; the target of the
    /// rule that could not deliver it, and not the bus, since other rules had it already; the function
    /// that failed. None if the letter does not tell, and for a batch of stream records.
    pub fn destination(&self) -> Option<Destination> {
        self.origin().destination()
    }

    /// How often it has been put back already.
    pub fn redrive_count(&self) -> u32 {
        let counted = match self
            .attributes
            .get(FailureNote::REDRIVE_COUNT)
            .map(|a| &a.value)
        {
            Some(AttributeValue::Text(count)) => count.parse().unwrap_or(0),
            _ => 0,
        };
        let noted = origin::note(self).map_or(0, |(note, _)| note.redrive_count);
        counted.max(noted)
    }

    /// The SHA-256 of the body, in hex: how a plan knows that it is still the letter that was looked
    /// at.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.body))
    }

    /// The attributes that travel with it when it is put back: all but those that say why it was here.
    pub fn lasting_attributes(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        let is_rules = self.attributes.contains_key(origin::RULE_ARN);
        let attributes = self.attributes.iter();
        attributes.filter_map(move |(name, attribute)| {
            let is_stale = name == FailureNote::ATTRIBUTE
                || name == FailureNote::REDRIVE_COUNT
                || (is_rules && origin::RULE_ATTRIBUTES.contains(&name.as_str()));
            (!is_stale).then_some((name.as_str(), attribute))
        })
    }
}
