//! A service that takes connections and never answers.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    env,
    net::TcpListener,
    process::Command,
    thread,
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, Deadline, Delivery, DynamoDbStore, Error, Event, EventBus, IdempotencyKey, Publisher,
    Record, SqsDeadLetters, SqsQueue, SqsVisibility,
    dead_letter::{DeadLetters, FailureNote},
    idempotency::{ClaimRequest, Store},
    outbox::Outbox,
    redelivery::Redelivery,
    testing,
};
use tokio::time::Instant;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop", detail_type = "Placed")]
struct Placed {}

/// Tells the second test that it runs in the environment that the first one made.
const SILENCE: &str = "SUREHAND_SILENCE";

#[test]
fn no_client_of_the_environment_waits_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // Connections stay open as long as they are held here.
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    // The environment of a process is the same for all of its tests.
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "integration::time_limits::calls_of_from_env"])
        .envs([
            (SILENCE, "1"),
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("EVENT_BUS_NAME", "shop"),
            ("EVENT_QUEUE_URL", "https://sqs.local/1/events"),
            ("DEAD_LETTER_QUEUE_URL", "https://sqs.local/1/dead"),
            ("IDEMPOTENCY_TABLE", "claims"),
        ])
        .env_remove("AWS_PROFILE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn calls_of_from_env() {
    if env::var(SILENCE).is_err() {
        return;
    }
    let bus = Publisher::new(EventBus::from_env().await.unwrap());
    let queue = Publisher::new(SqsQueue::from_env().await.unwrap());
    let letters = SqsDeadLetters::from_env().await.unwrap();
    let visibility = SqsVisibility::from_env().await;
    let store = DynamoDbStore::from_env().await.unwrap();
    let outbox = Outbox::from_env(bus.clone()).await.unwrap();

    let mut delivery = Delivery::default();
    delivery.message_id = "m-1".into();
    delivery.receipt_handle = Some("r-1".into());
    delivery.source_arn = Some("arn:aws:sqs:eu-central-1:1:orders".into());
    let delayed = [(delivery.clone(), Duration::from_secs(1))];
    let deadline = Deadline::new(SystemTime::now(), &Clock::system());
    let record = Record::new(delivery, "{}", testing::context(), deadline);
    let note: FailureNote = serde_json::from_value(json!({
        "kind": "transient", "message": "no", "handler": "h", "function": "f", "request_id": "r",
        "attempts": 1, "last_failure": "2026-11-27T10:00:00Z",
    }))
    .unwrap();
    let claim = ClaimRequest::new(
        IdempotencyKey::new("orders#1"),
        "fingerprint",
        SystemTime::now(),
        SystemTime::now(),
    );

    // Timers then fire immediately, in the order of their times.
    tokio::time::pause();
    gives_up("publish on a bus", bus.publish(&Placed {})).await;
    gives_up("publish to a queue", queue.publish(&Placed {})).await;
    gives_up("park", letters.park(&record, &note)).await;
    gives_up("delay", visibility.delay(&delayed)).await;
    gives_up("claim", store.claim(&claim)).await;
    gives_up("sweep", outbox.sweep(Duration::ZERO, || false)).await;
}

/// Checks that a call ends after three attempts of two seconds, with pauses of at most three
/// seconds.
async fn gives_up<T>(what: &str, call: impl Future<Output = surehand::Result<T>>) {
    let began = Instant::now();
    let error: Error = match call.await {
        Ok(_) => panic!("{what}: the service must not answer"),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(text.contains("timeout"), "{what}: {text}");
    let took = began.elapsed();
    // Without limits it would take minutes; a busy machine may take a few seconds more.
    assert!(took <= Duration::from_secs(40), "{what}: {took:?}");
}
