//! SQS: messages, their attributes and groups, and the results of batches by entry.

use super::{Entries, Refusal};
use crate::attribute::{Attribute, AttributeValue};
use aws_sdk_sqs::{
    Client,
    error::BuildError,
    primitives::Blob,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        DeleteMessageBatchRequestEntry, MessageAttributeValue,
        MessageSystemAttributeNameForSends as SystemAttribute, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
    },
};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, collections::HashMap};

/// The longest message group.
const MAX_GROUP: usize = 128;

/// Returns the message group of a partition key on a FIFO queue: the key itself, or its SHA-256 in hexadecimal if SQS
/// does not take it. SQS takes 1 to 128 ASCII letters, digits and punctuation marks.
///
/// A partition key is text of any kind. One that is no group must not make an event that cannot be published, and
/// each key has a group of its own.
pub fn message_group(partition_key: &str) -> Cow<'_, str> {
    let is_group = (1..=MAX_GROUP).contains(&partition_key.len())
        && partition_key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_group {
        partition_key.into()
    } else {
        hex::encode(Sha256::digest(partition_key)).into()
    }
}

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    /// Its body.
    pub body: Cow<'a, str>,
    /// Its attributes, by name; SQS takes [ten](super::limits::ATTRIBUTES).
    pub attributes: Vec<(&'a str, &'a Attribute)>,
    /// X-Ray's trace header, which travels as the system attribute `AWSTraceHeader`.
    pub trace_header: Option<&'a str>,
    /// Its message group.
    pub group: Option<&'a str>,
    /// Its deduplication id, on a FIFO queue.
    pub deduplication_id: Option<&'a str>,
}

/// Attributes as they are in a request, which leaves out a map without entries.
type Attributes<K, V> = Result<Option<HashMap<K, V>>, BuildError>;

impl Message<'_> {
    fn attributes(&self) -> Attributes<String, MessageAttributeValue> {
        let attributes = self.attributes.iter().map(|(name, attribute)| {
            let value = MessageAttributeValue::builder().data_type(&attribute.data_type);
            let value = match &attribute.value {
                AttributeValue::Text(text) => value.string_value(text),
                AttributeValue::Binary(bytes) => value.binary_value(Blob::new(bytes.clone())),
            };
            Ok(((*name).to_owned(), value.build()?))
        });
        let attributes: HashMap<_, _> = attributes.collect::<Result<_, BuildError>>()?;
        Ok((!attributes.is_empty()).then_some(attributes))
    }

    fn system_attributes(&self) -> Attributes<SystemAttribute, MessageSystemAttributeValue> {
        let Some(header) = self.trace_header else {
            return Ok(None);
        };
        let value = MessageSystemAttributeValue::builder().data_type("String");
        let value = value.string_value(header).build()?;
        let name = SystemAttribute::AwsTraceHeader;
        Ok(Some(HashMap::from([(name, value)])))
    }

    fn entry(self, id: usize) -> Result<SendMessageBatchRequestEntry, BuildError> {
        SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .set_message_attributes(self.attributes()?)
            .set_message_system_attributes(self.system_attributes()?)
            .message_body(self.body)
            .set_message_group_id(self.group.map(str::to_owned))
            .set_message_deduplication_id(self.deduplication_id.map(str::to_owned))
            .build()
    }
}

/// Reads the value of a message attribute; none if it has neither text nor bytes.
pub fn attribute(value: MessageAttributeValue) -> Option<Attribute> {
    let data_type = value.data_type;
    let value = match (value.string_value, value.binary_value) {
        (Some(text), _) => AttributeValue::Text(text),
        (None, Some(bytes)) => AttributeValue::Binary(bytes.into_inner()),
        (None, None) => return None,
    };
    Some(Attribute { data_type, value })
}

/// Sends one message to the queue at `url`.
///
/// The caller needs `sqs:SendMessage` on the queue.
///
/// # Errors
/// If it was not sent, as far as is known.
pub async fn send(client: &Client, url: &str, message: Message<'_>) -> Result<(), Refusal> {
    let request = client.send_message().queue_url(url);
    let request = request
        .set_message_attributes(message.attributes().map_err(incomplete)?)
        .set_message_system_attributes(message.system_attributes().map_err(incomplete)?)
        .message_body(message.body)
        .set_message_group_id(message.group.map(str::to_owned))
        .set_message_deduplication_id(message.deduplication_id.map(str::to_owned));
    let output = request.send().await;
    output.map(drop).map_err(|error| Refusal::of_call(&error))
}

