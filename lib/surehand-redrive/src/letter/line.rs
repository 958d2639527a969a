//! A letter as one line of JSON.

use super::{Cause, EventSummary, Letter};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{borrow::Cow, collections::BTreeMap};
use surehand::record::{Attribute, AttributeValue};

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    id: Cow<'a, str>,
    body: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<Cow<'a, str>, LineAttribute<'a>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    dropped_attributes: Cow<'a, [String]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_at_ms: Option<u64>,
    #[serde(default)]
    receive_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deduplication_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_header: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_arn: Option<Cow<'a, str>>,
    // For those who read the line without this library.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    event: Option<EventSummary>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
}

#[derive(Serialize, Deserialize)]
struct LineAttribute<'a> {
    #[serde(rename = "type")]
    data_type: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Serialize for Letter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attributes = self.attributes.iter().map(|(name, attribute)| {
            let (text, base64) = match &attribute.value {
                AttributeValue::Text(text) => (Some(text.as_str().into()), None),
                AttributeValue::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
            };
            let line = LineAttribute {
                data_type: attribute.data_type.as_str().into(),
                text,
                base64,
            };
            (name.as_str().into(), line)
        });
        let borrowed = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
        Line {
            id: self.id.as_str().into(),
            body: self.body.as_str().into(),
            attributes: attributes.collect(),
            dropped_attributes: self.dropped_attributes.as_slice().into(),
            sent_at_ms: self.sent_at_ms,
            receive_count: self.receive_count,
            group: borrowed(&self.group),
            deduplication_id: borrowed(&self.deduplication_id),
            trace_header: borrowed(&self.trace_header),
            source_arn: borrowed(&self.source_arn),
            event: self.event(),
            cause: Some(self.cause()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Letter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = Line::deserialize(deserializer)?;
        let attributes = line.attributes.into_iter().map(|(name, line)| {
            let value = match (line.text, line.base64) {
                (Some(text), None) => AttributeValue::Text(text.into_owned()),
                (None, Some(base64)) => {
                    AttributeValue::Binary(STANDARD.decode(base64).map_err(D::Error::custom)?)
                }
                _ => {
                    return Err(D::Error::custom(format!(
                        "attribute `{name}` must have either `text` or `base64`"
                    )));
                }
            };
            let data_type = line.data_type.into_owned();
            Ok((name.into_owned(), Attribute { data_type, value }))
        });
        Ok(Self {
            attributes: attributes.collect::<Result<_, _>>()?,
            id: line.id.into_owned(),
            body: line.body.into_owned(),
            dropped_attributes: line.dropped_attributes.into_owned(),
            sent_at_ms: line.sent_at_ms,
            receive_count: line.receive_count,
            group: line.group.map(Cow::into_owned),
            deduplication_id: line.deduplication_id.map(Cow::into_owned),
            trace_header: line.trace_header.map(Cow::into_owned),
            source_arn: line.source_arn.map(Cow::into_owned),
        })
    }
}
