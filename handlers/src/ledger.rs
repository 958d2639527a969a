//! What customers owe: an entry for each charge, and a balance over all entries.

use crate::{
    events::OrderCharged,
    table::{self, Table, TableError},
};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use surehand::Transaction;

/// A charge, as it is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The amount, in cents.
    pub amount_cents: i64,
    /// Its position among the customer's entries, from 1.
    pub position: u64,
    /// The customer's balance including it, in cents.
    pub balance_cents: i64,
}

/// What a customer owes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The sum of all entries, in cents.
    pub balance_cents: i64,
    /// How many entries there are.
    pub entries: u64,
}

/// Why a charge is not booked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The balance would overflow.
    #[error("the balance of customer `{0}` is too large for another charge")]
    Overflow(String),
    /// Another charge came between the reading of the balance and the commit.
    #[error("another charge to customer `{0}` was booked first")]
    Contended(String),
    /// DynamoDB failed, or an item is not valid.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The ledger in the shop's table.
#[derive(Clone, Debug)]
pub struct Ledger(Table);

impl Ledger {
    /// Makes the ledger in `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Stages a charge to be booked after the existing entries. A charge that is already booked is
    /// not booked again.
    ///
    /// # Errors
    /// If the charge cannot be booked.
    pub async fn book(&self, tx: &Transaction, charge: &OrderCharged) -> Result<(), LedgerError> {
        let customer_id = &charge.customer_id;
        let key = |sk: String| table::key(format!("CUSTOMER#{customer_id}"), sk);
        let entry_key = key(format!("ENTRY#{}", charge.order_id));
        let balance_key = key("BALANCE".to_owned());
        let keys = [entry_key.clone(), balance_key.clone()];
        let rows = self.0.read(keys).await?;
        if rows.get(&entry_key).is_some() {
            return Ok(());
        }
        let before: Balance = rows.value(&balance_key)?.unwrap_or_default();
        let balance_cents = before
            .balance_cents
            .checked_add(charge.amount_cents)
            .ok_or_else(|| LedgerError::Overflow(customer_id.clone()))?;
        let entry = Entry {
            amount_cents: charge.amount_cents,
            position: before.entries + 1,
            balance_cents,
        };
        let after = Balance {
            balance_cents,
            entries: entry.position,
        };
        let contended = || LedgerError::Contended(customer_id.clone());
        tx.put(self.0.insert(entry_key, &entry)?).or(contended());
        let advance = match before.entries {
            0 => self.0.insert(balance_key, &after)?,
            entries => self
                .0
                .put(balance_key, &after)?
                .condition_expression("entries = :before")
                .expression_attribute_values(":before", AttributeValue::N(entries.to_string())),
        };
        tx.put(advance).or(contended());
        Ok(())
    }
}
