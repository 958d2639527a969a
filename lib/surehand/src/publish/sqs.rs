//! An SQS queue, for flows that must be in order.

use super::{
    PublishError, Transport, Unpublished,
    deliver::{Call, Parcel, Refusal, deliver},
};
use crate::{Outgoing, Result, aws, description::Use, environment};
use aws_sdk_sqs::{
    Client,
    error::{BuildError, ProvideErrorMetadata},
    types::{
        BatchResultErrorEntry, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry,
    },
};
use futures_util::future::BoxFuture;

/// An SQS queue to publish to without a bus between, by SendMessageBatch.
///
/// Messages have the form that EventBridge gives them, so that consumers need not know the way.
///
/// On a FIFO queue, one whose URL ends in `.fifo`, the event's partition key is the message group
/// and its id the deduplication id. Events of one group are sent one after the other, each once the
/// one before it is accepted. If one is given up the rest of its group is not sent.
///
/// Entries that SQS refuses are sent again alone, with backoff, four times in all; calls that fail
/// as a whole are retried by the client.
///
/// The program's role needs `sqs:SendMessage` on the queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    max_request_size: usize,
}

/// The [documented](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html)
/// limit of a request, and of a message.
const MAX_REQUEST_SIZE: usize = 1024 * 1024;
const MAX_GROUP: usize = 128;

impl SqsQueue {
    /// The queue with this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
            max_request_size: MAX_REQUEST_SIZE,
        }
    }

    /// The queue whose URL the environment variable `EVENT_QUEUE_URL` holds, with the environment's
    /// AWS configuration.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env() -> Result<Self> {
        let url = environment::used("EVENT_QUEUE_URL", Use::EventQueue)?;
        Ok(Self::new(Client::new(aws::config().await), url))
    }

    /// Sets how many bytes the messages of a request may have together; 1 MiB unless set. For queues
    /// with a smaller `MaximumMessageSize`.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }

    fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }

    /// The event's message group, where the queue has groups.
    fn group<'a>(&self, event: &'a Outgoing) -> Result<Option<&'a str>, Refusal> {
        if !self.is_fifo() {
            return Ok(None);
        }
        let invalid = |problem: String| Err(Refusal::permanent("InvalidGroup", problem));
        let Some(group) = event.metadata().partition_key.as_deref() else {
            return invalid(
                "a FIFO queue needs the event's partition key: `#[event(partition_key = \"{…}\")]`"
                    .into(),
            );
        };
        let is_valid = (1..=MAX_GROUP).contains(&group.len())
            && group.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            return invalid(format!(
                "partition key `{group}` is no message group: SQS takes 1 to {MAX_GROUP} ASCII letters, digits and punctuation marks"
            ));
        }
        Ok(Some(group))
    }

    fn entry(
        &self,
        index: usize,
        event: &Outgoing,
    ) -> Result<SendMessageBatchRequestEntry, BuildError> {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(event.body());
        if self.is_fifo() {
            entry = entry
                .set_message_group_id(event.metadata().partition_key.clone())
                .message_deduplication_id(event.id());
        }
        if let Some(header) = event.trace_header() {
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
}

impl Transport for SqsQueue {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let parcels = self.parcels(events)?;
            deliver(&parcels, self.max_request_size, self).await
        })
    }
}

impl SqsQueue {
    fn parcels<'a>(&self, events: &'a [Outgoing]) -> Result<Vec<Parcel<'a>>, PublishError> {
        let groups: Vec<_> = events.iter().map(|event| self.group(event)).collect();
        if groups.iter().any(Result::is_err) {
            let unpublished = events.iter().zip(groups).map(|(event, group)| match group {
                Err(refusal) => Unpublished::new(event, refusal.code, refusal.message),
                Ok(_) => Unpublished::new(event, "NotSent", "sent with an event that cannot be"),
            });
            return Err(PublishError::new(Vec::new(), unpublished.collect()));
        }
        let parcels = events.iter().zip(groups).map(|(event, group)| Parcel {
            event,
            size: event.body().len(),
            lane: group.ok().flatten(),
        });
        Ok(parcels.collect())
    }
}

impl Call for SqsQueue {
    async fn call(&self, events: &[&Outgoing]) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let entries = events.iter().enumerate();
        let entries: Result<Vec<_>, _> = entries.map(|(i, event)| self.entry(i, event)).collect();
        let entries = entries.map_err(|error| Refusal::of_call(None, &error))?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let output = request.set_entries(Some(entries)).send().await;
        let output = output.map_err(|error| Refusal::of_call(error.code(), &error))?;
        let accepted: Vec<&str> = output.successful().iter().map(|entry| entry.id()).collect();
        Ok(results(events.len(), &accepted, output.failed()))
    }
}

