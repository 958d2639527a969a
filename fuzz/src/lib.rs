//! What is done with arbitrary bytes: each target takes them for one kind of outside input, and
//! panics if the library breaks a promise about what it makes of them.
//!
//! The targets in `fuzz_targets` are these under libFuzzer; `tests/fuzz_corpus.rs` runs them over
//! the corpus with the stable compiler.

use lambda_runtime::Context;
use serde_json::{Value, value::RawValue};
use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, Deadline, Delivery, Direct, DynamoDbStream, Envelope, EventBridge, Function,
    Idempotency, MemoryStore, Record, Reply, Sqs,
    dead_letter::FailureNote,
    envelope::Outgoing,
    idempotency::KeyStyle,
    record::{Attribute, AttributeValue, Outcome},
    source::Source,
    testing,
};

/// A target.
pub type Target = fn(&[u8]);

/// Every target with its name, which its corpus has as well.
pub const TARGETS: [(&str, Target); 8] = [
    ("sqs_event", sqs_event),
    ("sqs_invocation", sqs_invocation),
    ("eventbridge_event", eventbridge_event),
    ("stream_event", stream_event),
    ("direct_event", direct_event),
    ("body", body),
    ("trace_header", trace_header),
    ("failure_note", failure_note),
];

/// The event that Lambda delivers from a queue.
pub fn sqs_event(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<<Sqs as Source>::Event>(bytes) else {
        return;
    };
    let ids: Vec<Option<String>> = event.records.iter().map(|it| message_id(it)).collect();
    let is_answerable = ids
        .iter()
        .all(|id| id.as_ref().is_some_and(|id| !id.is_empty()));
    let Ok(batch) = Sqs.split(event, context(), deadline()) else {
        assert!(!is_answerable, "an event with all its ids is not refused");
        return;
    };
    assert!(
        is_answerable,
        "an event without an id is refused as a whole"
    );
    assert!(
        (batch.records.iter().map(Record::id)).eq(ids.iter().flatten()),
        "the records are the messages, in their order"
    );
    batch.records.iter().for_each(check_record);
    // Every other one fails.
    let failed: Vec<String> = ids.iter().flatten().step_by(2).cloned().collect();
    let outcomes = batch.records.iter().enumerate().map(|(index, record)| {
        let failure = surehand::Error::transient("every other one");
        Outcome {
            id: record.id().to_owned(),
            result: (index % 2 != 0).then(Reply::none).ok_or(failure),
        }
    });
    let response = Sqs.join(outcomes.collect()).expect("a response");
    assert_eq!(testing::failed_ids(&response), failed);
}

/// What a response would name the message by. Of a name that is there twice the last one counts.
fn message_id(message: &RawValue) -> Option<String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(message.get()).ok()?;
    serde_json::from_str(fields.get("messageId")?.get()).ok()
}

/// The same event, handled by a whole function whose handler takes every record that can be read.
pub fn sqs_invocation(bytes: &[u8]) {
    async fn handle(event: Envelope<Value>) -> surehand::Result<()> {
        drop(event);
        Ok(())
    }
    let Ok(event) = serde_json::from_slice::<<Sqs as Source>::Event>(bytes) else {
        return;
    };
    // A function has one batch of a queue at a time, and that has ten thousand messages at most.
    if event.records.len() > 100 {
        return;
    }
    let ids: Vec<String> = (event.records.iter())
        .filter_map(|it| message_id(it))
        .collect();
    for style in [KeyStyle::Sha256, KeyStyle::Powertools] {
        let once = Idempotency::new(MemoryStore::new()).style(style);
        let parked = testing::RecordedDeadLetters::new();
        let function = Function::new(Sqs, handle, ())
            .idempotent(once)
            .dead_letters(parked.clone());
        let invoked = paused_runtime().block_on(function.invoke(event.clone(), context()));
        let Ok(response) = invoked else { continue };
        for failed in testing::failed_ids(&response) {
            assert!(
                ids.iter().any(|id| id == failed),
                "{failed} is in the event"
            );
        }
        for (record, note) in parked.parked() {
            assert!(ids.iter().any(|id| id == record.id()));
            check_note(&note);
        }
    }
}

/// The event that a rule or a schedule sends to the function itself.
pub fn eventbridge_event(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Box<RawValue>>(bytes) else {
        return;
    };
    let batch = EventBridge.split(event, context(), deadline());
    check_single(&batch.expect("every JSON is an event"));
}

/// The request that a caller sends.
pub fn direct_event(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Box<RawValue>>(bytes) else {
        return;
    };
    let batch = Direct.split(event, context(), deadline());
    let batch = batch.expect("every JSON is a request");
    check_single(&batch);
    let reply = Reply::from_json(batch.records[0].body().to_owned());
    let outcome = Outcome {
        id: batch.records[0].id().to_owned(),
        result: Ok(reply),
    };
    let reply = Direct.join(vec![outcome]).expect("the reply is JSON");
    assert_eq!(reply.get(), batch.records[0].body());
}

