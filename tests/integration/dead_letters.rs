//! Dead letters and delays as SQS gets them.

use super::{
    check::{failures, read_event, respond},
    fake_sqs::FakeSqs,
    script::{Script, Step, Steps, order_placed},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::LazyLock};
use surehand::{
    Function, Sqs, SqsDeadLetters, SqsVisibility,
    dead_letter::FailureNote,
    testing::{self, RecordedDeadLetters},
};

const DEAD_LETTERS: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders-dead";

/// Delivers the event, and returns the ids of the failed messages.
async fn deliver(sqs: &FakeSqs, event: &str, script: Steps) -> Vec<String> {
    let function = Function::new(Sqs, order_placed, Script::new(script))
        .dead_letters(SqsDeadLetters::new(sqs.client.clone(), DEAD_LETTERS))
        .redelivery(SqsVisibility::new(sqs.client.clone()));
    let response = respond(&function, &read_event(event), testing::context()).await;
    failures(&response.unwrap())
}

fn message<'a>(event: &'a Value, id: &str) -> &'a Value {
    let records = event["Records"].as_array().unwrap();
    records.iter().find(|r| r["messageId"] == id).unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_the_message_with_its_attributes_and_the_reason() {
    let sqs = FakeSqs::start().await;
    let script: Steps = &[
        ("e-ten", &[Step::Reject("out of stock")]),
        ("e-typed", &[Step::Reject("out of stock")]),
    ];
    assert_eq!(deliver(&sqs, "sqs-ten-attributes", script).await, [""; 0]);

    let sent = sqs.calls("SendMessage");
    let event: Value = serde_json::from_str(&read_event("sqs-ten-attributes")).unwrap();
    let body = &message(&event, "m-typed")["body"];
    let typed = sent.iter().find(|it| it["MessageBody"] == *body).unwrap();
    assert_eq!(typed["QueueUrl"], DEAD_LETTERS);
    let mut attributes = typed["MessageAttributes"].clone();
    let note = attributes
        .as_object_mut()
        .unwrap()
        .remove(FailureNote::ATTRIBUTE)
        .unwrap();
    assert_eq!(
        attributes,
        json!({
            "price": {"DataType": "Number.euros", "StringValue": "1.50"},
            "photo": {"DataType": "Binary", "BinaryValue": "AAEC/w=="},
        })
    );
    assert_eq!(note["DataType"], "String");
    let note: FailureNote = serde_json::from_str(note["StringValue"].as_str().unwrap()).unwrap();
    assert_eq!(
        (note.kind.as_str(), note.message.as_str()),
        ("rejected", "out of stock")
    );
    assert_eq!(
        (note.handler.as_str(), note.function.as_str()),
        ("order_placed", "test-function")
    );
    assert_eq!(note.event_id.as_deref(), Some("e-typed"));
    assert_eq!(note.event_type.as_deref(), Some("OrderPlaced"));
    assert_eq!((note.attempts, note.redrive_count), (1, 0));
    assert_eq!(
        note.first_failure.as_deref(),
        Some(note.last_failure.as_str())
    );

    // SQS takes ten attributes, so the note of the message that has ten is around its body.
    let ten = message(&event, "m-ten");
    let full = sent.iter().find(|it| it["MessageBody"] != *body).unwrap();
    let names =
        |of: &Value| -> BTreeSet<String> { of.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        names(&full["MessageAttributes"]),
        names(&ten["messageAttributes"])
    );
    let wrapped = full["MessageBody"].as_str().unwrap();
    let (note, inside) = FailureNote::in_body(wrapped).unwrap();
    assert_eq!(inside, ten["body"].as_str().unwrap());
    assert_eq!(
        (note.kind.as_str(), note.event_id.as_deref()),
        ("rejected", Some("e-ten"))
    );

    // A message that SQS moves back unchanged is the original message again.
    let mut moved = event.clone();
    moved["Records"] = json!([ten]);
    moved["Records"][0]["body"] = wrapped.into();
    let again: Steps = &[("e-ten", &[Step::Reject("still out of stock")])];
    let dead = RecordedDeadLetters::new();
    let function = Function::new(Sqs, order_placed, Script::new(again)).dead_letters(dead.clone());
    respond(&function, &moved.to_string(), testing::context())
        .await
        .unwrap();
    let (record, note) = &dead.parked()[0];
    assert_eq!(record.body(), inside);
    assert_eq!(
        (note.message.as_str(), note.redrive_count),
        ("still out of stock", 1)
    );
}

