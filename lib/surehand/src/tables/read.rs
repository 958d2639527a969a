//! Items by their keys.

use super::{
    TableError, Tables,
    entity::{Entity, Key},
    value::from_item,
};
use crate::{description::TableAction, stage::Item};
use aws_sdk_dynamodb::types::KeysAndAttributes;
use std::{
    collections::HashMap,
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

/// DynamoDB's own limit of one call.
const MAX_KEYS: usize = 100;

/// How often the keys that a call did not process are asked for again. The pauses grow to a second, so that
/// this is about five of them.
const MAX_ROUNDS: u32 = 10;

impl Tables {
    /// Reads one item: `tables.get(Order::key("42")).await?` is the order, or none. The read is consistent
    /// unless [eventual](Get::eventually_consistent).
    pub fn get<E: Entity>(&self, key: Key<E>) -> Get<'_, E> {
        Get {
            tables: self,
            key,
            consistent: true,
        }
    }

    /// Reads items of any entities, consistently: in one call up to 100. What a call leaves out, because it would be too
    /// large or the table is throttled, is asked for again.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use surehand::{Entity, Tables, tables::{Read, TableError}};
    /// # #[derive(Serialize, Deserialize, Entity)]
    /// # #[entity(table = "SHOP_TABLE", key(sku))]
    /// # struct StockRow { sku: String, available: i64 }
    /// # #[derive(Serialize, Deserialize, Entity)]
    /// # #[entity(table = "SHOP_TABLE", key(order_id))]
    /// # struct Reservation { order_id: String }
    /// async fn both(tables: &Tables) -> Result<(), TableError> {
    ///     let reservation = Reservation::key("42");
    ///     let found = tables.read(Read::new().key(&reservation).keys(["book", "pen"].map(StockRow::key))).await?;
    ///     if found.get(&reservation)?.is_none() {
    ///         let book: Option<StockRow> = found.get(&StockRow::key("book"))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// If DynamoDB does not answer, or still leaves items out after several calls.
    pub async fn read(&self, read: Read) -> Result<Found, TableError> {
        let mut found = Found {
            tables: self.clone(),
            items: HashMap::new(),
        };
        let mut wanted = Vec::new();
        for (key, of) in read.keys {
            let table = of(self)?;
            let wants = (table.to_owned(), key?);
            // DynamoDB refuses a call that names an item twice.
            if !wanted.contains(&wants) {
                wanted.push(wants);
            }
        }
        for wanted in wanted.chunks(MAX_KEYS) {
            self.read_call(wanted, &mut found).await?;
        }
        Ok(found)
    }

    async fn read_call(
        &self,
        wanted: &[(String, Item)],
        found: &mut Found,
    ) -> Result<(), TableError> {
        let mut keys = HashMap::<String, Vec<Item>>::new();
        for (table, key) in wanted {
            keys.entry(table.clone()).or_default().push(key.clone());
        }
        let mut request = HashMap::new();
        for (table, keys) in keys {
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(|error| TableError::from(error.to_string()))?;
            request.insert(table, keys);
        }
        for round in 0..MAX_ROUNDS {
            if let Some(before) = round.checked_sub(1) {
                let longest = (50 << before.min(5)).min(1_000);
                let pause = fastrand::u64(longest / 2..=longest);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let table = request.keys().min().cloned().unwrap_or_default();
            let call = self.client().batch_get_item();
            let sent = call.set_request_items(Some(request)).send().await;
            let output = sent
                .map_err(|error| TableError::of_call("read", &table, error.into_service_error()))?;
            for (table, items) in output.responses.into_iter().flatten() {
                found.items.entry(table).or_default().extend(items);
            }
            request = output.unprocessed_keys.unwrap_or_default();
            if request.is_empty() {
                return Ok(());
            }
        }
        let left: usize = request.values().map(|keys| keys.keys().len()).sum();
        Err(TableError::from(format!(
            "DynamoDB left {left} of {} items out of each of {MAX_ROUNDS} reads: the table's capacity is used up",
            wanted.len()
        )))
    }
}

/// A read of one item, which is made by awaiting it.
#[derive(Debug)]
#[must_use = "a read is made by awaiting it"]
pub struct Get<'a, E> {
    tables: &'a Tables,
    key: Key<E>,
    consistent: bool,
}

