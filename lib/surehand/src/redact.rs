//! What is written instead of values: whoever may read a function's log need not be allowed to read its
//! payloads, and whoever sends a message must not be able to fill the log.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use std::{borrow::Cow, fmt};

/// The longest name of an event's type or source in a text.
const MAX_NAME_CHARS: usize = 256;
/// The longest text about a failure in a line of the log.
const MAX_TEXT_CHARS: usize = 8_000;
/// The longest name of a field that is quoted.
const MAX_FIELD_CHARS: usize = 64;

/// Whether the environment allows payloads in what is written.
pub(crate) fn payloads_are_allowed(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("SUREHAND_LOG_PAYLOADS").is_some_and(|value| value == "1")
}

/// Whether a field of this name is a payload, which another program wrote and which may be about people.
pub(crate) fn is_payload(field: &str) -> bool {
    matches!(field, "body" | "payload")
}

/// What is written instead of a payload.
pub(crate) fn redacted(payload: &str) -> String {
    format!("[{} bytes]", payload.len())
}

/// The first characters of a text.
pub(crate) fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// An error with its causes, as it is said in the log.
pub(crate) fn failure(error: &impl fmt::Display) -> String {
    shortened(&format!("{error:#}"), MAX_TEXT_CHARS)
}

/// Another program's name for something: short, in one line, and with nothing that a terminal obeys.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_NAME_CHARS && !text.contains(char::is_control) {
        return text.into();
    }
    let short = shortened(text, MAX_NAME_CHARS);
    short.escape_debug().to_string().into()
}

/// Whether a text can be the name of a field, rather than a value that serves as one.
fn is_field(text: &str) -> bool {
    let of_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    text.len() <= MAX_FIELD_CHARS
        && text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && text.chars().all(of_name)
}

/// Decodes JSON, and describes what keeps it from being a `T`.
pub(crate) fn decoded<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| {
        // Where it is wrong is only looked for once it is: this takes longer.
        let again = &mut serde_json::Deserializer::from_str(json);
        let path = serde_path_to_error::deserialize::<_, T>(again).err();
        at_path(&error, path.as_ref().map(serde_path_to_error::Error::path))
    })
}

/// As [`decoded`], of a value.
pub(crate) fn decoded_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| at_path(error.inner(), Some(error.path())))
}

fn at_path(error: &serde_json::Error, path: Option<&Path>) -> String {
    let path = path
        .filter(|_| error.is_data())
        .map(written)
        .unwrap_or_default();
    match path.is_empty() {
        true => described(error),
        false => format!("`{path}`: {}", described(error)),
    }
}

/// The path to a field. Of maps the keys are left out that may be values.
fn written(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => {
                text.push_str(&format!("[{index}]"));
                continue;
            }
            Segment::Map { key } | Segment::Enum { variant: key } if is_field(key) => key,
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => "*",
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(name);
    }
    shortened(&text, MAX_NAME_CHARS)
}

/// Describes a decoding error without quoting any value: what is wrong and where, which fields are
/// missing or unknown, and what was expected.
fn described(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if !error.is_data() {
        // A syntax error is about characters, and quotes none.
        return text;
    }
    // An error without a position has none at its end, but a value in it may look like one.
    let place = text.rfind(" at line ").filter(|_| error.line() > 0);
    let (what, place) = text.split_at(place.unwrap_or(text.len()));
    format!("{}{place}", without_value(what))
}

