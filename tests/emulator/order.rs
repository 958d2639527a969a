//! Orders of the tests, and events about them.

use serde_json::{Value, json};

pub(crate) const BOOK_CENTS: i64 = 1_200;
pub(crate) const LAMP_CENTS: i64 = 3_900;

/// A request to place an order; everything in it is made from the request's id and the customer's.
pub(crate) fn request(request_id: &str, customer_id: &str, lines: &[Value]) -> Value {
    json!({
        "request_id": request_id,
        "customer_id": customer_id,
        "email": format!("{customer_id}+{request_id}@example.com"),
        "lines": lines,
    })
}

pub(crate) fn line(sku: &str, quantity: i64, unit_price_cents: i64) -> Value {
    json!({ "sku": sku, "quantity": quantity, "unit_price_cents": unit_price_cents })
}

/// What place-order would publish, without anybody having placed the order.
pub(crate) fn placed(order_id: &str, lines: &[Value]) -> Value {
    json!({
        "order_id": order_id,
        "customer_id": "nobody",
        "email": format!("{order_id}@example.com"),
        "lines": lines,
        "total_cents": 1,
    })
}

/// A message's body, as a rule of EventBridge writes it.
pub(crate) fn body(id: &str, source: &str, detail_type: &str, data: &Value) -> String {
    json!({
        "version": "0",
        "id": format!("bus-{id}"),
        "source": source,
        "detail-type": detail_type,
        "time": "2026-11-21T10:00:00Z",
        "detail": { "metadata": { "id": id }, "data": data },
    })
    .to_string()
}
