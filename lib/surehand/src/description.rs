//! What a function says of itself.
//!
//! A function that is started with `SUREHAND_DESCRIBE=1` prints its [`Description`] as one line of JSON
//! and ends. It makes no call for that, and needs no variable. `surehand check` compares the
//! description with the template that deploys the function. You need this module to read one yourself:
//! from that line, or from [`Function::describe`](crate::Function::describe).
//!
//! ```json
//! {"surehand": "0.1.0",
//!  "source": "sqs",
//!  "handlers": [{"name": "reserve_stock", "claim": "transaction",
//!                "consumes": {"source": "shop.orders", "detail-type": "OrderPlaced", "version": 1}}],
//!  "publishes": [{"source": "shop.stock", "detail-type": "StockReserved", "version": 1}],
//!  "batch": {"concurrency": 10, "on_park": "proceed", "max_attempts": 5, "backoff_base_ms": 10000, "backoff_cap_ms": 3600000, "backoff_factor": 6, "backoff_least_percent": 75, "margin_ms": null},
//!  "idempotency": {"store": "dynamodb", "key": "event_id", "style": "sha256", "scope": null, "expires_after_s": 2592000},
//!  "dead_letters": {"destination": "sqs"},
//!  "redelivery": "sqs",
//!  "tables": [{"entity": "StockRow", "variable": "SHOP_TABLE", "key": {"partition": "pk", "sort": "sk"}, "indexes": {}, "actions": ["UpdateItem"]}],
//!  "variables": [{"name": "IDEMPOTENCY_TABLE", "required": true, "uses": ["idempotency_table"]}]}
//! ```

use crate::{Event, IdempotencyKey, Metadata, event::EventName, key::KeyStyle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The description of a function, made by [`Function::describe`](crate::Function::describe).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    /// The library's version.
    pub surehand: String,
    /// The kind of its source: [`Source::kind`](crate::source::Source::kind).
    pub source: String,
    /// Its handlers: one, or those of a [`Router`](crate::Router).
    pub handlers: Vec<HandlerDescription>,
    /// The events that it declares to [publish](crate::Function::publishes).
    pub publishes: Vec<EventType>,
    /// How it treats its batches.
    pub batch: BatchSettings,
    /// How it handles each record once; none if it is not idempotent.
    pub idempotency: Option<IdempotencySettings>,
    /// Where it parks records; none if they stay in their source.
    pub dead_letters: Option<DeadLetterSettings>,
    /// How the source learns when to deliver a failed record again:
    /// [`Redelivery::kind`](crate::redelivery::Redelivery::kind).
    pub redelivery: Option<String>,
    /// The entities that it reads and writes, as its [`Access`](crate::tables::Access) says.
    #[serde(default)]
    pub tables: Vec<EntityUse>,
    /// The variables that it read from its [environment](crate::environment), sorted by name.
    pub variables: Vec<Variable>,
}

/// The description of a handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HandlerDescription {
    /// Its name in logs.
    pub name: String,
    /// The only event that it takes; none if it takes any.
    pub consumes: Option<EventType>,
    /// How its records are claimed if the function is idempotent.
    pub claim: ClaimKind,
}

/// How a record is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// By a lease, before the handler runs and for as long as it may run.
    Lease,
    /// By a transaction, together with the handler's effects.
    Transaction,
}

/// A type of event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EventType {
    /// EventBridge's `source`.
    pub source: String,
    /// EventBridge's `detail-type`.
    pub detail_type: String,
    /// The version that is read or written.
    pub version: u32,
}

impl EventType {
    /// Returns the type of `E`.
    pub fn of<E: Event>() -> Self {
        EventName::of::<E>().into()
    }
}

impl From<EventName> for EventType {
    fn from(name: EventName) -> Self {
        Self {
            source: name.source.to_owned(),
            detail_type: name.detail_type.to_owned(),
            version: name.version,
        }
    }
}

/// How a function treats its batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchSettings {
    /// How many records are handled concurrently.
    pub concurrency: usize,
    /// What happens to a lane when one of its records is parked: `proceed` or `halt`.
    pub on_park: String,
    /// How many attempts are made at a record, unless its environment says otherwise.
    pub max_attempts: u32,
    /// The longest delay after the first attempt, in milliseconds.
    pub backoff_base_ms: u64,
    /// The longest delay after any attempt, in milliseconds, unless its environment says otherwise.
    pub backoff_cap_ms: u64,
    /// What the delay is multiplied by from one attempt to the next.
    pub backoff_factor: u32,
    /// The shortest delay, in percent of the longest.
    pub backoff_least_percent: u32,
    /// How long before the invocation's end handlers are stopped, in milliseconds; none for the
    /// default, which depends on the invocation's time.
    pub margin_ms: Option<u64>,
}

