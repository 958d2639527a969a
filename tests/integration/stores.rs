//! The stores keep their contract, and the layer over them its fences.

use crate::{dynamodb, fencing};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use surehand::{
    Clock, Direct, DynamoDbStore, Error, Function, Idempotency, Json, KeyStyle, MemoryStore,
    Result, testing, testing::store_contract,
};

const TABLE: &str = "idempotency";

async fn embedded() -> Client {
    let client = dynamodb::embedded().await;
    dynamodb::make_idempotency_table(&client, TABLE).await;
    client
}

#[tokio::test]
async fn dynamodb_keeps_the_store_contract() {
    let client = embedded().await;
    store_contract::check(|clock| DynamoDbStore::new(client.clone(), TABLE).with_clock(clock))
        .await;
}

#[tokio::test]
async fn a_late_owner_is_fenced_off_in_memory() {
    let store = MemoryStore::new();
    fencing::check(|clock| store.clone().with_clock(clock)).await;
}

#[tokio::test]
async fn a_late_owner_is_fenced_off_in_dynamodb() {
    let client = embedded().await;
    fencing::check(|clock| DynamoDbStore::new(client.clone(), TABLE).with_clock(clock)).await;
}

async fn reply(request: Json<Value>) -> Result<Value> {
    match request.0["reply"].clone() {
        Value::Null => Err(Error::transient("no reply today")),
        reply => Ok(reply),
    }
}

/// What others read and write: names, types, and units. The digests are those of
/// `hashlib.md5(json.dumps(value, sort_keys=True).encode()).hexdigest()`.
#[tokio::test]
async fn items_are_those_of_powertools() {
    let client = embedded().await;
    let now = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_255_200);
    let clock = Clock::from_fn(move || now);
    let store = DynamoDbStore::new(client.clone(), TABLE).with_clock(clock.clone());
    let once = Idempotency::new(store)
        .scope("shop.place_order")
        .style(KeyStyle::Powertools)
        .key(|request: Json<Value>| request.0["id"].as_str().map(str::to_owned))
        .expires_after(std::time::Duration::from_secs(3_600))
        .clock(clock.clone());
    let function = Function::new(Direct, reply, ())
        .clock(clock)
        .idempotent(once);
    let mut context = testing::context();
    context.deadline = 1_795_255_230_000;
    let mut call = async |request: Value| {
        let request = testing::direct_event(&request);
        drop(function.invoke(request, context.clone()).await);
    };

    call(json!({"id": "done", "reply": {"order": 1}})).await;
    let done = item(&client, "shop.place_order#9c92587b859b9e6d42fcd47a1f5c7c8e").await;
    drop(done);
    call(json!({"id": "failed"})).await;
    for item in all_items(&client).await {
        println!("{item:?}");
    }
}

async fn item(client: &Client, id: &str) -> Option<HashMap<String, AttributeValue>> {
    let got = client.get_item().table_name(TABLE);
    let got = got.key("id", AttributeValue::S(id.into())).send().await;
    got.unwrap().item
}

async fn all_items(client: &Client) -> Vec<BTreeMap<String, AttributeValue>> {
    let scanned = client.scan().table_name(TABLE).send().await.unwrap();
    let items = scanned.items.unwrap_or_default().into_iter();
    items.map(|item| item.into_iter().collect()).collect()
}
