//! DynamoDB streams.

use super::Source;
use crate::{
    Deadline, Delivery, Error, ErrorKind, Metadata, Record, Result,
    envelope::RawEvent,
    record::{Batch, Outcome},
};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// A DynamoDB stream, with `ReportBatchItemFailures` in the event source mapping.
///
/// A record's data is the stream record as JSON; take it as `Json<T>`, for example with
/// `aws_lambda_events::dynamodb::EventRecord`, or as `Envelope<serde_json::Value>`, whose
/// `detail_type` is `INSERT`, `MODIFY` or `REMOVE`. The event's id is the stream record's `eventID`.
///
/// Changes to one item are handled in order, different items concurrently. Lambda keeps one
/// checkpoint per shard: it delivers the earliest failed record again and everything after it,
/// including records that were handled. An idempotent function absorbs these duplicates.
#[derive(Clone, Copy, Debug, Default)]
pub struct DynamoDbStream;

/// The event that Lambda delivers: the records, unparsed.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct StreamRecord<'a> {
    #[serde(rename = "eventID")]
    id: Option<String>,
    #[serde(rename = "eventName")]
    name: Option<String>,
    #[serde(rename = "eventSource")]
    source: Option<String>,
    #[serde(rename = "eventSourceARN")]
    arn: Option<String>,
    #[serde(borrow)]
    dynamodb: Option<Details<'a>>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(rename = "SequenceNumber")]
    sequence_number: Option<String>,
    /// Sorted by name, because an event may have them in any order.
    #[serde(rename = "Keys", borrow)]
    keys: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(rename = "ApproximateCreationDateTime")]
    created: Option<f64>,
}

impl Source for DynamoDbStream {
    type Event = StreamEvent;
    type Response = DynamoDbEventResponse;

    fn kind(&self) -> &'static str {
        "dynamodb_stream"
    }

    fn split(
        &self,
        event: StreamEvent,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let records = event
            .records
            .iter()
            .map(|raw| record(raw, &context, &deadline))
            .collect::<Result<_>>()?;
        Ok(Batch { records })
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<DynamoDbEventResponse> {
        // The batch has the shard's order, so the first failure is the earliest record.
        let lowest = outcomes
            .into_iter()
            .find(|outcome| outcome.result.is_err())
            .map(|outcome| outcome.id);
        let mut response = DynamoDbEventResponse::default();
        if let Some(sequence_number) = lowest {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = Some(sequence_number);
            response.batch_item_failures.push(failure);
        }
        Ok(response)
    }
}

fn record(
    raw: &RawValue,
    context: &lambda_runtime::Context,
    deadline: &Deadline,
) -> Result<Record> {
    let change: StreamRecord<'_> = serde_json::from_str(raw.get()).map_err(|error| {
        Error::new(
            ErrorKind::Invocation,
            format!(
                "a stream record cannot be read, so no record of the batch was handled: {error}"
            ),
        )
    })?;
    let details = change.dynamodb;
    let sequence_number = details
        .as_ref()
        .and_then(|details| details.sequence_number.clone())
        .filter(|number| !number.is_empty())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Invocation,
                "a stream record has no SequenceNumber, so that its outcome could not be reported: no record of the batch was handled",
            )
        })?;
    let created = details
        .as_ref()
        .and_then(|details| details.created)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    let keys = details
        .and_then(|details| details.keys)
        .and_then(|keys| serde_json::to_string(&keys).ok());
    let metadata = Metadata {
        time: created,
        source: change.source,
        detail_type: change.name,
        ..Metadata::new(
            change
                .id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| sequence_number.clone()),
        )
    };
    let delivery = Delivery {
        message_id: sequence_number,
        sent_at: created,
        source_arn: change.arn,
        ..Delivery::default()
    };
    let event = RawEvent {
        metadata,
        data: raw.get().to_owned(),
    };
    Ok(
        Record::new(delivery, raw.get(), context.clone(), deadline.clone())
            .with_event(event)
            .with_lane(keys),
    )
}
