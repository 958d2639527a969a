//! Event patterns of EventBridge, for an event of which only source and type are known, and for a whole one.

use serde_json::Value as Json;

use crate::application::yaml::{Node, Value};

/// What is known of a field of an event.
#[derive(Clone, Copy)]
enum Field<'a> {
    Open,
    /// It has what any pattern of the application asks for.
    Given,
    /// None if the event does not have it.
    Known(Option<&'a Json>),
}

/// Whether a rule with this pattern gets such an event. None where the event's detail decides, or it is unknown.
pub(crate) fn matches(pattern: &Node, source: &str, detail_type: &str) -> Option<bool> {
    let [source, detail_type] = [source, detail_type].map(Json::from);
    holds_of(pattern, &|name| match name {
        "source" => Field::Known(Some(&source)),
        "detail-type" => Field::Known(Some(&detail_type)),
        name if is_of_application(name) => Field::Given,
        _ => Field::Open,
    })
}

/// Whether a rule with this pattern gets this event, which has everything but what EventBridge gives it. None if that
/// cannot be told.
pub(crate) fn takes(pattern: &Node, event: &Json) -> Option<bool> {
    holds_of(pattern, &|name| match name {
        name if is_of_application(name) => Field::Given,
        "id" | "time" => Field::Open,
        name => Field::Known(event.get(name)),
    })
}

/// An application has its events in its own account and region.
fn is_of_application(field: &str) -> bool {
    ["account", "region", "version"].contains(&field)
}

/// Whether all conditions of a pattern, or of a part of it, hold of an object with these fields.
fn holds_of<'a>(pattern: &Node, field: &dyn Fn(&str) -> Field<'a>) -> Option<bool> {
    if pattern.is_unknown() {
        return None;
    }
    let conditions = pattern.entries().map(|(name, condition)| match name {
        "$or" => any((condition.items().iter()).map(|each| holds_of(each, field))),
        name => decide(condition, field(name)),
    });
    any(conditions.map(not)).map(|fails| !fails)
}

fn decide(condition: &Node, field: Field<'_>) -> Option<bool> {
    let value = match field {
        Field::Open => return None,
        Field::Given => return Some(true),
        Field::Known(value) => value,
    };
    match (condition.is_map(), value) {
        (true, Some(Json::Array(items))) => {
            any((items.iter()).map(|it| decide(condition, Field::Known(Some(it)))))
        }
        (true, value) => holds_of(condition, &|name| {
            Field::Known(value.and_then(|value| value.get(name)))
        }),
        (false, _) if condition.is_unknown() => None,
        (false, value) => any((condition.items().iter()).map(|it| holds_of_value(it, value))),
    }
}

/// Whether one of a field's conditions holds.
fn holds_of_value(condition: &Node, value: Option<&Json>) -> Option<bool> {
    if condition.is_unknown() {
        return None;
    }
    if let Some(exists) = condition.get("exists") {
        return Some(exists.is("true") == value.is_some());
    }
    match value {
        None => Some(false),
        Some(Json::Array(items)) => {
            any((items.iter()).map(|it| holds_of_value(condition, Some(it))))
        }
        // No address is looked at.
        Some(Json::String(_)) if condition.get("cidr").is_some() => None,
        Some(Json::String(text)) => Some(holds(condition, text)),
        Some(value) => Some(holds_of_scalar(condition, value)),
    }
}

/// Whether a condition holds of a number, of true, false or null.
fn holds_of_scalar(condition: &Node, value: &Json) -> bool {
    match &condition.value {
        Value::Null => value.is_null(),
        Value::Plain(exact) => match (value.as_f64(), exact.parse::<f64>()) {
            (Some(number), Ok(wanted)) => number == wanted,
            _ => serde_json::from_str::<Json>(exact).is_ok_and(|wanted| wanted == *value),
        },
        Value::Map(_) => condition
            .entries()
            .all(|(operator, operand)| match operator {
                "anything-but" => !(operand.items().iter()).any(|it| holds_of_scalar(it, value)),
                "numeric" => value.as_f64().is_some_and(|it| is_within(operand, it)),
                _ => false,
            }),
        _ => false,
    }
}

