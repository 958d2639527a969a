//! An SQS queue, for flows that must be in order.

use super::{
    Destination, PublishError, Transport, Unpublished,
    deliver::{Call, ToSend, deliver},
};
use crate::{
    Result,
    aws::{self, Entries, Refusal, limits::MESSAGE_BYTES, sqs, sqs::Message},
    description::Use,
    envelope::Outgoing,
    environment,
};
use aws_sdk_sqs::Client;
use futures_util::future::BoxFuture;
use std::borrow::Cow;

/// An SQS queue to publish to without a bus in between, by SendMessageBatch.
///
/// Messages have the form that EventBridge gives them, so that consumers need not know how they
/// were sent.
///
/// On a FIFO queue (its URL ends in `.fifo`), the event's partition key is the message group and
/// its id the deduplication id. A key that SQS does not take as a group has
/// [another](crate::aws::sqs::message_group). Events of one group are sent one after the other, each
/// once the previous one is accepted. If one is given up, the rest of its group is not sent.
///
/// Messages that SQS refuses are sent again by themselves, with backoff, up to four times in total;
/// the client retries calls that fail as a whole.
///
/// The program's role needs `sqs:SendMessage` on the queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    max_request_size: usize,
}

impl SqsQueue {
    /// Publishes to the queue with this URL. The client keeps its own time limits.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
            max_request_size: MESSAGE_BYTES,
        }
    }

    /// Publishes to the queue whose URL is in the environment variable `EVENT_QUEUE_URL`, with the
    /// environment's AWS configuration. A call that gets no answer within 2 s is repeated, as
    /// [`aws::with_time_limits`](crate::aws::with_time_limits) describes.
    ///
    /// # Errors
    /// If the variable is not set, or not a URL.
    pub async fn from_env() -> Result<Self> {
        let url = environment::used_url("EVENT_QUEUE_URL", Use::EventQueue)?;
        Ok(Self::new(Client::new(aws::limited_config().await), url))
    }

    /// Sets how many bytes the messages of a request may have in total; 1 MiB unless set. Set it
    /// for queues with a smaller `MaximumMessageSize`.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }

    fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }

    /// Returns the event's message group; none if the queue has no groups.
    fn group<'a>(&self, event: &'a Outgoing) -> Result<Option<Cow<'a, str>>, Refusal> {
        if !self.is_fifo() {
            return Ok(None);
        }
        let Some(key) = event.metadata().partition_key.as_deref() else {
            return Err(Refusal::permanent(
                "InvalidGroup",
                "a FIFO queue needs the event's partition key, and this event has none: give its type `#[event(partition_key = \"{…}\")]`",
            ));
        };
        Ok(Some(sqs::message_group(key)))
    }

    fn message<'a>(&self, event: &'a Outgoing, group: Option<&'a str>) -> Message<'a> {
        Message {
            body: event.body().into(),
            trace_header: event.trace_header(),
            group,
            deduplication_id: self.is_fifo().then(|| event.id()),
            ..Message::default()
        }
    }
}

impl Transport for SqsQueue {
    fn destination(&self, _: &Outgoing) -> Option<Destination<'_>> {
        Some(Destination::at_end_of("aws_sqs", &self.url))
    }

    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let to_send = self.to_send(events)?;
            deliver(&to_send, self.max_request_size, self).await
        })
    }
}

impl SqsQueue {
    fn to_send<'a>(&self, events: &'a [Outgoing]) -> Result<Vec<ToSend<'a>>, PublishError> {
        let groups: Vec<_> = events.iter().map(|event| self.group(event)).collect();
        if groups.iter().any(Result::is_err) {
            let unpublished = events.iter().zip(groups).map(|(event, group)| match group {
                Err(refusal) => Unpublished::new(event, refusal.code, refusal.message),
                Ok(_) => Unpublished::new(
                    event,
                    "NotSent",
                    "it was not sent, because another event of the call cannot be",
                ),
            });
            return Err(PublishError::new(Vec::new(), unpublished.collect()));
        }
        let to_send = events.iter().zip(groups).map(|(event, group)| ToSend {
            event,
            size: event.body().len(),
            lane: group.ok().flatten(),
        });
        Ok(to_send.collect())
    }
}

impl Call for SqsQueue {
    async fn call(&self, events: &[&Outgoing]) -> Result<Entries<()>, Refusal> {
        let groups = events.iter().map(|event| self.group(event));
        let groups = groups.collect::<Result<Vec<_>, Refusal>>()?;
        let messages = events.iter().zip(&groups);
        let messages = messages.map(|(event, group)| self.message(event, group.as_deref()));
        let results = sqs::send_batch(&self.client, &self.url, messages.collect()).await?;
        Ok(results.into_iter().map(|result| result.map(drop)).collect())
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
        let fifo = queue("https://q/orders.fifo");
        let message = fifo.message(&event, Some("customer-7"));
        assert_eq!(message.body, event.body());
        assert_eq!(message.group, Some("customer-7"));
        assert_eq!(message.deduplication_id, Some(event.id()));
        assert_eq!(message.trace_header, Some("Root=1-2-3"));

        let standard = queue("https://q/orders");
        assert_eq!(standard.group(&event).unwrap(), None);
        let message = standard.message(&event, None);
        assert_eq!(message.deduplication_id, None);
    }

    #[test]
    fn a_key_that_is_no_message_group_has_one_of_its_own() {
        let fifo = queue("https://q/orders.fifo");
        for key in ["a b", "order/42"] {
            assert_eq!(
                fifo.to_send(&[placed(key)]).unwrap()[0].lane,
                Some(sqs::message_group(key))
            );
        }
        assert_eq!(
            queue("https://q/orders").to_send(&[placed("a b")]).unwrap()[0].lane,
            None
        );
    }

    #[test]
    fn an_event_without_a_partition_key_is_refused_before_any_event_is_sent() {
        let fifo = queue("https://q/orders.fifo");
        let events = [placed("fine"), Outgoing::new(&Closed {}).unwrap()];
        let error = fifo.to_send(&events).err().unwrap();
        assert_eq!(error.unpublished()[0].code(), "NotSent");
        assert_eq!(error.unpublished()[1].code(), "InvalidGroup");
        assert!(
            error
                .to_string()
                .contains("needs the event's partition key"),
            "{error}"
        );
    }
}
