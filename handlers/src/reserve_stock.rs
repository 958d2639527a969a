//! reserve-stock: sets stock aside for placed orders.

use crate::{
    events::{OrderPlaced, OrderRejected, StockReserved},
    stock::{Reservation, Stock, StockError},
    table::Table,
};
use aws_config::SdkConfig;
use surehand::{BoxError, Envelope, Error, EventBus, FromRef, Publisher, State};

/// Reserves the order's stock, and says what became of it.
///
/// An attempt after one that had decided says the same again, under the same event id.
///
/// # Errors
/// An order that no attempt can reserve is rejected; anything else may work next time.
pub async fn reserve_stock(
    order: Envelope<OrderPlaced>,
    State(stock): State<Stock>,
    events: Publisher,
) -> surehand::Result<()> {
    let order = order.data;
    let reservation = stock.reserve(&order.order_id, &order.lines).await;
    match reservation.map_err(disposition)? {
        Reservation::Reserved => {
            let reserved = StockReserved {
                order_id: order.order_id,
                customer_id: order.customer_id,
                email: order.email,
            };
            events.publish(&reserved).await?;
        }
        Reservation::Rejected { reason } => {
            let rejected = OrderRejected {
                order_id: order.order_id,
                customer_id: order.customer_id,
                email: order.email,
                reason,
            };
            events.publish(&rejected).await?;
        }
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

/// What the handler works with.
#[derive(Clone, Debug)]
pub struct Warehouse {
    /// What is there.
    pub stock: Stock,
    /// The event bus.
    pub events: Publisher,
}

impl Warehouse {
    /// The warehouse that the environment describes.
    ///
    /// # Errors
    /// If a variable is not set.
    pub async fn from_env(aws: &SdkConfig) -> Result<Self, BoxError> {
        Ok(Self {
            stock: Stock::new(Table::from_env(aws)?),
            events: Publisher::new(EventBus::from_env().await?).producer("shop.reserve-stock"),
        })
    }
}

impl FromRef<Warehouse> for Stock {
    fn from_ref(warehouse: &Warehouse) -> Self {
        warehouse.stock.clone()
    }
}

impl FromRef<Warehouse> for Publisher {
    fn from_ref(warehouse: &Warehouse) -> Self {
        warehouse.events.clone()
    }
}