/// Whether a number is what a list such as `[">", 0, "<=", 5]` asks for.
fn is_within(bounds: &Node, number: f64) -> bool {
    bounds.items().chunks(2).all(|pair| {
        let [operator, bound] = pair else {
            return false;
        };
        let Some(bound) = bound.text().and_then(|it| it.parse::<f64>().ok()) else {
            return false;
        };
        match operator.text() {
            Some("=") => number == bound,
            Some(">") => number > bound,
            Some(">=") => number >= bound,
            Some("<") => number < bound,
            Some("<=") => number <= bound,
            _ => false,
        }
    })
}

/// What the pattern of a rule can ask for at the top of an event. Replays add the name of the replay.
const FIELDS: [&str; 10] = [
    "version",
    "id",
    "detail-type",
    "source",
    "account",
    "time",
    "region",
    "resources",
    "detail",
    "replay-name",
];

/// The keys at the top of a pattern that no event has.
pub(crate) fn unknown_fields(pattern: &Node) -> Vec<(&str, &Node)> {
    let mut unknown = Vec::new();
    for (name, condition) in pattern.entries() {
        match name {
            "$or" => unknown.extend(condition.items().iter().flat_map(unknown_fields)),
            name if FIELDS.contains(&name) => {}
            name => unknown.push((name, condition)),
        }
    }
    unknown
}

/// The conditions on an event's source that only events of AWS's services can satisfy. Those of partners come on buses
/// of the partners.
pub(crate) fn service_sources(pattern: &Node) -> Vec<&Node> {
    let is_of_services = |condition: &&Node| {
        let prefix = condition.get("prefix").filter(|_| condition.is_map());
        let text = condition.text().or_else(|| prefix.and_then(Node::text));
        text.is_some_and(|text| text.starts_with("aws.") && !text.starts_with("aws.partner"))
    };
    let sources = pattern.get("source").map_or(&[][..], Node::items);
    sources.iter().filter(is_of_services).collect()
}

/// Whether a rule with this pattern could get such an event.
pub(crate) fn may_match(pattern: &Node, source: &str, detail_type: &str) -> bool {
    matches(pattern, source, detail_type) != Some(false)
}

/// Whether the text satisfies one of the conditions.
pub(crate) fn any_of(conditions: &Node, text: &str) -> Option<bool> {
    any(
        (conditions.items().iter()).map(|condition| match condition.is_unknown() {
            true => None,
            false => Some(holds(condition, text)),
        }),
    )
}

/// True if one is, and false if all are.
fn any(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut any = Some(false);
    for truth in truths {
        match truth {
            Some(true) => return Some(true),
            Some(false) => {}
            None => any = None,
        }
    }
    any
}

fn not(truth: Option<bool>) -> Option<bool> {
    truth.map(|truth| !truth)
}

/// The texts that are spelled out at `name`.
pub(crate) fn literals<'a>(pattern: &'a Node, name: &str) -> Vec<&'a Node> {
    let conditions = pattern.get(name).map_or(&[][..], Node::items);
    conditions.iter().filter(|it| it.text().is_some()).collect()
}

fn holds(condition: &Node, text: &str) -> bool {
    match &condition.value {
        Value::Text(exact) => exact == text,
        // A number is not the text of its digits.
        Value::Plain(exact) => exact == text && serde_json::from_str::<Json>(exact).is_err(),
        Value::Unknown => true,
        Value::Map(_) => condition
            .entries()
            .all(|(operator, operand)| match operator {
                "anything-but" => !excluded(operand, text),
                "exists" => operand.is("true"),
                operator => satisfies(operator, operand, text),
            }),
        _ => false,
    }
}

fn excluded(operand: &Node, text: &str) -> bool {
    match &operand.value {
        Value::Map(_) => (operand.entries()).any(|(operator, operand)| {
            operand
                .items()
                .iter()
                .any(|it| satisfies(operator, it, text))
        }),
        _ => operand.items().iter().any(|it| it.text() == Some(text)),
    }
}