fn without_value(what: &str) -> String {
    if let Some(rest) = what.strip_prefix("unknown field `") {
        // The sender's word. What follows it are the names of the type that is wanted.
        let (field, expected) = match rest
            .rfind("`, expected ")
            .or(rest.rfind("`, there are no "))
        {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest.trim_end_matches('`'), ""),
        };
        return match is_field(field) {
            true => format!("unknown field `{field}`{expected}"),
            false => format!("an unknown field{expected}"),
        };
    }
    const NAMES_FIELDS: [&str; 2] = ["missing field ", "duplicate field "];
    if NAMES_FIELDS.iter().any(|prefix| what.starts_with(prefix)) {
        return what.to_owned();
    }
    for problem in ["invalid type: ", "invalid value: ", "invalid length "] {
        let Some(rest) = what.strip_prefix(problem) else {
            continue;
        };
        // The value itself may contain the same words, so take the last ones: what was expected is
        // at the end.
        let (value, expected) = match rest.rfind(", expected ") {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // `string "4111"`, ``integer `7` ``: the type, then the value.
        let kind = value.split(['"', '`']).next().unwrap_or_default();
        return format!("{problem}{}{expected}", kind.trim_end());
    }
    if let Some(rest) = what.strip_prefix("unknown variant ") {
        let expected = rest.rfind("`, expected ").map_or("", |at| &rest[at + 1..]);
        return format!("unknown variant{expected}");
    }
    // This is the text of a user's own `Deserialize`, which may quote any value.
    "a value is not accepted".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, de::DeserializeOwned};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only decoded")]
    struct Card {
        number: u8,
        kind: Kind,
        owner: Owner,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Debit,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Owner;

    impl TryFrom<String> for Owner {
        type Error = String;

        fn try_from(name: String) -> Result<Self, String> {
            Err(format!("nobody is called {name}"))
        }
    }

    fn of<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        described(&serde_json::from_str::<T>(json).unwrap_err())
    }

    #[test]
    fn the_path_leads_to_the_field_and_names_no_value() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is only decoded")]
        struct Order {
            lines: Vec<Line>,
            notes: std::collections::BTreeMap<String, u8>,
        }
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is only decoded")]
        struct Line {
            quantity: u8,
        }
        for (json, expected) in [
            (
                r#"{"lines":[{"quantity":1},{"quantity":"x"}]}"#,
                "`lines[1].quantity`: invalid type: string, expected u8 at line 1 column 40",
            ),
            (
                r#"{"lines":[],"notes":{"ada@example.com":"x"}}"#,
                "`notes.*`: invalid type: string, expected u8 at line 1 column 42",
            ),
            ("{}", "missing field `lines` at line 1 column 2"),
            ("{", "EOF while parsing an object at line 1 column 1"),
        ] {
            assert_eq!(decoded::<Order>(json).unwrap_err(), expected);
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(json) {
                let problem = decoded_value::<Order>(value).unwrap_err();
                assert!(expected.starts_with(&problem), "{problem}");
            }
        }
        let raw: Box<serde_json::value::RawValue> = decoded("[1]").unwrap();
        assert_eq!(raw.get(), "[1]");
    }

    #[test]
    fn names_of_others_are_short_and_in_one_line() {
        assert_eq!(name("OrderPlaced"), "OrderPlaced");
        assert_eq!(name("a\nb\u{1b}"), "a\\nb\\u{1b}");
        assert!(name(&"x".repeat(1_000)).chars().count() < 300);
        assert_eq!(shortened("grün", 3), "grü…");
        assert_eq!(shortened("grün", 4), "grün");
    }

    #[test]
    fn the_description_says_what_is_wrong_and_where_but_quotes_no_value() {
        for (json, expected) in [
            (
                r#"{"number": "4111, expected"}"#,
                "invalid type: string, expected u8 at line 1 column 27",
            ),
            (
                r#"{"number": 4111}"#,
                "invalid value: integer, expected u8 at line 1 column 15",
            ),
            (
                r#"{"number": 1.5}"#,
                "invalid type: floating point, expected u8 at line 1 column 14",
            ),
            (
                r#"{"number": null}"#,
                "invalid type: null, expected u8 at line 1 column 15",
            ),
            (
                r#"{"kind": "4111"}"#,
                "unknown variant, expected `Debit` at line 1 column 15",
            ),
            (
                r#"{"owner": "Ada"}"#,
                "a value is not accepted at line 1 column 16",
            ),
            ("{}", "missing field `number` at line 1 column 2"),
            ("{", "EOF while parsing an object at line 1 column 1"),
        ] {
            assert_eq!(of::<Card>(json), expected, "{json}");
        }
        let extra = r#"{"number": 1, "pin": "0000"}"#;
        assert!(of::<Card>(extra).starts_with("unknown field `pin`, expected one of"));
        for value in ["4111 1111", "ada@example.com", "4111", "a`, expected `b"] {
            let extra = format!(r#"{{"number": 1, "{value}": "0000"}}"#);
            assert!(
                of::<Card>(&extra).starts_with("an unknown field, expected one of"),
                "{}",
                of::<Card>(&extra)
            );
        }
        let value = serde_json::json!({"number": "41 at line 11, expected"});
        let error = serde_json::from_value::<Card>(value).unwrap_err();
        assert_eq!(described(&error), "invalid type: string, expected u8");
        let short = of::<[u8; 2]>("[1]");
        assert_eq!(
            short,
            "invalid length 1, expected an array of length 2 at line 1 column 3"
        );
    }
}
