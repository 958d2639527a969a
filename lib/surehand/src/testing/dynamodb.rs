//! A DynamoDB inside the test.

use crate::{
    DynamoDbStore, Event, Publisher,
    aws::describe,
    envelope::Outgoing,
    outbox::{self, Outbox},
    stage::Item,
    tables::{Access, Entity, Key, KeyAttribute, KeyKind, KeySchema, Tables, from_item, to_item},
    testing::RecordedEvents,
};
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType,
    },
};
use dynoxide::Database;
use std::{
    collections::BTreeMap,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::net::TcpListener;

/// A DynamoDB inside the test, with the tables of its entities and a store of claims: conditions are looked at
/// there, and what a transaction commits can be read as types.
///
/// It is an emulator, the crate `dynoxide-rs`, on a port of this machine, and ends with
/// the test's runtime. Each test has its own. A table has the name of its variable. Clones share all of it.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use surehand::{
///     Entity, Envelope, Error, Event, Function, Sqs, State, Tables, Transaction,
///     tables::Access,
///     testing::{self, DynamoDb, Message, RecordedDeadLetters},
/// };
///
/// #[derive(Serialize, Deserialize, Entity)]
/// #[entity(table = "SHOP_TABLE", key(sku))]
/// struct StockRow { sku: String, available: i64 }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// struct OrderPlaced { sku: String }
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
/// #[event(source = "shop.stock", detail_type = "StockReserved")]
/// struct StockReserved { sku: String }
///
/// async fn reserve(order: Envelope<OrderPlaced>, State(shop): State<Tables>, tx: Transaction) -> surehand::Result<()> {
///     let sku = order.data.sku;
///     tx.update(&shop, StockRow::key(&sku))
///         .subtract(|row| row.available, 1)
///         .only_if(|row| row.available.ge(1))
///         .or(Error::rejected("out of stock"));
///     tx.publish(&StockReserved { sku });
///     Ok(())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let dynamo = DynamoDb::start(Access::new().updates::<StockRow>()).await;
/// dynamo.put(&StockRow { sku: "book".into(), available: 1 }).await;
/// let dead_letters = RecordedDeadLetters::new();
/// let function = Function::new(Sqs, reserve, dynamo.tables())
///     .idempotent(dynamo.store())
///     .dead_letters(dead_letters.clone());
///
/// let order = |id: &str| Message::event(&OrderPlaced { sku: "book".into() }).id(id);
/// for id in ["first", "second"] {
///     let event = testing::sqs_event("orders", [order(id)]);
///     function.invoke(event, testing::context()).await.unwrap();
/// }
///
/// // There was one book. The second order's condition did not hold.
/// assert_eq!(dynamo.get(StockRow::key("book")).await.unwrap().available, 0);
/// assert_eq!(dynamo.events_of::<StockReserved>().await, [StockReserved { sku: "book".into() }]);
/// assert_eq!(dead_letters.kinds(), [("second".into(), "rejected".into())]);
/// # });
/// ```
///
/// It exists with the feature `testing-dynamodb`. Its methods panic where a test cannot go on.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    client: Client,
    access: Access,
    url: String,
}

const CLAIMS: &str = "IDEMPOTENCY_TABLE";

