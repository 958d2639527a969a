//! Which event it is, and what is read of it, in forms that other systems write.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use surehand::{
    Delivery, Envelope, Event, EventBridge, Function, Idempotency, IdempotencyKey, MemoryStore,
    Record, Result, Sqs, State,
    envelope::Outgoing,
    idempotency::Store as _,
    source::Source,
    testing::{self, Message, RecordedDeadLetters},
};
use surehand_redrive::Letter;

/// What handlers were given, in their order.
#[derive(Clone, Default)]
struct Handled(Arc<Mutex<Vec<String>>>);

impl Handled {
    fn add(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn data(event: Envelope<Value>, State(handled): State<Handled>) -> Result<()> {
    handled.add(event.data.to_string());
    Ok(())
}

/// Delivers events as EventBridge delivers them to a function, each in its own invocation.
async fn invoke(function: &Function<EventBridge>, inputs: &[Value]) {
    for (index, input) in inputs.iter().enumerate() {
        let event: <EventBridge as Source>::Event =
            serde_json::from_str(&input.to_string()).unwrap();
        let mut context = testing::context();
        context.request_id = format!("request-{index}");
        // The returned record has the error.
        let _ = function.invoke(event, context).await;
    }
}

/// A rule's or a schedule's target can have constant or transformed input, and its `id` is anything.
#[tokio::test(start_paused = true)]
async fn an_id_in_a_schedules_input_is_not_the_events() {
    let clean = json!({"id": "nightly", "task": "clean"});
    let report = json!({"id": "nightly", "task": "report"});
    for inputs in [[clean.clone(), clean.clone()], [clean, report]] {
        let handled = Handled::default();
        let function = Function::new(EventBridge, data, handled.clone())
            .dead_letters(RecordedDeadLetters::new())
            .idempotent(MemoryStore::new());
        invoke(&function, &inputs).await;
        assert_eq!(
            handled.all(),
            inputs.map(|input| input.to_string()),
            "an input that is always the same must be handled each time"
        );
    }
}

/// A CloudEvent's id is unique within its source alone.
#[tokio::test(start_paused = true)]
async fn cloud_events_of_two_sources_may_have_one_id() {
    for data_of_second in [json!({"door": "open"}), json!({"door": "shut"})] {
        let handled = Handled::default();
        let function = Function::new(Sqs, data, handled.clone())
            .dead_letters(RecordedDeadLetters::new())
            .idempotent(MemoryStore::new());
        let sent = [
            ("/house/1", json!({"door": "open"})),
            ("/house/2", data_of_second),
        ];
        for (source, data) in &sent {
            let event = json!({
                "specversion": "1.0", "id": "1", "source": source, "type": "moved", "data": data
            });
            let event = testing::sqs_event("doors", [Message::body(event.to_string())]);
            function.invoke(event, testing::context()).await.unwrap();
        }
        assert_eq!(
            handled.all(),
            sent.map(|(_, data)| data.to_string()),
            "events of two sources are two events, whatever their ids"
        );
    }
}

/// A bridge puts the events of all its producers on the bus under its own name, and each of them numbers its own.
#[tokio::test(start_paused = true)]
async fn cloud_events_of_two_sources_or_types_behind_one_bus_source_are_two_events() {
    let event = |source: &str, kind: &str, data: &Value| {
        json!({
            "id": "bus-1", "source": "bridge", "detail-type": "CloudEvent",
            "detail": {"specversion": "1.0", "id": "1", "source": source, "type": kind, "data": data},
        })
        .to_string()
    };
    let open = json!({"door": "open"});
    for (source, kind, data) in [
        ("/house/2", "moved", json!({"door": "shut"})),
        ("/house/2", "moved", open.clone()),
        ("/house/1", "checked", open.clone()),
    ] {
        let (handled, store) = (Handled::default(), MemoryStore::new());
        let function = Function::new(Sqs, named, handled.clone())
            .dead_letters(RecordedDeadLetters::new())
            .idempotent(store.clone());
        let first = event("/house/1", "moved", &open);
        let second = event(source, kind, &data);
        for body in [&first, &second, &first, &second] {
            let event = testing::sqs_event("doors", [Message::body(body.clone())]);
            function.invoke(event, testing::context()).await.unwrap();
        }
        assert_eq!(
            handled.all(),
            [format!("bridge {open}"), format!("bridge {data}")],
            "each is handled once, under the name that the bus has allowed its sender"
        );
        for body in [first, second] {
            let letter = Letter::new("m-9", body).event().unwrap().identity();
            let name = testing::context().env_config.function_name.clone();
            let key = IdempotencyKey::of_event(&name, &letter);
            let claim = store.find(&key).await.unwrap();
            assert!(claim.is_some(), "a dead letter of it has its key");
        }
    }
}

async fn named(event: Envelope<Value>, State(handled): State<Handled>) -> Result<()> {
    let source = event.metadata.source.unwrap_or_default();
    handled.add(format!("{source} {}", event.data));
    Ok(())
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "aws.scheduler", detail_type = "Scheduled Event")]
struct Tick {}

/// EventBridge Scheduler's own payload, when its target has none.
#[tokio::test(start_paused = true)]
async fn a_detail_that_is_json_text_is_decoded() {
    async fn tick(_: Envelope<Tick>, State(handled): State<Handled>) -> Result<()> {
        handled.add("tick".into());
        Ok(())
    }
    let handled = Handled::default();
    let function = Function::new(EventBridge, tick, handled.clone());
    let payload = json!({
        "version": "0", "id": "49672d39", "detail-type": "Scheduled Event",
        "source": "aws.scheduler", "account": "1", "time": "2026-11-07T22:05:00Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:scheduler:eu-central-1:1:schedule/default/s"],
        "detail": "{}",
    });
    invoke(&function, &[payload]).await;
    assert_eq!(
        handled.all(),
        ["tick"],
        "a detail that is JSON text must be decoded"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_json_has_a_fingerprint_too() {
    async fn raw(record: Record, State(handled): State<Handled>) -> Result<()> {
        handled.add(record.body().to_owned());
        Ok(())
    }
    let (handled, dead) = (Handled::default(), RecordedDeadLetters::new());
    let once = Idempotency::new(MemoryStore::new()).key(|delivery: Delivery| delivery.message_id);
    let function = Function::new(Sqs, raw, handled.clone())
        .dead_letters(dead.clone())
        .idempotent(once);
    let event = testing::sqs_event("orders", [Message::body("Test message.").id("m-1")]);
    function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(
        (handled.all(), dead.kinds().len()),
        (vec!["Test message.".to_owned()], 0),
        "a body that is not JSON must reach a handler that takes the record"
    );
}

#[tokio::test(start_paused = true)]
async fn an_sns_notification_hands_on_its_trace_context() {
    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    async fn trace(event: Envelope<Value>, State(handled): State<Handled>) -> Result<()> {
        handled.add(event.metadata.traceparent.unwrap_or_default());
        Ok(())
    }
    let handled = Handled::default();
    let function = Function::new(Sqs, trace, handled.clone());
    let notification = json!({
        "Type": "Notification", "MessageId": "26a7b12d", "Message": "{\"n\":1}",
        "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Timestamp": "2026-11-14T12:53:31.210Z",
        "MessageAttributes": {"traceparent": {"Type": "String", "Value": TRACEPARENT}},
    });
    let event = testing::sqs_event("orders", [Message::body(notification.to_string())]);
    function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(
        handled.all(),
        [TRACEPARENT],
        "the trace context in an SNS notification must be kept"
    );
}

/// EventBridge takes 128 characters of any kind.
#[test]
fn a_detail_types_characters_are_counted() {
    // 127 of them, in 140 bytes.
    #[derive(Serialize, Deserialize, Event)]
    #[event(
        source = "bank",
        detail_type = "ÜberweisungAusgeführtÜberweisungAusgeführtÜberweisungAusgeführtÜberweisungAusgeführtÜberweisungAusgeführtÜberweisungAusgeführtÜ"
    )]
    struct Transferred {}

    let event = Outgoing::new(&Transferred {});
    assert!(
        event.is_ok(),
        "a detail-type is as long as it has characters: {event:?}"
    );
}
