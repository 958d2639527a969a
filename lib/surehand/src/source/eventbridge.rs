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

#[derive(Deserialize)]
struct Ids {
    id: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
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
        // The output of an input transformer may be any JSON; the request's id is then the only
        // one.
        let ids: Option<Ids> = serde_json::from_str(event.get()).ok();
        let (id, resources) = ids.map(|ids| (ids.id, ids.resources)).unwrap_or_default();
        let delivery = Delivery {
            message_id: id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| context.request_id.clone()),
            source_arn: resources.into_iter().next(),
            receive_count: 1,
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
