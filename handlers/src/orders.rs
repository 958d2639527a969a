//! Orders: what is asked for, whether it makes sense, and where it is kept.

use crate::events::{Line, OrderPlaced};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use surehand::{Error, Tables, Transaction, tables::Access};

/// A request to place an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlaceOrder {
    /// The caller's own id of the request, which stays the same when the caller repeats it.
    pub request_id: String,
    /// The customer who orders.
    pub customer_id: String,
    /// Where the customer gets mail.
    pub email: String,
    /// The lines of the order.
    pub lines: Vec<Line>,
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The order.
    pub order_id: String,
    /// Its price, in cents.
    pub total_cents: i64,
}

/// Why an order is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    /// Charges go through a FIFO queue in which each customer is a message group.
    #[error("customer id `{0}` must be 1 to 128 ASCII letters, digits and punctuation marks")]
    CustomerId(String),
    /// More than that about an address is only known once a mail is sent.
    #[error("e-mail address `{0}` has no @")]
    Email(String),
    /// The order has no lines, or more than a transaction can reserve.
    #[error("the order has {0} lines: send 1 to {MAX_LINES}")]
    LineCount(usize),
    /// The quantity is zero or less.
    #[error("quantity {quantity} of `{sku}` is not positive")]
    Quantity {
        /// The sku.
        sku: String,
        /// The quantity.
        quantity: i64,
    },
    /// The price is negative.
    #[error("unit price {cents} of `{sku}` is negative")]
    Price {
        /// The sku.
        sku: String,
        /// The price of one, in cents.
        cents: i64,
    },
    /// The sum would overflow.
    #[error("quantities or prices are too large to be added up")]
    Overflow,
}

/// DynamoDB takes 100 writes per transaction: one for each sku, the reservation, and the claim.
const MAX_LINES: usize = 98;
const MAX_CUSTOMER_ID: usize = 128;

impl PlaceOrder {
    /// What makes it one request: a request id is its customer's own, and another customer who sends
    /// the same one has a request of their own.
    pub fn idempotency_key(&self) -> String {
        serde_json::json!([self.customer_id, self.request_id]).to_string()
    }

    /// Checks the request, and returns its total price in cents.
    ///
    /// # Errors
    /// The first problem of the request.
    pub fn total_cents(&self) -> Result<i64, InvalidOrder> {
        let is_group = (1..=MAX_CUSTOMER_ID).contains(&self.customer_id.len())
            && self.customer_id.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_group {
            return Err(InvalidOrder::CustomerId(self.customer_id.clone()));
        }
        if !self.email.contains('@') {
            return Err(InvalidOrder::Email(self.email.clone()));
        }
        quantities(&self.lines)?;
        self.lines.iter().try_fold(0_i64, |total, line| {
            let cents = line.unit_price_cents;
            if cents < 0 {
                let sku = line.sku.clone();
                return Err(InvalidOrder::Price { sku, cents });
            }
            let price = line.quantity.checked_mul(cents);
            price
                .and_then(|price| total.checked_add(price))
                .ok_or(InvalidOrder::Overflow)
        })
    }
}

/// Returns how much of each sku the lines ask for, at least 1.
///
/// # Errors
/// If there are no lines or too many, or a quantity is not positive.
pub fn quantities(lines: &[Line]) -> Result<BTreeMap<&str, i64>, InvalidOrder> {
    if !(1..=MAX_LINES).contains(&lines.len()) {
        return Err(InvalidOrder::LineCount(lines.len()));
    }
    let mut quantities = BTreeMap::<&str, i64>::new();
    for Line { sku, quantity, .. } in lines {
        if *quantity < 1 {
            return Err(InvalidOrder::Quantity {
                sku: sku.clone(),
                quantity: *quantity,
            });
        }
        let sum = quantities.entry(sku).or_default();
        *sum = sum.checked_add(*quantity).ok_or(InvalidOrder::Overflow)?;
    }
    Ok(quantities)
}

/// The orders in the shop's table.
#[derive(Clone, Debug)]
pub struct Orders(Tables);

impl Orders {
    /// Makes the orders in these tables.
    pub fn new(tables: Tables) -> Self {
        Self(tables)
    }

    /// What is done with the tables.
    pub fn access() -> Access {
        Access::new().puts::<OrderPlaced>()
    }

    /// Makes the orders in the environment's tables.
    ///
    /// # Errors
    /// If the table is not named.
    pub async fn from_env() -> surehand::Result<Self> {
        Ok(Self::new(Tables::from_env(Self::access()).await?))
    }

    /// Stages an order to be stored. The commit is rejected if the order was stored before.
    pub fn store(&self, tx: &Transaction, order: &OrderPlaced) {
        let exists = format!("order `{}` was placed before", order.order_id);
        tx.insert(&self.0, order).or(Error::rejected(exists));
    }
}
