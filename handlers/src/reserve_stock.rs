//! reserve-stock: sets stock aside for placed orders.

use crate::{
    events::{OrderPlaced, OrderRejected, StockReserved},
    stock::{Reservation, Stock, StockError},
};
use surehand::{Envelope, Error, State, Transaction};

/// Reserves the order's stock, and says what became of it.
///
/// # Errors
/// An order that no attempt can reserve is rejected; anything else may work next time.
pub async fn reserve_stock(
    order: Envelope<OrderPlaced>,
    State(stock): State<Stock>,
    tx: Transaction,
) -> surehand::Result<()> {
    let order = order.data;
    let reservation = stock.reserve(&tx, &order.order_id, &order.lines).await;
    match reservation.map_err(disposition)? {
        Some(Reservation::Reserved) => tx.publish(&StockReserved {
            order_id: order.order_id,
            customer_id: order.customer_id,
            email: order.email,
        }),
        Some(Reservation::Rejected { reason }) => tx.publish(&OrderRejected {
            order_id: order.order_id,
            customer_id: order.customer_id,
            email: order.email,
            reason,
        }),
        // Whoever decided it has said so in the same transaction.
        None => {}
    }
    Ok(())
}

/// Out of stock is an outcome, and no error. Of the errors these two never pass.
fn disposition(error: StockError) -> Error {
    match error {
        StockError::Invalid(_) | StockError::UnknownSku(_) => Error::rejected(error),
        _ => error.into(),
    }
}
