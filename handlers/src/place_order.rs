//! place-order: takes an order.

use crate::{
    environment,
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder, Placed},
    table::Table,
};
use aws_config::SdkConfig;
use surehand::{
    BoxError, Error, EventBus, FromRecord, FromRef, IdempotencyKey, Json, Publisher, Record,
    SqsQueue, State,
};

/// Stores the order, tells everybody, and has it charged.
///
/// # Errors
/// A request that makes no sense is rejected; anything else may work next time.
pub async fn place_order(
    Json(request): Json<PlaceOrder>,
    key: IdempotencyKey,
    State(orders): State<Orders>,
    events: Publisher,
    LedgerQueue(ledger): LedgerQueue,
) -> surehand::Result<Placed> {
    let total_cents = request.total_cents().map_err(Error::rejected)?;
    let order = OrderPlaced {
        // The same in every attempt: what one has left half done, the next completes.
        order_id: key.uuid("order").to_string(),
        customer_id: request.customer_id,
        email: request.email,
        lines: request.lines,
        total_cents,
    };
    let charge = OrderCharged {
        order_id: order.order_id.clone(),
        customer_id: order.customer_id.clone(),
        amount_cents: total_cents,
    };
    orders.store(&order).await?;
    tokio::try_join!(events.publish(&order), ledger.publish(&charge))?;
    Ok(Placed {
        order_id: order.order_id,
        total_cents,
    })
}

/// What the handler works with.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Where orders are kept.
    pub orders: Orders,
    /// The event bus, for whoever wants to know.
    pub events: Publisher,
    /// The queue of customer-ledger, which keeps charges in order as a bus could not.
    pub ledger: Publisher,
}

impl Checkout {
    /// The checkout that the environment describes.
    ///
    /// # Errors
    /// If a variable is not set.
    pub async fn from_env(aws: &SdkConfig) -> Result<Self, BoxError> {
        let ledger_url = environment::var("LEDGER_QUEUE_URL")?;
        let ledger = SqsQueue::new(aws_sdk_sqs::Client::new(aws), ledger_url);
        Ok(Self {
            orders: Orders::new(Table::from_env(aws)?),
            events: Publisher::new(EventBus::from_env().await?).producer(PRODUCER),
            ledger: Publisher::new(ledger).producer(PRODUCER),
        })
    }
}

const PRODUCER: &str = "shop.place-order";

impl FromRef<Checkout> for Orders {
    fn from_ref(checkout: &Checkout) -> Self {
        checkout.orders.clone()
    }
}

impl FromRef<Checkout> for Publisher {
    fn from_ref(checkout: &Checkout) -> Self {
        checkout.events.clone()
    }
}

/// The second publisher needs a type of its own to be an argument.
#[derive(Debug)]
pub struct LedgerQueue(Publisher);

impl FromRecord<Checkout> for LedgerQueue {
    fn from_record(record: &Record, checkout: &Checkout) -> surehand::Result<Self> {
        Ok(Self(checkout.ledger.bound_to(record)))
    }
}