/// How a function handles each record once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IdempotencySettings {
    /// Where claims are kept: [`Store::kind`](crate::idempotency::Store::kind).
    pub store: String,
    /// `event_id`, or `custom` for a key that the function's own code reads.
    pub key: String,
    /// How keys are written: `sha256`, `powertools`, `powertools_text` or `powertools_typescript`.
    pub style: String,
    /// The scope within which keys are unique; none for the function's name.
    pub scope: Option<String>,
    /// How long a key is remembered, in seconds.
    pub expires_after_s: u64,
}

impl IdempotencySettings {
    /// The key that the function of this name claims for an event; none if only its own code can tell, or
    /// a newer version of the library.
    pub fn key_of(&self, function: &str, event: &Metadata) -> Option<IdempotencyKey> {
        let style = KeyStyle::named(&self.style).filter(|_| self.key == "event_id")?;
        let scope = self.scope.as_deref().unwrap_or(function);
        Some(style.key(scope, &style.identity(event)))
    }
}

/// Where a function parks records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetterSettings {
    /// [`DeadLetters::kind`](crate::dead_letter::DeadLetters::kind).
    pub destination: String,
}

/// What a function does with an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntityUse {
    /// The entity's name.
    pub entity: String,
    /// The variable that names its table.
    pub variable: String,
    /// The key of the table.
    pub key: KeyDescription,
    /// The keys of the indexes that the entity is read by, by their names.
    pub indexes: BTreeMap<String, KeyDescription>,
    /// What the function does.
    pub actions: Vec<TableAction>,
}

/// The attributes of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The partition key.
    pub partition: String,
    /// The sort key, if there is one.
    pub sort: Option<String>,
}

/// What a function does with a table, as rights name it after `dynamodb:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TableAction {
    /// It reads several items in one call.
    BatchGetItem,
    /// It has a commit depend on an item.
    ConditionCheckItem,
    /// It deletes an item.
    DeleteItem,
    /// It reads an item.
    GetItem,
    /// It writes a whole item.
    PutItem,
    /// It reads a partition.
    Query,
    /// It changes an item.
    UpdateItem,
    /// An action that only a newer version of the library knows.
    #[serde(other)]
    Unknown,
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether the function fails if it is not set.
    pub required: bool,
    /// What the library does with its value; empty for a variable that only the function uses.
    pub uses: Vec<Use>,
}

