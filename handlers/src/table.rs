//! The shop's table. Items are found by `pk` and `sk`:
//!
//! | pk | sk | |
//! |---|---|---|
//! | `ORDER#{order_id}` | `ORDER` | an order |
//! | `ORDER#{order_id}` | `RESERVATION` | what became of its stock |
//! | `STOCK#{sku}` | `STOCK` | how much is available |
//! | `CUSTOMER#{customer_id}` | `ENTRY#{order_id}` | a charge |
//! | `CUSTOMER#{customer_id}` | `BALANCE` | the sum of the charges |
//! | `AUDIT#{event_id}` | `EVENT` | an event |

use crate::environment;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{
        AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, builders::PutBuilder,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashMap, time::Duration};
use surehand::{Backoff, BoxError};

/// The table, with the client to reach it.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// DynamoDB did not answer, or refused, or an item is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("the shop's table could not be used")]
pub struct TableError(#[source] BoxError);

/// Nothing of a transaction was written.
#[derive(Debug)]
pub(crate) enum TransactionError {
    /// For each of its writes whose condition failed the item that is there, without attributes if
    /// there is none; nothing for the others.
    Conditions(Vec<Option<Item>>),
    /// Others wrote to the same items at the same time.
    Conflict,
    /// Any other reason.
    Table(TableError),
}

/// An item, or the key of one.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The condition that there is no item with this key.
pub(crate) const ABSENT: &str = "attribute_not_exists(pk)";

/// Orders for the same goods get into each other's way for milliseconds. A new receive of the
/// message would take seconds, and is one of few.
const CONFLICT_TRIES: u32 = 6;
const CONFLICT_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

impl Table {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// The table that `SHOP_TABLE` names.
    ///
    /// # Errors
    /// If the variable is not set.
    pub fn from_env(aws: &SdkConfig) -> Result<Self, BoxError> {
        Ok(Self::new(Client::new(aws), environment::var("SHOP_TABLE")?))
    }

    /// Puts an item unless there is one with its key; if so, returns that one.
    pub(crate) async fn put_if_absent(&self, item: Item) -> Result<Option<Item>, TableError> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(None),
            Err(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Some(failed.item.unwrap_or_default()))
            }
            Err(error) => Err(TableError::new(error)),
        }
    }

    /// A put for a transaction, yet without its condition.
    pub(crate) fn put(&self, item: Item) -> PutBuilder {
        Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Writes all of it or nothing.
    pub(crate) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), TransactionError> {
        let mut tries = 1;
        loop {
            match self.transact_once(writes.clone()).await {
                Err(TransactionError::Conflict) if tries < CONFLICT_TRIES => {
                    tokio::time::sleep(CONFLICT_BACKOFF.delay(tries)).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn transact_once(&self, writes: Vec<TransactWriteItem>) -> Result<(), TransactionError> {
        let request = self.client.transact_write_items();
        let sent = request.set_transact_items(Some(writes)).send().await;
        match sent.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(()),
            Err(TransactWriteItemsError::TransactionCanceledException(error)) => {
                Err(match error.cancellation_reasons() {
                    reasons
                        if reasons
                            .iter()
                            .any(|r| r.code() == Some("TransactionConflict")) =>
                    {
                        TransactionError::Conflict
                    }
                    reasons if reasons.iter().all(is_about_a_condition) => {
                        TransactionError::Conditions(reasons.iter().map(item_there).collect())
                    }
                    _ => TransactionError::Table(TableError::new(error)),
                })
            }
            Err(error) => Err(TransactionError::Table(TableError::new(error))),
        }
    }
}

impl TableError {
    pub(crate) fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }
}

const CONDITION_FAILED: &str = "ConditionalCheckFailed";

fn is_about_a_condition(reason: &CancellationReason) -> bool {
    matches!(reason.code(), None | Some("None" | CONDITION_FAILED))
}

fn item_there(reason: &CancellationReason) -> Option<Item> {
    (reason.code() == Some(CONDITION_FAILED)).then(|| reason.item().cloned().unwrap_or_default())
}

/// The key of an item.
pub(crate) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    let text = |value: String| AttributeValue::S(value);
    HashMap::from([
        ("pk".to_owned(), text(pk.into())),
        ("sk".to_owned(), text(sk.into())),
    ])
}

/// The item with this key and the fields of `value`.
pub(crate) fn item(key: Item, value: &impl Serialize) -> Result<Item, TableError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(TableError::new)?;
    item.extend(key);
    Ok(item)
}

/// The value in an item.
pub(crate) fn value<T: DeserializeOwned>(item: Item) -> Result<T, TableError> {
    serde_dynamo::from_item(item).map_err(TableError::new)
}
