//! A DynamoDB with the tables of a shop, and a function that works on it.

use super::meter::{Meter, Spent};
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
        KeyType, Projection, ProjectionType, Put, ScalarAttributeType, Update,
    },
};
use serde::{Deserialize, Serialize};
use surehand::{
    DynamoDbStore, Envelope, Error, Event, Function, Idempotency, Sqs, Transaction,
    testing::{self, Message},
};
use surehand_test_support::dynamodb;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    partition_key = "{customer}"
)]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) quantity: i64,
    /// How many events to publish, and of which size.
    pub(crate) events: usize,
    pub(crate) padding: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockReserved")]
pub(crate) struct StockReserved {
    pub(crate) order_id: String,
    pub(crate) number: usize,
    pub(crate) padding: String,
}

pub(crate) fn order(order_id: &str, quantity: i64) -> OrderPlaced {
    OrderPlaced {
        order_id: order_id.into(),
        customer: "c-1".into(),
        quantity,
        events: 1,
        padding: 0,
    }
}

pub(crate) async fn reserve(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
    let order = order.data;
    tx.stage(
        Update::builder()
            .table_name("shop")
            .key("id", text("stock"))
            .update_expression("SET available = available - :quantity")
            .condition_expression("available >= :quantity")
            .expression_attribute_values(":quantity", number(order.quantity)),
    )
    .or_else(|item| {
        let left = item.and_then(|item| item.get("available")?.as_n().ok().cloned());
        Error::rejected(format!("{} left", left.unwrap_or_else(|| "none".into())))
    });
    tx.stage(
        Put::builder()
            .table_name("shop")
            .item("id", text(&format!("reservation-{}", order.order_id)))
            .condition_expression("attribute_not_exists(id)"),
    )
    .or(Error::rejected("reserved already"));
    for number in 0..order.events {
        tx.publish(&StockReserved {
            order_id: order.order_id.clone(),
            number,
            padding: "x".repeat(order.padding),
        });
    }
    Ok(())
}

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) struct World {
    /// Calls with it are not counted.
    pub(crate) client: Client,
    /// Calls with it are, as are those of the store.
    pub(crate) metered: Client,
    meter: Meter,
    pub(crate) store: DynamoDbStore,
}

impl World {
    /// Tables with ten in stock.
    pub(crate) async fn new() -> Self {
        let (client, _endpoint) = dynamodb::embedded().await;
        let meter = Meter::default();
        let metered = Client::from_conf(
            client
                .config()
                .to_builder()
                .interceptor(meter.clone())
                .build(),
        );
        make_idempotency_table(&client).await;
        dynamodb::make_idempotency_table(&client, "shop").await;
        client
            .put_item()
            .table_name("shop")
            .item("id", text("stock"))
            .item("available", number(10))
            .send()
            .await
            .unwrap();
        let store = DynamoDbStore::new(metered.clone(), "idempotency");
        Self {
            client,
            metered,
            meter,
            store,
        }
    }

    /// How many calls there were since it was last asked.
    pub(crate) fn calls(&self) -> usize {
        self.spent().calls
    }

    /// Returns the requests to DynamoDB since this or [`World::calls`] was last called.
    pub(crate) fn spent(&self) -> Spent {
        self.meter.take()
    }

    pub(crate) async fn available(&self) -> i64 {
        let item = self.item("shop", "stock").await.unwrap();
        item["available"].as_n().unwrap().parse().unwrap()
    }

    pub(crate) async fn item(&self, table: &str, id: &str) -> Option<surehand::transaction::Item> {
        let output = self.client.get_item().table_name(table).key("id", text(id));
        output.consistent_read(true).send().await.unwrap().item
    }

    pub(crate) async fn items(&self, table: &str) -> Vec<surehand::transaction::Item> {
        let output = self.client.scan().table_name(table).send().await.unwrap();
        output.items.unwrap_or_default()
    }

    /// How many attempts at each key that is not completed have begun, and how many ended.
    pub(crate) async fn attempts(&self) -> Vec<(u64, u64)> {
        let items = self.items("idempotency").await;
        let open = items.iter().filter(|item| item.contains_key("attempt"));
        let counts = open.map(|item| {
            assert_eq!(item["status"].as_s().unwrap(), "INPROGRESS");
            ["attempt", "ended"].map(|name| item[name].as_n().unwrap().parse().unwrap())
        });
        counts.map(|[begun, ended]| (begun, ended)).collect()
    }

    pub(crate) fn function(&self) -> Function<Sqs> {
        Function::new(Sqs, reserve, ()).idempotent(Idempotency::new(self.store.clone()).cache(0))
    }

    pub(crate) async fn run(&self, message: Message) -> Vec<String> {
        let event = testing::sqs_event("orders", [message]);
        let response = self
            .function()
            .invoke(event, testing::context())
            .await
            .unwrap();
        testing::failed_ids(&response)
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// The idempotency table with the outbox's index.
async fn make_idempotency_table(client: &Client) {
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .unwrap()
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name("outbox")
        .key_schema(key("outbox_shard", KeyType::Hash))
        .key_schema(key("outbox_since", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        )
        .build()
        .unwrap();
    client
        .create_table()
        .table_name("idempotency")
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("outbox_shard", ScalarAttributeType::S))
        .attribute_definitions(attribute("outbox_since", ScalarAttributeType::N))
        .key_schema(key("id", KeyType::Hash))
        .global_secondary_indexes(index)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
}
