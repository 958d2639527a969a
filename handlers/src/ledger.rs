//! What customers owe: an entry for each charge, and a balance over all entries.

use crate::events::OrderCharged;
use serde::{Deserialize, Serialize};
use surehand::{
    Entity, Tables, Transaction,
    tables::{Access, Read, TableError},
};

/// A charge, as it is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHOP_TABLE",
    key(pk = "CUSTOMER#{customer_id}", sk = "ENTRY#{order_id}")
)]
pub struct Entry {
    /// The customer who owes it.
    pub customer_id: String,
    /// The order.
    pub order_id: String,
    /// The amount, in cents.
    pub amount_cents: i64,
    /// Its position among the customer's entries, from 1.
    pub position: u64,
    /// The customer's balance including it, in cents.
    pub balance_cents: i64,
}

/// What a customer owes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHOP_TABLE",
    key(pk = "CUSTOMER#{customer_id}", sk = "BALANCE")
)]
pub struct Balance {
    /// The customer.
    pub customer_id: String,
    /// The sum of all entries, in cents.
    pub balance_cents: i64,
    /// How many entries there are: each is a change of the balance.
    #[entity(version)]
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
pub struct Ledger(Tables);

impl Ledger {
    /// Makes the ledger in these tables.
    pub fn new(tables: Tables) -> Self {
        Self(tables)
    }

    /// What is done with the tables.
    pub fn access() -> Access {
        let entries = Access::new().reads::<Entry>().puts::<Entry>();
        entries.reads::<Balance>().puts::<Balance>()
    }

    /// Makes the ledger in the environment's tables.
    ///
    /// # Errors
    /// If the table is not named.
    pub async fn from_env() -> surehand::Result<Self> {
        Ok(Self::new(Tables::from_env(Self::access()).await?))
    }

    /// Stages a charge to be booked after the existing entries. A charge that is already booked is
    /// not booked again.
    ///
    /// # Errors
    /// If the charge cannot be booked.
    pub async fn book(&self, tx: &Transaction, charge: &OrderCharged) -> Result<(), LedgerError> {
        let OrderCharged {
            customer_id,
            order_id,
            amount_cents,
        } = charge.clone();
        let booked = Entry::key(&customer_id, &order_id);
        let balance = Balance::key(&customer_id);
        let found = self.0.read(Read::new().key(&booked).key(&balance)).await?;
        if found.get(&booked)?.is_some() {
            return Ok(());
        }
        let before = found.get(&balance)?.unwrap_or_else(|| Balance {
            customer_id: customer_id.clone(),
            ..Balance::default()
        });
        let balance_cents = before
            .balance_cents
            .checked_add(amount_cents)
            .ok_or_else(|| LedgerError::Overflow(customer_id.clone()))?;
        let contended = || LedgerError::Contended(customer_id.clone());
        let entry = Entry {
            customer_id: customer_id.clone(),
            order_id,
            amount_cents,
            position: before.entries + 1,
            balance_cents,
        };
        tx.insert(&self.0, &entry).or(contended());
        let after = Balance {
            balance_cents,
            ..before
        };
        tx.put(&self.0, &after).or(contended());
        Ok(())
    }
}