fn satisfies(operator: &str, operand: &Node, text: &str) -> bool {
    // `prefix` and `suffix` may ask for either case.
    if let Some(inner) = operand.get("equals-ignore-case").and_then(Node::text) {
        let lower = Node {
            place: operand.place.clone(),
            value: Value::Text(inner.to_lowercase()),
        };
        return satisfies(operator, &lower, &text.to_lowercase());
    }
    let Some(wanted) = operand.text() else {
        return operand.is_unknown();
    };
    match operator {
        "prefix" => text.starts_with(wanted),
        "suffix" => text.ends_with(wanted),
        "equals-ignore-case" => text.eq_ignore_ascii_case(wanted),
        "wildcard" => glob(wanted, text),
        // Of numbers and addresses, which a source is not.
        _ => false,
    }
}

/// Whether `*` in the pattern can stand for something that makes it the text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_match_as_eventbridge_has_it() {
        for (pattern, expected) in [
            ("{source: [shop.orders]}", true),
            ("{source: [shop.stock, shop.orders]}", true),
            ("{source: [shop.stock]}", false),
            ("{source: [shop.orders], detail-type: [OrderPlaced]}", true),
            (
                "{source: [shop.orders], detail-type: [OrderCancelled]}",
                false,
            ),
            ("{source: [{prefix: shop.}]}", true),
            ("{source: [{prefix: bank.}]}", false),
            ("{source: [{prefix: {equals-ignore-case: SHOP.o}}]}", true),
            ("{detail-type: [{suffix: Placed}]}", true),
            ("{detail-type: [{anything-but: OrderPlaced}]}", false),
            ("{detail-type: [{anything-but: [OrderCancelled]}]}", true),
            ("{detail-type: [{anything-but: {prefix: Order}}]}", false),
            ("{detail-type: [{wildcard: 'Or*Pl*d'}]}", true),
            ("{detail-type: [{wildcard: 'Or*x*d'}]}", false),
            ("{detail-type: [{equals-ignore-case: orderplaced}]}", true),
            ("{detail-type: [{exists: true}], detail: {a: [1]}}", true),
            ("{$or: [{source: [x]}, {detail-type: [OrderPlaced]}]}", true),
            ("{$or: [{source: [x]}, {detail-type: [y]}]}", false),
            ("{source: [shop.orders], detail: {a: [1]}}", true),
            ("{source: [shop.stock], detail: {a: [1]}}", false),
        ] {
            let node = Node::parse("p", pattern).unwrap();
            assert_eq!(
                may_match(&node, "shop.orders", "OrderPlaced"),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn what_the_detail_decides_is_open() {
        for (pattern, expected) in [
            ("{source: [shop.orders], region: [eu-west-1]}", Some(true)),
            ("{source: [shop.orders], detail: {a: [1]}}", None),
            ("{source: [shop.stock], detail: {a: [1]}}", Some(false)),
            (
                "{$or: [{source: [shop.orders]}, {detail: {a: [1]}}]}",
                Some(true),
            ),
            ("{$or: [{source: [x]}, {detail: {a: [1]}}]}", None),
        ] {
            let node = Node::parse("p", pattern).unwrap();
            let found = matches(&node, "shop.orders", "OrderPlaced");
            assert_eq!(found, expected, "{pattern}");
        }
        let unknown = Node {
            value: Value::Unknown,
            ..Node::parse("p", "{}").unwrap()
        };
        assert_eq!(matches(&unknown, "shop.orders", "OrderPlaced"), None);
    }

    #[test]
    fn of_a_whole_event_the_detail_decides() {
        let event = json!({
            "source": "shop.orders", "detail-type": "OrderPlaced", "resources": ["arn:a", "arn:b"],
            "detail": {
                "state": "open", "total": 12.5, "paid": false, "coupon": null, "items": [{"sku": "a"}, {"sku": "b"}],
                "tags": ["new", "large"], "number": "5",
            },
        });
        for (pattern, expected) in [
            (r#"{"detail": {"state": ["open", "held"]}}"#, Some(true)),
            (r#"{"detail": {"state": ["held"]}}"#, Some(false)),
            (r#"{"detail": {"state": [{"prefix": "op"}]}}"#, Some(true)),
            (r#"{"detail": {"total": [12.50]}}"#, Some(true)),
            (
                r#"{"detail": {"total": [{"numeric": [">", 10, "<=", 12.5]}]}}"#,
                Some(true),
            ),
            (
                r#"{"detail": {"total": [{"numeric": ["<", 10]}]}}"#,
                Some(false),
            ),
            (
                r#"{"detail": {"total": [{"anything-but": [12.5]}]}}"#,
                Some(false),
            ),
            (r#"{"detail": {"total": ["12.5"]}}"#, Some(false)),
            (r#"{"detail": {"number": [5]}}"#, Some(false)),
            (r#"{"detail": {"paid": [false]}}"#, Some(true)),
            (r#"{"detail": {"paid": [true]}}"#, Some(false)),
            (r#"{"detail": {"coupon": [null]}}"#, Some(true)),
            (r#"{"detail": {"coupon": [{"exists": true}]}}"#, Some(true)),
            (r#"{"detail": {"gift": [{"exists": false}]}}"#, Some(true)),
            (
                r#"{"detail": {"gift": {"from": [{"exists": false}]}}}"#,
                Some(true),
            ),
            (
                r#"{"detail": {"gift": [{"anything-but": "x"}]}}"#,
                Some(false),
            ),
            (r#"{"detail": {"items": {"sku": ["b"]}}}"#, Some(true)),
            (r#"{"detail": {"items": {"sku": ["c"]}}}"#, Some(false)),
            (r#"{"detail": {"tags": ["large"]}}"#, Some(true)),
            (
                r#"{"detail": {"$or": [{"state": ["x"]}, {"paid": [false]}]}}"#,
                Some(true),
            ),
            (r#"{"resources": ["arn:b"], "account": ["1"]}"#, Some(true)),
            (r#"{"replay-name": [{"exists": false}]}"#, Some(true)),
            (r#"{"id": ["1"]}"#, None),
            (r#"{"detail": {"state": [{"cidr": "10.0.0.0/8"}]}}"#, None),
            (r#"{"source": ["x"], "id": ["1"]}"#, Some(false)),
        ] {
            let node = Node::parse("p", pattern).unwrap();
            assert_eq!(takes(&node, &event), expected, "{pattern}");
        }
    }

    #[test]
    fn keys_that_no_event_has_are_told() {
        for (pattern, expected) in [
            (
                "{source: [a], detail-type: [b], detail: {detailtype: [c]}}",
                &[][..],
            ),
            (
                "{account: [a], region: [b], resources: [c], time: [d], id: [e], version: [f]}",
                &[],
            ),
            ("{replay-name: [{exists: false}]}", &[]),
            ("{source: [a], detailtype: [b]}", &["detailtype"]),
            (
                "{Source: [a], $or: [{detail-type: [b]}, {detail_type: [c]}]}",
                &["Source", "detail_type"],
            ),
        ] {
            let node = Node::parse("p", pattern).unwrap();
            let found: Vec<&str> = unknown_fields(&node).into_iter().map(|it| it.0).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn sources_of_services_are_told_from_others() {
        for (pattern, expected) in [
            ("{source: [aws.s3, shop.orders]}", 1),
            ("{source: [{prefix: aws.}]}", 1),
            ("{source: [aws.partner/example.com, aws]}", 0),
            ("{source: [{prefix: shop.}, {anything-but: aws.s3}]}", 0),
        ] {
            let node = Node::parse("p", pattern).unwrap();
            assert_eq!(service_sources(&node).len(), expected, "{pattern}");
        }
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c*c", "abc", false),
            ("abc", "abcd", false),
            ("*b*", "abc", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
