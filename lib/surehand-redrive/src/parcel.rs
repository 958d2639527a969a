//! A dead letter made ready to be put back.

use crate::{
    bus_event::BusEvent,
    destination::Destination,
    letter::{Letter, Origin},
};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, collections::BTreeMap};
use surehand::{
    aws::{
        Refusal,
        limits::{ATTRIBUTES, MESSAGE_BYTES},
        sqs::message_group,
    },
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
};

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parcel {
    /// The dead letter's id.
    pub letter_id: String,
    /// The body.
    pub body: String,
    /// The message attributes.
    pub attributes: BTreeMap<String, Attribute>,
    /// The system attribute `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// The message group.
    pub group: Option<String>,
    /// For FIFO queues: the same for every send of one letter with one body in one plan, and never the
    /// message's own, since SQS accepts and drops what it has seen in the last five minutes.
    pub deduplication_id: Option<String>,
}

/// An outbox parks events in a standard queue, which has no groups. A FIFO queue gets them in the group in which
/// they would have been published: that of the partition key.
fn partition(letter: &Letter, to: &Destination) -> Option<String> {
    // Of all others the group is for whoever delivers to the queue to say, and not for the event.
    let Origin::Parked { note, .. } = letter.origin() else {
        return None;
    };
    let is_of_outbox = note.source_queue.is_none() && to.is_fifo();
    let key = letter.event().filter(|_| is_of_outbox)?.partition_key?;
    Some(message_group(&key).into_owned())
}

/// A parcel that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The service's id of it.
    pub message_id: String,
    /// The MD5 of the body, in hex, as the service got it. A queue must give it.
    pub body_md5: Option<String>,
    /// The MD5 of the attributes, in hex, as the service got them. A queue must give it for a parcel
    /// that has some.
    pub attributes_md5: Option<String>,
}

/// How often a letter may be put back before somebody has to insist.
pub(crate) const MAX_REDRIVES: u32 = 3;

impl Parcel {
    /// The letter as it goes back to its consumer, with another body if that is given, and in a group if it has
    /// none itself.
    ///
    /// `attempt` is what sends of the same parcel have in common: the plan.
    ///
    /// # Errors
    /// Why it cannot be sent, in one line.
    pub(crate) fn redriven(
        letter: &Letter,
        to: &Destination,
        attempt: &str,
        body: Option<&str>,
        group: Option<&str>,
    ) -> Result<Self, String> {
        let Some(payload) = body.map(Cow::Borrowed).or_else(|| letter.payload()) else {
            return Err(letter.why_without_payload().into());
        };
        let mut parcel = Self {
            letter_id: letter.id.clone(),
            body: payload.into_owned(),
            attributes: letter
                .lasting_attributes()
                .map(|(name, attribute)| (name.to_owned(), attribute.clone()))
                .collect(),
            trace_header: letter.trace_header.clone(),
            group: (letter.group.clone())
                .or_else(|| group.map(str::to_owned))
                .or_else(|| partition(letter, to)),
            deduplication_id: None,
        };
        parcel.count_redrive(letter.redrive_count().saturating_add(1));
        parcel.addressed(to, attempt)
    }

    /// The letter as it was, for the dead-letter queue it came from.
    pub(crate) fn restored(
        letter: &Letter,
        to: &Destination,
        attempt: &str,
    ) -> Result<Self, String> {
        let parcel = Self {
            letter_id: letter.id.clone(),
            body: letter.body.clone(),
            attributes: letter.attributes.clone(),
            trace_header: letter.trace_header.clone(),
            group: letter.group.clone(),
            deduplication_id: None,
        };
        parcel.addressed(to, attempt)
    }

    /// The count takes the place of the note, and gives way to what the sender wrote.
    fn count_redrive(&mut self, count: u32) {
        if self.attributes.len() >= ATTRIBUTES {
            return;
        }
        let attribute = Attribute {
            data_type: "Number".into(),
            value: AttributeValue::Text(count.to_string()),
        };
        let name = FailureNote::REDRIVE_COUNT;
        self.attributes.insert(name.to_owned(), attribute);
        if self.size() > MESSAGE_BYTES {
            self.attributes.remove(name);
        }
    }

    fn addressed(mut self, to: &Destination, attempt: &str) -> Result<Self, String> {
        match to {
            Destination::Queue(_) => {}
            // They know neither groups nor attributes.
            Destination::Function(_) => {
                serde_json::from_str::<serde::de::IgnoredAny>(&self.body)
                    .map_err(|error| format!("{to} takes only JSON: {error}"))?;
                return Ok(self);
            }
            Destination::Bus(_) => {
                BusEvent::of(&self.body)?;
                return Ok(self);
            }
        }
        if to.is_fifo() {
            if self.group.is_none() {
                return Err(format!(
                    "{to} needs a message group, and the letter has none"
                ));
            }
            let id = Sha256::new()
                .chain_update(format!("{attempt}\n{}\n", self.letter_id))
                .chain_update(&self.body);
            self.deduplication_id = Some(hex::encode(id.finalize()));
        }
        if self.attributes.len() > ATTRIBUTES {
            return Err(format!(
                "it has {} attributes, and SQS takes {ATTRIBUTES}",
                self.attributes.len()
            ));
        }
        if self.body.is_empty() {
            return Err("its body is empty, and SQS takes none such".into());
        }
        match self.size() {
            ..=MESSAGE_BYTES => Ok(self),
            size => Err(format!(
                "it has {size} bytes, and SQS takes {MESSAGE_BYTES}"
            )),
        }
    }

