//! Items and expressions of DynamoDB in words. Items are as in its JSON, in which `{"N": "3"}` is a number.

use serde_json::{Map, Value};

/// What is left of a condition's names once its operators and functions are taken out.
const KEYWORDS: [&str; 5] = ["AND", "OR", "NOT", "IN", "BETWEEN"];

/// Describes an item or a key: `{pk: "STOCK#book", sk: "STOCK"}`.
pub(super) fn fields(item: &Map<String, Value>) -> String {
    let mut fields: Vec<String> = item
        .iter()
        .map(|(name, attribute)| format!("{name}: {}", value(attribute)))
        .collect();
    fields.sort_unstable();
    format!("{{{}}}", fields.join(", "))
}

/// Describes an attribute's value: `"STOCK"`, `3`, `{a: [1, 2]}`.
pub(super) fn value(attribute: &Value) -> String {
    let Some((kind, inner)) = attribute.as_object().and_then(|it| it.iter().next()) else {
        return attribute.to_string();
    };
    let list = |each: fn(&Value) -> String| {
        let parts: Vec<String> = inner.as_array().into_iter().flatten().map(each).collect();
        format!("[{}]", parts.join(", "))
    };
    match (kind.as_str(), inner) {
        ("NULL", _) => "null".to_owned(),
        ("B", _) => bytes(inner),
        ("M", Value::Object(map)) => fields(map),
        ("L", _) => list(value),
        ("SS", _) => list(text),
        ("NS", _) => list(digits),
        ("BS", _) => list(bytes),
        ("N", _) => digits(inner),
        _ => text(inner),
    }
}

/// An expression with names and values in the place of its placeholders.
pub(super) fn filled(
    expression: &str,
    names: Option<&Map<String, Value>>,
    values: Option<&Map<String, Value>>,
) -> String {
    let fill = |part: &str| match part.chars().next() {
        Some('#') => Some(name(names?.get(part)?.as_str()?)),
        Some(':') => Some(value(values?.get(part)?)),
        _ => None,
    };
    parts(expression)
        .map(|part| fill(part).unwrap_or_else(|| part.to_owned()))
        .collect()
}

/// The attributes of the item that a condition is about, without what is inside them.
pub(super) fn subjects(condition: &str, names: Option<&Map<String, Value>>) -> Vec<String> {
    let parts: Vec<&str> = parts(condition)
        .filter(|part| !part.trim().is_empty())
        .collect();
    let mut subjects = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let is_inside = index > 0 && parts[index - 1] == ".";
        let is_function = parts.get(index + 1) == Some(&"(");
        let is_keyword = KEYWORDS.iter().any(|it| it.eq_ignore_ascii_case(part));
        let subject = match part.chars().next() {
            Some('#') => names.and_then(|names| names.get(*part)?.as_str()),
            Some(first) if first.is_alphabetic() || first == '_' => {
                Some(*part).filter(|_| !is_function && !is_keyword)
            }
            _ => None,
        };
        if let Some(subject) = subject.filter(|_| !is_inside)
            && !subjects.iter().any(|known| known == subject)
        {
            subjects.push(subject.to_owned());
        }
    }
    subjects
}

/// Splits an expression into names, placeholders with their sign, and single characters between them. A placeholder is
/// one part, as `:v10` is, which is not `:v1` with a 0 behind it.
fn parts(mut rest: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |it: char| it.is_alphanumeric() || it == '_';
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let begins = matches!(first, '#' | ':') || is_of_name(first);
        let behind = &rest[first.len_utf8()..];
        let behind = match begins {
            true => behind.trim_start_matches(is_of_name),
            false => behind,
        };
        let part = &rest[..rest.len() - behind.len()];
        rest = behind;
        Some(part)
    })
}

/// A name that an expression could not contain as it is stands in quotation marks.
fn name(name: &str) -> String {
    match !name.is_empty() && name.chars().all(|it| it.is_alphanumeric() || it == '_') {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

fn text(value: &Value) -> String {
    let text = value.as_str().map(|text| format!("{text:?}"));
    text.unwrap_or_else(|| value.to_string())
}

fn digits(number: &Value) -> String {
    number.as_str().unwrap_or("a number").to_owned()
}

/// From base64, of which four characters are three bytes.
fn bytes(value: &Value) -> String {
    let encoded = value.as_str().unwrap_or_default().trim_end_matches('=');
    format!("{} bytes", encoded.len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_placeholder_is_replaced_as_a_whole_and_only_where_it_is_one() {
        let names =
            map(json!({"#n": "available", "#n1": "reserved", "#odd": "a.b", "#data": "data"}));
        let values = map(json!({":v1": {"N": "1"}, ":v10": {"N": "10"}, ":s": {"S": "x :v1"}}));
        for (expression, expected) in [
            ("#n>=:v10 AND #n1<:v1", "available>=10 AND reserved<1"),
            ("SET #n = #n - :v1", "SET available = available - 1"),
            ("#data.#n[0] = :s", r#"data.available[0] = "x :v1""#),
            ("attribute_exists(#odd)", r#"attribute_exists("a.b")"#),
            ("#unknown = :v2", "#unknown = :v2"),
            ("größe IN (:v1,:v10)", "größe IN (1,10)"),
        ] {
            assert_eq!(
                filled(expression, Some(&names), Some(&values)),
                expected,
                "{expression}"
            );
        }
    }

    #[test]
    fn a_condition_is_about_the_attributes_that_it_names() {
        let names = map(json!({"#n": "available", "#data": "data", "#x": "x"}));
        for (condition, expected) in [
            ("#n >= :v", &["available"][..]),
            (
                "attribute_not_exists(pk) OR (#n > :v And version = :w)",
                &["pk", "available", "version"],
            ),
            ("#data.#x.size[2] = :v and data = :w", &["data"]),
            ("size (tags) between :a and :b", &["tags"]),
            ("NOT contains(tags, :t)", &["tags"]),
        ] {
            assert_eq!(subjects(condition, Some(&names)), expected, "{condition}");
        }
    }

    #[test]
    fn every_type_of_a_value_can_be_read() {
        for (attribute, expected) in [
            (json!({"S": "a\"b"}), r#""a\"b""#),
            (json!({"N": "1.50"}), "1.50"),
            (json!({"BOOL": true}), "true"),
            (json!({"NULL": true}), "null"),
            (json!({"B": "AAECAw=="}), "4 bytes"),
            (json!({"SS": ["a", "b"]}), r#"["a", "b"]"#),
            (json!({"NS": ["1", "2"]}), "[1, 2]"),
            (json!({"BS": ["AAEC", "AA=="]}), "[3 bytes, 1 bytes]"),
            (
                json!({"L": [{"S": "a"}, {"M": {"n": {"N": "1"}}}]}),
                r#"["a", {n: 1}]"#,
            ),
        ] {
            assert_eq!(value(&attribute), expected);
        }
    }
}