impl DynamoDb {
    /// Starts one, with empty tables of the entities in `access`, and an idempotency table.
    pub async fn start(access: Access) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any_port).await.expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let database = Database::memory().expect("a database in memory");
        tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener,
            database,
            pending(),
        ));
        let url = format!("http://127.0.0.1:{port}");
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(&url)
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .build();
        let this = Self {
            client: Client::from_conf(config),
            access,
            url,
        };
        for (table, keys) in this.schemas() {
            this.create(table, keys).await;
        }
        this
    }

    /// The tables, for what the function says that it accesses.
    pub fn tables(&self) -> Tables {
        self.tables_for(self.access.clone())
    }

    /// The tables, for less than all that was given to [`start`](Self::start), which must have their entities.
    pub fn tables_for(&self, access: Access) -> Tables {
        Tables::new(self.client.clone(), access, str::to_owned)
    }

    /// The store of claims, which commits to the tables. Clones of a function share the claims with it.
    pub fn store(&self) -> DynamoDbStore {
        DynamoDbStore::new(self.client.clone(), CLAIMS)
    }

    /// The events that transactions committed, to be published by `publisher`.
    pub fn outbox(&self, publisher: Publisher) -> Outbox {
        Outbox::new(self.client.clone(), CLAIMS, publisher)
    }

    /// The client, for what entities do not say.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it listens, for a client of another kind.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts an item, whatever was there before, and with the version that it has.
    pub async fn put<E: Entity>(&self, entity: &E) {
        let item = to_item(entity).expect("an item that is valid");
        let put = self.client.put_item().table_name(E::TABLE);
        let sent = put.set_item(Some(item)).send().await;
        sent.map_err(|error| describe(&error)).expect("a put");
    }

    /// Reads an item; none if there is none.
    pub async fn get<E: Entity>(&self, key: Key<E>) -> Option<E> {
        let tables = self.tables_for(Access::new().reads::<E>());
        tables
            .get(key)
            .await
            .expect("an item that is valid, or none")
    }

    /// Deletes an item.
    pub async fn delete<E: Entity>(&self, key: Key<E>) {
        let key = key.to_item().expect("a key that is valid");
        let delete = self.client.delete_item().table_name(E::TABLE);
        let sent = delete.set_key(Some(key)).send().await;
        sent.map_err(|error| describe(&error)).expect("a deletion");
    }

    /// Reads all items of the entity, in no order: those whose key begins as its own.
    pub async fn all<E: Entity>(&self) -> Vec<E> {
        let is_own = |item: &Item| E::KEY.fits(item);
        let items = self.items(E::TABLE).await.into_iter().filter(is_own);
        items
            .map(|item| from_item(item).expect("items that are valid"))
            .collect()
    }

    /// Returns the events of this type that transactions committed and nobody has published yet, in the order of
    /// their commits.
    pub async fn events_of<E: Event>(&self) -> Vec<E> {
        let recorded = RecordedEvents::new();
        let publisher = Publisher::new(recorded.clone());
        let outgoing = self.waiting().await;
        if !outgoing.is_empty() {
            publisher
                .send(&outgoing)
                .await
                .expect("events are recorded");
        }
        recorded.of_type()
    }

    /// Publishes the events that transactions committed, as the outbox's functions would, and returns them.
    pub async fn publish(&self) -> RecordedEvents {
        let events = RecordedEvents::new();
        let outbox = self.outbox(Publisher::new(events.clone()));
        for item in self.claims().await {
            outbox
                .publish_item(&item)
                .await
                .expect("events are recorded");
        }
        events
    }

    /// Forgets all claims, as if they had expired.
    pub async fn forget_claims(&self) {
        for item in self.claims().await {
            let delete = self.client.delete_item().table_name(CLAIMS);
            let sent = delete.key("id", item["id"].clone()).send().await;
            sent.map_err(|error| describe(&error)).expect("a deletion");
        }
    }

    /// Returns the items of the idempotency table, the earliest events first.
    pub async fn claims(&self) -> Vec<Item> {
        let since = |item: &Item| -> u64 {
            let since = item.get("outbox_since").and_then(|it| it.as_n().ok());
            since.and_then(|it| it.parse().ok()).unwrap_or_default()
        };
        let mut items = self.items(CLAIMS).await;
        items.sort_by_key(since);
        items
    }

    async fn waiting(&self) -> Vec<Outgoing> {
        let items = self.claims().await;
        let events = items
            .iter()
            .map(|item| outbox::waiting_in(item).expect("events"));
        events.flatten().collect()
    }

    async fn items(&self, table: &str) -> Vec<Item> {
        let scan = self.client.scan().table_name(table).into_paginator();
        let items = scan.items().send().collect::<Result<Vec<_>, _>>().await;
        items.map_err(|error| describe(&error)).expect("a scan")
    }

    /// The keys of each table and its indexes. Entities of one table have one key.
    fn schemas(&self) -> BTreeMap<&'static str, Keys> {
        let text = |name| KeyAttribute {
            name,
            kind: KeyKind::Text,
            prefix: "",
            is_whole: false,
        };
        let number = |name| KeyAttribute {
            kind: KeyKind::Number,
            ..text(name)
        };
        let claims = Keys {
            table: KeySchema {
                partition: text("id"),
                sort: None,
            },
            indexes: BTreeMap::from([(
                "outbox",
                KeySchema {
                    partition: text("outbox_shard"),
                    sort: Some(number("outbox_since")),
                },
            )]),
        };
        let mut tables = BTreeMap::from([(CLAIMS, claims)]);
        for (table, entity) in self.access.entities() {
            let keys = tables.entry(table).or_insert_with(|| Keys {
                table: entity.key,
                indexes: BTreeMap::new(),
            });
            let names = |key: KeySchema| (key.partition.name, key.sort.map(|sort| sort.name));
            assert_eq!(
                names(keys.table),
                names(entity.key),
                "the entities of {table} have different keys"
            );
            let indexes = entity.indexes.iter();
            keys.indexes
                .extend(indexes.map(|index| (index.name, index.key)));
        }
        tables
    }

    async fn create(&self, table: &str, keys: Keys) {
        let mut kinds = BTreeMap::new();
        for key in keys.indexes.values().chain([&keys.table]) {
            for part in [Some(key.partition), key.sort].into_iter().flatten() {
                kinds.insert(part.name, part.kind);
            }
        }
        let definitions = kinds.into_iter().map(|(name, kind)| {
            let definition = AttributeDefinition::builder().attribute_name(name);
            let kind = match kind {
                KeyKind::Text => ScalarAttributeType::S,
                KeyKind::Number => ScalarAttributeType::N,
                KeyKind::Bytes => ScalarAttributeType::B,
            };
            definition.attribute_type(kind).build().expect("complete")
        });
        let indexes = keys.indexes.into_iter().map(|(name, key)| {
            let all = Projection::builder().projection_type(ProjectionType::All);
            let index = GlobalSecondaryIndex::builder().index_name(name);
            let index = index.set_key_schema(Some(elements(key)));
            index.projection(all.build()).build().expect("complete")
        });
        let indexes: Vec<_> = indexes.collect();
        let created = self
            .client
            .create_table()
            .table_name(table)
            .set_attribute_definitions(Some(definitions.collect()))
            .set_key_schema(Some(elements(keys.table)))
            .set_global_secondary_indexes(Some(indexes).filter(|them| !them.is_empty()))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await;
        created
            .map_err(|error| describe(&error))
            .unwrap_or_else(|error| panic!("the table {table} cannot be made: {error}"));
    }
}

struct Keys {
    table: KeySchema,
    indexes: BTreeMap<&'static str, KeySchema>,
}

fn elements(key: KeySchema) -> Vec<KeySchemaElement> {
    let element = |part: KeyAttribute, kind| {
        let element = KeySchemaElement::builder().attribute_name(part.name);
        element.key_type(kind).build().expect("complete")
    };
    let partition = element(key.partition, KeyType::Hash);
    let sort = key.sort.map(|sort| element(sort, KeyType::Range));
    [partition].into_iter().chain(sort).collect()
}
