//! An SQS dead-letter queue.

use super::{DeadLetters, FailureNote};
use crate::{
    Error, Record, Result,
    attribute::Attribute,
    aws::{
        self,
        limits::{ATTRIBUTES, MESSAGE_BYTES},
        sqs,
    },
    description::Use,
    environment,
};
use aws_sdk_sqs::Client;
use futures_util::future::BoxFuture;
use std::borrow::Cow;

/// Parks records in an SQS queue, usually the one that the source's redrive policy names, so that
/// all dead letters of a source are in one queue.
///
/// The message keeps its body, its attributes, its X-Ray trace header and, on a FIFO queue, its
/// group. If it already has ten attributes, which is all that SQS takes, the note is put
/// [around](FailureNote::around) its body. If little of SQS's 1 MiB is left, the note is shortened;
/// if there is no room at all, the message is not parked but left to the redrive policy.
///
/// The function's role needs `sqs:SendMessage` on the queue.
#[derive(Clone, Debug)]
pub struct SqsDeadLetters {
    client: Client,
    queue_url: String,
}

impl SqsDeadLetters {
    /// Parks records in the queue at `queue_url`. The client keeps its own time limits.
    pub fn new(client: Client, queue_url: impl Into<String>) -> Self {
        Self {
            client,
            queue_url: queue_url.into(),
        }
    }

    /// Parks records in the queue whose URL is in the environment variable `DEAD_LETTER_QUEUE_URL`, with the
    /// environment's AWS configuration. A call that gets no answer within 2 s is repeated, as
    /// [`aws::with_time_limits`](crate::aws::with_time_limits) describes.
    ///
    /// # Errors
    /// If the variable is not set or not a URL.
    pub async fn from_env() -> Result<Self> {
        let queue_url = environment::used_url("DEAD_LETTER_QUEUE_URL", Use::DeadLetterQueue)?;
        Ok(Self::new(
            Client::new(aws::limited_config().await),
            queue_url,
        ))
    }

    async fn send(&self, record: &Record, note: &FailureNote) -> Result<()> {
        let delivery = record.delivery();
        let (body, attributes) = message(record, note)?;
        let group = delivery.group.as_deref();
        let message = sqs::Message {
            body,
            attributes: attributes.iter().map(|(name, it)| (*name, &**it)).collect(),
            trace_header: delivery.trace_header.as_deref(),
            group,
            // If the same message is sent again, SQS drops the second one.
            deduplication_id: group.map(|_| record.id()),
        };
        Ok(sqs::send(&self.client, &self.queue_url, message).await?)
    }
}

impl DeadLetters for SqsDeadLetters {
    fn kind(&self) -> &'static str {
        "sqs"
    }

    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.send(record, note))
    }
}

/// The body and the attributes of a dead letter.
type Letter<'a> = (Cow<'a, str>, Vec<(&'a str, Cow<'a, Attribute>)>);

fn message<'a>(record: &'a Record, note: &FailureNote) -> Result<Letter<'a>> {
    let ours = [FailureNote::ATTRIBUTE, FailureNote::REDRIVE_COUNT];
    let kept: Vec<(&str, Cow<'_, Attribute>)> = (record.delivery().attributes.iter())
        .filter(|(name, _)| !ours.contains(&name.as_str()))
        .map(|(name, attribute)| (name.as_str(), Cow::Borrowed(attribute)))
        .collect();
    let is_full = kept.len() >= ATTRIBUTES;
    let with = |note: &FailureNote| {
        if is_full {
            return (Cow::Owned(note.around(record.body())), kept.clone());
        }
        let note = (FailureNote::ATTRIBUTE, Cow::Owned(note.to_attribute()));
        let mut attributes = kept.clone();
        attributes.push(note);
        (Cow::Borrowed(record.body()), attributes)
    };
    let size = |(body, attributes): &Letter<'_>| {
        let attributes = attributes.iter();
        body.len() + attributes.map(|(name, it)| it.size(name)).sum::<usize>()
    };
    std::iter::once(with(note))
        .chain(note.shorter().map(|shorter| with(&shorter)))
        .find(|message| size(message) <= MESSAGE_BYTES)
        .ok_or_else(|| {
            Error::transient(format!(
                "message {} has {} bytes, which leave no room for the reason of its failure: it stays in its queue, whose redrive policy will move it",
                record.id(),
                record.body().len()
            ))
        })
}
