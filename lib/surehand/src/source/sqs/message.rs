//! A message, as Lambda delivers it.

use crate::{
    attribute::{Attribute, AttributeValue},
    redact,
    source::parts::Parts,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is used of a message. What is not, such as the digests, may have any shape.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    #[serde(rename = "messageId")]
    pub(super) id: Option<String>,
    pub(super) body: Option<String>,
    pub(super) receipt_handle: Option<String>,
    #[serde(rename = "eventSourceARN")]
    pub(super) source_arn: Option<String>,
    pub(super) attributes: Option<System>,
    message_attributes: Option<BTreeMap<String, Option<Given>>>,
    /// What else could not be read, and where.
    #[serde(skip)]
    problem: Option<String>,
}

/// What SQS says of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct System {
    pub(super) approximate_receive_count: Option<String>,
    pub(super) sent_timestamp: Option<String>,
    pub(super) message_group_id: Option<String>,
    #[serde(rename = "AWSTraceHeader")]
    pub(super) trace_header: Option<String>,
}

/// What a sender says of a message. The format has lists, but SQS does not support them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a message attribute")]
struct Given {
    string_value: Option<String>,
    binary_value: Option<String>,
    data_type: Option<String>,
}

impl Message {
    /// Reads a message. Where it is odd, what can be read of it is kept.
    pub(super) fn read(json: &str) -> Self {
        // This is the usual way, and takes half the time.
        serde_json::from_str(json).unwrap_or_else(|_| Self::read_in_parts(json))
    }

    fn read_in_parts(json: &str) -> Self {
        let Some(mut parts) = Parts::of(json) else {
            return Self::default();
        };
        let mut system = parts.inside("attributes");
        let attributes = System {
            approximate_receive_count: system.read("ApproximateReceiveCount"),
            sent_timestamp: system.read("SentTimestamp"),
            message_group_id: system.read("MessageGroupId"),
            trace_header: system.read("AWSTraceHeader"),
        };
        let mut given = parts.inside("messageAttributes");
        let names: Vec<String> = given.fields.keys().cloned().collect();
        let message_attributes = names.into_iter().map(|name| {
            let attribute = given.read(&name);
            (name, attribute)
        });
        let message_attributes = Some(message_attributes.collect());
        // A body that is no text is kept as the JSON that it is.
        let body = parts.fields.get("body").map(|body| body.get().to_owned());
        let mut message = Self {
            id: parts.read("messageId"),
            body: parts.read("body").or(body.filter(|body| body != "null")),
            receipt_handle: parts.read("receiptHandle"),
            source_arn: parts.read("eventSourceARN"),
            attributes: Some(attributes),
            message_attributes,
            problem: None,
        };
        parts.problems.append(&mut system.problems);
        parts.problems.append(&mut given.problems);
        message.problem = parts.problem("the message");
        message
    }

    /// Takes the message's attributes, without those that cannot be read, and says why not.
    pub(super) fn take_attributes(&mut self) -> (BTreeMap<String, Attribute>, Option<String>) {
        let mut problem = self.problem.take();
        let mut attributes = BTreeMap::new();
        for (name, given) in self.message_attributes.take().unwrap_or_default() {
            let Some(given) = given else { continue };
            let value = match (given.string_value, given.binary_value) {
                (Some(text), _) => AttributeValue::Text(text),
                (None, Some(text)) => match BASE64_STANDARD.decode(text) {
                    Ok(bytes) => AttributeValue::Binary(bytes),
                    Err(_) => {
                        problem.get_or_insert_with(|| {
                            let name = redact::name(&name);
                            format!("the message cannot be read: the `binaryValue` of its attribute `{name}` is not Base64")
                        });
                        continue;
                    }
                },
                (None, None) => continue,
            };
            let data_type = given.data_type.unwrap_or_else(|| "String".into());
            attributes.insert(name, Attribute { data_type, value });
        }
        (attributes, problem)
    }
}
