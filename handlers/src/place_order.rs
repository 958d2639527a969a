//! place-order: takes an order.

use crate::{
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder, Placed},
};
use surehand::{Error, IdempotencyKey, Json, State, Transaction};

/// Stores the order, tells everybody, and has it charged: all of it, or nothing.
///
/// # Errors
/// A request that makes no sense is rejected; anything else may work next time.
pub async fn place_order(
    Json(request): Json<PlaceOrder>,
    key: IdempotencyKey,
    State(orders): State<Orders>,
    tx: Transaction,
) -> surehand::Result<Placed> {
    let total_cents = request.total_cents().map_err(Error::rejected)?;
    let order = OrderPlaced {
        // The same for the same request, even when its key is long forgotten.
        order_id: key.uuid("order").to_string(),
        customer_id: request.customer_id,
        email: request.email,
        lines: request.lines,
        total_cents,
    };
    orders.store(&tx, &order)?;
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
