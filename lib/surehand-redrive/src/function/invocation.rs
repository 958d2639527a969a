//! What invokes the function.

use serde_json::value::RawValue;
use surehand::{
    Deadline, Direct, Result,
    record::{Batch, Outcome},
    source::Source,
};

/// Requests and messages of the function's own queue: both are JSON, and are answered with JSON.
///
/// It is what [`Direct`] is, except that a template may have a queue deliver to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Invocation;

impl Source for Invocation {
    type Event = Box<RawValue>;
    type Response = Box<RawValue>;

    fn split(
        &self,
        event: Box<RawValue>,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        Direct.split(event, context, deadline)
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<Box<RawValue>> {
        Direct.join(outcomes)
    }
}
