//! Idempotency keys and payload fingerprints.

mod python;

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// An idempotency key: `{scope}#{hash}`.
///
/// It is computed once for a record and carried by value. Handlers with effects outside DynamoDB
/// take it as an argument and hand it on to whatever can deduplicate by it; it is the same in every
/// attempt at a record:
///
/// ```
/// use surehand::IdempotencyKey;
/// # struct Request;
/// # impl Request { fn header(self, _: &str, _: &str) -> Self { self } }
/// async fn charge(key: IdempotencyKey) -> surehand::Result<()> {
///     Request.header("Idempotency-Key", key.as_str());
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key that is spelled out.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key of an event, as a function of this name makes it unless it is told otherwise.
    pub fn of_event(function: &str, event_id: &str) -> Self {
        KeyStyle::default().key(function, &Value::from(event_id))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A UUID that belongs to this key and `name`: the same in every attempt at the record. For the
    /// ids of what the handler creates.
    pub fn uuid(&self, name: &str) -> uuid::Uuid {
        let namespace = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, self.0.as_bytes());
        uuid::Uuid::new_v5(&namespace, name.as_bytes())
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How keys and fingerprints are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyStyle {
    /// SHA-256, in hexadecimal, of the key's text; fingerprints over JSON with sorted keys.
    #[default]
    Sha256,
    /// What [Powertools for AWS Lambda (Python)](https://docs.powertools.aws.dev/lambda/python/latest/utilities/idempotency/)
    /// writes by default, so that its functions and Surehand's share one table and absorb each
    /// other's duplicates: MD5, in hexadecimal, of the JSON that Python's `json.dumps` makes with
    /// sorted keys.
    ///
    /// Set the scope to theirs, `{function name}.{module}.{qualified name of the decorated
    /// function}`. Their other languages write JSON without the blanks; for keys that are one
    /// string or number that makes no difference.
    ///
    /// The fingerprint is of the whole payload: where Powertools validates a part of it, the two
    /// differ, and a shared key looks reused. Integers beyond 64 bits and `-0` have other digests
    /// than in Python.
    Powertools,
}

impl KeyStyle {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Powertools => "powertools",
        }
    }

    pub(crate) fn key(self, scope: &str, value: &Value) -> IdempotencyKey {
        IdempotencyKey(format!("{scope}#{}", self.digest(value)))
    }

    pub(crate) fn fingerprint(self, payload: &Value) -> String {
        self.digest(payload)
    }

    fn digest(self, value: &Value) -> String {
        match self {
            Self::Sha256 => {
                let mut json = String::new();
                write_sorted(&mut json, value);
                hex::encode(Sha256::digest(json))
            }
            Self::Powertools => hex::encode(md5::Md5::digest(python::json_dumps(value))),
        }
    }
}

/// JSON with every object's keys in order: a replay may spell an event with its fields in another
/// order, and it is the same event.
fn write_sorted(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                write_sorted(out, field);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_sorted(out, item);
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_fields_makes_no_difference_but_that_of_items_does() {
        let style = KeyStyle::Sha256;
        let parse = |text| serde_json::from_str::<Value>(text).unwrap();
        let a = style.fingerprint(&parse(r#"{"a":{"x":1,"y":[1,2]},"b":"ü"}"#));
        let b = style.fingerprint(&parse(r#"{"b":"\u00fc", "a":{"y":[1, 2],"x":1}}"#));
        assert_eq!(a, b);
        let c = style.fingerprint(&parse(r#"{"a":{"x":1,"y":[2,1]},"b":"ü"}"#));
        assert_ne!(a, c);
    }

    #[test]
    fn a_string_and_a_number_are_different_keys() {
        for style in [KeyStyle::Sha256, KeyStyle::Powertools] {
            assert_ne!(style.key("f", &json!("1")), style.key("f", &json!(1)));
            assert_ne!(style.key("f", &json!("1")), style.key("g", &json!("1")));
        }
    }

    #[test]
    fn names_from_a_key_are_stable_and_distinct() {
        let key = IdempotencyKey::new("f#1");
        assert_eq!(key.uuid("order"), IdempotencyKey::new("f#1").uuid("order"));
        assert_ne!(key.uuid("order"), key.uuid("invoice"));
        assert_ne!(key.uuid("order"), IdempotencyKey::new("f#2").uuid("order"));
    }
}
