//! One message, event or change, whatever source it came from.
//!
//! Everything between the source and the handler is a service over [`Record`]: layers see it, and handlers take
//! what they need from it. Its [`Delivery`] says how it was delivered, with the [`Attribute`]s of its message,
//! and its [`Reply`] is what the handler returned. [`Batch`] and [`Outcome`] are what a
//! [`Source`](crate::source::Source) makes and takes.

pub use crate::attribute::{Attribute, AttributeValue};

use crate::{
    Deadline, Error, Result,
    companion::Companion,
    envelope::{Fallback, RawEvent, read},
    trace_header::w3c_from_xray,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

/// One unit of work: a message, an event, a change, or a request.
///
/// A [`Source`](crate::source::Source) splits what Lambda delivers into records, and handlers take what
/// they need from a record by [`FromRecord`](crate::extract::FromRecord). Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Record {
    inner: Arc<Inner>,
    deadline: Deadline,
    companion: Companion,
    /// Values that your own layers leave for the handler and for one another. The library puts
    /// nothing here.
    pub extensions: http::Extensions,
}

#[derive(Clone)]
struct Inner {
    id: String,
    body: String,
    event: Result<RawEvent, String>,
    /// Whether its source could not read it, as opposed to its body alone.
    is_malformed: bool,
    lane: Option<String>,
    wants_reply: bool,
    delivery: Delivery,
    context: lambda_runtime::Context,
}

/// Leaves out the body, which must not end up in a log.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("id", &self.id)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("lane", &self.lane)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

/// How a record was delivered. Handlers can take it as an argument.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Delivery {
    /// The source's id of the record: SQS message id, EventBridge event id, stream sequence number
    /// or request id.
    pub message_id: String,
    /// What all deliveries of one sending share, and no other sending has: attempts are counted by it. None
    /// if that is the message id. An event that is put back is another sending.
    pub sending_id: Option<String>,
    /// How often it has been received, including this time, from 1, whether or not a handler has seen it.
    /// It is 0 for sources that do not count.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: Option<SystemTime>,
    /// The ARN of the queue, stream or bus that it came from.
    pub source_arn: Option<String>,
    /// The message group, on a FIFO queue.
    pub group: Option<String>,
    /// The receipt handle, with which the message's visibility timeout can be changed.
    pub receipt_handle: Option<String>,
    /// X-Ray's trace header.
    pub trace_header: Option<String>,
    /// The message's attributes.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Delivery {
    /// Returns the queue's name: the last part of [`source_arn`](Self::source_arn).
    pub fn queue(&self) -> Option<&str> {
        self.source_arn.as_deref()?.rsplit(':').next()
    }
}

impl Record {
    /// Makes a record with this body, which is parsed here, once.
    ///
    /// A body that does not parse is not an error here, since it concerns this record alone:
    /// [`Record::event`] returns the error.
    pub fn new(
        delivery: Delivery,
        body: impl Into<String>,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Self {
        let body = body.into();
        let fallback = Fallback {
            id: &delivery.message_id,
            time: delivery.sent_at,
        };
        let event = read(&body, &delivery.attributes, &fallback)
            .map(|event| with_trace(event, &delivery))
            .map_err(|error| error.to_string());
        let lane = delivery.group.clone().or_else(|| {
            let event = event.as_ref().ok()?;
            event.metadata.partition_key.clone()
        });
        Self {
            inner: Arc::new(Inner {
                id: delivery.message_id.clone(),
                body,
                event,
                is_malformed: false,
                lane,
                wants_reply: false,
                delivery,
                context,
            }),
            deadline,
            companion: Companion::default(),
            extensions: http::Extensions::new(),
        }
    }

    /// Replaces what was read from the body, for sources whose records are not envelopes.
    pub fn with_event(mut self, event: RawEvent) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        inner.event = Ok(event);
        inner.is_malformed = false;
        self
    }