/// The result of each entry, in the request's order. Entries of which the response says nothing
/// make it shorter than the request, and the whole response an error.
fn results(
    entries: usize,
    accepted: &[&str],
    failed: &[BatchResultErrorEntry],
) -> Vec<Result<(), Refusal>> {
    let result = |index: usize| {
        let id = index.to_string();
        if let Some(failed) = failed.iter().find(|failed| failed.id() == id) {
            return Some(Err(refusal(failed)));
        }
        accepted.contains(&id.as_str()).then_some(Ok(()))
    };
    (0..entries).filter_map(result).collect()
}

fn refusal(failed: &BatchResultErrorEntry) -> Refusal {
    let code = failed.code();
    Refusal {
        code: code.to_owned(),
        message: failed.message().unwrap_or_default().to_owned(),
        // Throttling counts as the sender's fault too.
        permanent: failed.sender_fault() && !code.contains("Throttl"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop", detail_type = "Placed", partition_key = "{customer}")]
    struct Placed {
        customer: String,
    }

    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop", detail_type = "Closed")]
    struct Closed {}

    fn queue(url: &str) -> SqsQueue {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .build();
        SqsQueue::new(Client::from_conf(config), url)
    }

    fn placed(customer: &str) -> Outgoing {
        Outgoing::new(&Placed {
            customer: customer.into(),
        })
        .unwrap()
    }

    #[test]
    fn fifo_messages_are_grouped_by_partition_key_and_deduplicated_by_event_id() {
        let mut event = placed("customer-7");
        event.set_trace_header(Some("Root=1-2-3".into()));
        let entry = queue("https://q/orders.fifo").entry(3, &event).unwrap();
        assert_eq!(entry.id(), "3");
        assert_eq!(entry.message_body(), event.body());
        assert_eq!(entry.message_group_id(), Some("customer-7"));
        assert_eq!(entry.message_deduplication_id(), Some(event.id()));
        assert_eq!(entry.message_system_attributes().unwrap().len(), 1);

        let entry = queue("https://q/orders")
            .entry(0, &placed("customer-7"))
            .unwrap();
        assert_eq!(entry.message_group_id(), None);
        assert_eq!(entry.message_deduplication_id(), None);
    }

    #[test]
    fn what_is_no_group_is_refused_before_anything_is_sent() {
        let fifo = queue("https://q/orders.fifo");
        let long = "x".repeat(129);
        for bad in ["", "a b", "ü", "a\nb", &long] {
            let events = [placed("fine"), placed(bad)];
            let error = fifo.parcels(&events).err().unwrap();
            assert_eq!(error.unpublished()[0].code(), "NotSent");
            assert_eq!(error.unpublished()[1].code(), "InvalidGroup");
        }
        let error = fifo
            .parcels(&[Outgoing::new(&Closed {}).unwrap()])
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .contains("needs the event's partition key"),
            "{error}"
        );

        let longest = "x".repeat(128);
        for good in ["a", "order/42", "{~}!", &longest] {
            assert_eq!(fifo.parcels(&[placed(good)]).unwrap()[0].lane, Some(good));
        }
        assert_eq!(
            queue("https://q/orders").parcels(&[placed("a b")]).unwrap()[0].lane,
            None
        );
    }

    #[test]
    fn results_are_matched_by_the_entries_ids() {
        let failed = |id: &str, code: &str, sender_fault| {
            let entry = BatchResultErrorEntry::builder().id(id).code(code);
            entry.sender_fault(sender_fault).build().unwrap()
        };
        let all = [
            failed("2", "InternalError", false),
            failed("0", "InvalidMessageContents", true),
            failed("3", "RequestThrottled", true),
        ];
        let results = results(4, &["1"], &all);
        let permanent = results
            .iter()
            .map(|r| r.as_ref().err().map(|r| r.permanent));
        let permanent: Vec<_> = permanent.collect();
        assert_eq!(permanent, [Some(true), None, Some(false), Some(false)]);
    }

    #[test]
    fn an_entry_without_a_result_makes_the_response_too_short() {
        assert_eq!(results(2, &["0"], &[]).len(), 1);
        assert_eq!(results(2, &["0", "7"], &[]).len(), 1);
    }
}
