//! Idempotency keys and payload fingerprints.

mod canonical;
mod ecma;
mod python;

use crate::Metadata;
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt;

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

    /// The key of an event, as a function of this name makes it unless it is told otherwise: from
    /// the event's [identity](Metadata::identity), which is its source, its type and its id.
    ///
    /// An id alone says which event it is only within its source.
    pub fn of_event(function: &str, event: &Metadata) -> Self {
        let style = KeyStyle::default();
        style.key(function, &style.identity(event))
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
    /// SHA-256, in hexadecimal. An event's key is made from its [identity](Metadata::identity). A fingerprint
    /// covers the event's type and its data: JSON with sorted keys, its numbers as they are written.
    /// Data that is not JSON is taken as the text that it is.
    #[default]
    Sha256,
    /// What [Powertools for AWS Lambda (Python)](https://docs.powertools.aws.dev/lambda/python/latest/utilities/idempotency/)
    /// writes by default, so that its functions and Surehand's share one table and absorb each
    /// other's duplicates: MD5, in hexadecimal, of the JSON that Python's `json.dumps` makes with
    /// sorted keys.
    ///
    /// Set the scope to theirs, `{function name}.{module}.{qualified name of the decorated
    /// function}`. Their other languages write other digests and have styles of their own. A key is any
    /// JSON, of which a value beyond 64 bits and `-0` are malformed, since Python writes them otherwise.
    ///
    /// Since those functions know no more of an event than its id, an event's key is made from its id
    /// alone: two sources that give one id to two events share a key. With events of several sources
    /// set [`Idempotency::key`](crate::Idempotency::key). The fingerprint does not cover the event's
    /// type either.
    ///
    /// The fingerprint is of the whole payload: where Powertools validates a part of it, the two
    /// differ, and a shared key looks reused. Integers beyond 64 bits and `-0` have other digests
    /// than in Python.
    Powertools,
    /// What Powertools for AWS Lambda for Java and for .NET write for a key that is text or an integer: MD5,
    /// in hexadecimal, of the text itself, without quotation marks.
    ///
    /// Any other key is malformed: fractions, booleans, lists and objects have other digests in Java than in
    /// .NET, and depend on how the sender wrote them. Their scope is `{function name}.{method}`. What is
    /// said of Python holds for the rest.
    PowertoolsText,
    /// What Powertools for AWS Lambda (TypeScript) writes: MD5, in Base64, of the JSON text, in which names
    /// are sorted without regard to case, and numbers are JavaScript's.
    ///
    /// A key is any JSON but an object in which a name is a number or not ASCII, or two names differ in
    /// case alone: that is malformed. Their scope is `{function name}.{name of the wrapped function}`. They keep a reply as an item's
    /// map, and not as JSON text: so duplicates are absorbed, and none of the two reads the other's
    /// replies. What is said of Python holds for the rest.
    PowertoolsTypeScript,
}

