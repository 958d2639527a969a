//! Commits that DynamoDB cancels for several reasons at once.

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::Put,
};
use axum::{Router, extract::State, http::StatusCode};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use surehand::{
    Direct, DynamoDbStore, Error, ErrorKind, Function, Idempotency, Json, Result, Sqs, Transaction,
    testing::{self, Message, RecordedDeadLetters},
};

use super::world::text;

type Answers = Arc<Mutex<VecDeque<Value>>>;

/// A DynamoDB that cancels the transactions, one after the other, for these reasons.
async fn cancelling(reasons: impl IntoIterator<Item = Value>) -> Client {
    async fn cancel(State(answers): State<Answers>) -> (StatusCode, String) {
        let reasons = answers.lock().unwrap().pop_front();
        let answer = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": reasons.expect("another call than those that were expected"),
        });
        (StatusCode::BAD_REQUEST, answer.to_string())
    }
    let answers = Answers::new(Mutex::new(reasons.into_iter().collect()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(cancel).with_state(answers);
    tokio::spawn(axum::serve(listener, router).into_future());
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .build();
    Client::from_conf(config)
}

fn refused() -> Value {
    json!({"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"})
}

/// The claim was taken, by an attempt that completed it.
fn completed() -> Value {
    let mut reason = refused();
    reason["Item"] = json!({
        "id": {"S": "place#r-1"}, "status": {"S": "COMPLETED"},
        "expiration": {"N": "99999999999"}, "owner": {"S": "the first"},
        "data": {"S": "\"placed r-1\""},
    });
    reason
}

async fn place(Json(request): Json<Value>, tx: Transaction) -> Result<String> {
    let id = request["request_id"].as_str().unwrap_or_default();
    tx.stage(
        Put::builder()
            .table_name("shop")
            .item("id", text(&format!("order-{id}")))
            .condition_expression("attribute_not_exists(id)"),
    )
    .or(Error::rejected("the order was placed before"));
    Ok(format!("placed {id}"))
}

fn by_request_id(client: Client) -> Idempotency<DynamoDbStore> {
    Idempotency::new(DynamoDbStore::new(client, "idempotency"))
        .cache(0)
        .key(|request: Json<Value>| request.0["request_id"].as_str().map(str::to_owned))
}

/// Its order is committed, but the claim's item is still in that transaction, or throttled, when the caller
/// asks again.
#[tokio::test]
async fn a_refused_effect_says_nothing_while_the_claim_was_not_looked_at() {
    for code in ["TransactionConflict", "ThrottlingError"] {
        let client = cancelling([
            json!([{"Code": code, "Message": ""}, refused()]),
            json!([completed(), refused()]),
        ])
        .await;
        let function = Function::new(Direct, place, ()).idempotent(by_request_id(client));
        let again = function
            .invoke(
                testing::direct_event(&json!({"request_id": "r-1"})),
                testing::context(),
            )
            .await;
        assert_eq!(
            again
                .map(|reply| reply.get().to_owned())
                .map_err(|e| e.to_string()),
            Ok("\"placed r-1\"".to_owned()),
            "the caller must get the reply of what is done"
        );
    }
}

/// Then it is not the record that has failed: no other would have been committed either.
#[tokio::test]
async fn a_commit_that_is_throttled_until_time_is_out_is_the_stores_failure() {
    for (code, kind) in [
        ("ThrottlingError", ErrorKind::Store),
        ("ProvisionedThroughputExceeded", ErrorKind::Store),
        ("TransactionConflict", ErrorKind::Transient),
    ] {
        let answer = json!([{"Code": "None"}, {"Code": code, "Message": ""}]);
        let client = cancelling(std::iter::repeat_n(answer, 1_000)).await;
        let function = Function::new(Direct, place, ()).idempotent(by_request_id(client));
        let mut context = testing::context();
        let ends_at = SystemTime::now() + Duration::from_secs(1);
        let since = ends_at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        context.deadline = u64::try_from(since.as_millis()).unwrap();
        let request = testing::direct_event(&json!({"request_id": "r-1"}));
        let error = function.invoke(request, context).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
        assert!(error.to_string().contains(code), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_message_in_such_a_conflict_is_not_parked() {
    let conflict = json!([{"Code": "TransactionConflict", "Message": ""}, refused()]);
    let client = cancelling([conflict, json!([completed(), refused()])]).await;
    let dead = RecordedDeadLetters::new();
    let function = Function::new(Sqs, place, ())
        .dead_letters(dead.clone())
        .idempotent(by_request_id(client));
    let body = json!({"request_id": "r-1"}).to_string();
    let event = testing::sqs_event("orders", [Message::body(body)]);
    function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(dead.kinds(), [], "what is done must not be a dead letter");
}