    /// Marks the record as one that its source could not read because of `problem`: its handler does
    /// not run, whatever it takes.
    pub fn with_malformed(mut self, problem: impl Into<String>) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        inner.event = Err(problem.into());
        inner.is_malformed = true;
        self
    }

    /// Fails if its source could not read the record.
    pub(crate) fn check(&self) -> Result<()> {
        match self.inner.is_malformed {
            true => self.event().map(drop),
            false => Ok(()),
        }
    }

    /// Sets the lane. Records of one lane are handled one after the other.
    pub fn with_lane(mut self, lane: Option<String>) -> Self {
        Arc::make_mut(&mut self.inner).lane = lane;
        self
    }

    /// Marks the record as one whose sender waits for the handler's reply, which is then kept for
    /// duplicates.
    pub fn with_reply(mut self) -> Self {
        Arc::make_mut(&mut self.inner).wants_reply = true;
        self
    }

    /// Returns the source's id of the record.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Returns the body as it was received.
    pub fn body(&self) -> &str {
        &self.inner.body
    }

    /// Returns the event in the body.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) if the body could not be read.
    pub fn event(&self) -> Result<&RawEvent> {
        self.inner
            .event
            .as_ref()
            .map_err(|problem| Error::malformed(problem.as_str()))
    }

    /// Returns how the record was delivered.
    pub fn delivery(&self) -> &Delivery {
        &self.inner.delivery
    }

    /// Returns the message group or partition key. Records of one lane are handled one after the
    /// other.
    pub fn lane(&self) -> Option<&str> {
        self.inner.lane.as_deref()
    }

    /// Returns true if the sender waits for the handler's reply.
    pub fn wants_reply(&self) -> bool {
        self.inner.wants_reply
    }

    /// Returns the context of the invocation that delivered it.
    pub fn context(&self) -> &lambda_runtime::Context {
        &self.inner.context
    }

    /// Returns the invocation's deadline.
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// Returns what the library knows about the attempt.
    pub(crate) fn companion(&self) -> &Companion {
        &self.companion
    }

    pub(crate) fn companion_mut(&mut self) -> &mut Companion {
        &mut self.companion
    }

    /// Returns the record as one of the attempt at `other`, unless it is one of an attempt.
    pub(crate) fn in_attempt_of(mut self, other: &Self) -> Self {
        if !self.companion.is_of_an_attempt() {
            self.companion = other.companion.clone();
            if other.wants_reply() && !self.wants_reply() {
                return self.with_reply();
            }
        }
        self
    }

    /// Returns the same record with another companion.
    pub(crate) fn with_companion(&self, companion: Companion) -> Self {
        let mut record = self.clone();
        record.companion = companion;
        record
    }
}

/// Takes the trace context from the event, else from the message attribute `traceparent`, else from
/// X-Ray's header.
fn with_trace(mut event: RawEvent, delivery: &Delivery) -> RawEvent {
    let m = &mut event.metadata;
    if m.traceparent.is_none() {
        m.traceparent = match delivery.attributes.get("traceparent").map(|a| &a.value) {
            Some(AttributeValue::Text(text)) => Some(text.clone()),
            _ => delivery.trace_header.as_deref().and_then(w3c_from_xray),
        };
    }
    event
}

/// The handler's reply, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    json: Option<String>,
    duplicate: bool,
}

impl Reply {
    /// Makes an empty reply, for a sender that does not wait for one.
    pub fn none() -> Self {
        Self::default()
    }

    /// Makes a reply of `value`.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) if `value` does not serialize: another
    /// attempt would meet the same, and repeat the handler's effect.
    pub fn json(value: &impl serde::Serialize) -> Result<Self> {
        let json = serde_json::to_string(value)
            .map_err(|error| Error::rejected(format!("the reply does not serialize: {error}")))?;
        Ok(Self::from_json(json))
    }

    /// Makes a reply of JSON text.
    pub fn from_json(json: String) -> Self {
        Self {
            json: Some(json),
            duplicate: false,
        }
    }

    /// Marks the reply as that of a record that was handled before.
    pub(crate) fn into_duplicate(mut self) -> Self {
        self.duplicate = true;
        self
    }

    /// Returns true if the record was handled before, and this is the reply of that time.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    /// Returns the reply's JSON; none if there is no reply.
    pub fn as_json(&self) -> Option<&str> {
        self.json.as_deref()
    }
}

/// The records of one invocation, in the order in which they were delivered.
#[derive(Debug)]
pub struct Batch {
    /// The records. Those of one [lane](Record::lane) are handled one after the other, and none
    /// after one that failed; lanes are handled concurrently.
    pub records: Vec<Record>,
}

/// The outcome of one record.
#[derive(Debug)]
pub struct Outcome {
    /// The record's id.
    pub id: String,
    /// The handler's reply, or why the record must be delivered again. A record that was parked
    /// counts as handled, since the dead-letter queue has it.
    pub result: Result<Reply>,
}