/// Sends messages to the queue at `url`, and returns SQS's result for each, in the request's order.
///
/// A request takes ten [messages](super::limits::ENTRIES), of 1 MiB
/// ([`MESSAGE_BYTES`](super::limits::MESSAGE_BYTES)) in total. The caller needs `sqs:SendMessage`
/// on the queue.
///
/// # Errors
/// If the call as a whole was refused. Messages may have been sent nevertheless.
pub async fn send_batch(
    client: &Client,
    url: &str,
    messages: Vec<Message<'_>>,
) -> Result<Entries<SendMessageBatchResultEntry>, Refusal> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let count = messages.len();
    let entries = messages.into_iter().enumerate();
    let entries = entries.map(|(id, message)| message.entry(id));
    let request = client.send_message_batch().queue_url(url);
    let request = request.set_entries(Some(complete(entries)?));
    let output = request.send().await;
    let output = output.map_err(|error| Refusal::of_call(&error))?;
    let done = output.successful.into_iter();
    let done = done.map(|entry| (entry.id.clone(), entry));
    Ok(in_order(count, done, &output.failed))
}

/// Deletes up to [ten](super::limits::ENTRIES) messages by their receipt handles, with one result
/// for each, in the request's order.
///
/// The caller needs `sqs:DeleteMessage` on the queue.
///
/// # Errors
/// If the call as a whole was refused. Messages may have been deleted nevertheless.
pub async fn delete(
    client: &Client,
    url: &str,
    receipts: &[String],
) -> Result<Entries<()>, Refusal> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let entries = receipts.iter().enumerate().map(|(id, receipt)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        entry.receipt_handle(receipt).build()
    });
    let request = client.delete_message_batch().queue_url(url);
    let request = request.set_entries(Some(complete(entries)?));
    let output = request.send().await;
    let output = output.map_err(|error| Refusal::of_call(&error))?;
    let done = output.successful.into_iter().map(|entry| (entry.id, ()));
    Ok(in_order(receipts.len(), done, &output.failed))
}

/// Sets the visibility timeouts of up to [ten](super::limits::ENTRIES) messages, each given by its
/// receipt handle and its seconds from now, with one result for each, in the request's order.
///
/// The caller needs `sqs:ChangeMessageVisibility` on the queue.
///
/// # Errors
/// If the call as a whole was refused. Timeouts may have been set nevertheless.
pub async fn change_visibility(
    client: &Client,
    url: &str,
    timeouts: &[(&str, i32)],
) -> Result<Entries<()>, Refusal> {
    if timeouts.is_empty() {
        return Ok(Vec::new());
    }
    let entries = timeouts.iter().enumerate().map(|(id, (receipt, seconds))| {
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(id.to_string())
            .receipt_handle(*receipt)
            .visibility_timeout(*seconds)
            .build()
    });
    let request = client.change_message_visibility_batch().queue_url(url);
    let request = request.set_entries(Some(complete(entries)?));
    let output = request.send().await;
    let output = output.map_err(|error| Refusal::of_call(&error))?;
    let done = output.successful.into_iter().map(|entry| (entry.id, ()));
    Ok(in_order(timeouts.len(), done, &output.failed))
}

fn complete<T>(entries: impl Iterator<Item = Result<T, BuildError>>) -> Result<Vec<T>, Refusal> {
    entries.collect::<Result<_, _>>().map_err(incomplete)
}

/// The refusal of an entry that its builder rejects; no entry here lacks a required field.
fn incomplete(error: BuildError) -> Refusal {
    Refusal::permanent("IncompleteRequest", error.to_string())
}

/// Returns the result of each entry, found by its id, which is its position. An entry that the
/// answer does not mention may have been accepted, and one that it also calls failed may not have been.
fn in_order<T>(
    entries: usize,
    done: impl Iterator<Item = (String, T)>,
    failed: &[BatchResultErrorEntry],
) -> Entries<T> {
    let mut results: Entries<T> = std::iter::repeat_with(|| Err(Refusal::unanswered()))
        .take(entries)
        .collect();
    for (id, value) in done {
        put(&mut results, &id, Ok(value));
    }
    for entry in failed {
        put(&mut results, entry.id(), Err(refusal(entry)));
    }
    results
}

