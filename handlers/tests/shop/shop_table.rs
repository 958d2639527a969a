//! The shop's table, in a DynamoDB inside the test.

use crate::stand_in;
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
        ScalarAttributeType,
    },
};
use dynoxide::Database;
use serde::de::DeserializeOwned;
use shop::table::Table;
use std::{collections::HashMap, future::pending};
use tokio::net::TcpListener;

const NAME: &str = "shop";

/// A table of the test's own, with what the handlers do not offer: to write any row, and to read it.
pub(crate) struct ShopTable(Client);

impl ShopTable {
    /// An empty table. It lives as long as the test's runtime.
    pub(crate) async fn create() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let database = Database::memory().unwrap();
        tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener,
            database,
            pending(),
        ));
        let client = Client::new(&stand_in::aws(&format!("http://{address}")));
        let mut request = client
            .create_table()
            .table_name(NAME)
            .billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let attribute = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S);
            let key = KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind);
            request = request
                .attribute_definitions(attribute.build().unwrap())
                .key_schema(key.build().unwrap());
        }
        request.send().await.unwrap();
        Self(client)
    }

    /// The table as the handlers know it.
    pub(crate) fn table(&self) -> Table {
        Table::new(self.0.clone(), NAME)
    }

    pub(crate) async fn set_stock(&self, sku: &str, available: AttributeValue) {
        self.0
            .put_item()
            .table_name(NAME)
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
        let key = HashMap::from([
            ("pk".to_owned(), AttributeValue::S(pk.into())),
            ("sk".to_owned(), AttributeValue::S(sk.into())),
        ]);
        let request = self.0.get_item().table_name(NAME).set_key(Some(key));
        let item = request.send().await.unwrap().item?;
        Some(serde_dynamo::from_item(item).unwrap())
    }

    /// How many items there are.
    pub(crate) async fn len(&self) -> i32 {
        let scan = self.0.scan().table_name(NAME).send().await.unwrap();
        scan.count()
    }
}
