//! What customers owe: an entry for each charge, and a balance over all entries.

use crate::{
    events::OrderCharged,
    table::{self, ABSENT, Table, TableError, TransactionError},
};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use serde::{Deserialize, Serialize};

/// A charge, as it is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How much.
    pub amount_cents: i64,
    /// Which of the customer's entries it is, from 1.
    pub position: u64,
    /// The customer's balance with it.
    pub balance_cents: i64,
}

/// What a customer owes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The sum of all entries.
    pub balance_cents: i64,
    /// How many there are.
    pub entries: u64,
}

/// Why a charge is not booked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// More than can be counted.
    #[error("the balance of customer `{0}` is too large for another charge")]
    Overflow(String),
    /// Another charge came between the reading of the balance and the booking.
    #[error("the ledger of customer `{0}` is written to by others")]
    Contended(String),
    /// DynamoDB or an item is in the way.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The ledger in the shop's table.
#[derive(Clone, Debug)]
pub struct Ledger(Table);

impl Ledger {
    /// The ledger in `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Books a charge after all that are booked. One that is booked already stays where it is.
    ///
    /// # Errors
    /// If it is not booked; then nothing is written.
    pub async fn book(&self, charge: &OrderCharged) -> Result<(), LedgerError> {
        let customer_id = &charge.customer_id;
        let before = self.balance(customer_id).await?;
        let balance_cents = before
            .balance_cents
            .checked_add(charge.amount_cents)
            .ok_or_else(|| LedgerError::Overflow(customer_id.clone()))?;
        let entry = Entry {
            amount_cents: charge.amount_cents,
            position: before.entries + 1,
            balance_cents,
        };
        let writes = vec![
            self.append(charge, &entry)?,
            self.advance(customer_id, &entry)?,
        ];
        match self.0.transact(writes).await {
            Ok(()) => Ok(()),
            // An earlier attempt got as far as this one wants to.
            Err(TransactionError::Conditions(failed)) if matches!(failed[..], [Some(_), ..]) => {
                Ok(())
            }
            Err(TransactionError::Table(error)) => Err(error.into()),
            Err(_) => Err(LedgerError::Contended(customer_id.clone())),
        }
    }

    /// What the customer owes.
    ///
    /// # Errors
    /// If the table cannot be used.
    pub async fn balance(&self, customer_id: &str) -> Result<Balance, TableError> {
        let sent = self
            .0
            .client
            .get_item()
            .table_name(&self.0.name)
            .set_key(Some(table::key(pk(customer_id), BALANCE)))
            .consistent_read(true)
            .send()
            .await;
        let output = sent.map_err(|error| TableError::new(error.into_service_error()))?;
        match output.item {
            Some(item) => table::value(item),
            None => Ok(Balance::default()),
        }
    }

    fn append(
        &self,
        charge: &OrderCharged,
        entry: &Entry,
    ) -> Result<TransactWriteItem, TableError> {
        let key = table::key(
            pk(&charge.customer_id),
            format!("ENTRY#{}", charge.order_id),
        );
        let put = self.0.put(table::item(key, entry)?);
        let put = put.condition_expression(ABSENT).build();
        let put = put.map_err(TableError::new)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Sets the balance to that of the entry, if it is the next one.
    fn advance(&self, customer_id: &str, entry: &Entry) -> Result<TransactWriteItem, TableError> {
        let balance = Balance {
            balance_cents: entry.balance_cents,
            entries: entry.position,
        };
        let put = self
            .0
            .put(table::item(table::key(pk(customer_id), BALANCE), &balance)?);
        let put = match entry.position - 1 {
            0 => put.condition_expression(ABSENT),
            before => put
                .condition_expression("entries = :before")
                .expression_attribute_values(":before", AttributeValue::N(before.to_string())),
        };
        let put = put.build().map_err(TableError::new)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

const BALANCE: &str = "BALANCE";

fn pk(customer_id: &str) -> String {
    format!("CUSTOMER#{customer_id}")
}
