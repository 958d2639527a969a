//! DynamoDB streams.

use super::{Source, parts::Parts};
use crate::{
    Deadline, Delivery, Error, ErrorKind, Metadata, Record, Result,
    envelope::RawEvent,
    record::{Batch, Outcome},
};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use serde::{Deserialize, Serialize};
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
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

#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(rename = "SequenceNumber")]
    sequence_number: Option<String>,
    /// Sorted by name, because an event may have them in any order.
    #[serde(rename = "Keys", borrow)]
    keys: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(rename = "ApproximateCreationDateTime")]
    created: Option<f64>,
}

impl<'a> StreamRecord<'a> {
    /// Reads a record, and says what of it could not be read. The rest of it is kept.
    fn read(json: &'a str) -> (Self, Option<String>) {
        if let Ok(record) = serde_json::from_str(json) {
            return (record, None);
        }
        let Some(mut parts) = Parts::of(json) else {
            return Default::default();
        };
        let mut details = parts.inside("dynamodb");
        let mut keys = details.inside("Keys");
        let record = Self {
            id: parts.read("eventID"),
            name: parts.read("eventName"),
            source: parts.read("eventSource"),
            arn: parts.read("eventSourceARN"),
            dynamodb: Some(Details {
                sequence_number: details.read("SequenceNumber"),
                keys: Some(std::mem::take(&mut keys.fields)).filter(|keys| !keys.is_empty()),
                created: details.read("ApproximateCreationDateTime"),
            }),
        };
        parts.problems.append(&mut details.problems);
        (record, parts.problem("the stream record"))
    }
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
    let (change, problem) = StreamRecord::read(raw.get());
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
    let record = Record::new(delivery, raw.get(), context.clone(), deadline.clone())
        .with_event(event)
        .with_lane(keys);
    Ok(match problem {
        Some(problem) => record.with_malformed(problem),
        None => record,
    })
}
