//! The stores keep their contract, and the layer over them its fences.

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use surehand::{
    Clock, Direct, DynamoDbStore, Error, ErrorKind, Function, Idempotency, IdempotencyKey, Json,
    MemoryStore, Result, Transaction,
    idempotency::{Claim, ClaimRequest, KeyStyle, Lease, Store},
    testing,
    testing::store_contract,
};
use surehand_test_support::{dynamodb, fencing};

const TABLE: &str = "idempotency";

async fn embedded() -> Client {
    let (client, _) = dynamodb::embedded().await;
    dynamodb::make_idempotency_table(&client, TABLE).await;
    client
}

#[tokio::test]
async fn dynamodb_keeps_the_store_contract() {
    let client = embedded().await;
    store_contract::check_commits(|clock| {
        DynamoDbStore::new(client.clone(), TABLE).with_clock(clock)
    })
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

/// A store without fencing: the attempt that ends last decides the result.
#[derive(Clone)]
struct Unfenced(MemoryStore);

impl Store for Unfenced {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.0.claim(request).await
    }

    async fn complete(&self, lease: &Lease, data: Option<&str>, at: SystemTime) -> Result<()> {
        match self.0.complete(lease, data, at).await {
            Err(error) if error.kind() == ErrorKind::Fenced => Ok(()),
            result => result,
        }
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        self.0.release(lease, counts, error).await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        self.0.find(key).await
    }
}

#[tokio::test]
#[should_panic(expected = "done at last")]
async fn a_store_without_fences_is_found_out() {
    let store = MemoryStore::new();
    fencing::check(|clock| Unfenced(store.clone().with_clock(clock))).await;
}

/// The mistake is reported when the function is built, and so also when it is only described.
#[test]
#[should_panic(expected = "the handler stage takes a `Transaction`, but the store")]
fn a_transaction_needs_a_store_that_commits() {
    async fn stage(_: Transaction) -> Result<()> {
        Ok(())
    }
    let _ = Function::new(Direct, stage, ()).idempotent(Unfenced(MemoryStore::new()));
}

/// The digest of a JSON value as Powertools writes it, and as CPython computed these:
/// `hashlib.md5(json.dumps(value, sort_keys=True).encode()).hexdigest()`.
const DONE: &str = "c31fda3217a512bf1602521a10db6f5b";
const DONE_REQUEST: &str = "5e1b498b8b8887b1b849c9de1853a341";
const FAILED: &str = "298824ee7a253636cfb513d3bcdb7585";
const FAILED_REQUEST: &str = "0376b8636bc1cd8c2e0a5b9e785596ea";

const NOW: u64 = 1_795_255_200;

async fn reply(request: Json<Value>) -> Result<Value> {
    match request.0["reply"].clone() {
        Value::Null => Err(Error::transient("no reply today")),
        reply => Ok(reply),
    }
}

