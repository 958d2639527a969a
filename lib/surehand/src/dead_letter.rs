//! Parking: where a record goes that cannot be handled, and the reason that goes with it.
//!
//! A function parks to what [`Function::dead_letters`](crate::Function::dead_letters) sets. With
//! [`SqsDeadLetters`] that is the dead-letter queue of the source queue. [`OnPark`] says what happens to the
//! rest of a message group then, and [`OnMalformed`] whether a record that cannot be read is parked at all.
//! You need more of this module to read the [`FailureNote`] of a dead letter, or to park somewhere else.
//!
//! A destination of your own implements [`DeadLetters`]:
//!
//! - `Ok` means that the destination has the record together with the note. The record is acknowledged in
//!   its source then, and nothing else has a copy.
//! - An error leaves the record in its source, from which it comes back. So `park` can be called again
//!   with a record that the destination has already, when an answer was lost: two copies are allowed, none is
//!   not.
//! - It is given until shortly before the invocation's end, and is dropped in the middle then.
//!
//! Putting dead letters back is the subject of the crate `surehand-redrive`.

#[cfg(feature = "sqs")]
mod sqs;

#[cfg(feature = "sqs")]
pub use sqs::SqsDeadLetters;

use crate::{
    Error, Record, Result,
    attribute::{Attribute, AttributeValue},
    redact::shortened,
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::SystemTime};

/// A destination for records that cannot be handled.
///
/// A parked record is acknowledged in its source, so `Ok` must mean that the destination has it.
///
/// It may rely on the note being about this attempt at this record, and on this process not parking the record
/// a second time meanwhile. What it must keep to is on the [module's page](self).
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// use futures_util::future::BoxFuture;
/// use std::sync::{Arc, Mutex};
/// use surehand::{
///     Error, Function, Json, Record, Result, Sqs,
///     dead_letter::{DeadLetters, FailureNote},
///     testing::{self, Message},
/// };
///
/// /// A line for each dead letter.
/// #[derive(Clone, Default)]
/// struct Lines(Arc<Mutex<Vec<String>>>);
///
/// impl DeadLetters for Lines {
///     fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
///         Box::pin(async move {
///             let line = format!("{}: {}", note.message, record.body());
///             self.0.lock().unwrap().push(line);
///             Ok(())
///         })
///     }
/// }
///
/// async fn refuse(Json(_): Json<String>) -> Result<()> {
///     Err(Error::rejected("not today"))
/// }
///
/// let lines = Lines::default();
/// let function = Function::new(Sqs, refuse, ()).dead_letters(lines.clone());
/// let event = testing::sqs_event("orders", [Message::body(r#""tea""#)]);
/// let response = function.invoke(event, testing::context()).await?;
/// assert!(testing::failed_ids(&response).is_empty());
/// assert_eq!(*lines.0.lock().unwrap(), [r#"not today: "tea""#]);
/// # Ok(()) }
/// ```
pub trait DeadLetters: Send + Sync + 'static {
    /// Returns its name in a function's [description](crate::description).
    fn kind(&self) -> &'static str {
        "custom"
    }

    /// Stores the record with the note. On an error the record stays in its source.
    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>>;
}

/// What happens to the rest of a lane (message group, partition key) when one of its records is
/// parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPark {
    /// The lane goes on without the parked record.
    #[default]
    Proceed,
    /// The rest of the lane in this batch is returned to the source unhandled. Records of later
    /// batches are not held back.
    ///
    /// What is returned has used up a receive and no attempt: the queue's `maxReceiveCount` must allow for
    /// the parked records of a group.
    Halt,
}

/// What happens to a record that cannot be read: its body is not an event, or no handler takes its
/// type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMalformed {
    /// It is parked immediately, because another attempt cannot succeed.
    #[default]
    Park,
    /// It is retried, and parked when its attempts are used up. Use it for queues that may get events of a
    /// new type before the function that handles them is deployed.
    Retry,
    /// It is acknowledged and lost, with a warning in the log. Use it for queues in which other
    /// senders put messages that need no handling.
    Discard,
}

/// Why a record was parked.
///
/// The dead letter carries it as one message attribute, [`FailureNote::ATTRIBUTE`], in JSON. SQS
/// takes ten attributes: if the message already has ten of its own, the note is put
/// [around](Self::around) the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailureNote {
    /// The [`ErrorKind`](crate::ErrorKind)'s name.
    pub kind: String,
    /// What went wrong.
    pub message: String,
    /// What caused it, outermost first.
    #[serde(default)]
    pub chain: Vec<String>,
    /// The place of the `?` that made the error, `src/orders.rs:33:20`; none if it was made otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The handler's name.
    pub handler: String,
    /// The Lambda function's name.
    pub function: String,
    /// The invocation's request id.
    pub request_id: String,
    /// The event's id; none if the record could not be read.
    pub event_id: Option<String>,
    /// The event's `detail-type`.
    pub event_type: Option<String>,
    /// How many attempts at the record were made; how often it was received, where attempts are not counted.
    pub attempts: u32,
    /// When it first failed, in RFC 3339; none if that was in an earlier attempt.
    pub first_failure: Option<String>,
    /// When it last failed, in RFC 3339.
    pub last_failure: String,
    /// The ARN of the queue that it came from.
    pub source_queue: Option<String>,
    /// How often it has been redriven from a dead-letter queue.
    #[serde(default)]
    pub redrive_count: u32,
    /// Whether it failed since a condition of what its handler staged did not hold, which only a commit tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub condition: bool,
}

