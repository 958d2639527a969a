//! Staged writes and events in words.

use crate::envelope::Outgoing;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

/// Describes a write: `update shop-table {pk: "STOCK#book", sk: "STOCK"}: SET available = available
/// - :n if available >= :n, :n = 1`.
pub(super) fn write(write: &TransactWriteItem) -> String {
    let mut line = String::new();
    match Parts::of(write) {
        Some(parts) => parts.describe(&mut line),
        None => line.push_str("an empty write"),
    }
    line
}

/// Whether the write is only done if a condition holds.
pub(super) fn has_condition(write: &TransactWriteItem) -> bool {
    Parts::of(write).is_some_and(|parts| parts.condition.is_some())
}

/// Describes an event: `publish StockReserved {"order_id":"42"}`.
pub(super) fn event(event: &Outgoing) -> String {
    format!("publish {} {}", event.detail_type(), event.data())
}

struct Parts<'a> {
    verb: &'static str,
    table: &'a str,
    /// A whole item, or its key.
    item: &'a HashMap<String, AttributeValue>,
    change: Option<&'a str>,
    condition: Option<&'a str>,
    names: Option<&'a HashMap<String, String>>,
    values: Option<&'a HashMap<String, AttributeValue>>,
}

impl<'a> Parts<'a> {
    fn of(write: &'a TransactWriteItem) -> Option<Self> {
        Some(if let Some(put) = &write.put {
            Self {
                verb: "put",
                table: &put.table_name,
                item: &put.item,
                change: None,
                condition: put.condition_expression.as_deref(),
                names: put.expression_attribute_names.as_ref(),
                values: put.expression_attribute_values.as_ref(),
            }
        } else if let Some(update) = &write.update {
            Self {
                verb: "update",
                table: &update.table_name,
                item: &update.key,
                change: Some(&update.update_expression),
                condition: update.condition_expression.as_deref(),
                names: update.expression_attribute_names.as_ref(),
                values: update.expression_attribute_values.as_ref(),
            }
        } else if let Some(delete) = &write.delete {
            Self {
                verb: "delete",
                table: &delete.table_name,
                item: &delete.key,
                change: None,
                condition: delete.condition_expression.as_deref(),
                names: delete.expression_attribute_names.as_ref(),
                values: delete.expression_attribute_values.as_ref(),
            }
        } else if let Some(check) = &write.condition_check {
            Self {
                verb: "check",
                table: &check.table_name,
                item: &check.key,
                change: None,
                condition: Some(&check.condition_expression),
                names: check.expression_attribute_names.as_ref(),
                values: check.expression_attribute_values.as_ref(),
            }
        } else {
            return None;
        })
    }

    // Writing to a string cannot fail.
    fn describe(&self, line: &mut String) {
        let _ = write!(line, "{} {} {}", self.verb, self.table, fields(self.item));
        if let Some(change) = self.change {
            let _ = write!(line, ": {change}");
        }
        if let Some(condition) = self.condition {
            let _ = write!(line, " if {condition}");
        }
        for (name, value) in sorted(self.names) {
            let _ = write!(line, ", {name} = {value}");
        }
        for (name, attribute) in sorted(self.values) {
            let _ = write!(line, ", {name} = {}", value(attribute));
        }
    }
}

fn sorted<V>(map: Option<&HashMap<String, V>>) -> BTreeMap<&str, &V> {
    let entries = map.into_iter().flatten();
    entries
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

fn fields(item: &HashMap<String, AttributeValue>) -> String {
    let fields: Vec<String> = sorted(Some(item))
        .into_iter()
        .map(|(name, attribute)| format!("{name}: {}", value(attribute)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn value(attribute: &AttributeValue) -> String {
    let list = |parts: Vec<String>| format!("[{}]", parts.join(", "));
    match attribute {
        AttributeValue::S(text) => format!("{text:?}"),
        AttributeValue::N(number) => number.clone(),
        AttributeValue::Bool(is) => is.to_string(),
        AttributeValue::Null(_) => "null".to_owned(),
        AttributeValue::B(bytes) => format!("{} bytes", bytes.as_ref().len()),
        AttributeValue::M(map) => fields(map),
        AttributeValue::L(values) => list(values.iter().map(value).collect()),
        AttributeValue::Ss(texts) => list(texts.iter().map(|text| format!("{text:?}")).collect()),
        AttributeValue::Ns(numbers) => list(numbers.clone()),
        other => format!("{other:?}"),
    }
}
