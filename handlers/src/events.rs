//! The shop's events. Who publishes them and who handles them share these types.

use serde::{Deserialize, Serialize};
use surehand::{Entity, Event};

/// A customer has placed an order. It is stored as it is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event, Entity)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    subject = "order/{order_id}"
)]
#[entity(table = "SHOP_TABLE", key(pk = "ORDER#{order_id}", sk = "ORDER"))]
pub struct OrderPlaced {
    /// The order.
    pub order_id: String,
    /// Whose order it is.
    pub customer_id: String,
    /// Where the customer gets mail.
    pub email: String,
    /// The lines of the order; a sku may be on several lines.
    pub lines: Vec<Line>,
    /// The price of all lines, in cents.
    pub total_cents: i64,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The sku.
    pub sku: String,
    /// How many, from 1.
    pub quantity: i64,
    /// The price of one, in cents.
    pub unit_price_cents: i64,
}

/// A customer owes the price of an order. One customer's charges are handled in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(source = "shop.ledger", detail_type = "OrderCharged")]
#[event(subject = "order/{order_id}", partition_key = "{customer_id}")]
pub struct OrderCharged {
    /// The order.
    pub order_id: String,
    /// The customer who owes it.
    pub customer_id: String,
    /// The amount, in cents.
    pub amount_cents: i64,
}

/// All items of an order were in stock, and are set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(
    source = "shop.stock",
    detail_type = "StockReserved",
    subject = "order/{order_id}"
)]
pub struct StockReserved {
    /// The order.
    pub order_id: String,
    /// Whose order it is.
    pub customer_id: String,
    /// Where the customer gets mail.
    pub email: String,
}

/// An item of an order was out of stock, and no item is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(
    source = "shop.stock",
    detail_type = "OrderRejected",
    subject = "order/{order_id}"
)]
pub struct OrderRejected {
    /// The order.
    pub order_id: String,
    /// Whose order it is.
    pub customer_id: String,
    /// Where the customer gets mail.
    pub email: String,
    /// What was missing, in words for the customer.
    pub reason: String,
}