/// The limit for one text of the note, which shares 1 MiB with the message.
const MAX_TEXT_CHARS: usize = 1_000;
/// Of ids and types, which are someone else's text.
const MAX_NAME_CHARS: usize = 256;
const MAX_CHAIN: usize = 8;

impl FailureNote {
    /// The name of the message attribute that holds the note.
    pub const ATTRIBUTE: &'static str = "SurehandFailure";

    /// The name of the message attribute, of type `Number`, that says how often the message has
    /// been redriven. It replaces the note, which holds the count in a dead letter.
    pub const REDRIVE_COUNT: &'static str = "SurehandRedriveCount";

    pub(crate) fn new(
        record: &Record,
        error: &Error,
        handler: &str,
        attempts: u32,
        now: SystemTime,
    ) -> Self {
        let metadata = record.event().ok().map(|event| &event.metadata);
        let delivery = record.delivery();
        let now = rfc3339(now);
        let mut chain = error.chain().map(|text| shortened(&text, MAX_TEXT_CHARS));
        Self {
            kind: error.kind().to_string(),
            message: chain.next().unwrap_or_default(),
            chain: chain.take(MAX_CHAIN).collect(),
            at: error
                .at()
                .map(|at| shortened(&at.to_string(), MAX_NAME_CHARS)),
            handler: handler.to_owned(),
            function: record.context().env_config.function_name.clone(),
            request_id: record.context().request_id.clone(),
            // Also these are anybody's text, and a note that is too long could never be parked.
            event_id: metadata.map(|m| shortened(&m.id, MAX_NAME_CHARS)),
            event_type: metadata
                .and_then(|m| m.detail_type.as_deref())
                .map(|kind| shortened(kind, MAX_NAME_CHARS)),
            attempts,
            first_failure: (attempts <= 1).then(|| now.clone()),
            last_failure: now,
            source_queue: delivery.source_arn.clone(),
            redrive_count: redrive_count(record),
            condition: error.is_condition(),
        }
    }

    /// Makes a note on a failure that happened `at` this time; the other fields can be set
    /// afterwards.
    pub fn about(kind: impl Into<String>, message: impl Into<String>, at: SystemTime) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            chain: Vec::new(),
            at: None,
            handler: String::new(),
            function: String::new(),
            request_id: String::new(),
            event_id: None,
            event_type: None,
            attempts: 0,
            first_failure: None,
            last_failure: rfc3339(at),
            source_queue: None,
            redrive_count: 0,
            condition: false,
        }
    }

    /// Reads the note from a message attribute; none if the attribute holds no note.
    pub fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match &attribute.value {
            AttributeValue::Text(json) => serde_json::from_str(json).ok(),
            AttributeValue::Binary(_) => None,
        }
    }

    /// Writes the note as a message attribute.
    pub fn to_attribute(&self) -> Attribute {
        Attribute {
            data_type: "String".into(),
            value: AttributeValue::Text(self.json()),
        }
    }

    /// Returns the body with the note around it: `{"SurehandFailure": {…}, "body": "…"}`.
    ///
    /// [`Sqs`](crate::Sqs) removes the note again, so that a message that SQS moved back unchanged
    /// can be handled.
    pub fn around(&self, body: &str) -> String {
        let wrapped = Around {
            note: Cow::Borrowed(self),
            body: Cow::Borrowed(body),
        };
        // Serializing strings and numbers cannot fail.
        serde_json::to_string(&wrapped).unwrap_or_default()
    }

    /// Splits a body with a note around it into the note and the body itself; none if there is no
    /// note around it.
    pub fn in_body(body: &str) -> Option<(Self, String)> {
        // Most bodies are events; this avoids parsing them twice.
        if !body.contains(Self::ATTRIBUTE) {
            return None;
        }
        let wrapped: Around<'_> = serde_json::from_str(body).ok()?;
        Some((wrapped.note.into_owned(), wrapped.body.into_owned()))
    }

    /// Returns the same note with less and less text. The last one has only the handler's name and
    /// the kind of failure.
    #[cfg(feature = "sqs")]
    fn shorter(&self) -> impl Iterator<Item = Self> + '_ {
        [MAX_TEXT_CHARS, 200, 0].into_iter().map(|chars| Self {
            message: self.message.chars().take(chars).collect(),
            chain: Vec::new(),
            ..self.clone()
        })
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Around<'a> {
    #[serde(rename = "SurehandFailure")]
    note: Cow<'a, FailureNote>,
    body: Cow<'a, str>,
}

/// A redrive keeps the count in an attribute. A message that SQS moved back unchanged still has its
/// note.
pub(crate) fn redrive_count(record: &Record) -> u32 {
    let attributes = &record.delivery().attributes;
    let counted = match attributes.get(FailureNote::REDRIVE_COUNT).map(|a| &a.value) {
        Some(AttributeValue::Text(count)) => count.parse().ok(),
        _ => None,
    };
    let note = attributes
        .get(FailureNote::ATTRIBUTE)
        .and_then(FailureNote::from_attribute);
    counted
        .or_else(|| Some(note?.redrive_count.saturating_add(1)))
        .unwrap_or_default()
}

fn rfc3339(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time);
    time.unwrap_or_default().to_string()
}
