//! The outbox's table as a source.

use super::Waiting;
use crate::{
    Change, Deadline, DynamoDbStream, Result,
    extract::FromRecord,
    record::{Batch, Outcome},
    source::{Needs, Source, StreamEvent},
};
use aws_lambda_events::streams::DynamoDbEventResponse;

/// The stream of a table with an outbox: a [`DynamoDbStream`] in which changes whose events have one
/// partition key are handled in order.
///
/// The order is that of the stream, which has one for each partition of the table: of two commits
/// that follow one another closely, and for different keys, the events may change places.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxStream;

impl Source for OutboxStream {
    type Event = StreamEvent;
    type Response = DynamoDbEventResponse;

    fn kind(&self) -> &'static str {
        "dynamodb_stream"
    }

    /// Consumers absorb an event that is published again, and claims would be changes of the very table
    /// whose stream this is.
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn split(
        &self,
        event: StreamEvent,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let mut batch = DynamoDbStream.split(event, context, deadline)?;
        for record in &mut batch.records {
            // Whatever cannot be read stays in its item's lane, and fails when it is handled.
            let partition = Change::from_record(record, &())
                .ok()
                .and_then(|change| Waiting::read(&change.new_image?).ok()?)
                .and_then(|waiting| waiting.partition_key());
            if let Some(partition) = partition {
                *record = record.clone().with_lane(Some(partition));
            }
        }
        Ok(batch)
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<DynamoDbEventResponse> {
        DynamoDbStream.join(outcomes)
    }
}
