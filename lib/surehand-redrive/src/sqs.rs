//! SQS.

use crate::{
    letter::Letter,
    queue::{Entries, Queue, QueueInfo, Received},
    refusal::Refusal,
};
use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        DeleteMessageBatchRequestEntry, Message, MessageAttributeValue,
        MessageSystemAttributeName as System, QueueAttributeName,
    },
};
use futures_util::future::BoxFuture;
use std::time::Duration;
use surehand::{Attribute, AttributeValue, Error, Result, aws};

/// A dead-letter queue in SQS.
///
/// Its user needs `sqs:GetQueueAttributes`, `sqs:ReceiveMessage`, `sqs:ChangeMessageVisibility` and
/// `sqs:DeleteMessage` on the queue.
#[derive(Clone, Debug)]
pub struct SqsDeadLetterQueue {
    client: Client,
    url: String,
}

impl SqsDeadLetterQueue {
    /// The queue with this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        let url = url.into();
        Self { client, url }
    }
}

impl Queue for SqsDeadLetterQueue {
    fn info(&self) -> BoxFuture<'_, Result<QueueInfo>> {
        Box::pin(async move {
            let request = self.client.get_queue_attributes().queue_url(&self.url);
            let output = request
                .attribute_names(QueueAttributeName::All)
                .send()
                .await
                .map_err(|error| failed(&error))?;
            let attributes = output.attributes.unwrap_or_default();
            let text = |name| attributes.get(&name).cloned();
            let count = |name| attributes.get(&name).and_then(|n| n.parse().ok());
            Ok(QueueInfo {
                url: self.url.clone(),
                arn: text(QueueAttributeName::QueueArn).unwrap_or_default(),
                fifo: self.url.ends_with(".fifo"),
                visible: count(QueueAttributeName::ApproximateNumberOfMessages).unwrap_or(0),
                in_flight: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
                    .unwrap_or(0),
                delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed).unwrap_or(0),
                redrive_policy: text(QueueAttributeName::RedrivePolicy).filter(|p| !p.is_empty()),
            })
        })
    }

    fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Received>>> {
        Box::pin(async move {
            let request = self.client.receive_message().queue_url(&self.url);
            let output = request
                .max_number_of_messages(i32::try_from(max).unwrap_or(10))
                .visibility_timeout(seconds(visibility))
                .wait_time_seconds(seconds(wait).min(20))
                .message_attribute_names("All")
                .message_system_attribute_names(System::All)
                .send()
                .await;
            match output {
                Ok(output) => Ok(received(output.messages.unwrap_or_default())),
                // So much is in flight that nothing more is shown; the queue's counts tell.
                Err(error) if error.code().is_some_and(|code| code.ends_with("OverLimit")) => {
                    Ok(Vec::new())
                }
                Err(error) => Err(failed(&error)),
            }
        })
    }

    fn delete<'a>(&'a self, receipts: &'a [String]) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let entries = receipts.iter().enumerate().map(|(index, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt)
                    .build()
            });
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let output = request
                .set_entries(Some(entries.collect::<Result<_, _>>()?))
                .send()
                .await
                .map_err(|error| failed(&error))?;
            let done = output.successful.iter().map(|entry| (entry.id(), ()));
            Ok(in_order(receipts.len(), done, &output.failed))
        })
    }

    fn change_visibility<'a>(
        &'a self,
        receipts: &'a [String],
        visibility: Duration,
    ) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let entries = receipts.iter().enumerate().map(|(index, receipt)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt)
                    .visibility_timeout(seconds(visibility))
                    .build()
            });
            let request = self.client.change_message_visibility_batch();
            let output = request
                .queue_url(&self.url)
                .set_entries(Some(entries.collect::<Result<_, _>>()?))
                .send()
                .await
                .map_err(|error| failed(&error))?;
            let done = output.successful.iter().map(|entry| (entry.id(), ()));
            Ok(in_order(receipts.len(), done, &output.failed))
        })
    }
}

/// A message without an id or a receipt could never be settled, and is left to come back.
fn received(messages: Vec<Message>) -> Vec<Received> {
    let received = messages.into_iter().filter_map(|message| {
        let system = message.attributes.unwrap_or_default();
        let text = |name: System| system.get(&name).cloned();
        let mut letter = Letter::new(message.message_id?, message.body.unwrap_or_default());
        for (name, value) in message.message_attributes.unwrap_or_default() {
            match attribute(value) {
                Some(attribute) => {
                    letter.attributes.insert(name, attribute);
                }
                None => letter.dropped_attributes.push(name),
            }
        }
        letter.dropped_attributes.sort();
        letter.sent_at_ms = text(System::SentTimestamp).and_then(|ms| ms.parse().ok());
        letter.receive_count = text(System::ApproximateReceiveCount)
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        letter.group = text(System::MessageGroupId);
        letter.deduplication_id = text(System::MessageDeduplicationId);
        letter.trace_header = text(System::AwsTraceHeader);
        letter.source_arn = text(System::DeadLetterQueueSourceArn);
        Some(Received {
            letter,
            receipt: message.receipt_handle?,
        })
    });
    received.collect()
}

fn attribute(value: MessageAttributeValue) -> Option<Attribute> {
    let data_type = value.data_type;
    let value = match (value.string_value, value.binary_value) {
        (Some(text), _) => AttributeValue::Text(text),
        (None, Some(bytes)) => AttributeValue::Binary(bytes.into_inner()),
        (None, None) => return None,
    };
    Some(Attribute { data_type, value })
}

/// The result of each entry; what the answer does not name was not done, as far as anybody knows.
pub(crate) fn in_order<'a, T>(
    entries: usize,
    done: impl Iterator<Item = (&'a str, T)>,
    failed: &[BatchResultErrorEntry],
) -> Entries<T> {
    let mut results: Vec<_> = (0..entries)
        .map(|_| {
            Err(Refusal::transient(
                "NoResult",
                "the answer does not name it",
            ))
        })
        .collect();
    for entry in failed {
        let refusal = Refusal {
            code: entry.code().to_owned(),
            message: entry.message().unwrap_or_default().to_owned(),
            // Throttling counts as the sender's fault too, and a receipt does not get better with time.
            permanent: entry.sender_fault() && !entry.code().contains("Throttl")
                || entry.code().ends_with("ReceiptHandleIsInvalid"),
        };
        put(&mut results, entry.id(), Err(refusal));
    }
    for (id, value) in done {
        put(&mut results, id, Ok(value));
    }
    results
}

fn put<T>(results: &mut Entries<T>, id: &str, result: Result<T, Refusal>) {
    if let Some(place) = id.parse().ok().and_then(|id: usize| results.get_mut(id)) {
        *place = result;
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// What the service says, or why it could not be asked.
pub(crate) fn failed<E>(error: &E) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Error::transient(match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => aws::describe(error),
    })
}
