//! Orders, and what reserving their stock writes.

use aws_sdk_dynamodb::types::{
    AttributeValue, Put, Update,
    builders::{PutBuilder, UpdateBuilder},
};
use serde::{Deserialize, Serialize};
use surehand::Event;

/// The most messages that SQS delivers in a batch without a window.
pub(crate) const RECORDS: u64 = 10;

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    /// One of ten skus, so that the orders of a batch do not conflict.
    pub(crate) sku: String,
    pub(crate) quantity: u64,
}

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockReserved")]
pub(crate) struct StockReserved {
    pub(crate) order_id: String,
    pub(crate) customer: String,
}

pub(crate) fn order(id: String, index: u64) -> OrderPlaced {
    OrderPlaced {
        order_id: id,
        customer: "customer-7".into(),
        sku: format!("sku-{index}"),
        quantity: 1,
    }
}

/// Takes the order's quantity from the stock, if there is enough.
pub(crate) fn take(order: &OrderPlaced) -> UpdateBuilder {
    Update::builder()
        .table_name("shop")
        .key("id", text(&order.sku))
        .update_expression("SET available = available - :quantity")
        .condition_expression("available >= :quantity")
        .expression_attribute_values(":quantity", number(order.quantity))
}

/// Records the reservation, unless it is already recorded.
pub(crate) fn reservation(order: &OrderPlaced) -> PutBuilder {
    Put::builder()
        .table_name("shop")
        .item("id", text(&format!("reservation-{}", order.order_id)))
        .item("status", text("RESERVED"))
        .condition_expression("attribute_not_exists(id)")
}

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
