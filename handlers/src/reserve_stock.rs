//! reserve-stock: sets stock aside for placed orders.

use crate::{
    events::{OrderPlaced, OrderRejected, StockReserved},
    stock::{Decision, Stock, StockError},
};
use surehand::{Envelope, Error, State, Transaction};

/// Reserves the order's stock, and publishes whether it is reserved or the order rejected.
///
/// # Errors
/// An order that can never be reserved is rejected; after any other error it is tried again.
pub async fn reserve_stock(
    order: Envelope<OrderPlaced>,
    State(stock): State<Stock>,
    tx: Transaction,
) -> surehand::Result<()> {
    let order = order.data;
    let decision = stock.reserve(&tx, &order.order_id, &order.lines).await;
    match decision.map_err(disposition)? {
        Some(Decision::Reserved) => tx.publish(&StockReserved {
            order_id: order.order_id,
            customer_id: order.customer_id,
            email: order.email,
        }),
        Some(Decision::Rejected { reason }) => tx.publish(&OrderRejected {
            order_id: order.order_id,
            customer_id: order.customer_id,
            email: order.email,
            reason,
        }),
        // The attempt that decided it has published the decision in the same transaction.
        None => {}
    }
    Ok(())
}

/// Out of stock is an outcome, not an error. Of the errors, these two never pass.
fn disposition(error: StockError) -> Error {
    match error {
        StockError::Invalid(_) | StockError::UnknownSku(_) => Error::rejected(error),
        _ => error.into(),
    }
}