#[tokio::test]
async fn a_reason_is_shortened_where_little_room_is_left() {
    let mut event: Value = serde_json::from_str(&read_event("sqs-orders")).unwrap();
    event["Records"].as_array_mut().unwrap().truncate(1);
    let mut body: Value =
        serde_json::from_str(event["Records"][0]["body"].as_str().unwrap()).unwrap();
    static REASON: LazyLock<String> = LazyLock::new(|| "x".repeat(900));
    static STEPS: LazyLock<[Step; 1]> = LazyLock::new(|| [Step::Reject(&REASON)]);
    static SCRIPT: LazyLock<[(&str, &[Step]); 1]> = LazyLock::new(|| [("e-1", &*STEPS)]);
    let script: Steps = &*SCRIPT;
    for (left, chars) in [(4_000, 900), (1_000, 200), (500, 0)] {
        body["detail"]["data"]["filler"] = "".into();
        let filler = 1024 * 1024 - body.to_string().len() - left;
        body["detail"]["data"]["filler"] = "y".repeat(filler).into();
        event["Records"][0]["body"] = body.to_string().into();
        let sqs = FakeSqs::start().await;
        let function = Function::new(Sqs, order_placed, Script::new(script))
            .dead_letters(SqsDeadLetters::new(sqs.client.clone(), DEAD_LETTERS));
        let response = respond(&function, &event.to_string(), testing::context()).await;
        assert_eq!(
            failures(&response.unwrap()),
            [""; 0],
            "{left} bytes are enough"
        );
        let sent = &sqs.calls("SendMessage")[0];
        let note = sent["MessageAttributes"][FailureNote::ATTRIBUTE]["StringValue"].as_str();
        assert!(note.unwrap().len() <= left);
        let note: FailureNote = serde_json::from_str(note.unwrap()).unwrap();
        assert_eq!(
            (note.message.len(), note.kind.as_str()),
            (chars, "rejected")
        );
    }
    let filler = 1024 * 1024 - 10;
    event["Records"][0]["body"] =
        json!({"metadata": {"id": "e-1"}, "data": "y".repeat(filler - 42)})
            .to_string()
            .into();
    let sqs = FakeSqs::start().await;
    let function = Function::new(Sqs, order_placed, Script::new(script))
        .dead_letters(SqsDeadLetters::new(sqs.client.clone(), DEAD_LETTERS));
    let response = respond(&function, &event.to_string(), testing::context()).await;
    // It is left to the redrive policy; SQS would not take it.
    assert_eq!(failures(&response.unwrap()).len(), 1);
    assert!(sqs.calls("SendMessage").is_empty());
}

#[tokio::test]
async fn a_redrive_counts_in_an_attribute_that_the_note_takes_over() {
    let sqs = FakeSqs::start().await;
    let script: Steps = &[("e-1", &[Step::Reject("never")])];
    let mut event: Value = serde_json::from_str(&read_event("sqs-orders")).unwrap();
    event["Records"].as_array_mut().unwrap().truncate(1);
    event["Records"][0]["messageAttributes"] = json!({
        FailureNote::REDRIVE_COUNT: {"dataType": "Number", "stringValue": "2", "stringListValues": [], "binaryListValues": []}
    });
    let function = Function::new(Sqs, order_placed, Script::new(script))
        .dead_letters(SqsDeadLetters::new(sqs.client.clone(), DEAD_LETTERS));
    respond(&function, &event.to_string(), testing::context())
        .await
        .unwrap();
    let attributes = sqs.calls("SendMessage")[0]["MessageAttributes"].clone();
    let names: Vec<&String> = attributes.as_object().unwrap().keys().collect();
    assert_eq!(names, [FailureNote::ATTRIBUTE]);
    let note = attributes[FailureNote::ATTRIBUTE]["StringValue"]
        .as_str()
        .unwrap();
    let note: FailureNote = serde_json::from_str(note).unwrap();
    assert_eq!(note.redrive_count, 2);
}

#[tokio::test]
async fn a_parked_message_keeps_its_group_and_is_the_same_dead_letter_if_sent_again() {
    let sqs = FakeSqs::start().await;
    let script: Steps = &[("e-b2", &[Step::Reject("never")])];
    for _ in 0..2 {
        assert_eq!(deliver(&sqs, "sqs-fifo", script).await, [""; 0]);
    }
    let sent = sqs.calls("SendMessage");
    assert_eq!(sent.len(), 2);
    for letter in &sent {
        assert_eq!(letter["MessageGroupId"], "group-b");
        assert_eq!(letter["MessageDeduplicationId"], "b2");
    }
}

#[tokio::test]
async fn a_groups_rest_becomes_visible_with_what_it_waits_for() {
    let sqs = FakeSqs::start().await;
    let script: Steps = &[
        ("e-a1", &[Step::FailFor(70)]),
        ("e-c2", &[Step::FailFor(50_000)]),
    ];
    assert_eq!(
        deliver(&sqs, "sqs-fifo", script).await,
        ["a1", "a2", "c2", "a3", "c3"]
    );
    let changed = sqs.calls("ChangeMessageVisibilityBatch");
    let entries = changed[0]["Entries"].as_array().unwrap();
    let seconds: Vec<_> = entries
        .iter()
        .map(|e| e["VisibilityTimeout"].as_i64().unwrap())
        .collect();
    // SQS takes at most twelve hours after the receive, which was a while ago.
    assert_eq!(seconds, [70, 70, 42_300, 70, 42_300]);
    assert_eq!(
        changed[0]["QueueUrl"],
        "https://sqs.eu-central-1.amazonaws.com/123456789012/ledger.fifo"
    );
}

#[tokio::test]
async fn the_reason_leads_to_the_question_mark() {
    async fn read(_: surehand::Record) -> surehand::Result<()> {
        std::fs::read("/no/such/file")?;
        Ok(())
    }
    let dead = RecordedDeadLetters::new();
    let function = Function::new(Sqs, read, ())
        .max_attempts(1)
        .dead_letters(dead.clone());
    let event = testing::sqs_event("orders", [testing::Message::body("{}")]);
    function.invoke(event, testing::context()).await.unwrap();
    let at = dead.parked()[0].1.at.clone().unwrap();
    assert!(at.starts_with("tests/integration/dead_letters.rs:"), "{at}");
    let own = surehand::Error::transient("busy");
    assert_eq!(own.at(), None);
}
