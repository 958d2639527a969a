//! EventBridge rules that invoke the function themselves.

use super::Source;
use crate::{
    Deadline, Delivery, Error, ErrorKind, Record, Result,
    record::{Batch, Outcome},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An EventBridge rule or schedule whose target is the function.
///
/// The invocation is asynchronous. If it fails, Lambda tries again (twice, unless configured
/// otherwise) and then sends the event to the function's on-failure destination. The rule's own
/// dead-letter queue does not get it: that queue is for events that EventBridge could not hand to
/// Lambda.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventBridge;

/// The fields of EventBridge's own form that are looked at.
#[derive(Deserialize)]
struct Fields<'a> {
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(default)]
    resources: Vec<String>,
}

/// EventBridge's own ids are shorter. A longer one is somebody's who invokes the function directly, and
/// would stand in each line of the log.
const MAX_ID_BYTES: usize = 256;

/// The longest ARN, in bytes.
const MAX_ARN_BYTES: usize = 2_048;

impl Fields<'_> {
    /// For a rule on a service's events, and for a schedule, it is the first of the resources. Whoever
    /// publishes events may write anything there.
    fn source_arn(&self) -> Option<String> {
        let first = self.resources.first();
        first.filter(|it| it.len() <= MAX_ARN_BYTES).cloned()
    }

    fn event_id(&self) -> Option<&str> {
        let is_event = self.source.is_some() && self.detail_type.is_some() && self.detail.is_some();
        let is_id = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len());
        self.id.as_deref().filter(|_| is_event).filter(is_id)
    }
}

impl Source for EventBridge {
    type Event = Box<RawValue>;
    type Response = ();

    fn kind(&self) -> &'static str {
        "eventbridge"
    }

    fn split(
        &self,
        event: Box<RawValue>,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        // An input transformer or a constant input may have left any JSON, also one with an `id`,
        // which is the same each time. Then the request's id is all there is.
        let fields: Option<Fields<'_>> = serde_json::from_str(event.get()).ok();
        let event_id = fields.as_ref().and_then(Fields::event_id);
        let delivery = Delivery {
            message_id: event_id.unwrap_or(&context.request_id).to_owned(),
            source_arn: fields.as_ref().and_then(Fields::source_arn),
            // Lambda's own attempts at one event have one request id.
            sending_id: Some(context.request_id.clone()),
            trace_header: context.xray_trace_id.clone(),
            ..Delivery::default()
        };
        let record = Record::new(delivery, event.get(), context, deadline);
        Ok(Batch {
            records: vec![record],
        })
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<()> {
        only(outcomes)?.result.map(drop)
    }
}

/// Returns the outcome of an event that is one record.
pub(super) fn only(outcomes: Vec<Outcome>) -> Result<Outcome> {
    outcomes.into_iter().next().ok_or_else(|| {
        Error::new(
            ErrorKind::Invocation,
            "the event has one record, and its outcome is missing",
        )
    })
}
