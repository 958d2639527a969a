//! What is written instead of values: whoever may read a function's log need not be allowed to read its
//! payloads.

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

/// Describes a decoding error without quoting any value: what is wrong and where, which fields are
/// missing or unknown, and what was expected.
pub(crate) fn described(error: &serde_json::Error) -> String {
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
    const NAMES_FIELDS: [&str; 3] = ["missing field ", "unknown field ", "duplicate field "];
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