impl KeyStyle {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Powertools => "powertools",
            Self::PowertoolsText => "powertools_text",
            Self::PowertoolsTypeScript => "powertools_typescript",
        }
    }

    /// Fails for a value on whose digest those who share the key would not agree.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let problem = match (self, value) {
            (Self::Sha256, _) => Ok(()),
            (Self::Powertools, _) => python::check(value),
            (Self::PowertoolsTypeScript, _) => ecma::json_stringify(value).map(drop),
            (Self::PowertoolsText, Value::String(_)) => Ok(()),
            (Self::PowertoolsText, Value::Number(number)) if !number.is_f64() => Ok(()),
            (Self::PowertoolsText, _) => Err("neither text nor a 64-bit integer"),
        };
        problem.map_err(|what| {
            format!(
                "is {what}, which has no certain digest in the style `{}`",
                self.as_str()
            )
        })
    }

    /// The style of this [name](Self::as_str).
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Sha256,
            Self::Powertools,
            Self::PowertoolsText,
            Self::PowertoolsTypeScript,
        ];
        all.into_iter().find(|style| style.as_str() == name)
    }

    pub(crate) fn key(self, scope: &str, value: &Value) -> IdempotencyKey {
        IdempotencyKey(format!("{scope}#{}", self.digest(value)))
    }

    /// What the key of an event is made from, unless the function says otherwise.
    pub(crate) fn identity(self, event: &Metadata) -> Value {
        match self {
            Self::Sha256 => json!(event.identity()),
            Self::Powertools | Self::PowertoolsText | Self::PowertoolsTypeScript => {
                Value::from(event.id.as_str())
            }
        }
    }

    /// The digest of what a key stands for: data, and the type of its event where it has one.
    pub(crate) fn fingerprint(self, detail_type: Option<&str>, data: &str) -> String {
        match self {
            Self::Sha256 => {
                let mut text = String::new();
                if let Some(detail_type) = detail_type {
                    text.push_str(&Value::from(detail_type).to_string());
                    text.push('\n');
                }
                match canonical::json(data) {
                    Some(json) => text.push_str(&json),
                    // A line break begins nothing else: no text looks like JSON, or like a type.
                    None => {
                        text.push('\n');
                        text.push_str(data);
                    }
                }
                hex::encode(Sha256::digest(text))
            }
            // Those that validate no payload keep none, and do not look at another's.
            Self::Powertools | Self::PowertoolsText | Self::PowertoolsTypeScript => {
                match serde_json::from_str(data) {
                    Ok(value) => Self::Powertools.digest(&value),
                    Err(_) => hex::encode(md5::Md5::digest(data)),
                }
            }
        }
    }

    fn digest(self, value: &Value) -> String {
        match self {
            Self::Sha256 => hex::encode(Sha256::digest(value.to_string())),
            Self::Powertools => hex::encode(md5::Md5::digest(python::json_dumps(value))),
            Self::PowertoolsText => hex::encode(md5::Md5::digest(match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })),
            Self::PowertoolsTypeScript => BASE64.encode(md5::Md5::digest(
                ecma::json_stringify(value).unwrap_or_else(|_| value.to_string()),
            )),
        }
    }
}

/// What [`Idempotency::key`](crate::Idempotency::key) may take from a record: text, any JSON, or an `Option` of
/// either.
#[diagnostic::on_unimplemented(
    message = "an idempotency key cannot be `{Self}`",
    note = "a key is a `String`, a `serde_json::Value`, or an `Option` of either"
)]
pub trait IntoKey {
    /// Returns what the key is made from; none if there is none.
    fn into_key(self) -> Option<Value>;
}

impl IntoKey for String {
    fn into_key(self) -> Option<Value> {
        Value::from(self).into_key()
    }
}

/// A text, a list or an object that is empty is no key, nor is `null`, nor one with nothing but `null` in it.
impl IntoKey for Value {
    fn into_key(self) -> Option<Value> {
        let is_missing = match &self {
            Self::Null => true,
            Self::String(text) => text.is_empty(),
            Self::Array(items) => items.iter().all(Self::is_null),
            Self::Object(map) => map.values().all(Self::is_null),
            Self::Bool(_) | Self::Number(_) => false,
        };
        (!is_missing).then_some(self)
    }
}