/// The event that Lambda delivers from a table's stream.
pub fn stream_event(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<<DynamoDbStream as Source>::Event>(bytes) else {
        return;
    };
    let Ok(batch) = DynamoDbStream.split(event, context(), deadline()) else {
        return;
    };
    for record in &batch.records {
        assert_ne!(record.id(), "", "a record without a sequence number");
        check_record(record);
    }
    // All records fail, so that the checkpoint is the first one.
    let outcomes = batch.records.iter().map(|record| Outcome {
        id: record.id().to_owned(),
        result: Err(surehand::Error::transient("all of them")),
    });
    let response = DynamoDbStream.join(outcomes.collect()).expect("a response");
    let checkpoint = response.batch_item_failures.first();
    assert_eq!(
        checkpoint.and_then(|failure| failure.item_identifier.as_deref()),
        batch.records.first().map(Record::id)
    );
}

/// A message's body, in any of the forms in which events arrive.
pub fn body(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else {
        return;
    };
    let delivery = delivery(None, BTreeMap::new());
    let record = Record::new(delivery, body, context(), deadline());
    check_record(&record);
    if record.event().is_ok() {
        assert!(
            serde_json::from_str::<&RawValue>(body).is_ok(),
            "an event in a body that is no JSON"
        );
    }
    // An event that can be sent on is the same event for its next reader.
    let Ok(event) = Outgoing::from_body(body) else {
        return;
    };
    let again = Outgoing::from_body(&event.body()).expect("what is written can be read");
    assert_eq!(again.body(), event.body());
    assert_eq!(again.data(), event.data());
    assert_eq!(again.id(), event.id());
    assert_eq!(again.source(), event.source());
    assert_eq!(again.detail_type(), event.detail_type());
    assert_eq!(again.metadata().subject, event.metadata().subject);
    assert_eq!(
        again.metadata().partition_key,
        event.metadata().partition_key
    );
    assert_eq!(again.metadata().traceparent, event.metadata().traceparent);
}

/// X-Ray's header, as a message carries it.
pub fn trace_header(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else {
        return;
    };
    let delivery = delivery(Some(header.to_owned()), BTreeMap::new());
    let record = Record::new(delivery, "{}", context(), deadline());
    let event = record.event().expect("a readable body");
    if let Some(parent) = &event.metadata.traceparent {
        let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        assert!(parent.len() == 55 && parent.bytes().all(is_hex), "{parent}");
    }
}

/// The attribute of a dead letter, which a message that was moved back unchanged still has.
pub fn failure_note(bytes: &[u8]) {
    let value = match std::str::from_utf8(bytes) {
        Ok(text) => AttributeValue::Text(text.to_owned()),
        Err(_) => AttributeValue::Binary(bytes.to_vec()),
    };
    let attribute = Attribute {
        data_type: "String".into(),
        value,
    };
    if let Some(note) = FailureNote::from_attribute(&attribute) {
        check_note(&note);
    }
}

fn check_note(note: &FailureNote) {
    let json = serde_json::to_string(note).expect("a note is JSON");
    let attribute = Attribute {
        data_type: "String".into(),
        value: AttributeValue::Text(json),
    };
    assert_eq!(
        FailureNote::from_attribute(&attribute).as_ref(),
        Some(note),
        "a note is read back as it was written"
    );
}

/// An event that can be read has an id and JSON for data; any other record is malformed.
fn check_record(record: &Record) {
    match record.event() {
        Ok(event) => {
            assert!(
                serde_json::from_str::<&RawValue>(&event.data).is_ok(),
                "the data is JSON"
            );
            assert_ne!(event.metadata.id, "", "an event without an id");
        }
        Err(error) => assert!(error.is_malformed(), "{error}"),
    }
    let _ = record.delivery().queue();
    for attribute in record.delivery().attributes.values() {
        if let Some(note) = FailureNote::from_attribute(attribute) {
            check_note(&note);
        }
    }
}

fn check_single(batch: &surehand::record::Batch) {
    assert_eq!(batch.records.len(), 1);
    assert_ne!(batch.records[0].id(), "");
    check_record(&batch.records[0]);
}

fn delivery(trace_header: Option<String>, attributes: BTreeMap<String, Attribute>) -> Delivery {
    let mut delivery = Delivery::default();
    delivery.message_id = "message-1".into();
    delivery.receive_count = 1;
    delivery.trace_header = trace_header;
    delivery.attributes = attributes;
    delivery
}

fn context() -> Context {
    static CONTEXT: LazyLock<Context> = LazyLock::new(testing::context);
    let mut context = CONTEXT.clone();
    let ends_at = SystemTime::now() + Duration::from_secs(30);
    let since = ends_at.duration_since(SystemTime::UNIX_EPOCH);
    context.deadline = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    context
}

fn deadline() -> Deadline {
    let ends_at = SystemTime::now() + Duration::from_secs(30);
    Deadline::new(ends_at, &Clock::system())
}

fn paused_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}
