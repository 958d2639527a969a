//! SQS.

use super::{
    Accepted, Destination, Entries, Letter, Parcel, Post, Queue, QueueInfo, Received, Refusal,
};
use crate::{Attribute, AttributeValue, Error, Result, aws};
use aws_sdk_sqs::{
    Client,
    error::{BuildError, ProvideErrorMetadata},
    primitives::Blob,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        DeleteMessageBatchRequestEntry, Message, MessageAttributeValue,
        MessageSystemAttributeName as System, MessageSystemAttributeNameForSends,
        MessageSystemAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use futures_util::future::BoxFuture;
use std::time::Duration;

/// A dead-letter queue in SQS.
///
/// Its user needs `sqs:GetQueueAttributes`, `sqs:ReceiveMessage`, `sqs:ChangeMessageVisibility` and
/// `sqs:DeleteMessage` on the queue.
#[derive(Clone, Debug)]
pub struct SqsDeadLetterQueue {
    client: Client,
    url: String,
}

/// Puts letters back by the AWS services: queues by SendMessageBatch.
///
/// Its user needs `sqs:SendMessage` on the queues that letters go to. Functions and buses are for a
/// [`Post`] of your own, which hands queues on to this one.
#[derive(Clone, Debug)]
pub struct SqsPost {
    client: Client,
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

impl SqsPost {
    /// Sends by `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn to_queue(&self, url: &str, parcels: &[Parcel]) -> Result<Entries<Accepted>> {
        let entries = parcels.iter().enumerate();
        let entries: Result<Vec<_>, _> = entries.map(|(i, parcel)| entry(i, parcel)).collect();
        let request = self.client.send_message_batch().queue_url(url);
        let output = request.set_entries(Some(entries?)).send().await;
        let output = output.map_err(|error| failed(&error))?;
        let done = output.successful.iter().map(|entry| {
            let accepted = Accepted {
                message_id: entry.message_id.clone(),
                body_md5: Some(entry.md5_of_message_body.clone()),
                attributes_md5: entry.md5_of_message_attributes.clone(),
            };
            (entry.id(), accepted)
        });
        Ok(in_order(parcels.len(), done, &output.failed))
    }
}

impl Post for SqsPost {
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, Result<Entries<Accepted>>> {
        Box::pin(async move {
            match to {
                Destination::Queue(url) => self.to_queue(url, parcels).await,
                other => {
                    let text = format!("{other} is no queue");
                    let refusal = Refusal::permanent("UnsupportedDestination", text);
                    Ok(vec![Err(refusal); parcels.len()])
                }
            }
        })
    }
}

fn entry(index: usize, parcel: &Parcel) -> Result<SendMessageBatchRequestEntry, BuildError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(&parcel.body)
        .set_message_group_id(parcel.group.clone())
        .set_message_deduplication_id(parcel.deduplication_id.clone());
    for (name, attribute) in &parcel.attributes {
        let value = MessageAttributeValue::builder().data_type(&attribute.data_type);
        let value = match &attribute.value {
            AttributeValue::Text(text) => value.string_value(text),
            AttributeValue::Binary(bytes) => value.binary_value(Blob::new(bytes.clone())),
        };
        entry = entry.message_attributes(name, value.build()?);
    }
    if let Some(header) = &parcel.trace_header {
        entry = entry.message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            MessageSystemAttributeValue::builder()
                .data_type("String")
                .string_value(header)
                .build()?,
        );
    }
    entry.build()
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
fn in_order<'a, T>(
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
fn failed<E>(error: &E) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Error::transient(match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => aws::describe(error),
    })
}
