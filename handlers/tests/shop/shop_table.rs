//! The shop's tables, in a DynamoDB inside the test.

use crate::stand_in;
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
        KeyType, Projection, ProjectionType, ScalarAttributeType,
    },
};
use dynoxide::Database;
use serde::de::DeserializeOwned;
use shop::table::Table;
use std::future::pending;
use surehand::{
    DynamoDbStore, Publisher, outbox::Outbox, testing::RecordedEvents, transaction::Item,
};
use tokio::net::TcpListener;

const SHOP: &str = "shop";
const IDEMPOTENCY: &str = "idempotency";

/// A test's own tables. Unlike the handlers it can write and read any row.
pub(crate) struct ShopTable(Client);

impl ShopTable {
    /// Creates empty tables. They live as long as the test's runtime.
    pub(crate) async fn create() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let database = Database::memory().unwrap();
        tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener,
            database,
            pending(),
        ));
        let this = Self(Client::new(&stand_in::aws(&format!("http://{address}"))));
        let request = this.0.create_table().table_name(SHOP);
        let request = request
            .set_attribute_definitions(Some(["pk", "sk"].map(|name| attribute(name, S)).into()))
            .set_key_schema(Some(key("pk", "sk")))
            .billing_mode(BillingMode::PayPerRequest);
        request.send().await.unwrap();
        let waiting = GlobalSecondaryIndex::builder()
            .index_name("outbox")
            .set_key_schema(Some(key("outbox_shard", "outbox_since")))
            .projection(
                Projection::builder()
                    .projection_type(ProjectionType::KeysOnly)
                    .build(),
            );
        let request = this.0.create_table().table_name(IDEMPOTENCY);
        let request = request
            .attribute_definitions(attribute("id", S))
            .attribute_definitions(attribute("outbox_shard", S))
            .attribute_definitions(attribute("outbox_since", ScalarAttributeType::N))
            .key_schema(key("id", "").remove(0))
            .global_secondary_indexes(waiting.build().unwrap())
            .billing_mode(BillingMode::PayPerRequest);
        request.send().await.unwrap();
        this
    }

    /// Returns the store of claims, which commits to the shop's table.
    pub(crate) fn store(&self) -> DynamoDbStore {
        DynamoDbStore::new(self.0.clone(), IDEMPOTENCY)
    }

    /// Returns the outbox of the waiting events.
    pub(crate) fn outbox(&self, events: &RecordedEvents) -> Outbox {
        Outbox::new(self.0.clone(), IDEMPOTENCY, Publisher::new(events.clone()))
    }

    /// Publishes the waiting events, and returns them.
    pub(crate) async fn relay(&self) -> RecordedEvents {
        let events = RecordedEvents::new();
        let outbox = self.outbox(&events);
        for item in self.items(IDEMPOTENCY).await {
            outbox.publish_item(&item).await.unwrap();
        }
        events
    }

    /// Expires the claims.
    pub(crate) async fn forget(&self) {
        for item in self.claims().await {
            let request = self.0.delete_item().table_name(IDEMPOTENCY);
            let request = request.key("id", item["id"].clone());
            request.send().await.unwrap();
        }
    }

    pub(crate) async fn claims(&self) -> Vec<Item> {
        let mut items = self.items(IDEMPOTENCY).await;
        // Of an attempt that failed only its count is there.
        items.retain(|item| !item.contains_key("attempt"));
        items
    }

    /// Returns the table as the handlers see it.
    pub(crate) fn table(&self) -> Table {
        Table::new(self.0.clone(), SHOP)
    }

    pub(crate) async fn set_stock(&self, sku: &str, available: AttributeValue) {
        self.0
            .put_item()
            .table_name(SHOP)
            .item("pk", AttributeValue::S(format!("STOCK#{sku}")))
            .item("sk", AttributeValue::S("STOCK".into()))
            .item("available", available)
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn stock(&self, sku: &str) -> i64 {
        #[derive(serde::Deserialize)]
        struct Row {
            available: i64,
        }
        let row: Row = self.get(&format!("STOCK#{sku}"), "STOCK").await.unwrap();
        row.available
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, pk: &str, sk: &str) -> Option<T> {
        let key = Item::from([
            ("pk".to_owned(), AttributeValue::S(pk.into())),
            ("sk".to_owned(), AttributeValue::S(sk.into())),
        ]);
        let request = self.0.get_item().table_name(SHOP).set_key(Some(key));
        let item = request.send().await.unwrap().item?;
        Some(serde_dynamo::from_item(item).unwrap())
    }

    /// Returns how many items the shop's table has.
    pub(crate) async fn len(&self) -> usize {
        self.items(SHOP).await.len()
    }

    async fn items(&self, table: &str) -> Vec<Item> {
        let scan = self.0.scan().table_name(table).send().await.unwrap();
        scan.items.unwrap_or_default()
    }
}

const S: ScalarAttributeType = ScalarAttributeType::S;

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    let attribute = AttributeDefinition::builder().attribute_name(name);
    attribute.attribute_type(kind).build().unwrap()
}

fn key(hash: &str, range: &str) -> Vec<KeySchemaElement> {
    let parts = [(hash, KeyType::Hash), (range, KeyType::Range)];
    let part = |(name, kind): (&str, KeyType)| {
        let part = KeySchemaElement::builder().attribute_name(name);
        part.key_type(kind).build().unwrap()
    };
    parts.map(part).into()
}
