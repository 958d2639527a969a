//! What keeps an event from being published, found before it is committed: afterwards nobody could mend
//! it.

use super::MAX_EVENT_BYTES;
use crate::envelope::Outgoing;

/// Why neither a bus nor a queue would take the event; none if they would.
pub(super) fn problem(event: &Outgoing) -> Option<String> {
    let (body, kind) = (event.body(), event.detail_type());
    let bytes = body.len();
    if bytes > MAX_EVENT_BYTES {
        return Some(format!(
            "{kind} has {bytes} bytes, and an event that waits in the table {MAX_EVENT_BYTES} at most: publish a reference to the data"
        ));
    }
    let is_refused = |character: &char| matches!(character, '\u{fffe}' | '\u{ffff}');
    if let Some(character) = body.chars().find(is_refused) {
        return Some(format!(
            "{kind} has the character U+{:04X}, which SQS does not take",
            u32::from(character)
        ));
    }
    large_integer(event.data()).map(|number| {
        format!(
            "{kind} has the integer {number}, and EventBridge takes those from {} to {}: write it as text",
            i64::MIN,
            i64::MAX
        )
    })
}

/// The first integer beyond 64 bits with a sign, as
/// [documented](https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html) for
/// PutEvents.
fn large_integer(json: &str) -> Option<&str> {
    let mut rest = json;
    while let Some(start) = rest.find(|it: char| it == '"' || it == '-' || it.is_ascii_digit()) {
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = after_string(text);
            continue;
        }
        let is_of_number =
            |it: char| it.is_ascii_digit() || matches!(it, '-' | '+' | '.' | 'e' | 'E');
        let end = rest
            .find(|it: char| !is_of_number(it))
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let is_integer = !number.contains(['.', 'e', 'E']);
        if is_integer && number.parse::<i64>().is_err() {
            return Some(number);
        }
        rest = behind;
    }
    None
}

/// What follows the string whose first quotation mark is behind us.
fn after_string(mut rest: &str) -> &str {
    while let Some(at) = rest.find(['"', '\\']) {
        let is_end = rest.as_bytes()[at] == b'"';
        // An escape is a backslash and at least one ASCII character.
        rest = rest
            .get(at + if is_end { 1 } else { 2 }..)
            .unwrap_or_default();
        if is_end {
            return rest;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_that_the_bus_does_not_take_is_found_and_nothing_else() {
        for (json, found) in [
            ("9223372036854775807", None),
            ("-9223372036854775808", None),
            ("9223372036854775808", Some("9223372036854775808")),
            ("-9223372036854775809", Some("-9223372036854775809")),
            (
                r#"{"a":[1,{"b":18446744073709551615}]}"#,
                Some("18446744073709551615"),
            ),
            (r#"{"a":"18446744073709551615","b":1}"#, None),
            (r#"{"18446744073709551615":1}"#, None),
            (r#"{"a":"\"18446744073709551615","b":"\\"}"#, None),
            (
                r#"["\\",18446744073709551615]"#,
                Some("18446744073709551615"),
            ),
            ("[1e30,-1.8446744073709551615E19,0]", None),
            (r#""ü\u00fc 99999999999999999999""#, None),
        ] {
            assert_eq!(large_integer(json), found, "{json}");
        }
    }
}
