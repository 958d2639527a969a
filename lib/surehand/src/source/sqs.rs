//! SQS queues, standard and FIFO.

mod message;

use super::{Needs, Source};
use crate::{
    Deadline, Delivery, Error, ErrorKind, Record, Result,
    clock::from_epoch_ms,
    dead_letter::FailureNote,
    record::{Batch, Outcome},
};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use message::Message;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An SQS queue, with `ReportBatchItemFailures` in the event source mapping.
///
/// Messages of one message group (FIFO) or of one partition key (standard) are handled one after
/// the other, and different groups concurrently. The response lists the messages that must be
/// delivered again; Lambda deletes the others.
///
/// On a standard queue a `MessageGroupId` is only a hint for fair sharing and does not imply an
/// order, so it does not make a group there.
///
/// A message of which something cannot be read, such as an attribute whose Base64 is wrong, is
/// malformed and parked with the reason, and the others are handled. Only a message without a
/// `messageId`, which the response could not name, fails the whole batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sqs;

/// The event that Lambda delivers from a queue: the messages, unparsed.
///
/// It deserializes from Lambda's JSON, and is made from an
/// [`SqsEvent`](aws_lambda_events::sqs::SqsEvent) with `into`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueEvent {
    /// The messages.
    #[serde(rename = "Records")]
    pub records: Vec<Box<RawValue>>,
}

impl From<SqsEvent> for QueueEvent {
    fn from(event: SqsEvent) -> Self {
        let raw = |message| serde_json::value::to_raw_value(&message).unwrap_or_default();
        Self {
            records: event.records.into_iter().map(raw).collect(),
        }
    }
}

impl Source for Sqs {
    type Event = QueueEvent;
    type Response = SqsBatchResponse;

    fn kind(&self) -> &'static str {
        "sqs"
    }

    fn needs(&self) -> Needs {
        Needs::Queue
    }

    fn split(
        &self,
        event: QueueEvent,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let records = event
            .records
            .iter()
            .map(|message| record(message, &context, &deadline))
            .collect::<Result<_>>()?;
        Ok(Batch { records })
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<SqsBatchResponse> {
        let failed = outcomes
            .into_iter()
            .filter(|outcome| outcome.result.is_err())
            .map(|outcome| outcome.id);
        let mut response = SqsBatchResponse::default();
        response.set_failures(failed);
        Ok(response)
    }
}

fn record(
    message: &RawValue,
    context: &lambda_runtime::Context,
    deadline: &Deadline,
) -> Result<Record> {
    let mut message = Message::read(message.get());
    let (attributes, problem) = message.take_attributes();
    let Some(id) = message.id.filter(|id| !id.is_empty()) else {
        // To Lambda a response with an unknown id is a failed invocation, and a message that the
        // response leaves out a success. Neither is right for a message without an id.
        return Err(Error::new(
            ErrorKind::Invocation,
            "an SQS message has no messageId, so that its outcome could not be reported: no message of the batch was handled",
        ));
    };
    let system = message.attributes.unwrap_or_default();
    let is_fifo = message
        .source_arn
        .as_ref()
        .is_some_and(|arn| arn.ends_with(".fifo"));
    let delivery = Delivery {
        message_id: id,
        sending_id: None,
        receive_count: system
            .approximate_receive_count
            .and_then(|count| count.parse().ok())
            .unwrap_or(1),
        sent_at: system
            .sent_timestamp
            .and_then(|ms| ms.parse().ok())
            .map(from_epoch_ms),
        group: system.message_group_id.filter(|_| is_fifo),
        trace_header: system.trace_header,
        source_arn: message.source_arn,
        receipt_handle: message.receipt_handle,
        attributes,
    };
    let missing = message.body.is_none();
    let problem = problem.or_else(|| missing.then(|| "the message has no body".into()));
    let (delivery, body) = without_note(delivery, message.body.unwrap_or_default());
    let record = Record::new(delivery, body, context.clone(), deadline.clone());
    Ok(match problem {
        Some(problem) => record.with_malformed(problem),
        None => record,
    })
}

/// A dead letter that SQS moved back unchanged may have the note of its failure around its body.
fn without_note(mut delivery: Delivery, body: String) -> (Delivery, String) {
    let Some((note, body)) = FailureNote::in_body(&body) else {
        return (delivery, body);
    };
    let name = FailureNote::ATTRIBUTE.to_owned();
    delivery.attributes.insert(name, note.to_attribute());
    (delivery, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock,
        record::{Attribute, AttributeValue},
    };
    use std::time::{Duration, SystemTime};

    #[test]
    fn an_sqs_event_becomes_a_queue_event_with_all_that_it_has() {
        let event = r#"{"Records": [{
            "messageId": "m-1", "receiptHandle": "handle", "body": "{}",
            "attributes": {"ApproximateReceiveCount": "3", "MessageGroupId": "g"},
            "messageAttributes": {"a": {"binaryValue": "AQI=", "dataType": "Binary"}},
            "eventSourceARN": "arn:aws:sqs:r:1:orders.fifo"
        }]}"#;
        let event: SqsEvent = serde_json::from_str(event).unwrap();
        let ends_at = SystemTime::now() + Duration::from_secs(1);
        let deadline = Deadline::new(ends_at, &Clock::system());
        let batch = Sqs.split(event.into(), lambda_runtime::Context::default(), deadline);
        let delivery = batch.unwrap().records[0].delivery().clone();
        assert_eq!(delivery.message_id, "m-1");
        assert_eq!(delivery.receive_count, 3);
        assert_eq!(delivery.group.as_deref(), Some("g"));
        assert_eq!(delivery.receipt_handle.as_deref(), Some("handle"));
        let attribute = Attribute {
            data_type: "Binary".into(),
            value: AttributeValue::Binary(vec![1, 2]),
        };
        assert_eq!(delivery.attributes.get("a"), Some(&attribute));
    }
}
