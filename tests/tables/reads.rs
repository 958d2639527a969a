//! Reads by key, of many items and of some that are left out.

use super::{
    entities::{Counter, Customer, Entry, Order, order},
    world::World,
};
use aws_sdk_dynamodb::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig, timeout::TimeoutConfig,
    },
    types::AttributeValue,
};
use axum::{Json, Router, extract::State};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use surehand::{
    Entity, Tables,
    tables::{Access, Read},
};

fn entry(at: i64) -> Entry {
    let (source, text) = ("a".to_owned(), format!("entry {at}"));
    Entry { source, at, text }
}

#[tokio::test]
async fn an_item_is_read_by_its_key_or_is_not_there() {
    let world = World::new().await;
    let get = || world.tables.get(Order::key("o-1"));
    assert_eq!(get().await.unwrap(), None);
    assert_eq!(get().snapshot().await.unwrap().value(), None);
    world.dynamo.put(&order()).await;
    assert_eq!(get().await.unwrap(), Some(order()));
    assert_eq!(get().eventually_consistent().await.unwrap(), Some(order()));
    let snapshot = get().snapshot().await.unwrap();
    assert_eq!(snapshot.into_value(), Some(order()));
}

#[tokio::test]
async fn items_of_several_entities_and_tables_are_read_together() {
    let world = World::new().await;
    world.dynamo.put(&order()).await;
    world.dynamo.put(&entry(1)).await;
    let customer = Customer::key("7");
    let read = Read::new()
        .key(&order().to_key())
        .key(&entry(1).to_key())
        .key(&customer);
    let found = world.tables.read(read).await.unwrap();
    assert_eq!(found.get(&order().to_key()).unwrap(), Some(order()));
    assert_eq!(found.get(&entry(1).to_key()).unwrap(), Some(entry(1)));
    assert_eq!(found.get(&customer).unwrap(), None);
    assert_eq!(found.snapshot(&customer).unwrap().value(), None);
    let snapshot = found.snapshot(&order().to_key()).unwrap();
    assert_eq!(snapshot.value(), Some(&order()));
    let nothing = world.tables.read(Read::new()).await.unwrap();
    assert_eq!(
        nothing.get(&order().to_key()).unwrap(),
        None,
        "not asked for"
    );
}

/// DynamoDB takes 100 keys in a call, and none of them twice.
#[tokio::test]
async fn more_than_a_hundred_keys_and_keys_that_come_twice_are_read() {
    let world = World::new().await;
    for at in 0..250 {
        world.dynamo.put(&entry(at)).await;
    }
    let keys = || (0..251).map(|at| entry(at).to_key());
    let twice = Read::new().keys(keys()).keys(keys());
    let found = world.tables.read(twice).await.unwrap();
    for at in 0..250 {
        assert_eq!(found.get(&entry(at).to_key()).unwrap(), Some(entry(at)));
    }
    assert_eq!(found.get(&entry(250).to_key()).unwrap(), None);
}

#[tokio::test]
async fn an_item_that_is_not_what_the_entity_says_fails_with_its_key_and_the_place() {
    let world = World::new().await;
    let put = async |attributes: Vec<(&str, AttributeValue)>| {
        let put = world.dynamo.client().put_item().table_name("SHOP_TABLE");
        let text = |text: &str| AttributeValue::S(text.into());
        let put = put
            .item("pk", text("COUNTER#a"))
            .item("sk", text("COUNTER"));
        let attributes = attributes.into_iter();
        let put = attributes.fold(put, |put, (name, value)| put.item(name, value));
        put.send().await.unwrap();
    };
    let number = |digits: &str| AttributeValue::N(digits.into());
    let name = || ("name", AttributeValue::S("a".into()));
    let items = [
        (vec![], "missing field `name`"),
        (vec![name()], "missing field `changes`"),
        (vec![name(), ("changes", number("-1"))], "changes: "),
        (
            vec![
                name(),
                ("changes", number("1")),
                ("value", AttributeValue::Bool(true)),
            ],
            "value: Expected num",
        ),
    ];
    for (attributes, problem) in items {
        put(attributes).await;
        let error = world.tables.get(Counter::key("a")).await.unwrap_err();
        let error = error.to_string();
        let begin = r#"the item {pk: "COUNTER#a", sk: "COUNTER"} is no Counter: "#;
        assert!(
            error.starts_with(begin) && error.contains(problem),
            "{error}"
        );
        let found = world
            .tables
            .read(Read::new().key(&Counter::key("a")))
            .await
            .unwrap();
        assert_eq!(
            found.get(&Counter::key("a")).unwrap_err().to_string(),
            error
        );
        let all = world.tables.query(Counter::partition("a")).all().await;
        assert_eq!(all.unwrap_err().to_string(), error);
    }
}

/// A DynamoDB that reads at most so many keys a call, and leaves out the others. Returns how many keys each
/// call had.
async fn reading(at_most: usize) -> (Client, Arc<Mutex<Vec<usize>>>) {
    type Shared = (usize, Arc<Mutex<Vec<usize>>>);
    async fn read(State((at_most, calls)): State<Shared>, body: String) -> Json<Value> {
        let request: Value = serde_json::from_str(&body).unwrap();
        let keys = request["RequestItems"]["LOG_TABLE"]["Keys"]
            .as_array()
            .unwrap();
        calls.lock().unwrap().push(keys.len());
        let (read, left) = keys.split_at(at_most.min(keys.len()));
        let items = read.iter().map(|key| {
            let mut item = key.clone();
            item["text"] = json!({"S": format!("entry {}", key["at"]["N"].as_str().unwrap())});
            item
        });
        let mut answer = json!({"Responses": {"LOG_TABLE": items.collect::<Vec<_>>()}});
        if !left.is_empty() {
            answer["UnprocessedKeys"] =
                json!({"LOG_TABLE": {"Keys": left, "ConsistentRead": true}});
        }
        Json(answer)
    }
    let calls = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(read)
        .with_state((at_most, Arc::clone(&calls)));
    tokio::spawn(axum::serve(listener, router).into_future());
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        // The clock is the test's own, and runs on while an answer is on its way.
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    (Client::from_conf(config), calls)
}

fn log(client: Client) -> Tables {
    Tables::new(client, Access::new().reads::<Entry>(), str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_call_leaves_out_are_asked_for_again() {
    let (client, calls) = reading(40).await;
    let keys = (0..150).map(|at| entry(at).to_key());
    let found = log(client).read(Read::new().keys(keys)).await.unwrap();
    for at in 0..150 {
        assert_eq!(found.get(&entry(at).to_key()).unwrap(), Some(entry(at)));
    }
    assert_eq!(*calls.lock().unwrap(), [100, 60, 20, 50, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_keys_are_never_all_read_fails_and_says_how_many_are_left() {
    let (client, calls) = reading(1).await;
    let keys = (0..20).map(|at| entry(at).to_key());
    let error = log(client).read(Read::new().keys(keys)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "DynamoDB left 10 of 20 items out of each of 10 reads: the table's capacity is used up"
    );
    assert_eq!(calls.lock().unwrap().len(), 10);
}
