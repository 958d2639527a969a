//! Dead letters and delays as SQS gets them.

use super::{
    check::{failures, read_event, respond},
    fake_sqs::FakeSqs,
    script::{Script, Step, Steps, order_placed},
};
use serde_json::{Value, json};
use surehand::{FailureNote, Function, Sqs, SqsDeadLetters, SqsVisibility, testing};

const DEAD_LETTERS: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders-dead";

/// Delivers the event, and gives the ids that are returned.
async fn deliver(sqs: &FakeSqs, event: &str, script: Steps) -> Vec<String> {
    let function = Function::new(Sqs, order_placed, Script::new(script))
        .dead_letters(SqsDeadLetters::new(sqs.client.clone(), DEAD_LETTERS).max_receive_count(5))
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
    // SQS takes ten attributes, so the message that has ten cannot take the reason too.
    assert_eq!(deliver(&sqs, "sqs-ten-attributes", script).await, ["m-ten"]);

    let sent = sqs.calls("SendMessage");
    assert_eq!(sent.len(), 1, "SQS is not even asked about the other");
    let event: Value = serde_json::from_str(&read_event("sqs-ten-attributes")).unwrap();
    assert_eq!(sent[0]["QueueUrl"], DEAD_LETTERS);
    assert_eq!(sent[0]["MessageBody"], message(&event, "m-typed")["body"]);
    let mut attributes = sent[0]["MessageAttributes"].clone();
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

    // What was returned is delayed by its own handle.
    let changed = sqs.calls("ChangeMessageVisibilityBatch");
    let entries = changed[0]["Entries"].as_array().unwrap();
    assert_eq!((changed.len(), entries.len()), (1, 1));
    assert_eq!(
        entries[0]["ReceiptHandle"],
        message(&event, "m-ten")["receiptHandle"]
    );
    assert!(entries[0]["VisibilityTimeout"].as_i64().unwrap() <= 2);
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
    // At most twelve hours after the receive, which was a while ago.
    assert_eq!(seconds, [70, 70, 42_300, 70, 42_300]);
    assert_eq!(
        changed[0]["QueueUrl"],
        "https://sqs.eu-central-1.amazonaws.com/123456789012/ledger.fifo"
    );
}