impl<K: IntoKey> IntoKey for Option<K> {
    fn into_key(self) -> Option<Value> {
        self?.into_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fingerprint(data: &str) -> String {
        KeyStyle::Sha256.fingerprint(None, data)
    }

    #[test]
    fn the_order_of_fields_makes_no_difference_but_that_of_items_does() {
        let a = fingerprint(r#"{"a":{"x":1,"y":[1,2]},"b":"ü"}"#);
        let b = fingerprint(r#"{"b":"\u00fc", "a":{"y":[1, 2],"x":1}}"#);
        assert_eq!(a, b);
        let c = fingerprint(r#"{"a":{"x":1,"y":[2,1]},"b":"ü"}"#);
        assert_ne!(a, c);
    }

    #[test]
    fn numbers_are_compared_by_their_text() {
        let of = |number: &str| fingerprint(&format!(r#"{{"n":[{number}]}}"#));
        assert_ne!(of("12345678901234567890123"), of("12345678901234567890124"));
        assert_ne!(of("0.1234567890123456789"), of("0.1234567890123456788"));
        assert_ne!(of("1e400"), of("1e401"));
        assert_eq!(of("1"), of(" 1 "));
    }

    #[test]
    fn a_fingerprint_covers_the_type_of_the_event() {
        let of = |kind| KeyStyle::Sha256.fingerprint(kind, "{}");
        assert_ne!(of(Some("OrderPlaced")), of(Some("OrderCancelled")));
        assert_ne!(of(Some("OrderPlaced")), of(None));
        let of = |kind| KeyStyle::Powertools.fingerprint(kind, "{}");
        assert_eq!(
            of(Some("OrderPlaced")),
            of(None),
            "Powertools knows no types"
        );
    }

    #[test]
    fn what_is_not_json_is_taken_as_text() {
        for style in [KeyStyle::Sha256, KeyStyle::Powertools] {
            let deep = "[".repeat(100_000);
            for text in ["Test message.", "", "{", &deep] {
                let print = style.fingerprint(None, text);
                assert_eq!(print, style.fingerprint(None, text));
                assert_ne!(print, style.fingerprint(None, &format!("{text}!")));
            }
        }
        let typed = KeyStyle::Sha256.fingerprint(Some("OrderPlaced"), "{}");
        assert_ne!(
            typed,
            fingerprint("\"OrderPlaced\"\n{}"),
            "a text is no type"
        );
    }

    #[test]
    fn an_id_is_its_sources_and_its_types() {
        let event = |[source, kind, id]: [&str; 3], own_source: &str, own_type: &str| {
            let own = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            IdempotencyKey::of_event(
                "f",
                &Metadata {
                    source: Some(source.into()),
                    detail_type: Some(kind.into()),
                    own_source: own(own_source),
                    own_type: own(own_type),
                    ..Metadata::new(id)
                },
            )
        };
        let keys = [
            event(["a", "t", "1"], "", ""),
            event(["b", "t", "1"], "", ""),
            event(["a", "u", "1"], "", ""),
            event(["a", "t", "2"], "", ""),
            event(["a", "t", "1"], "b", ""),
            event(["a", "t", "1"], "", "b"),
            event(["b", "t", "1"], "a", ""),
            IdempotencyKey::of_event("f", &Metadata::new("1")),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(place));
        }
    }

    /// The right-hand sides are what Python's `hashlib` and `base64` make of what each language hashes.
    #[test]
    fn each_language_of_powertools_has_its_digest() {
        use KeyStyle::{Powertools, PowertoolsText, PowertoolsTypeScript};
        for (style, key, expected) in [
            (Powertools, "r-1", "47fecfca36114739f528a940a0d05e35"),
            (PowertoolsText, "r-1", "4bafb3d0c4863848a59299854e083290"),
            (PowertoolsTypeScript, "r-1", "R/7PyjYRRzn1KKlAoNBeNQ=="),
            (
                PowertoolsText,
                "grün \"x\"",
                "98d259a6c15f89fb93adda7d7c6b750f",
            ),
            (
                PowertoolsTypeScript,
                "grün \"x\"",
                "pQt1vbqrN93C02grw4SMbQ==",
            ),
        ] {
            let key = style.key("f", &json!(key));
            assert_eq!(key.as_str(), format!("f#{expected}"), "{style:?}");
        }
    }

    #[test]
    fn a_value_on_whose_digest_others_would_not_agree_is_no_key() {
        let text = |value: &str| serde_json::from_str::<Value>(value).unwrap();
        for (style, good, bad) in [
            (
                KeyStyle::Sha256,
                &["1", "[1.5]", "{\"a\":1e300}"][..],
                &[][..],
            ),
            (
                KeyStyle::Powertools,
                &["1.5", "18446744073709551615", "-9223372036854775808", "0.0"],
                &[
                    "18446744073709551616",
                    "-9223372036854775809",
                    "[{\"a\":-0}]",
                ],
            ),
            (
                KeyStyle::PowertoolsText,
                &["7", "\"a\""],
                &["1.5", "true", "[]", "[\"a\"]", "{\"a\":1}"],
            ),
            (
                KeyStyle::PowertoolsTypeScript,
                &["1.5", "18446744073709551616", "{\"a\":[1]}"],
                &["{\"a\":1,\"A\":2}", "[{\"1\":1}]"],
            ),
        ] {
            for value in good {
                assert_eq!(style.check(&text(value)), Ok(()), "{style:?} {value}");
            }
            for value in bad {
                let problem = style.check(&text(value)).unwrap_err();
                assert!(problem.contains(style.as_str()), "{problem}");
            }
        }
    }

    #[test]
    fn what_is_empty_is_no_key() {
        for empty in [
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!([null, null]),
            json!({"a": null}),
        ] {
            assert_eq!(empty.clone().into_key(), None, "{empty}");
        }
        for key in [json!(0), json!(false), json!([null, 1]), json!([""])] {
            assert_eq!(key.clone().into_key(), Some(key));
        }
        assert_eq!(Some("a".to_owned()).into_key(), Some(json!("a")));
        assert_eq!(None::<String>.into_key(), None);
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
