//! SQS.

use crate::{
    letter::Letter,
    queue::{Queue, QueueInfo, Received},
};
use aws_sdk_sqs::{
    Client, Config, config,
    error::ProvideErrorMetadata,
    types::{Message, MessageSystemAttributeName as System, QueueAttributeName},
};
use futures_util::future::BoxFuture;
use std::time::Duration;
use surehand::{
    Result,
    aws::{Entries, Refusal, sqs},
};

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

    /// A receive is answered after its wait at the latest, which the client's time limits, if it has
    /// any, do not know.
    fn patient(&self, wait: Duration) -> config::Builder {
        let mut patient = Config::builder();
        let limits = self.client.config().timeout_config();
        if let Some(limits) = limits {
            let longer = |limit: Option<Duration>| limit.map(|limit| limit + wait);
            let mut patiently = limits.to_builder();
            patiently.set_operation_attempt_timeout(longer(limits.operation_attempt_timeout()));
            patiently.set_operation_timeout(longer(limits.operation_timeout()));
            patient.set_timeout_config(Some(patiently.build()));
        }
        patient
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
                .map_err(|error| Refusal::of_call(&error))?;
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
                retention: count(QueueAttributeName::MessageRetentionPeriod)
                    .map(Duration::from_secs),
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
                .customize()
                .config_override(self.patient(wait))
                .send()
                .await;
            match output {
                Ok(output) => Ok(received(output.messages.unwrap_or_default())),
                // So much is in flight that nothing more is shown; the queue's counts tell.
                Err(error) if error.code().is_some_and(|code| code.ends_with("OverLimit")) => {
                    Ok(Vec::new())
                }
                Err(error) => Err(Refusal::of_call(&error).into()),
            }
        })
    }

    fn delete<'a>(&'a self, receipts: &'a [String]) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move { Ok(sqs::delete(&self.client, &self.url, receipts).await?) })
    }

    fn change_visibility<'a>(
        &'a self,
        receipts: &'a [String],
        visibility: Duration,
    ) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let receipts = receipts.iter();
            let timeouts = receipts.map(|receipt| (&**receipt, seconds(visibility)));
            let timeouts: Vec<_> = timeouts.collect();
            Ok(sqs::change_visibility(&self.client, &self.url, &timeouts).await?)
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
            match sqs::attribute(value) {
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

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
