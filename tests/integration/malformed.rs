//! What becomes of records that cannot be read, as the function says.

use super::{
    check::{failures, read_event, respond},
    script::{Script, order_placed},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use surehand::{
    Delivery, DynamoDbStream, ErrorKind, EventBridge, Function, OnMalformed, Record, Result, Sqs,
    State,
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

/// Of two messages one is odd. Returns why it was parked, if it was; the other one is handled.
async fn odd(part: Value) -> Option<String> {
    let dead = RecordedDeadLetters::new();
    let handled = Arc::new(Mutex::new(Vec::new()));
    let note = async |delivery: Delivery, State(handled): State<Arc<Mutex<Vec<String>>>>| {
        handled.lock().unwrap().push(delivery.message_id);
        Result::<()>::Ok(())
    };
    let function = Function::new(Sqs, note, Arc::clone(&handled)).dead_letters(dead.clone());
    let [odd, good] = ["m-odd", "m-good"].map(|id| testing::Message::body("{}").id(id));
    let event = testing::sqs_event("orders", [odd, good]);
    let mut event = serde_json::to_value(event).unwrap();
    for (name, value) in part.as_object().unwrap() {
        event["Records"][0][name] = value.clone();
    }
    // The text has an escape that no text may contain.
    let event = event.to_string().replace("LONE", "\\ud800");
    let event = serde_json::from_str(&event).unwrap();
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&response), [""; 0]);
    let mut handled = handled.lock().unwrap().clone();
    assert_eq!(handled.pop().as_deref(), Some("m-good"));
    let parked = dead.parked().pop().map(|(record, note)| {
        assert_eq!((record.id(), note.kind.as_str()), ("m-odd", "malformed"));
        assert_ne!(record.body(), "", "what can be read is kept");
        note.message
    });
    assert_eq!(handled.len(), usize::from(parked.is_none()));
    parked
}

#[tokio::test]
async fn a_message_of_which_a_part_cannot_be_read_is_parked_alone_and_says_which() {
    let attribute = |value: Value| json!({ "messageAttributes": { "a": value } });
    for (part, problem) in [
        (
            attribute(json!({ "binaryValue": "%", "dataType": "Binary" })),
            "the `binaryValue` of its attribute `a` is not Base64",
        ),
        (
            attribute(json!("text")),
            "`messageAttributes.a`: invalid type: string, expected a message attribute",
        ),
        (
            attribute(json!({ "stringValue": 7 })),
            "`messageAttributes.a`: `stringValue`: invalid type: integer, expected a string",
        ),
        (
            json!({ "messageAttributes": [] }),
            "`messageAttributes`: it is not an object",
        ),
        (
            json!({ "attributes": { "ApproximateReceiveCount": 2, "SentTimestamp": null } }),
            "`attributes.ApproximateReceiveCount`: invalid type: integer, expected a string",
        ),
        (
            json!({ "body": { "a": 1 } }),
            "`body`: invalid type: map, expected a string",
        ),
        (json!({ "body": "LONE" }), "`body`: "),
        (json!({ "receiptHandle": 7 }), "`receiptHandle`: "),
    ] {
        let parked = odd(part.clone()).await.unwrap_or_default();
        assert!(parked.contains(problem), "{part}: {parked}");
    }
}

#[tokio::test]
async fn what_is_not_used_of_a_message_may_have_any_shape() {
    let nulls = json!({ "stringListValues": null, "binaryListValues": null, "stringValue": "x" });
    for part in [
        json!({ "messageAttributes": { "a": nulls, "b": null } }),
        json!({ "messageAttributes": null, "attributes": null }),
        json!({ "md5OfBody": null, "md5OfMessageAttributes": 7, "awsRegion": [] }),
        json!({ "attributes": { "SenderId": null, "SomethingNew": {} } }),
        json!({ "somethingNew": "LONE" }),
    ] {
        assert_eq!(odd(part.clone()).await, None, "{part}");
    }
}

#[tokio::test]
async fn a_stream_record_of_which_a_part_cannot_be_read_is_malformed_alone() {
    for (place, value, problem) in [
        ("/eventID", json!(7), "`eventID`: invalid type"),
        ("/dynamodb/Keys", json!("x"), "`dynamodb.Keys`: it is not"),
        (
            "/dynamodb/ApproximateCreationDateTime",
            json!("now"),
            "`dynamodb.ApproximateCreationDateTime`: invalid type",
        ),
    ] {
        let dead = RecordedDeadLetters::new();
        let handle = async |_: Record| Result::<()>::Ok(());
        let function = Function::new(DynamoDbStream, handle, ()).dead_letters(dead.clone());
        let key = |id: &str| json!({ "id": { "S": id } });
        let changes = ["a", "b"].map(|id| ("INSERT", key(id), key(id)));
        let event = testing::stream_event("table", changes);
        let mut event = serde_json::to_value(event).unwrap();
        *event["Records"][0].pointer_mut(place).unwrap() = value;
        let event = serde_json::from_value(event).unwrap();
        let response = function.invoke(event, testing::context()).await.unwrap();
        assert!(response.batch_item_failures.is_empty(), "{place}");
        let parked = dead.parked();
        assert_eq!(parked.len(), 1, "{place}");
        let (record, note) = &parked[0];
        assert_eq!(record.id(), "1");
        assert!(note.message.contains(problem), "{}", note.message);
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
