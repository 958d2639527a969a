//! What is in stock, and what of it is set aside for orders.

use crate::{
    events::Line,
    orders::{InvalidOrder, quantities},
};
use serde::{Deserialize, Serialize};
use surehand::{
    BoxError, Entity, Tables, Transaction, environment,
    tables::{Access, Read, TableError},
};

/// How much of a sku is available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "STOCK#{sku}", sk = "STOCK"))]
pub struct StockRow {
    /// The sku.
    pub sku: String,
    /// How many can be set aside.
    pub available: i64,
}

/// What became of an order's stock, which is decided once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "ORDER#{order_id}", sk = "RESERVATION"))]
pub struct Reservation {
    /// The order.
    pub order_id: String,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// The decision about an order's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "UPPERCASE")]
pub enum Decision {
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
    /// Another order took the stock between the reading of the row and the commit.
    #[error("the stock of sku `{0}` was taken by another order")]
    Taken(String),
    /// Another attempt decided first.
    #[error("another attempt decided on the stock of order `{0}`")]
    Decided(String),
    /// DynamoDB failed, or an item is not valid: it must be corrected by hand.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The stock in the shop's table.
#[derive(Clone, Debug)]
pub struct Stock {
    tables: Tables,
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
    /// Makes the stock in these tables.
    pub fn new(tables: Tables) -> Self {
        Self {
            tables,
            unknown: UnknownSku::default(),
        }
    }

    /// What is done with the tables.
    pub fn access() -> Access {
        let stock = Access::new().reads::<StockRow>().updates::<StockRow>();
        stock.reads::<Reservation>().puts::<Reservation>()
    }

    /// Makes the stock in the [environment's tables](Tables::from_env). With `UNKNOWN_SKU=sold-out`,
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
        Ok(Self::new(Tables::from_env(Self::access()).await?).unknown(unknown))
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
    ) -> Result<Option<Decision>, StockError> {
        let quantities = quantities(lines)?;
        let decided = Reservation::key(order_id);
        let rows = quantities.keys().map(|sku| StockRow::key(*sku));
        let found = self
            .tables
            .read(Read::new().key(&decided).keys(rows))
            .await?;
        if found.get(&decided)?.is_some() {
            return Ok(None);
        }
        let mut missing = Vec::new();
        for (sku, quantity) in &quantities {
            match found.get(&StockRow::key(*sku))? {
                Some(row) if row.available >= *quantity => {}
                None if self.unknown == UnknownSku::Fail => {
                    return Err(StockError::UnknownSku((*sku).to_owned()));
                }
                _ => missing.push(*sku),
            }
        }
        let decision = if missing.is_empty() {
            for (sku, quantity) in &quantities {
                tx.update(&self.tables, StockRow::key(*sku))
                    .subtract(|row| row.available, *quantity)
                    .only_if(|row| row.available.ge(*quantity))
                    .or(StockError::Taken((*sku).to_owned()));
            }
            Decision::Reserved
        } else {
            let reason = format!("not enough in stock of {}", missing.join(", "));
            Decision::Rejected { reason }
        };
        let reservation = Reservation {
            order_id: order_id.to_owned(),
            decision: decision.clone(),
        };
        tx.insert(&self.tables, &reservation)
            .or(StockError::Decided(order_id.to_owned()));
        Ok(Some(decision))
    }
}