/// A function that shares its table with functions that use Powertools.
fn function(client: &Client) -> Function<Direct> {
    let clock = Clock::from_fn(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let store = DynamoDbStore::new(client.clone(), TABLE).with_clock(clock.clone());
    let once = Idempotency::new(store)
        .scope("shop.place_order")
        .style(KeyStyle::Powertools)
        .key(|request: Json<Value>| request.0["id"].as_str().map(str::to_owned))
        .expires_after(Duration::from_secs(3_600))
        .clock(clock.clone());
    Function::new(Direct, reply, ())
        .clock(clock)
        .idempotent(once)
}

async fn call(function: &Function<Direct>, request: Value) -> Result<Value> {
    let mut context = testing::context();
    context.deadline = (NOW + 30) * 1_000;
    let reply = function
        .invoke(testing::direct_event(&request), context)
        .await?;
    Ok(serde_json::from_str(reply.get())?)
}

/// The names, types and units that the store's documentation gives, to the letter.
#[tokio::test]
async fn items_have_the_documented_attributes_and_no_others() {
    let client = embedded().await;
    let function = function(&client);
    call(&function, json!({"id": "done", "reply": {"order": 1}}))
        .await
        .unwrap();
    call(&function, json!({"id": "failed"})).await.unwrap_err();
    let held = ClaimRequest::new(
        IdempotencyKey::new("shop.place_order#held"),
        "fingerprint",
        SystemTime::UNIX_EPOCH + Duration::from_millis(NOW * 1_000 + 31_123),
        SystemTime::UNIX_EPOCH + Duration::from_millis(NOW * 1_000 + 1_999),
    );
    let store = DynamoDbStore::new(client.clone(), TABLE);
    let before = SystemTime::now();
    store.claim(&held).await.unwrap();

    assert_eq!(
        item(&client, DONE).await,
        json!({
            "id": {"S": format!("shop.place_order#{DONE}")},
            "status": {"S": "COMPLETED"},
            "expiration": {"N": "1795258800"},
            "data": {"S": r#"{"order":1}"#},
            "validation": {"S": DONE_REQUEST},
            "owner": {"S": "a UUID"},
            "attempted_at": {"N": "1795255200000"},
        })
    );
    assert_eq!(
        item(&client, FAILED).await,
        json!({
            "id": {"S": format!("shop.place_order#{FAILED}")},
            "status": {"S": "INPROGRESS"},
            // Attempts are counted for a day at least.
            "expiration": {"N": "1795341600"},
            // A lease that has ended: free for us, and for Powertools too.
            "in_progress_expiration": {"N": "0"},
            "validation": {"S": FAILED_REQUEST},
            "owner": {"S": "a UUID"},
            "sending": {"S": "test-request"},
            "attempt": {"N": "1"},
            "ended": {"N": "1"},
            "attempted_at": {"N": "1795255200000"},
            "last_error": {"S": "transient: no reply today"},
        })
    );
    let mut item = item(&client, "held").await;
    let attempted_at = item["attempted_at"]["N"].as_str().unwrap().parse().unwrap();
    assert!(
        SystemTime::UNIX_EPOCH + Duration::from_millis(attempted_at) + Duration::from_millis(1)
            > before
    );
    item.as_object_mut().unwrap().remove("attempted_at");
    assert_eq!(
        item,
        json!({
            "id": {"S": "shop.place_order#held"},
            "status": {"S": "INPROGRESS"},
            // Not before its lease's end, although a second was asked for.
            "expiration": {"N": "1795255231"},
            "in_progress_expiration": {"N": "1795255231123"},
            "validation": {"S": "fingerprint"},
            "owner": {"S": "a UUID"},
            "sending": {"S": "test-request"},
            "attempt": {"N": "1"},
            "ended": {"N": "0"},
        })
    );
}

/// An item that Powertools writes has no owner and no count of attempts.
#[tokio::test]
async fn the_items_of_powertools_are_understood() {
    let client = embedded().await;
    let function = function(&client);
    let done = json!({"id": "done", "reply": {"order": 1}});

    let completed = [
        ("status", AttributeValue::S("COMPLETED".into())),
        ("expiration", AttributeValue::N((NOW + 60).to_string())),
        ("data", AttributeValue::S(r#"{"order": "theirs"}"#.into())),
    ];
    put(&client, DONE, &completed).await;
    assert_eq!(
        call(&function, done.clone()).await.unwrap(),
        json!({"order": "theirs"})
    );

    // A new process, without the completed key in its cache.
    let function = self::function(&client);
    let mut in_progress = vec![
        ("status", AttributeValue::S("INPROGRESS".into())),
        ("expiration", AttributeValue::N((NOW + 60).to_string())),
    ];
    put(&client, DONE, &in_progress).await;
    let error = call(&function, done.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.delay()), (ErrorKind::InProgress, None));

    in_progress.push((
        "in_progress_expiration",
        AttributeValue::N((NOW * 1_000 + 700).to_string()),
    ));
    put(&client, DONE, &in_progress).await;
    let error = call(&function, done.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InProgress);
    // It still holds in the millisecond in which it ends.
    assert_eq!(error.delay(), Some(Duration::from_millis(701)));

    in_progress[2].1 = AttributeValue::N((NOW * 1_000 - 1).to_string());
    put(&client, DONE, &in_progress).await;
    assert_eq!(call(&function, done).await.unwrap(), json!({"order": 1}));
}

async fn put(client: &Client, id: &str, attributes: &[(&str, AttributeValue)]) {
    let mut put = client.put_item().table_name(TABLE).item("id", key(id));
    for (name, value) in attributes {
        put = put.item(*name, value.clone());
    }
    put.send().await.unwrap();
}

/// The item in DynamoDB's JSON, with its owner made the same for all.
async fn item(client: &Client, id: &str) -> Value {
    let get = client.get_item().table_name(TABLE).key("id", key(id));
    let mut attributes = get.send().await.unwrap().item.unwrap();
    let owner = attributes.get_mut("owner").unwrap();
    assert_eq!(owner.as_s().unwrap().len(), 36);
    *owner = AttributeValue::S("a UUID".into());
    // That of a request.
    if let Some(sending) = attributes.get_mut("sending") {
        *sending = AttributeValue::S("test-request".into());
    }
    let typed = attributes.into_iter().map(|(name, value)| match value {
        AttributeValue::S(text) => (name, json!({ "S": text })),
        AttributeValue::N(number) => (name, json!({ "N": number })),
        other => panic!("{name} is {other:?}"),
    });
    typed.collect()
}

fn key(id: &str) -> AttributeValue {
    AttributeValue::S(format!("shop.place_order#{id}"))
}
