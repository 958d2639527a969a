//! SQS queues, standard and FIFO.

use super::{Needs, Source};
use crate::{
    Deadline, Delivery, Error, ErrorKind, Record, Result,
    attribute::{Attribute, AttributeValue},
    clock::from_epoch_ms,
    dead_letter::FailureNote,
    record::{Batch, Outcome},
};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage, SqsMessageAttribute};
use std::collections::BTreeMap;

/// An SQS queue, with `ReportBatchItemFailures` in the event source mapping.
///
/// Messages of one message group (FIFO) or of one partition key (standard) are handled one after
/// the other, and different groups concurrently. The response lists the messages that must be
/// delivered again; Lambda deletes the others.
///
/// On a standard queue a `MessageGroupId` is only a hint for fair sharing and does not imply an
/// order, so it does not make a group there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sqs;

impl Source for Sqs {
    type Event = SqsEvent;
    type Response = SqsBatchResponse;

    fn kind(&self) -> &'static str {
        "sqs"
    }

    fn needs(&self) -> Needs {
        Needs::Queue
    }

    fn split(
        &self,
        event: SqsEvent,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let records = event
            .records
            .into_iter()
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
    message: SqsMessage,
    context: &lambda_runtime::Context,
    deadline: &Deadline,
) -> Result<Record> {
    let Some(id) = message.message_id.filter(|id| !id.is_empty()) else {
        // To Lambda a response with an unknown id is a failed invocation, and a message that the
        // response leaves out a success. Neither is right for a message without an id.
        return Err(Error::new(
            ErrorKind::Invocation,
            "an SQS message has no messageId, so that its outcome could not be reported: no message of the batch was handled",
        ));
    };
    let attribute = |name: &str| message.attributes.get(name);
    let is_fifo = message
        .event_source_arn
        .as_ref()
        .is_some_and(|arn| arn.ends_with(".fifo"));
    let delivery = Delivery {
        message_id: id,
        sending_id: None,
        receive_count: attribute("ApproximateReceiveCount")
            .and_then(|count| count.parse().ok())
            .unwrap_or(1),
        sent_at: attribute("SentTimestamp")
            .and_then(|ms| ms.parse().ok())
            .map(from_epoch_ms),
        group: attribute("MessageGroupId").filter(|_| is_fifo).cloned(),
        trace_header: attribute("AWSTraceHeader").cloned(),
        source_arn: message.event_source_arn,
        receipt_handle: message.receipt_handle,
        attributes: attributes(message.message_attributes),
    };
    let body = message.body;
    let missing = body.is_none();
    let (delivery, body) = without_note(delivery, body.unwrap_or_default());
    let record = Record::new(delivery, body, context.clone(), deadline.clone());
    Ok(if missing {
        record.with_malformed("the message has no body")
    } else {
        record
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

fn attributes(
    all: impl IntoIterator<Item = (String, SqsMessageAttribute)>,
) -> BTreeMap<String, Attribute> {
    all.into_iter()
        .filter_map(|(name, attribute)| {
            // The format has lists, but SQS does not support them.
            let value = match (attribute.string_value, attribute.binary_value) {
                (Some(text), _) => AttributeValue::Text(text),
                (None, Some(bytes)) => AttributeValue::Binary(bytes.0),
                (None, None) => return None,
            };
            let data_type = attribute.data_type.unwrap_or_else(|| "String".into());
            Some((name, Attribute { data_type, value }))
        })
        .collect()
}