fn put<T>(results: &mut Entries<T>, id: &str, result: Result<T, Refusal>) {
    if let Some(place) = id.parse().ok().and_then(|id: usize| results.get_mut(id)) {
        *place = result;
    }
}

fn refusal(entry: &BatchResultErrorEntry) -> Refusal {
    let mut refusal = Refusal::of_code(entry.code(), entry.message().unwrap_or_default());
    // SQS marks throttling as the sender's fault too.
    refusal.permanent |= entry.sender_fault() && !entry.code().contains("Throttl");
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
        let entry = BatchResultErrorEntry::builder().id(id).code(code);
        entry.sender_fault(sender_fault).build().unwrap()
    }

    fn done(ids: &[&str]) -> impl Iterator<Item = (String, ())> {
        ids.iter().map(|id| ((*id).to_owned(), ()))
    }

    #[test]
    fn a_partition_key_that_is_no_message_group_has_one_of_its_own() {
        let long = "x".repeat(129);
        let keys = ["", "a b", "ü", "a\nb", &long];
        let groups = keys.map(message_group);
        for (place, group) in groups.iter().enumerate() {
            assert_eq!(group.len(), 64, "{group}");
            assert!(group.bytes().all(|byte| byte.is_ascii_graphic()), "{group}");
            assert_eq!(groups.iter().position(|other| other == group), Some(place));
        }
        let longest = "x".repeat(128);
        for good in ["a", "order/42", "{~}!", &longest] {
            assert_eq!(message_group(good), good);
        }
    }

    #[test]
    fn results_are_matched_by_the_entries_ids() {
        let all = [
            failed("2", "InternalError", false),
            failed("0", "InvalidMessageContents", true),
            failed("3", "RequestThrottled", true),
            failed("4", "ReceiptHandleIsInvalid", false),
        ];
        let results = in_order(5, done(&["1"]), &all);
        let permanent = results.iter();
        let permanent = permanent.map(|r| r.as_ref().err().map(|r| r.permanent));
        let permanent: Vec<_> = permanent.collect();
        assert_eq!(
            permanent,
            [Some(true), None, Some(false), Some(false), Some(true)]
        );
    }

    #[test]
    fn an_entry_without_a_result_may_be_tried_again() {
        for named in [&["0"][..], &["0", "7"]] {
            let results = in_order(2, done(named), &[]);
            assert_eq!(results, [Ok(()), Err(Refusal::unanswered())]);
            assert!(!Refusal::unanswered().permanent);
        }
    }

    #[test]
    fn an_entry_that_is_done_and_failed_is_not_taken_for_done() {
        let failed = [failed("1", "InternalError", false)];
        let results = in_order(2, done(&["0", "0", "1"]), &failed);
        assert_eq!(results[0], Ok(()));
        assert_eq!(results[1].as_ref().unwrap_err().code, "InternalError");
    }

    #[tokio::test]
    async fn a_request_without_entries_is_not_sent() {
        // This client cannot call anything.
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .build();
        let client = Client::from_conf(config);
        assert_eq!(send_batch(&client, "q", Vec::new()).await, Ok(Vec::new()));
        assert_eq!(delete(&client, "q", &[]).await, Ok(Vec::new()));
        assert_eq!(change_visibility(&client, "q", &[]).await, Ok(Vec::new()));
    }

    #[test]
    fn attributes_come_back_as_they_were_sent() {
        let text = Attribute {
            data_type: "Number.cents".into(),
            value: AttributeValue::Text("150".into()),
        };
        let bytes = Attribute {
            data_type: "Binary".into(),
            value: AttributeValue::Binary(vec![0, 255]),
        };
        let message = Message {
            body: "{}".into(),
            attributes: vec![("price", &text), ("image", &bytes)],
            trace_header: Some("Root=1-2-3"),
            ..Message::default()
        };
        let entry = message.entry(3).unwrap();
        let sent = entry.message_attributes().unwrap();
        for (name, expected) in [("price", text), ("image", bytes)] {
            assert_eq!(attribute(sent[name].clone()), Some(expected));
        }
        assert_eq!((entry.id(), entry.message_body()), ("3", "{}"));
        let system = entry.message_system_attributes().unwrap();
        let header = &system[&SystemAttribute::AwsTraceHeader];
        assert_eq!(header.string_value(), Some("Root=1-2-3"));

        let plain = Message::default().entry(0).unwrap();
        assert_eq!(plain.message_attributes(), None);
        assert_eq!(plain.message_system_attributes(), None);
    }
}
