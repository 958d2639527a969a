//! The shop's table. Items are found by `pk` and `sk`:
//!
//! | pk | sk | |
//! |---|---|---|
//! | `ORDER#{order_id}` | `ORDER` | an order |
//! | `ORDER#{order_id}` | `RESERVATION` | what became of its stock |
//! | `STOCK#{sku}` | `STOCK` | how much is available |
//! | `CUSTOMER#{customer_id}` | `ENTRY#{order_id}` | a charge |
//! | `CUSTOMER#{customer_id}` | `BALANCE` | the sum of the charges |
//! | `AUDIT#["{source}","{type}","{event_id}"]` | `EVENT` | an event |

use aws_sdk_dynamodb::{
    Client,
    operation::put_item::PutItemError,
    types::{AttributeValue, KeysAndAttributes, Put, builders::PutBuilder},
};
use serde::{Serialize, de::DeserializeOwned};
use surehand::{BoxError, aws, environment, transaction::Item};

/// The shop's table, with its client.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    pub(crate) name: String,
}

/// DynamoDB did not answer, or refused a call, or an item is not valid.
#[derive(Debug, thiserror::Error)]
#[error("the shop's table could not be used")]
pub struct TableError(#[source] BoxError);

/// The condition that no item has this key.
pub(crate) const ABSENT: &str = "attribute_not_exists(pk)";

impl Table {
    /// Makes the table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Makes the table that `SHOP_TABLE` names.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env() -> Result<Self, BoxError> {
        let name = environment::var("SHOP_TABLE")?;
        Ok(Self::new(Client::new(aws::config().await), name))
    }

    /// Reads up to 100 items, consistently.
    pub(crate) async fn read(
        &self,
        keys: impl IntoIterator<Item = Item>,
    ) -> Result<Rows, TableError> {
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys.into_iter().collect()))
            .consistent_read(true)
            .build()
            .map_err(TableError::new)?;
        let request = self.client.batch_get_item().request_items(&self.name, keys);
        let sent = request.send().await;
        let output = sent.map_err(|error| TableError::new(error.into_service_error()))?;
        if output.unprocessed_keys.is_some_and(|keys| !keys.is_empty()) {
            return Err(TableError::new(
                "DynamoDB did not return all items of a read",
            ));
        }
        let rows = output.responses.and_then(|mut all| all.remove(&self.name));
        Ok(Rows(rows.unwrap_or_default()))
    }

    /// Puts an item unless an item has its key.
    pub(crate) async fn put_if_absent(
        &self,
        key: Item,
        value: &impl Serialize,
    ) -> Result<(), TableError> {
        let request = self.client.put_item().table_name(&self.name);
        let request = request.set_item(Some(item(key, value)?));
        match request.condition_expression(ABSENT).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.into_service_error() {
                PutItemError::ConditionalCheckFailedException(_) => Ok(()),
                error => Err(TableError::new(error)),
            },
        }
    }

    /// Makes a put for a transaction, without a condition.
    pub(crate) fn put(&self, key: Item, value: &impl Serialize) -> Result<PutBuilder, TableError> {
        let item = item(key, value)?;
        Ok(Put::builder().table_name(&self.name).set_item(Some(item)))
    }

    /// Makes a put for a transaction, of an item that must not exist yet.
    pub(crate) fn insert(
        &self,
        key: Item,
        value: &impl Serialize,
    ) -> Result<PutBuilder, TableError> {
        Ok(self.put(key, value)?.condition_expression(ABSENT))
    }
}

impl TableError {
    fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }
}

/// The items that a read found.
#[derive(Debug)]
pub(crate) struct Rows(Vec<Item>);

impl Rows {
    /// Returns the item with this key.
    pub(crate) fn get(&self, key: &Item) -> Option<&Item> {
        let has_key = |row: &&Item| key.iter().all(|(name, part)| row.get(name) == Some(part));
        self.0.iter().find(has_key)
    }

    /// Decodes the item with this key; none if there is none.
    pub(crate) fn value<T: DeserializeOwned>(&self, key: &Item) -> Result<Option<T>, TableError> {
        let value = self.get(key).cloned().map(serde_dynamo::from_item);
        value.transpose().map_err(TableError::new)
    }
}

/// Makes the key of an item.
pub(crate) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    let text = |value: String| AttributeValue::S(value);
    Item::from([
        ("pk".to_owned(), text(pk.into())),
        ("sk".to_owned(), text(sk.into())),
    ])
}

/// Makes the item with this key and the fields of `value`.
fn item(key: Item, value: &impl Serialize) -> Result<Item, TableError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(TableError::new)?;
    item.extend(key);
    Ok(item)
}
