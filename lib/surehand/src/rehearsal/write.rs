//! A write of a proposed transaction: DynamoDB's JSON for programs, and words for people.

use super::words::{fields, filled, subjects, value};
use crate::redact::shortened;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// So much of an attribute is shown of the item that a condition has met.
const SHOWN: usize = 200;

/// One write of a [`Proposal`](super::Proposal), in the JSON that DynamoDB takes in a request's `TransactItems`:
/// `{"Update": {"TableName": "shop", "Key": …}}`.
///
/// It displays as a line, with names and values in the place of the expressions' placeholders:
/// `update shop {pk: "book"}: SET available = available - 1 if available >= 1`.
///
/// ```
/// use serde_json::{json, from_value};
/// use surehand::rehearsal::ProposedWrite;
///
/// let write: ProposedWrite = from_value(json!({"Update": {
///     "TableName": "shop",
///     "Key": {"pk": {"S": "book"}},
///     "UpdateExpression": "SET #n = #n - :one",
///     "ConditionExpression": "#n >= :one",
///     "ExpressionAttributeNames": {"#n": "available"},
///     "ExpressionAttributeValues": {":one": {"N": "1"}},
/// }}))?;
/// assert_eq!(write.to_string(), r#"update shop {pk: "book"}: SET available = available - 1 if available >= 1"#);
/// let key = json!({"pk": {"S": "book"}});
/// let item = json!({"pk": {"S": "book"}, "available": {"N": "0"}});
/// assert_eq!(
///     write.refusal(key.as_object().unwrap(), item.as_object()),
///     r#"update shop {pk: "book"}: the condition "available >= 1" does not hold; the item has available = 0"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProposedWrite(Value);

impl ProposedWrite {
    /// The element of `TransactItems` with this action (`Put`, for example) and its members.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn new(action: &str, members: Map<String, Value>) -> Self {
        Self(Value::Object(Map::from_iter([(
            action.to_owned(),
            Value::Object(members),
        )])))
    }

    /// As it stands in a request.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The table's name, or its ARN.
    pub fn table(&self) -> &str {
        self.text("TableName").unwrap_or("a table")
    }

    /// The item that is put; of any other write the key.
    pub fn item(&self) -> Option<&Map<String, Value>> {
        self.map("Item").or_else(|| self.map("Key"))
    }

    /// Whether it is only done if a condition holds.
    pub fn has_condition(&self) -> bool {
        self.text("ConditionExpression").is_some()
    }

    /// Whether the item is wanted that did not meet the condition.
    pub fn wants_item(&self) -> bool {
        self.text("ReturnValuesOnConditionCheckFailure") == Some("ALL_OLD")
    }

    /// Says that its condition does not hold for the item with this key; `item` is none if there is no such item.
    pub fn refusal(&self, key: &Map<String, Value>, item: Option<&Map<String, Value>>) -> String {
        let condition = self.text("ConditionExpression").unwrap_or_default();
        let met = match item {
            None => "there is no such item".to_owned(),
            Some(item) => {
                let about = subjects(condition, self.map("ExpressionAttributeNames"));
                let met: Vec<String> = about
                    .iter()
                    .filter(|name| !key.contains_key(*name))
                    .map(|name| match item.get(name) {
                        Some(it) => format!("{name} = {}", shortened(&value(it), SHOWN)),
                        None => format!("no {name}"),
                    })
                    .collect();
                match met.is_empty() {
                    true => "the item exists".to_owned(),
                    false => format!("the item has {}", met.join(", ")),
                }
            }
        };
        format!(
            "{} {} {}: the condition \"{}\" does not hold; {met}",
            self.verb(),
            self.table(),
            fields(key),
            self.filled(condition)
        )
    }

    fn verb(&self) -> &'static str {
        match self.action().map(|(action, _)| action.as_str()) {
            Some("Put") => "put",
            Some("Update") => "update",
            Some("Delete") => "delete",
            Some("ConditionCheck") => "check",
            _ => "write",
        }
    }

    fn action(&self) -> Option<(&String, &Value)> {
        self.0.as_object()?.iter().next()
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.action()?.1.get(member)?.as_str()
    }

    fn map(&self, member: &str) -> Option<&Map<String, Value>> {
        self.action()?.1.get(member)?.as_object()
    }

    fn filled(&self, expression: &str) -> String {
        filled(
            expression,
            self.map("ExpressionAttributeNames"),
            self.map("ExpressionAttributeValues"),
        )
    }
}

impl fmt::Display for ProposedWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = self.item().map(fields).unwrap_or_default();
        write!(f, "{} {} {item}", self.verb(), self.table())?;
        if let Some(change) = self.text("UpdateExpression") {
            write!(f, ": {}", self.filled(change))?;
        }
        if let Some(condition) = self.text("ConditionExpression") {
            write!(f, " if {}", self.filled(condition))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_says_what_the_condition_has_met() {
        let write = |condition: &str| {
            let put = json!({"Put": {
                "TableName": "shop", "Item": {"pk": {"S": "a"}, "text": {"S": "long"}},
                "ConditionExpression": condition,
            }});
            serde_json::from_value::<ProposedWrite>(put).unwrap()
        };
        let key = Map::from_iter([("pk".to_owned(), json!({"S": "a"}))]);
        let mut item = key.clone();
        item.insert("n".to_owned(), json!({"N": "1"}));
        for (condition, item, met) in [
            ("attribute_exists(pk)", None, "there is no such item"),
            ("attribute_not_exists(pk)", Some(&item), "the item exists"),
            ("n > m", Some(&item), "the item has n = 1, no m"),
        ] {
            assert_eq!(
                write(condition).refusal(&key, item),
                format!(
                    r#"put shop {{pk: "a"}}: the condition "{condition}" does not hold; {met}"#
                )
            );
        }
    }
}
