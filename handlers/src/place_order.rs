//! place-order: takes an order.

use crate::{
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder, Placed},
};
use surehand::{Error, IdempotencyKey, Json, State, Transaction};

/// Stores the order, announces it, and charges the customer: all of it, or nothing.
///
/// # Errors
/// An invalid request is rejected; after any other error it is tried again.
pub async fn place_order(
    Json(request): Json<PlaceOrder>,
    key: IdempotencyKey,
    State(orders): State<Orders>,
    tx: Transaction,
) -> surehand::Result<Placed> {
    let total_cents = request.total_cents().map_err(Error::rejected)?;
    let order = OrderPlaced {
        // The id is the same for the same request, even after its key has expired.
        order_id: key.uuid("order").to_string(),
        customer_id: request.customer_id,
        email: request.email,
        lines: request.lines,
        total_cents,
    };
    orders.store(&tx, &order);
    tx.publish(&order);
    tx.publish(&OrderCharged {
        order_id: order.order_id.clone(),
        customer_id: order.customer_id,
        amount_cents: total_cents,
    });
    Ok(Placed {
        order_id: order.order_id,
        total_cents,
    })
}
