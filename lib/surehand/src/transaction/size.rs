//! How large things are in DynamoDB's eyes.
//!
//! The rules are those of the developer guide, "DynamoDB item sizes and formats". They are an
//! estimate from above: a write that is let through here may only fail there if it updates an item
//! that is large already.

use crate::stage::Item;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use std::collections::HashMap;

/// The actions of one transaction, the claim's included.
pub(crate) const MAX_ACTIONS: usize = 100;
/// The bytes of one item.
pub(crate) const MAX_ITEM_BYTES: usize = 400 * 1024;
/// The bytes of all items of one transaction.
pub(crate) const MAX_TRANSACTION_BYTES: usize = 4 * 1024 * 1024;

/// The bytes of one event, as a whole. A bus and a queue take more, but the event waits in an item, which
/// also has its key, and why it could not be published.
pub(crate) const MAX_EVENT_BYTES: usize = MAX_ITEM_BYTES - 16 * 1024;

/// The size of an item.
pub(crate) fn item_bytes(item: &Item) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value_bytes(value))
        .sum()
}

/// The size of what a write brings.
pub(crate) fn write_bytes(write: &TransactWriteItem) -> usize {
    let named = |values: Option<&HashMap<String, AttributeValue>>| values.map_or(0, item_bytes);
    if let Some(put) = write.put() {
        item_bytes(put.item())
    } else if let Some(update) = write.update() {
        item_bytes(update.key()) + named(update.expression_attribute_values())
    } else if let Some(delete) = write.delete() {
        item_bytes(delete.key()) + named(delete.expression_attribute_values())
    } else if let Some(check) = write.condition_check() {
        item_bytes(check.key()) + named(check.expression_attribute_values())
    } else {
        0
    }
}

fn value_bytes(value: &AttributeValue) -> usize {
    // A list or map costs 3 bytes, and 1 for each element.
    const NESTED: usize = 3;
    match value {
        AttributeValue::S(text) => text.len(),
        // Two digits a byte, a byte more, and one for a sign; never more than 21.
        AttributeValue::N(digits) => (digits.len().div_ceil(2) + 2).min(21),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Ns(numbers) => numbers
            .iter()
            .map(|n| (n.len().div_ceil(2) + 2).min(21))
            .sum(),
        AttributeValue::Bs(blobs) => blobs.iter().map(|b| b.as_ref().len()).sum(),
        AttributeValue::L(values) => {
            NESTED
                + values
                    .iter()
                    .map(|value| 1 + value_bytes(value))
                    .sum::<usize>()
        }
        AttributeValue::M(map) => {
            NESTED
                + map
                    .iter()
                    .map(|(name, value)| 1 + name.len() + value_bytes(value))
                    .sum::<usize>()
        }
        _ => 0,
    }
}
