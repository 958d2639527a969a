//! What is in stock, and what of it is set aside for orders.

use crate::{
    events::Line,
    orders::{InvalidOrder, quantities},
    table::{self, Rows, Table, TableError},
};
use aws_sdk_dynamodb::types::{AttributeValue, Update, builders::UpdateBuilder};
use serde::{Deserialize, Serialize};
use surehand::{BoxError, Transaction, environment, transaction::Item};

/// The decision about an order's stock, which is made once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "UPPERCASE")]
pub enum Reservation {
    /// All items are set aside.
    Reserved,
    /// No item is set aside.
    Rejected {
        /// What was missing, in words for the customer.
        reason: String,
    },
}

/// Why the decision failed.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// The order is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidOrder),
    /// The shop does not sell this sku.
    #[error("sku `{0}` does not exist")]
    UnknownSku(String),
    /// The row must be corrected by hand.
    #[error("the stock row of sku `{0}` has no number in `available`")]
    Unreadable(String),
    /// Another order took the stock between the reading of the row and the commit.
    #[error("the stock of sku `{0}` was taken by another order")]
    Taken(String),
    /// Another attempt decided first.
    #[error("another attempt decided on the stock of order `{0}`")]
    Decided(String),
    /// DynamoDB failed, or an item is not valid.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The stock in the shop's table.
#[derive(Clone, Debug)]
pub struct Stock {
    table: Table,
    unknown: UnknownSku,
}

/// What happens to an order for a sku that the shop does not sell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownSku {
    /// The order fails, and is parked.
    #[default]
    Fail,
    /// The order is rejected, as if the sku were out of stock.
    SoldOut,
}

impl Stock {
    /// Makes the stock in `table`.
    pub fn new(table: Table) -> Self {
        Self {
            table,
            unknown: UnknownSku::default(),
        }
    }

    /// Makes the stock in the [environment's table](Table::from_env). With `UNKNOWN_SKU=sold-out`,
    /// orders for a sku that the shop does not sell are rejected.
    ///
    /// # Errors
    /// If the table is not named, or `UNKNOWN_SKU` has another value.
    pub async fn from_env() -> Result<Self, BoxError> {
        let unknown = match environment::optional("UNKNOWN_SKU").as_deref() {
            None | Some("fail") => UnknownSku::Fail,
            Some("sold-out") => UnknownSku::SoldOut,
            Some(other) => {
                return Err(
                    format!("the environment variable UNKNOWN_SKU is `{other}`: set it to `fail` or `sold-out`").into(),
                );
            }
        };
        Ok(Self::new(Table::from_env().await?).unknown(unknown))
    }

    /// Sets what happens to an order for a sku that the shop does not sell; it fails unless set.
    pub fn unknown(mut self, unknown: UnknownSku) -> Self {
        self.unknown = unknown;
        self
    }

    /// Decides whether an order's lines can be taken from the stock, all or none, and stages the
    /// writes. Returns none if it was decided before.
    ///
    /// # Errors
    /// If the decision failed.
    pub async fn reserve(
        &self,
        tx: &Transaction,
        order_id: &str,
        lines: &[Line],
    ) -> Result<Option<Reservation>, StockError> {
        let quantities = quantities(lines)?;
        let key = table::key(format!("ORDER#{order_id}"), "RESERVATION");
        let rows = quantities.keys().copied().map(stock_key);
        let rows = self.table.read(rows.chain([key.clone()])).await?;
        if rows.get(&key).is_some() {
            return Ok(None);
        }
        let mut missing = Vec::new();
        for (sku, quantity) in &quantities {
            let available = match available(&rows, sku) {
                Err(StockError::UnknownSku(_)) if self.unknown == UnknownSku::SoldOut => 0,
                available => available?,
            };
            if available < *quantity {
                missing.push(*sku);
            }
        }
        let reservation = if missing.is_empty() {
            for (sku, quantity) in &quantities {
                tx.update(self.take(sku, *quantity))
                    .or(StockError::Taken((*sku).to_owned()));
            }
            Reservation::Reserved
        } else {
            let reason = format!("not enough in stock of {}", missing.join(", "));
            Reservation::Rejected { reason }
        };
        tx.put(self.table.insert(key, &reservation)?)
            .or(StockError::Decided(order_id.to_owned()));
        Ok(Some(reservation))
    }

    fn take(&self, sku: &str, quantity: i64) -> UpdateBuilder {
        Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(stock_key(sku)))
            .update_expression("SET available = available - :quantity")
            .condition_expression("available >= :quantity")
            .expression_attribute_values(":quantity", AttributeValue::N(quantity.to_string()))
    }
}

fn stock_key(sku: &str) -> Item {
    table::key(format!("STOCK#{sku}"), "STOCK")
}

fn available(rows: &Rows, sku: &str) -> Result<i64, StockError> {
    let Some(row) = rows.get(&stock_key(sku)) else {
        return Err(StockError::UnknownSku(sku.to_owned()));
    };
    let number = row.get("available").and_then(|value| value.as_n().ok());
    number
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| StockError::Unreadable(sku.to_owned()))
}