    /// In bytes, as SQS counts them: the body, and the names, types and values of attributes.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, attribute)| attribute.size(name));
        self.body.len() + attributes.sum::<usize>()
    }

    /// Whether what was accepted is what was sent.
    pub(crate) fn check(&self, to: &Destination, accepted: &Accepted) -> Result<(), Refusal> {
        if !matches!(to, Destination::Queue(_)) {
            return Ok(());
        }
        let body = hex::encode(Md5::digest(&self.body));
        let attributes = (!self.attributes.is_empty()).then(|| self.attributes_md5());
        if accepted.body_md5.as_ref() == Some(&body)
            && (attributes.is_none() || accepted.attributes_md5 == attributes)
        {
            return Ok(());
        }
        Err(Refusal::transient(
            "Md5Mismatch",
            "the queue confirms another message than the one that was sent",
        ))
    }

    /// The MD5 of the body, in hex, as SQS gives it.
    pub fn body_md5(&self) -> String {
        hex::encode(Md5::digest(&self.body))
    }

    /// The MD5 of the attributes, in hex, as SQS gives it.
    ///
    /// It is [defined](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation)
    /// over name, type and value of each, in the order of their names, each with its length before it.
    pub fn attributes_md5(&self) -> String {
        fn part(digest: &mut Md5, bytes: &[u8]) {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            digest.update(length.to_be_bytes());
            digest.update(bytes);
        }
        let mut digest = Md5::new();
        for (name, attribute) in &self.attributes {
            part(&mut digest, name.as_bytes());
            part(&mut digest, attribute.data_type.as_bytes());
            match &attribute.value {
                AttributeValue::Text(text) => {
                    digest.update([1]);
                    part(&mut digest, text.as_bytes());
                }
                AttributeValue::Binary(bytes) => {
                    digest.update([2]);
                    part(&mut digest, bytes);
                }
            }
        }
        hex::encode(digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::SystemTime;

    fn parcel(attributes: Vec<(&str, &str, AttributeValue)>) -> Parcel {
        let attributes = attributes.into_iter().map(|(name, data_type, value)| {
            let data_type = data_type.to_owned();
            (name.to_owned(), Attribute { data_type, value })
        });
        let mut letter = Letter::new("m", "{}");
        letter.attributes = attributes.collect();
        let to = Destination::Queue("https://sqs.local/1/q".into());
        Parcel::restored(&letter, &to, "").unwrap()
    }

    /// Its queue refuses other groups, and orders it with what is published later.
    #[test]
    fn an_outboxs_event_goes_back_in_the_group_in_which_it_is_published() {
        let long = "x".repeat(129);
        for key in ["customer-7", "a b", "", &long] {
            let body = json!({"metadata": {"id": "e", "partitionkey": key}, "data": {}});
            let mut letter = Letter::new("m", body.to_string());
            let note = FailureNote::about("publish", "no", SystemTime::now()).to_attribute();
            let name = FailureNote::ATTRIBUTE.to_owned();
            letter.attributes.insert(name, note);
            let group = |to: &str| {
                let to = Destination::Queue(to.into());
                Parcel::redriven(&letter, &to, "plan", None, None)
                    .unwrap()
                    .group
            };
            let group_of_key = message_group(key).into_owned();
            assert_eq!(group("https://sqs.local/1/q.fifo"), Some(group_of_key));
            assert_eq!(group("https://sqs.local/1/q"), None);
        }
    }

    /// The digests were made by the SQS emulators LocalStack 4.9 and MiniStack 1.5, each by its own
    /// code, which agree.
    #[test]
    fn attributes_have_the_md5_that_others_compute() {
        let text = |text: &str| AttributeValue::Text(text.into());
        let bytes = |bytes: &[u8]| AttributeValue::Binary(bytes.to_vec());
        let all: Vec<u8> = (0..=255).collect();
        let ten: Vec<String> = (0..10).map(|index| format!("a{index}")).collect();
        let ten = ten.iter().enumerate();
        let ten = ten.map(|(n, name)| (&**name, "String", text(&"x".repeat(n + 1))));
        for (attributes, md5) in [
            (
                vec![("name", "String", text("value"))],
                "25ada41cad9d6e55ad5a2b3d2da508a2",
            ),
            (
                vec![("a", "String.città", text("Grüße ☃ 😀"))],
                "b005ebd33951d7ec6a0f72b55d2a4d56",
            ),
            (
                vec![("n", "Number.float.64", text("-3.14159265358979"))],
                "a6eaa9f844a3d88b4456ab2a393f4233",
            ),
            (
                vec![("b", "Binary", bytes(&all))],
                "699be28439eb2c3c3b70c717f5cbe2e7",
            ),
            (
                vec![
                    ("Zeta", "Number", text("150")),
                    ("alpha.beta_1-x", "Binary.png", bytes(&[0, 255, 1])),
                    ("Alpha", "String", text("ü")),
                    ("SurehandRedriveCount", "Number", text("2")),
                ],
                "c0dd0d01b75b9411863b4ba8bebafaed",
            ),
            (ten.collect(), "1f954228a6f21c146d0f7c20ec6ec13f"),
        ] {
            assert_eq!(parcel(attributes).attributes_md5(), md5);
        }
    }
}
