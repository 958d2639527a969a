//! What becomes of records that cannot be read, as the function says.

use super::{
    check::{failures, read_event, respond},
    script::{Script, order_placed},
};
use std::sync::{Arc, Mutex};
use surehand::{
    Delivery, ErrorKind, EventBridge, Function, OnMalformed, Result, Sqs, State,
    testing::{self, RecordedDeadLetters},
};

/// Delivers messages of which none can be read. Returns how many there were, how many were
/// returned, and why the others were parked.
async fn deliver(on_malformed: OnMalformed, receives: u64) -> (usize, usize, Vec<String>) {
    let dead = RecordedDeadLetters::new();
    let script = Script::new(&[]);
    let function = Function::new(Sqs, order_placed, script)
        .dead_letters(dead.clone())
        .on_malformed(on_malformed);
    let mut event: serde_json::Value = serde_json::from_str(&read_event("sqs-malformed")).unwrap();
    let records = event["Records"].as_array_mut().unwrap();
    records.retain(|record| record["messageId"] != "m-good");
    for record in &mut *records {
        record["attributes"]["ApproximateReceiveCount"] = receives.to_string().into();
    }
    let sent = records.len();
    let response = respond(&function, &event.to_string(), testing::context()).await;
    let kinds = dead.kinds().into_iter().map(|(_, kind)| kind).collect();
    (sent, failures(&response.unwrap()).len(), kinds)
}

fn all_malformed(kinds: &[String], count: usize) -> bool {
    let malformed = ErrorKind::Malformed.as_str();
    kinds.len() == count && kinds.iter().all(|kind| kind == malformed)
}

#[tokio::test]
async fn they_are_parked_at_once() {
    let (sent, returned, kinds) = deliver(OnMalformed::default(), 1).await;
    assert!(
        sent > 2 && returned == 0 && all_malformed(&kinds, sent),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn or_come_back_until_their_last_receive() {
    let (sent, returned, kinds) = deliver(OnMalformed::Retry, 4).await;
    assert_eq!((returned, kinds.len()), (sent, 0));
    let (sent, returned, kinds) = deliver(OnMalformed::Retry, 5).await;
    assert!(returned == 0 && all_malformed(&kinds, sent), "{kinds:?}");
}

#[tokio::test]
async fn or_are_discarded() {
    let (_, returned, kinds) = deliver(OnMalformed::Discard, 1).await;
    assert_eq!((returned, kinds.len()), (0, 0));
}

/// Anybody who may send to the queue may send this, again and again.
#[tokio::test]
async fn an_id_of_half_a_megabyte_is_parked_with_a_note_that_fits() {
    let id = "x".repeat(550_000);
    let event = |kind: &str| {
        serde_json::json!({
            "id": "bus-1", "source": "shop.orders", "detail-type": kind,
            "detail": { "metadata": { "id": id }, "data": { "order_id": "42" } }
        })
    };
    for kind in ["OrderPlaced", "NobodyKnows", &"t".repeat(400_000)] {
        let dead = RecordedDeadLetters::new();
        let function =
            Function::new(Sqs, order_placed, Script::new(&[])).dead_letters(dead.clone());
        let body = event(kind).to_string();
        let message = testing::Message::body(body).id("m-1");
        let event = testing::sqs_event("orders", [message]);
        let response = function.invoke(event, testing::context()).await.unwrap();
        assert_eq!(testing::failed_ids(&response), [""; 0]);
        let parked = dead.parked();
        let note = serde_json::to_string(&parked[0].1).unwrap();
        assert!(note.len() < 1_000, "{} bytes", note.len());
        assert!(note.contains("the event's"), "{note}");
    }
}

type Seen = Arc<Mutex<Option<Delivery>>>;

async fn keep(delivery: Delivery, State(seen): State<Seen>) -> Result<()> {
    *seen.lock().unwrap() = Some(delivery);
    Ok(())
}

#[tokio::test]
async fn what_an_invocation_names_itself_by_has_a_limit_too() {
    let long = "x".repeat(500_000);
    for (id, resource, kept) in [
        ("e-1", "arn:aws:events:eu-central-1:1:rule/nightly", true),
        (&*long, &*long, false),
    ] {
        let seen = Seen::default();
        let function = Function::new(EventBridge, keep, seen.clone());
        let event = serde_json::json!({
            "id": id, "source": "shop.orders", "detail-type": "Nightly", "detail": {},
            "resources": [resource]
        });
        let event = serde_json::value::to_raw_value(&event).unwrap();
        function.invoke(event, testing::context()).await.unwrap();
        let delivery = seen.lock().unwrap().take().unwrap();
        assert_eq!(delivery.source_arn.is_some(), kept);
        assert_eq!(delivery.message_id == id, kept);
    }
}
