//! Entities: types whose values are items of DynamoDB tables.
//!
//! An entity says once which table it is in and what its key is. A handler then reads items by key or by
//! partition through [`Tables`], and stages what it writes on its [`Transaction`](crate::Transaction), with
//! conditions over the entity's own fields:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use surehand::{Entity, Envelope, Error, Event, State, Tables, Transaction, tables::Access};
//!
//! #[derive(Serialize, Deserialize, Entity)]
//! #[entity(table = "SHOP_TABLE", key(pk = "STOCK#{sku}", sk = "STOCK"))]
//! struct StockRow { sku: String, available: i64 }
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(source = "shop.orders", detail_type = "OrderPlaced")]
//! struct OrderPlaced { sku: String, quantity: i64 }
//!
//! /// What the function needs of its tables.
//! fn access() -> Access {
//!     Access::new().updates::<StockRow>()
//! }
//!
//! async fn reserve(order: Envelope<OrderPlaced>, State(shop): State<Tables>, tx: Transaction) -> surehand::Result<()> {
//!     let OrderPlaced { sku, quantity } = order.data;
//!     tx.update(&shop, StockRow::key(sku))
//!         .add(|row| row.available, -quantity)
//!         .only_if(|row| row.available.ge(quantity))
//!         .or(Error::rejected("out of stock"));
//!     Ok(())
//! }
//! # let _ = surehand::Function::new(surehand::Sqs, reserve, Tables::new(client(), access(), |name| name.to_owned()));
//! # fn client() -> aws_sdk_dynamodb::Client {
//! #     aws_sdk_dynamodb::Client::from_conf(aws_sdk_dynamodb::Config::builder()
//! #         .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest()).build())
//! # }
//! ```
//!
//! The guide `docs/tables.md` goes through all of it.

mod access;
mod condition;
mod draft;
mod entity;
mod expression;
mod field;
mod path;
mod put;
mod query;
mod read;
mod set;
mod update;
mod value;

pub use access::Access;
pub use condition::Condition;
#[doc(hidden)]
pub use condition::Operand;
#[doc(hidden)]
pub use entity::Piece;
pub use entity::{
    Document, Entity, IndexSchema, Key, KeyAttribute, KeyKind, KeyPart, KeySchema, KeyValue,
    Partition,
};
pub use field::{Changeable, Field, KeyField, Number, Ordered, Size};
#[doc(hidden)]
pub use path::Path;
pub use query::{Page, Query};
pub use read::{Found, Get, Read, Snapshot};
pub use set::{Set, SetElement};
pub use value::Value;

pub(crate) use draft::{Draft, first_version, is_absent, is_present, is_unchanged, is_version};
pub(crate) use update::Change;
pub(crate) use value::{from_item, to_item};

#[doc(inline)]
pub use surehand_macros::{Document, Entity};

use crate::{BoxError, aws, description::TableAction, environment};
use aws_sdk_dynamodb::{Client, error::ProvideErrorMetadata};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The tables of a function: its client, the names of the tables, and what the function does with them.
/// Clones share all of it.
#[derive(Clone, Debug)]
pub struct Tables(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    access: Access,
    /// By the variable that has it.
    names: BTreeMap<&'static str, String>,
}

impl Tables {
    /// The tables of the entities that are accessed, which `name` names by their variable.
    pub fn new(client: Client, access: Access, name: impl Fn(&str) -> String) -> Self {
        environment::record_entities(access.describe());
        let variables = access.entities().map(|(variable, _)| variable);
        let names = variables.map(|variable| (variable, name(variable)));
        Self(Arc::new(Shared {
            client,
            names: names.collect(),
            access,
        }))
    }

    /// The tables that the environment names, with a client of its configuration
    /// ([`aws::limited_config`]).
    ///
    /// # Errors
    /// If a variable is not set; the error names it.
    pub async fn from_env(access: Access) -> crate::Result<Self> {
        environment::record_entities(access.describe());
        let mut names = BTreeMap::new();
        for (variable, _) in access.entities() {
            names.insert(variable, environment::var(variable)?);
        }
        Ok(Self(Arc::new(Shared {
            client: Client::new(aws::limited_config().await),
            access,
            names,
        })))
    }

    /// The client, for what entities do not say.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Returns the name of the entity's table.
    ///
    /// # Errors
    /// If the [`Access`] has no entity of this table.
    pub fn name<E: Entity>(&self) -> Result<&str, TableError> {
        let name = self.0.names.get(E::TABLE);
        name.map(String::as_str)
            .ok_or_else(|| {
                TableError::new(format!(
                    "the function's `Access` does not say what it does with {entity}: add it there, as in `.reads::<{entity}>()`",
                    entity = E::NAME
                ))
            })
    }

    /// The name of the entity's table, if the function has said that it does this.
    pub(crate) fn allowed<E: Entity>(&self, action: TableAction) -> Result<&str, TableError> {
        match self.0.access.allows::<E>(action) {
            true => self.name::<E>(),
            false => Err(TableError::not_allowed::<E>(match action {
                TableAction::GetItem | TableAction::BatchGetItem => "reads",
                TableAction::Query => "queries",
                TableAction::PutItem => "puts",
                TableAction::UpdateItem => "updates",
                TableAction::DeleteItem => "deletes",
                _ => "checks",
            })),
        }
    }
}

/// A table could not be used: DynamoDB did not answer or refused a call, or an item is not what the entity says.
///
/// With `?` a record that meets it is tried again.
#[derive(Debug)]
pub struct TableError {
    message: String,
    source: Option<BoxError>,
}

impl TableError {
    fn new(message: String) -> Self {
        Self {
            message,
            source: None,
        }
    }

    fn not_allowed<E: Entity>(verb: &str) -> Self {
        Self::new(format!(
            "the function's `Access` does not say that it {verb} {entity}: add `.{verb}::<{entity}>()` to it",
            entity = E::NAME
        ))
    }

    fn unreadable<E: Entity>(key: &str, error: &impl fmt::Display) -> Self {
        Self::new(format!("the item {key} is no {}: {error}", E::NAME))
    }

    fn of_call<R>(verb: &str, table: &str, error: R) -> Self
    where
        R: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let code = error.code().map(|code| format!(" ({code})"));
        Self {
            message: format!(
                "the table `{table}` could not be {verb}{}",
                code.unwrap_or_default()
            ),
            source: Some(error.into()),
        }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<String> for TableError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}
