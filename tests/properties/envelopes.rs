//! Envelopes: what is written is read back, whatever was put around it on the way.

use super::json;
use proptest::{option, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use std::time::{Duration, SystemTime};
use surehand::{
    Clock, Deadline, Direct, Event, EventBridge, Metadata, Record, Sqs,
    envelope::{Outgoing, RawEvent},
    source::Source,
    testing::{self, Message},
};
use surehand_test_support::fuzz as targets;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Anything(Value);

impl Event for Anything {
    const SOURCE: &'static str = "shop.\"anything\"";
    const DETAIL_TYPE: &'static str = "Änything";
    const VERSION: u32 = 3;

    fn subject(&self) -> Option<String> {
        self.0.get("a")?.as_str().map(str::to_owned)
    }

    fn partition_key(&self) -> Option<String> {
        self.0.get("b")?.as_str().map(str::to_owned)
    }
}

/// An event with metadata of every kind, as another program wrote it.
fn written() -> impl Strategy<Value = Outgoing> {
    let optional = || option::of(json::text());
    let names = (json::name(), json::name(), json::name(), 0..u32::MAX);
    let others = (
        optional(),
        optional(),
        optional(),
        optional(),
        optional(),
        optional(),
    );
    // In milliseconds, from 1970 to 9999.
    let time = option::of(0..253_402_207_200_000_u64);
    (names, others, time, json::value()).prop_map(
        |(
            (id, source, kind, version),
            (subject, key, story, cause, trace, producer),
            time,
            data,
        )| {
            let mut metadata = json!({ "id": id, "version": version });
            let time = time.map(|ms| {
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
                rfc3339(time)
            });
            for (name, value) in [
                ("subject", subject),
                ("partitionkey", key),
                ("correlationid", story),
                ("causationid", cause),
                ("traceparent", trace),
                ("producer", producer),
                ("time", time),
            ] {
                if let Some(value) = value {
                    metadata[name] = value.into();
                }
            }
            let body = json!({
                "id": "of the bus", "source": source, "detail-type": kind,
                "detail": { "metadata": metadata, "data": data },
            });
            Outgoing::from_body(&body.to_string()).expect("an event in our form")
        },
    )
}

fn rfc3339(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).expect("a time before the year 10000");
    time.to_string()
}

/// Checks that the event is read as it was written. An event that starts a story gets its own id as
/// correlation id.
fn same(read: &RawEvent, event: &Outgoing) -> Result<(), TestCaseError> {
    let mut expected: Metadata = event.metadata().clone();
    expected.correlation_id = Some(expected.correlation_id().to_owned());
    expected.time = expected.time.map(whole_milliseconds);
    let mut read_metadata = read.metadata.clone();
    read_metadata.time = read_metadata.time.map(whole_milliseconds);
    prop_assert_eq!(read_metadata, expected);
    prop_assert_eq!(&read.data, event.data());
    Ok(())
}

fn whole_milliseconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn deadline() -> Deadline {
    let ends_at = SystemTime::now() + Duration::from_secs(30);
    Deadline::new(ends_at, &Clock::system())
}

/// Makes the record of a message with this body.
fn from_queue(body: &str) -> Record {
    of_message(Message::body(body))
}

fn of_message(message: Message) -> Record {
    let event = testing::sqs_event("orders", [message.id("message-1")]);
    let batch = Sqs.split(event, testing::context(), deadline());
    batch
        .expect("an event that can be answered")
        .records
        .remove(0)
}

fn read(body: &str) -> RawEvent {
    let record = from_queue(body);
    record.event().expect("a readable body").clone()
}

/// As a rule delivers it, with all that the bus adds.
fn on_the_bus(event: &Outgoing) -> String {
    let detail: &RawValue = &RawValue::from_string(event.detail()).expect("detail is JSON");
    let (source, kind) = (json!(event.source()), json!(event.detail_type()));
    let time = match event.metadata().time {
        Some(time) => rfc3339(time),
        None => return event.body(),
    };
    format!(
        r#"{{"version":"0","id":"bus-1","detail-type":{kind},"source":{source},"account":"1","time":"{time}","region":"r","resources":["a"],"detail":{detail}}}"#
    )
}

fn in_a_notification(message: &str) -> String {
    json!({
        "Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:r:1:t",
        "Message": message, "Timestamp": "2026-11-21T10:00:00.000Z", "SignatureVersion": "1",
        "MessageAttributes": {"a": {"Type": "String", "Value": "b"}},
    })
    .to_string()
}