/// What the library does with a variable's value, from which follows what the function's role must
/// allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Use {
    /// The table with the claims.
    IdempotencyTable,
    /// The table with the events that wait to be published.
    OutboxTable,
    /// The queue that records are parked in.
    DeadLetterQueue,
    /// How many attempts are made at a record.
    MaxAttempts,
    /// The longest delay between two attempts, in seconds.
    MaxBackoff,
    /// The bus that events are published to.
    EventBus,
    /// The queue that events are published to.
    EventQueue,
    /// A use that only a newer version of the library knows.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, Function, Idempotency, Json, MemoryStore, OnPark, Router, Sqs};
    use serde_json::{Value, json};

    #[derive(Serialize, Deserialize, crate::Event)]
    #[event(source = "shop.orders", detail_type = "OrderPlaced", version = 2)]
    #[event(upcast(1 = same))]
    struct OrderPlaced {}
    fn same(data: Value) -> crate::Result<Value> {
        Ok(data)
    }

    async fn placed(_: Envelope<OrderPlaced>) -> crate::Result<()> {
        Ok(())
    }
    async fn perhaps(_: Option<Envelope<OrderPlaced>>) -> crate::Result<()> {
        Ok(())
    }
    async fn any(_: Json<Value>, _: Envelope<Value>) -> crate::Result<()> {
        Ok(())
    }

    #[test]
    fn handlers_say_what_they_take() {
        let consumes = |function: Function<Sqs>| -> Vec<(String, Option<u32>)> {
            let handlers = function.describe().handlers.into_iter();
            handlers
                .map(|it| (it.name, it.consumes.map(|event| event.version)))
                .collect()
        };
        let named = |name: &str, version| (name.to_owned(), version);
        assert_eq!(
            consumes(Function::new(Sqs, placed, ())),
            [named("placed", Some(2))]
        );
        // It gets every event, and takes `None` for one that is not an order.
        assert_eq!(
            consumes(Function::new(Sqs, perhaps, ())),
            [named("perhaps", None)]
        );
        let router = Router::new().on(placed).otherwise(any);
        assert_eq!(
            consumes(Function::new(Sqs, router, ())),
            [named("any", None), named("placed", Some(2))]
        );
    }

    #[test]
    fn a_description_is_what_the_documentation_shows() {
        let once = Idempotency::new(MemoryStore::new())
            .scope("mails")
            .key(|_: Json<Value>| "1".to_owned());
        let function = Function::new(Sqs, placed, ())
            .idempotent(once)
            .publishes::<OrderPlaced>()
            .publishes::<OrderPlaced>()
            .on_park(OnPark::Halt)
            .concurrency(3);
        let mut description = serde_json::to_value(function.describe()).unwrap();
        description["variables"] = json!([]);
        let event = json!({"source": "shop.orders", "detail-type": "OrderPlaced", "version": 2});
        assert_eq!(
            description,
            json!({
                "surehand": env!("CARGO_PKG_VERSION"),
                "source": "sqs",
                "handlers": [{"name": "placed", "consumes": event, "claim": "lease"}],
                "publishes": [event],
                "batch": {
                    "concurrency": 3, "on_park": "halt",
                    "max_attempts": 5, "backoff_base_ms": 10_000, "backoff_cap_ms": 3_600_000,
                    "backoff_factor": 6, "backoff_least_percent": 75, "margin_ms": null,
                },
                "idempotency": {
                    "store": "memory", "key": "custom", "style": "sha256", "scope": "mails",
                    "expires_after_s": 2_592_000,
                },
                "dead_letters": null,
                "redelivery": null,
                "tables": [],
                "variables": [],
            })
        );
    }

    /// As the function itself claims it, so that others can look the claim up.
    #[tokio::test]
    async fn the_key_of_an_event_is_the_one_that_is_claimed() {
        use crate::{idempotency::Store as _, testing};

        let event = json!({
            "source": "shop.orders", "detail-type": "OrderPlaced", "id": "bus-1",
            "detail": {"metadata": {"id": "1"}, "data": {}},
        });
        let metadata = Metadata {
            source: Some("shop.orders".to_owned()),
            detail_type: Some("OrderPlaced".to_owned()),
            ..Metadata::new("1")
        };
        async fn any(_: Envelope<Value>) -> crate::Result<()> {
            Ok(())
        }
        let store = MemoryStore::new();
        for once in [
            Idempotency::new(store.clone()),
            Idempotency::new(store.clone()).scope("mails"),
            Idempotency::new(store.clone()).style(KeyStyle::Powertools),
            Idempotency::new(store.clone()).style(KeyStyle::PowertoolsText),
            Idempotency::new(store.clone()).style(KeyStyle::PowertoolsTypeScript),
        ] {
            let function = Function::new(Sqs, any, ()).idempotent(once);
            let settings = function.describe().idempotency.unwrap();
            let context = testing::context();
            let name = context.env_config.function_name.clone();
            let key = settings.key_of(&name, &metadata).unwrap();
            assert!(store.find(&key).await.unwrap().is_none(), "{settings:?}");
            let message = testing::Message::body(event.to_string());
            let batch = testing::sqs_event("orders", [message]);
            function.invoke(batch, context).await.unwrap();
            assert!(store.find(&key).await.unwrap().is_some(), "{settings:?}");
        }
        let custom = Idempotency::new(store).key(|_: Json<Value>| "1".to_owned());
        let function = Function::new(Sqs, any, ()).idempotent(custom);
        let settings = function.describe().idempotency.unwrap();
        assert_eq!(settings.key_of("f", &metadata), None);
    }

    #[test]
    fn a_use_that_only_a_newer_library_knows_is_unknown() {
        let variable = json!({"name": "X", "required": true, "uses": ["event_bus", "teleport"]});
        let variable: Variable = serde_json::from_value(variable).unwrap();
        assert_eq!(variable.uses, [Use::EventBus, Use::Unknown]);
    }
}
