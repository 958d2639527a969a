//! A letter as one line of JSON.

use super::{Cause, EventSummary, Letter};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::BTreeMap;
use surehand::record::{Attribute, AttributeValue};

impl Serialize for Letter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// For those who read the line without this library.
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten, serialize_with = "Letter::serialize")]
            letter: &'a Letter,
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<EventSummary>,
            cause: Cause,
        }
        Line {
            letter: self,
            event: self.event(),
            cause: self.cause(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Letter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // This is what is derived, and not the trait's function.
        Self::deserialize(deserializer)
    }
}

/// An attribute as it is in the line.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

pub(super) fn serialize<S: Serializer>(
    attributes: &BTreeMap<String, Attribute>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(attributes.iter().map(|(name, attribute)| {
        let (text, base64) = match &attribute.value {
            AttributeValue::Text(text) => (Some(text.clone()), None),
            AttributeValue::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        let data_type = attribute.data_type.clone();
        (
            name,
            Line {
                data_type,
                text,
                base64,
            },
        )
    }))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Attribute>, D::Error> {
    let lines = BTreeMap::<String, Line>::deserialize(deserializer)?;
    let attributes = lines.into_iter().map(|(name, line)| {
        let value = match (line.text, line.base64) {
            (Some(text), None) => AttributeValue::Text(text),
            (None, Some(base64)) => {
                AttributeValue::Binary(STANDARD.decode(base64).map_err(D::Error::custom)?)
            }
            _ => {
                return Err(D::Error::custom(format!(
                    "attribute `{name}` must have either `text` or `base64`"
                )));
            }
        };
        let data_type = line.data_type;
        Ok((name, Attribute { data_type, value }))
    });
    attributes.collect()
}
