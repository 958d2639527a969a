//! Direct invocation, with a reply.

use super::{Source, eventbridge::only};
use crate::{
    Deadline, Delivery, Record, Result,
    record::{Batch, Outcome},
};
use serde_json::value::RawValue;

/// A direct invocation: any JSON in, the handler's reply out.
///
/// Take the request as [`Json<T>`](crate::Json). Its id is the request id, which differs each time
/// a caller tries again. To absorb such duplicates, take the key from the request, with
/// [`Idempotency::key`](crate::Idempotency::key). A duplicate gets the stored reply.
///
/// The caller sees errors: the invocation fails with the error's kind and message, and nothing is
/// parked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Source for Direct {
    type Event = Box<RawValue>;
    type Response = Box<RawValue>;

    fn kind(&self) -> &'static str {
        "direct"
    }

    fn split(
        &self,
        event: Box<RawValue>,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let delivery = Delivery {
            message_id: context.request_id.clone(),
            trace_header: context.xray_trace_id.clone(),
            ..Delivery::default()
        };
        let record = Record::new(delivery, event.get(), context, deadline).with_reply();
        Ok(Batch {
            records: vec![record],
        })
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<Box<RawValue>> {
        let reply = only(outcomes)?.result?;
        let json = reply.as_json().unwrap_or("null");
        Ok(RawValue::from_string(json.to_owned())?)
    }
}