impl<'a, E: Entity> Get<'a, E> {
    /// Reads at half the price what may be as old as a second or so.
    pub fn eventually_consistent(mut self) -> Self {
        self.consistent = false;
        self
    }

    /// Reads the item as it is, so that a commit can depend on it: see
    /// [`unchanged`](crate::transaction::Write::unchanged).
    ///
    /// # Errors
    /// If DynamoDB does not answer, or the item is not what the entity says.
    pub async fn snapshot(self) -> Result<Snapshot<E>, TableError> {
        let item = self.item().await?;
        Snapshot::new(self.key, item)
    }

    async fn item(&self) -> Result<Option<Item>, TableError> {
        let table = self.tables.allowed::<E>(TableAction::GetItem)?;
        let key = self.key.to_item()?;
        let request = self.tables.client().get_item().table_name(table);
        let request = request.set_key(Some(key)).consistent_read(self.consistent);
        let sent = request.send().await;
        let output =
            sent.map_err(|error| TableError::of_call("read", table, error.into_service_error()))?;
        Ok(output.item)
    }
}

impl<'a, E: Entity> IntoFuture for Get<'a, E> {
    type Output = Result<Option<E>, TableError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.item().await?.map(from_item).transpose() })
    }
}

type TableOf = fn(&Tables) -> Result<&str, TableError>;

/// The items that are read together: see [`Tables::read`].
#[derive(Clone, Debug, Default)]
#[must_use = "this only says what to read"]
pub struct Read {
    keys: Vec<(Result<Item, String>, TableOf)>,
}

impl Read {
    /// No items.
    pub fn new() -> Self {
        Self::default()
    }

    /// This item as well.
    pub fn key<E: Entity>(mut self, key: &Key<E>) -> Self {
        let table: TableOf = |tables| tables.allowed::<E>(TableAction::BatchGetItem);
        self.keys.push((key.to_item(), table));
        self
    }

    /// These items as well.
    pub fn keys<E: Entity>(self, keys: impl IntoIterator<Item = Key<E>>) -> Self {
        keys.into_iter().fold(self, |read, key| read.key(&key))
    }
}

/// The items that a read found.
#[derive(Debug)]
pub struct Found {
    tables: Tables,
    /// By table.
    items: HashMap<String, Vec<Item>>,
}

impl Found {
    /// Returns the item with this key; none if there was none, or if it was not asked for.
    ///
    /// # Errors
    /// If it is not what the entity says.
    pub fn get<E: Entity>(&self, key: &Key<E>) -> Result<Option<E>, TableError> {
        self.item(key)?.cloned().map(from_item).transpose()
    }

    /// Returns the item with this key as it was read, so that a commit can depend on it.
    ///
    /// # Errors
    /// If it is not what the entity says.
    pub fn snapshot<E: Entity>(&self, key: &Key<E>) -> Result<Snapshot<E>, TableError> {
        Snapshot::new(key.clone(), self.item(key)?.cloned())
    }

    fn item<E: Entity>(&self, key: &Key<E>) -> Result<Option<&Item>, TableError> {
        let wanted = key.to_item()?;
        let has_key = |item: &&Item| {
            wanted
                .iter()
                .all(|(name, part)| item.get(name) == Some(part))
        };
        let items = self.items.get(self.tables.name::<E>()?);
        Ok(items.into_iter().flatten().find(has_key))
    }
}

/// An item as it was read, or that there was none.
pub struct Snapshot<E> {
    key: Key<E>,
    value: Option<E>,
    pub(crate) item: Option<Item>,
}

impl<E: Entity> Snapshot<E> {
    fn new(key: Key<E>, item: Option<Item>) -> Result<Self, TableError> {
        Ok(Self {
            key,
            value: item.clone().map(from_item).transpose()?,
            item,
        })
    }

    /// The key that was asked for.
    pub fn key(&self) -> &Key<E> {
        &self.key
    }

    /// The item; none if there was none.
    pub fn value(&self) -> Option<&E> {
        self.value.as_ref()
    }

    /// The item; none if there was none.
    pub fn into_value(self) -> Option<E> {
        self.value
    }
}