proptest! {
    #[test]
    fn an_event_is_read_back_from_everything_around_it(event in written()) {
        same(&read(&event.body()), &event)?;
        same(&read(&on_the_bus(&event)), &event)?;
        for body in [event.body(), on_the_bus(&event)] {
            let once = in_a_notification(&body);
            same(&read(&once), &event)?;
            same(&read(&in_a_notification(&once)), &event)?;
            let invocation = RawValue::from_string(body).unwrap();
            let direct = Direct.split(invocation.clone(), testing::context(), deadline()).unwrap();
            let rule = EventBridge.split(invocation, testing::context(), deadline()).unwrap();
            for batch in [direct, rule] {
                let mut read = batch.records[0].event().unwrap().clone();
                // The invocation's own trace fills in for an event that has none.
                if event.metadata().traceparent.is_none() {
                    read.metadata.traceparent = None;
                }
                same(&read, &event)?;
            }
        }
        let again = Outgoing::from_body(&event.body()).unwrap();
        prop_assert_eq!(again.body(), event.body());
    }

    #[test]
    fn a_typed_event_with_any_content_is_read_back(value in json::value()) {
        let anything = Anything(value);
        let event = Outgoing::new(&anything).unwrap();
        let back = read(&event.body());
        same(&back, &event)?;
        prop_assert_eq!(back.metadata.subject, anything.subject());
        prop_assert_eq!(back.metadata.partition_key, anything.partition_key());
        let data: Anything = serde_json::from_str(&back.data).unwrap();
        prop_assert_eq!(data, anything);
    }

    #[test]
    fn a_cloud_event_is_read_with_its_attributes(
        (id, source, kind) in (json::name(), json::text(), json::text()),
        (subject, key) in (option::of(json::text()), option::of(json::text())),
        data in json::value(),
        seed: u64,
    ) {
        let mut cloud_event = json!({
            "specversion": "1.0", "id": id, "source": source, "type": kind, "data": data,
            "datacontenttype": "application/json", "someextension": 7,
            "time": "2026-11-21T10:00:00Z",
        });
        for (name, value) in [("subject", &subject), ("partitionkey", &key)] {
            if let Some(value) = value {
                cloud_event[name] = value.as_str().into();
            }
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let text = json::respelled(&cloud_event, &mut random);
        let event = read(&text);
        // The bus has routed it by its own source and type.
        let mut of_the_bus = event.clone();
        let m = &mut of_the_bus.metadata;
        m.own_source = m.source.replace("shop".into()).filter(|it| it != "shop");
        m.own_type = m.detail_type.replace("Any".into()).filter(|it| it != "Any");
        prop_assert_eq!(&read(&format!(
            r#"{{"id":"bus-1","source":"shop","detail-type":"Any","detail":{text}}}"#
        )), &of_the_bus);
        for prefix in ["ce_", "ce-", "cloudEvents_"] {
            let mut message = Message::body(event.data.as_str());
            for (name, value) in cloud_event.as_object().unwrap() {
                if let Some(value) = value.as_str().filter(|_| name != "data") {
                    message = message.attribute(format!("{prefix}{name}"), value);
                }
            }
            let record = of_message(message);
            prop_assert_eq!(record.event().unwrap(), &event);
        }
        let m = event.metadata;
        prop_assert_eq!((m.id, m.source, m.detail_type), (id, Some(source), Some(kind)));
        prop_assert_eq!((m.subject, m.partition_key), (subject, key));
        prop_assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), data);
    }

    /// A body in none of the forms is JSON with the message's id.
    #[test]
    fn other_json_is_its_own_data(value in json::value()) {
        let body = value.to_string();
        let event = read(&body);
        prop_assert_eq!(event.metadata.id, "message-1");
        prop_assert_eq!(event.data, body);
    }

    #[test]
    fn any_text_is_read_or_malformed(text in any::<String>()) {
        target("body", text.as_bytes());
    }

    /// Bodies of the right fields with the wrong content.
    #[test]
    fn what_only_looks_like_an_event_is_read_or_malformed(body in lookalike()) {
        target("body", body.as_bytes());
        target("eventbridge_event", body.as_bytes());
    }
}

fn target(name: &str, bytes: &[u8]) {
    let mut targets = targets::TARGETS.iter();
    let (_, target) = targets
        .find(|(target, _)| *target == name)
        .expect("a target");
    target(bytes);
}

/// An object with some of the fields by which the forms are known.
fn lookalike() -> impl Strategy<Value = String> {
    const FIELDS: [&str; 18] = [
        "metadata",
        "data",
        "detail",
        "detail-type",
        "id",
        "source",
        "time",
        "specversion",
        "type",
        "data_base64",
        "subject",
        "partitionkey",
        "Type",
        "MessageId",
        "TopicArn",
        "Message",
        "Timestamp",
        "version",
    ];
    let known = prop::sample::select(vec![
        json!(""),
        json!("Notification"),
        json!("1.0"),
        json!("x"),
        json!("2026-11-21T10:00:00Z"),
        json!(null),
        json!(1),
        json!("{}"),
        json!("[1]"),
        json!("no JSON"),
        json!({"id": ""}),
        json!({"id": "e", "version": -1}),
        json!({"id": "e"}),
        json!({"metadata": {"id": "e"}, "data": null}),
    ]);
    let field = (
        prop::sample::select(FIELDS.to_vec()),
        prop_oneof![3 => known, 1 => json::value()],
    );
    // Fields may come twice, which a `Value` cannot hold.
    prop::collection::vec(field, 0..9).prop_map(|fields| {
        let fields = fields.into_iter();
        let fields: Vec<String> = fields.map(|(name, v)| format!("\"{name}\":{v}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}
