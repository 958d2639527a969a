//! What is in stock, and what of it is set aside for orders.

use crate::{
    events::Line,
    orders::{InvalidOrder, quantities},
    table::{self, ABSENT, Item, Table, TableError, TransactionError},
};
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What became of an order's stock. It is decided once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "UPPERCASE")]
pub enum Reservation {
    /// All of it is set aside.
    Reserved,
    /// None of it is.
    Rejected {
        /// What was missing, in words for the customer.
        reason: String,
    },
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// The order makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidOrder),
    /// The shop has never sold it.
    #[error("sku `{0}` does not exist")]
    UnknownSku(String),
    /// Somebody has to mend the row.
    #[error("the stock row of sku `{0}` has no number in `available`")]
    Unreadable(String),
    /// Too many others reserve the same at the same time.
    #[error("the stock is contended")]
    Contended,
    /// DynamoDB or an item is in the way.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The stock in the shop's table.
#[derive(Clone, Debug)]
pub struct Stock(Table);

impl Stock {
    /// The stock in `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Takes an order's lines from the stock, all or none. What was decided before stands.
    ///
    /// # Errors
    /// If it is not decided; then nothing is written.
    pub async fn reserve(&self, order_id: &str, lines: &[Line]) -> Result<Reservation, StockError> {
        let quantities = quantities(lines)?;
        let mut writes = vec![self.reservation(order_id)?];
        for (sku, quantity) in &quantities {
            writes.push(self.take(sku, *quantity)?);
        }
        match self.0.transact(writes).await {
            Ok(()) => Ok(Reservation::Reserved),
            Err(TransactionError::Conditions(failed)) => {
                let mut failed = failed.into_iter();
                if let Some(decided) = failed.next().flatten() {
                    return Ok(table::value(decided)?);
                }
                self.reject(order_id, out_of_stock(&quantities, failed)?)
                    .await
            }
            Err(TransactionError::Conflict) => Err(StockError::Contended),
            Err(TransactionError::Table(error)) => Err(error.into()),
        }
    }

    fn reservation(&self, order_id: &str) -> Result<TransactWriteItem, TableError> {
        let item = table::item(reservation_key(order_id), &Reservation::Reserved)?;
        let put = self.0.put(item).condition_expression(ABSENT).build();
        let put = put.map_err(TableError::new)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn take(&self, sku: &str, quantity: i64) -> Result<TransactWriteItem, TableError> {
        let update = Update::builder()
            .table_name(&self.0.name)
            .set_key(Some(table::key(format!("STOCK#{sku}"), "STOCK")))
            .update_expression("SET available = available - :quantity")
            .condition_expression("available >= :quantity")
            .expression_attribute_values(":quantity", AttributeValue::N(quantity.to_string()))
            // A row that is not there and one that is too low fail the same condition: the row
            // tells them apart.
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(TableError::new)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    async fn reject(&self, order_id: &str, reason: String) -> Result<Reservation, StockError> {
        let rejected = Reservation::Rejected { reason };
        let item = table::item(reservation_key(order_id), &rejected)?;
        match self.0.put_if_absent(item).await? {
            None => Ok(rejected),
            // An attempt that was believed dead was faster.
            Some(decided) => Ok(table::value(decided)?),
        }
    }
}

fn reservation_key(order_id: &str) -> Item {
    table::key(format!("ORDER#{order_id}"), "RESERVATION")
}

/// Says what there is not enough of, given the row of each sku whose condition failed.
fn out_of_stock(
    quantities: &BTreeMap<&str, i64>,
    failed: impl Iterator<Item = Option<Item>>,
) -> Result<String, StockError> {
    let mut missing = Vec::new();
    for (sku, row) in quantities.keys().zip(failed) {
        let Some(row) = row else { continue };
        if row.is_empty() {
            return Err(StockError::UnknownSku((*sku).to_owned()));
        }
        if !row.get("available").is_some_and(AttributeValue::is_n) {
            return Err(StockError::Unreadable((*sku).to_owned()));
        }
        missing.push(*sku);
    }
    Ok(format!("not enough in stock of {}", missing.join(", ")))
}
