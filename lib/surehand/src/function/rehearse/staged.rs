//! Staged writes and items in DynamoDB's JSON, and staged events in words.

use crate::{Result, envelope::Outgoing, rehearsal::ProposedWrite, stage::Item};
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The write as a request has it.
pub(super) fn proposed(write: &TransactWriteItem) -> ProposedWrite {
    let Some(parts) = Parts::of(write) else {
        return ProposedWrite::new("Put", Map::new());
    };
    let names = |names: &HashMap<String, String>| {
        let names = names
            .iter()
            .map(|(at, name)| (at.clone(), name.as_str().into()));
        Value::Object(names.collect())
    };
    let members = [
        ("TableName", Some(parts.table.into())),
        (parts.place, Some(json(parts.item))),
        ("UpdateExpression", parts.change.map(Value::from)),
        ("ConditionExpression", parts.condition.map(Value::from)),
        ("ExpressionAttributeNames", parts.names.map(names)),
        ("ExpressionAttributeValues", parts.values.map(json)),
        (
            "ReturnValuesOnConditionCheckFailure",
            parts.wants.map(|wants| wants.as_str().into()),
        ),
    ];
    let members = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    ProposedWrite::new(parts.action, members.collect())
}

/// Describes an event: `publish StockReserved {"order_id":"42"}`.
pub(super) fn event(event: &Outgoing) -> String {
    format!("publish {} {}", event.detail_type(), event.data())
}

/// The item that the JSON stands for.
pub(super) fn item(json: Value) -> Result<Item> {
    Ok(serde_json::from_value::<serde_dynamo::Item>(json)?.into())
}

fn json(item: &Item) -> Value {
    // Nothing in an item could fail to be JSON: its numbers are texts, and its names too.
    serde_json::to_value(serde_dynamo::Item::from(item.clone())).unwrap_or_default()
}

/// What the four kinds of writes have in common.
struct Parts<'a> {
    action: &'static str,
    table: &'a str,
    /// Where the item is, or its key.
    place: &'static str,
    item: &'a Item,
    change: Option<&'a str>,
    condition: Option<&'a str>,
    names: Option<&'a HashMap<String, String>>,
    values: Option<&'a Item>,
    wants: Option<&'a ReturnValuesOnConditionCheckFailure>,
}

impl<'a> Parts<'a> {
    fn of(write: &'a TransactWriteItem) -> Option<Self> {
        Some(if let Some(put) = &write.put {
            Self {
                action: "Put",
                table: &put.table_name,
                place: "Item",
                item: &put.item,
                change: None,
                condition: put.condition_expression.as_deref(),
                names: put.expression_attribute_names.as_ref(),
                values: put.expression_attribute_values.as_ref(),
                wants: put.return_values_on_condition_check_failure.as_ref(),
            }
        } else if let Some(update) = &write.update {
            Self {
                action: "Update",
                table: &update.table_name,
                place: "Key",
                item: &update.key,
                change: Some(&update.update_expression),
                condition: update.condition_expression.as_deref(),
                names: update.expression_attribute_names.as_ref(),
                values: update.expression_attribute_values.as_ref(),
                wants: update.return_values_on_condition_check_failure.as_ref(),
            }
        } else if let Some(delete) = &write.delete {
            Self {
                action: "Delete",
                table: &delete.table_name,
                place: "Key",
                item: &delete.key,
                change: None,
                condition: delete.condition_expression.as_deref(),
                names: delete.expression_attribute_names.as_ref(),
                values: delete.expression_attribute_values.as_ref(),
                wants: delete.return_values_on_condition_check_failure.as_ref(),
            }
        } else if let Some(check) = &write.condition_check {
            Self {
                action: "ConditionCheck",
                table: &check.table_name,
                place: "Key",
                item: &check.key,
                change: None,
                condition: Some(&check.condition_expression),
                names: check.expression_attribute_names.as_ref(),
                values: check.expression_attribute_values.as_ref(),
                wants: check.return_values_on_condition_check_failure.as_ref(),
            }
        } else {
            return None;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::{
        primitives::Blob,
        types::{AttributeValue, ConditionCheck, Delete, Put},
    };
    use serde_json::json;

    #[test]
    fn an_item_of_every_type_is_read_back_as_it_was() {
        let text = |text: &str| AttributeValue::S(text.into());
        let blob = || Blob::new([0, 1, 2, 255]);
        let values = [
            text("größe"),
            AttributeValue::N("12345678901234567890.5".into()),
            AttributeValue::Bool(false),
            AttributeValue::Null(true),
            AttributeValue::B(blob()),
            AttributeValue::Ss(vec!["a".into()]),
            AttributeValue::Ns(vec!["1".into(), "2.50".into()]),
            AttributeValue::Bs(vec![blob()]),
            AttributeValue::L(vec![text("a"), AttributeValue::M(Item::new())]),
        ];
        let numbered = (0..).map(|n| format!("a{n}"));
        let all: Item = numbered.zip(values).collect();
        assert_eq!(item(json(&all)).unwrap(), all);
    }

    #[test]
    fn every_kind_of_write_is_what_a_request_takes() {
        let key = || ("pk", AttributeValue::S("a".into()));
        let (name, value) = key();
        let put = Put::builder().table_name("t").item(name, value);
        let put = put.condition_expression("attribute_not_exists(#k)");
        let put = put.expression_attribute_names("#k", "pk").build().unwrap();
        let (name, value) = key();
        let delete = Delete::builder().table_name("t").key(name, value);
        let (name, value) = key();
        let check = ConditionCheck::builder().table_name("t").key(name, value);
        let check = check.condition_expression("attribute_exists(pk)");
        let write = TransactWriteItem::builder;
        for (write, expected) in [
            (
                write().put(put),
                json!({"Put": {
                    "TableName": "t", "Item": {"pk": {"S": "a"}},
                    "ConditionExpression": "attribute_not_exists(#k)", "ExpressionAttributeNames": {"#k": "pk"},
                }}),
            ),
            (
                write().delete(delete.build().unwrap()),
                json!({"Delete": {"TableName": "t", "Key": {"pk": {"S": "a"}}}}),
            ),
            (
                write().condition_check(check.build().unwrap()),
                json!({"ConditionCheck": {
                    "TableName": "t", "Key": {"pk": {"S": "a"}}, "ConditionExpression": "attribute_exists(pk)",
                }}),
            ),
        ] {
            assert_eq!(*proposed(&write.build()).json(), expected);
        }
    }
}
