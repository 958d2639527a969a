//! Reads the forms in which events arrive.

use crate::{
    Error, Metadata, Result,
    attribute::{Attribute, AttributeValue},
    redact,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::SystemTime};

/// An event whose metadata has been read and whose data is still JSON text.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// The event's id, type and origin.
    pub metadata: Metadata,
    /// The event's data, as it was received.
    pub data: String,
}

impl RawEvent {
    /// Reads the event in a message, in any of the [forms](super) in which events arrive.
    ///
    /// `message_id` and `sent` are the transport's; an event without an id or a time of its own
    /// gets them. `attributes` are the message's: a CloudEvent in binary mode is described there.
    ///
    /// # Errors
    /// [Malformed](crate::ErrorKind::Malformed) if the body is not JSON, or its metadata does not
    /// have the form that it claims.
    pub fn read(
        body: &str,
        attributes: &BTreeMap<String, Attribute>,
        message_id: &str,
        sent: Option<SystemTime>,
    ) -> Result<Self> {
        let fallback = Fallback {
            id: message_id,
            time: sent,
        };
        read(body, attributes, &fallback)
    }
}

/// What the transport knows about events that do not carry it themselves.
pub(crate) struct Fallback<'a> {
    /// The transport's id of the message.
    pub(crate) id: &'a str,
    /// When the message was sent.
    pub(crate) time: Option<SystemTime>,
}

/// How many SNS notifications are unwrapped: a notification may hold another one, and deeper
/// nesting is data.
const MAX_NOTIFICATIONS: u8 = 2;

/// Reads a message.
pub(crate) fn read(
    body: &str,
    attributes: &BTreeMap<String, Attribute>,
    fallback: &Fallback<'_>,
) -> Result<RawEvent> {
    let event = match in_binary_mode(body, attributes, fallback) {
        Some(metadata) => as_data(body, metadata)?,
        None => read_nested(body, fallback, MAX_NOTIFICATIONS)?,
    };
    check_lengths(&event.metadata)?;
    Ok(event)
}

/// What begins the names of a CloudEvent's attributes on a message: Kafka's way, which a draft for SNS has
/// taken over, that of HTTP, and the two of AMQP. SQS itself takes no colon in a name.
const PREFIXES: [&str; 4] = ["ce_", "ce-", "cloudEvents_", "cloudEvents:"];

/// A CloudEvents 1.0 event in binary mode: the message's attributes describe it, and the body is its data.
///
/// A body that is a CloudEvent itself says what it is, and the attributes repeat it for filters.
fn in_binary_mode(
    body: &str,
    attributes: &BTreeMap<String, Attribute>,
    fallback: &Fallback<'_>,
) -> Option<Metadata> {
    let attribute = |prefix: &str, name: &str| {
        let attribute = attributes.get(&format!("{prefix}{name}"))?;
        match &attribute.value {
            AttributeValue::Text(text) => Some(text.clone()),
            AttributeValue::Binary(_) => None,
        }
    };
    // Most messages have none, and need not be asked for four names.
    let mut prefixes = PREFIXES.iter().filter(|_| !attributes.is_empty());
    let metadata =
        prefixes.find_map(|prefix| cloud_event(|name| attribute(prefix, name), fallback.time))?;
    let shape = serde_json::from_str::<Shape<'_>>(body).ok();
    let is_structured = shape.is_some_and(|it| cloud_event(|name| it.text(name), None).is_some());
    (!is_structured).then_some(metadata)
}

/// The metadata of a CloudEvents 1.0 event with these context attributes; none if it is not one.
fn cloud_event(
    attribute: impl Fn(&str) -> Option<String>,
    time: Option<SystemTime>,
) -> Option<Metadata> {
    let is_known = attribute("specversion")?.starts_with("1.");
    let id = attribute("id").filter(|id| is_known && !id.is_empty())?;
    Some(Metadata {
        source: Some(attribute("source")?),
        detail_type: Some(attribute("type")?),
        time: attribute("time")
            .and_then(|time| parse_time(&time))
            .or(time),
        subject: attribute("subject"),
        partition_key: attribute("partitionkey"),
        correlation_id: attribute("correlationid"),
        causation_id: attribute("causationid"),
        traceparent: attribute("traceparent"),
        ..Metadata::new(id)
    })
}

/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 256;
/// The longest other name of the metadata: several times what EventBridge takes.
const MAX_NAME_BYTES: usize = 1_024;

/// What names an event stands in each line of the log, in spans, and in the note of a failure. It is
/// another program's text, and must not be as long as a message may be.
fn check_lengths(metadata: &Metadata) -> Result<()> {
    let others = [
        ("type", &metadata.detail_type),
        ("source", &metadata.source),
        ("own type", &metadata.own_type),
        ("own source", &metadata.own_source),
        ("correlation id", &metadata.correlation_id),
        ("causation id", &metadata.causation_id),
        ("traceparent", &metadata.traceparent),
        ("producer", &metadata.producer),
    ];
    let others = others
        .into_iter()
        .filter_map(|(what, text)| Some((what, text.as_deref()?, MAX_NAME_BYTES)));
    for (what, text, most) in [("id", metadata.id.as_str(), MAX_ID_BYTES)]
        .into_iter()
        .chain(others)
    {
        if text.len() > most {
            return Err(Error::malformed(format!(
                "the event's {what} has {} bytes, and {most} at most are read",
                text.len()
            )));
        }
    }
    Ok(())
}

fn read_nested(body: &str, fallback: &Fallback<'_>, notifications: u8) -> Result<RawEvent> {
    // JSON that is not an object, such as an array, has no known shape.
    let Ok(shape) = serde_json::from_str::<Shape<'_>>(body) else {
        return other_json(body, fallback);
    };
    if let Some(event) = shape.framed(None) {
        return Ok(event);
    }
    if let Some(event) = shape.eventbridge()? {
        return Ok(event);
    }
    if let Some(event) = shape.cloud_event(fallback.time)? {
        return Ok(event);
    }
    if notifications > 0
        && let Some((message, outer)) = shape.notification()
    {
        let fallback = Fallback {
            // Otherwise all notifications without an id would share one key.
            id: match outer.id.as_str() {
                "" => fallback.id,
                id => id,
            },
            time: outer.time.or(fallback.time),
        };
        let mut event = read_nested(&message, &fallback, notifications - 1)?;
        let traceparent = &mut event.metadata.traceparent;
        *traceparent = traceparent.take().or(outer.traceparent);
        return Ok(event);
    }
    other_json(body, fallback)
}

fn other_json(body: &str, fallback: &Fallback<'_>) -> Result<RawEvent> {
    let metadata = Metadata {
        time: fallback.time,
        ..Metadata::new(fallback.id)
    };
    as_data(body, metadata)
}

/// The event whose data is the whole body.
fn as_data(body: &str, metadata: Metadata) -> Result<RawEvent> {
    serde_json::from_str::<&RawValue>(body).map_err(|error| {
        Error::malformed(match body.starts_with('\u{feff}') {
            true => "the body is not JSON: it begins with a byte order mark (U+FEFF), which JSON does not have: send it without".to_owned(),
            false => format!("the body is not JSON: {error}"),
        })
    })?;
    Ok(RawEvent {
        metadata,
        data: body.to_owned(),
    })
}

/// The fields by which the forms are recognized. All are optional and of any type: a body that only
/// resembles a form is other JSON, and is not refused.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,

    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow, rename = "detail-type")]
    detail_type: Option<&'a RawValue>,

    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,

    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    ce_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    partitionkey: Option<&'a RawValue>,
    #[serde(borrow)]
    correlationid: Option<&'a RawValue>,
    #[serde(borrow)]
    causationid: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,

    #[serde(borrow, rename = "Type")]
    sns_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "MessageId")]
    sns_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "TopicArn")]
    sns_topic: Option<&'a RawValue>,
    #[serde(borrow, rename = "Message")]
    sns_message: Option<&'a RawValue>,
    #[serde(borrow, rename = "Timestamp")]
    sns_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "MessageAttributes")]
    sns_attributes: Option<&'a RawValue>,
}

/// The `metadata` that this framework writes.
#[derive(Deserialize)]
struct Framed {
    id: String,
    time: Option<String>,
    version: Option<u32>,
    source: Option<String>,
    #[serde(rename = "type")]
    detail_type: Option<String>,
    subject: Option<String>,
    partitionkey: Option<String>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
    producer: Option<String>,
}

impl<'a> Shape<'a> {
    /// `{"metadata": {"id": …}, "data": …}`. Without a time of its own it has this one.
    fn framed(&self, time: Option<SystemTime>) -> Option<RawEvent> {
        let (metadata, data) = (self.metadata?, self.data?);
        let own: Framed = serde_json::from_str(metadata.get()).ok()?;
        if own.id.is_empty() {
            return None;
        }
        Some(RawEvent {
            metadata: Metadata {
                time: own.time.as_deref().and_then(parse_time).or(time),
                source: own.source,
                detail_type: own.detail_type,
                version: own.version.unwrap_or(1),
                subject: own.subject,
                partition_key: own.partitionkey,
                correlation_id: own.correlationid,
                causation_id: own.causationid,
                traceparent: own.traceparent,
                producer: own.producer,
                ..Metadata::new(own.id)
            },
            data: data.get().to_owned(),
        })
    }

    /// `{"id": …, "source": …, "detail-type": …, "detail": …}`
    fn eventbridge(&self) -> Result<Option<RawEvent>> {
        let (Some(detail), Some(source), Some(detail_type)) =
            (self.detail, text(self.source), text(self.detail_type))
        else {
            return Ok(None);
        };
        // EventBridge Scheduler writes the object as text.
        let decoded = text(self.detail).filter(|text| is_object(text));
        let detail = decoded.as_deref().unwrap_or(detail.get());
        let outer = Metadata {
            time: timestamp(self.time),
            source: Some(source),
            detail_type: Some(detail_type),
            ..Metadata::new(text(self.id).unwrap_or_default())
        };
        if let Ok(inner) = serde_json::from_str::<Shape<'_>>(detail) {
            let event = match inner.framed(outer.time) {
                Some(event) => Some(event),
                None => inner.cloud_event(outer.time)?,
            };
            if let Some(event) = event {
                return Ok(Some(RawEvent {
                    metadata: carried(event.metadata, outer),
                    data: event.data,
                }));
            }
        }
        Ok((!outer.id.is_empty()).then(|| RawEvent {
            metadata: outer,
            data: detail.to_owned(),
        }))
    }

    /// A CloudEvents 1.0 event in structured mode. Without a time of its own it has this one.
    fn cloud_event(&self, time: Option<SystemTime>) -> Result<Option<RawEvent>> {
        let Some(metadata) = cloud_event(|name| self.text(name), time) else {
            return Ok(None);
        };
        if self.data_base64.is_some() {
            return Err(Error::malformed(format!(
                "CloudEvent {} has binary data (`data_base64`), but only JSON data can be read: send JSON in `data`",
                redact::name(&metadata.id)
            )));
        }
        Ok(Some(RawEvent {
            metadata,
            data: self.data.map_or("null", RawValue::get).to_owned(),
        }))
    }

    /// The text of a CloudEvent's context attribute.
    fn text(&self, attribute: &str) -> Option<String> {
        text(match attribute {
            "specversion" => self.specversion,
            "id" => self.id,
            "source" => self.source,
            "type" => self.ce_type,
            "time" => self.time,
            "subject" => self.subject,
            "partitionkey" => self.partitionkey,
            "correlationid" => self.correlationid,
            "causationid" => self.causationid,
            "traceparent" => self.traceparent,
            _ => None,
        })
    }

    /// An SNS notification: its message, and what SNS knows about it.
    fn notification(&self) -> Option<(String, Metadata)> {
        if text(self.sns_type)? != "Notification" {
            return None;
        }
        text(self.sns_topic)?;
        let outer = Metadata {
            time: timestamp(self.sns_time),
            traceparent: self.sns_traceparent(),
            ..Metadata::new(text(self.sns_id)?)
        };
        Some((text(self.sns_message)?, outer))
    }

    /// What a publisher's trace leaves in the attributes of a notification that SNS delivers as JSON.
    fn sns_traceparent(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Attributes {
            traceparent: Option<Attribute>,
        }
        #[derive(Deserialize)]
        struct Attribute {
            #[serde(rename = "Value")]
            value: String,
        }
        let attributes: Attributes = serde_json::from_str(self.sns_attributes?.get()).ok()?;
        Some(attributes.traceparent?.value)
    }
}

/// The metadata of an event inside that of a bus. The bus has allowed its sender this source and this type, and has
/// routed by them; what the event says itself is kept where it is something else.
fn carried(event: Metadata, bus: Metadata) -> Metadata {
    let other = |own: Option<String>, of_bus: &Option<String>| {
        own.filter(|own| Some(own) != of_bus.as_ref())
    };
    Metadata {
        own_source: other(event.source, &bus.source),
        own_type: other(event.detail_type, &bus.detail_type),
        source: bus.source,
        detail_type: bus.detail_type,
        ..event
    }
}

/// Data may be null, as that of a unit struct is; this differs from no data.
fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(json).map(Some)
}

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(json).is_ok()
}

fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

fn timestamp(value: Option<&RawValue>) -> Option<SystemTime> {
    parse_time(&text(value)?)
}

fn parse_time(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(body: &Value) -> RawEvent {
        parse_text(&body.to_string()).unwrap()
    }

    fn parse_text(body: &str) -> Result<RawEvent> {
        RawEvent::read(body, &BTreeMap::new(), "message-1", None)
    }

    fn framed() -> Value {
        json!({
            "metadata": {
                "id": "e-1", "time": "2026-11-21T10:00:00.123Z", "version": 2,
                "subject": "order/42", "partitionkey": "customer-7", "correlationid": "c-1",
                "causationid": "p-1", "traceparent": "00-ab-cd-01", "producer": "shop.checkout"
            },
            "data": {"order_id": "42"}
        })
    }

    fn on_the_bus(detail: Value) -> Value {
        json!({
            "version": "0", "id": "bus-1", "source": "shop.orders", "detail-type": "OrderPlaced",
            "account": "1", "time": "2026-11-21T10:00:01Z", "region": "r", "resources": [],
            "detail": detail
        })
    }

    #[test]
    fn ours_on_the_bus_keeps_the_producers_id_and_time() {
        let event = parse(&on_the_bus(framed()));
        let m = event.metadata;
        assert_eq!(m.id, "e-1");
        assert_eq!(m.version, 2);
        assert_eq!(m.source.as_deref(), Some("shop.orders"));
        assert_eq!(m.detail_type.as_deref(), Some("OrderPlaced"));
        assert_eq!(m.partition_key.as_deref(), Some("customer-7"));
        assert_eq!(m.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(m.causation_id.as_deref(), Some("p-1"));
        assert_eq!(m.producer.as_deref(), Some("shop.checkout"));
        assert_eq!(crate::clock::epoch_ms(m.time.unwrap()) % 1000, 123);
        assert_eq!(event.data, r#"{"order_id":"42"}"#);
    }

    #[test]
    fn ours_without_a_bus_is_read_as_well() {
        let event = parse(&framed());
        assert_eq!(event.metadata.id, "e-1");
        assert_eq!(event.metadata.detail_type, None);
    }

    #[test]
    fn ours_may_have_null_for_data() {
        let mut detail = framed();
        detail["data"] = Value::Null;
        for body in [detail.clone(), on_the_bus(detail)] {
            let event = parse(&body);
            assert_eq!(
                (event.metadata.id.as_str(), event.data.as_str()),
                ("e-1", "null")
            );
        }
    }

    #[test]
    fn a_plain_bus_event_has_the_id_of_the_bus() {
        let event = parse(&on_the_bus(json!({"order_id": "42"})));
        assert_eq!(event.metadata.id, "bus-1");
        assert_eq!(event.data, r#"{"order_id":"42"}"#);
    }

    #[test]
    fn a_detail_that_is_an_objects_text_is_that_object() {
        for (detail, data) in [
            (json!("{\"a\":1}"), "{\"a\":1}"),
            (json!(" {} "), " {} "),
            (json!(framed().to_string()), "{\"order_id\":\"42\"}"),
            (json!("a text"), "\"a text\""),
            (json!("7"), "\"7\""),
            (json!("{"), "\"{\""),
        ] {
            assert_eq!(parse(&on_the_bus(detail)).data, data);
        }
    }

    #[test]
    fn metadata_without_an_id_is_data() {
        let detail = json!({"metadata": {"id": 7}, "data": 1});
        let event = parse(&on_the_bus(detail.clone()));
        assert_eq!(event.metadata.id, "bus-1");
        assert_eq!(event.data, detail.to_string());
    }

    #[test]
    fn cloud_events_in_structured_json() {
        let event = parse(&json!({
            "specversion": "1.0", "id": "ce-1", "source": "/shop", "type": "placed",
            "time": "2026-11-21T10:00:00+02:00", "subject": "order/1", "partitionkey": "p",
            "data": {"a": 1}
        }));
        assert_eq!(event.metadata.id, "ce-1");
        assert_eq!(event.metadata.detail_type.as_deref(), Some("placed"));
        assert_eq!(event.metadata.partition_key.as_deref(), Some("p"));
        assert_eq!(event.data, r#"{"a":1}"#);
    }

    fn cloud() -> Value {
        json!({
            "specversion": "1.0", "id": "ce-1", "source": "/shop", "type": "placed",
            "time": "2026-11-21T10:00:00+02:00", "subject": "order/1", "partitionkey": "p",
            "data": {"a": 1}
        })
    }

    #[test]
    fn a_cloud_event_on_the_bus_is_that_event_under_the_names_of_the_bus() {
        let mut alone = parse(&cloud());
        // Its sender may put events of this source and type, and writes anything into the rest.
        alone.metadata.own_source = alone.metadata.source.replace("shop.orders".into());
        alone.metadata.own_type = alone.metadata.detail_type.replace("OrderPlaced".into());
        assert_eq!(parse(&on_the_bus(cloud())), alone);
        assert_eq!(parse(&on_the_bus(json!(cloud().to_string()))), alone);
        let mut timeless = cloud();
        timeless["time"] = Value::Null;
        let event = parse(&on_the_bus(timeless));
        assert!(event.metadata.time.is_some(), "the bus knows when");
        let mut older = cloud();
        older["specversion"] = "0.3".into();
        assert_eq!(parse(&on_the_bus(older)).metadata.id, "bus-1");
        let mut binary = cloud();
        binary["data_base64"] = "AA==".into();
        assert!(parse_text(&on_the_bus(binary).to_string()).is_err());
    }

    #[test]
    fn what_an_event_names_itself_is_kept_where_the_bus_names_something_else() {
        let mut framed = framed();
        for (source, kind, own_source, own_type) in [
            ("shop.orders", "OrderPlaced", None, None),
            ("/shop", "OrderPlaced", Some("/shop"), None),
            ("shop.orders", "placed", None, Some("placed")),
            ("/shop", "placed", Some("/shop"), Some("placed")),
        ] {
            let mut cloud = cloud();
            cloud["source"] = source.into();
            cloud["type"] = kind.into();
            framed["metadata"]["source"] = source.into();
            framed["metadata"]["type"] = kind.into();
            for detail in [cloud, framed.clone()] {
                let m = parse(&on_the_bus(detail)).metadata;
                assert_eq!(m.source.as_deref(), Some("shop.orders"));
                assert_eq!(m.detail_type.as_deref(), Some("OrderPlaced"));
                assert_eq!(m.own_source.as_deref(), own_source);
                assert_eq!(m.own_type.as_deref(), own_type);
            }
        }
    }

    fn with_attributes(body: &str, prefix: &str, context: &Value) -> Result<RawEvent> {
        let context = context.as_object().unwrap().iter();
        let attribute = |text: &Value| Attribute {
            data_type: "String".into(),
            value: AttributeValue::Text(text.as_str().unwrap_or_default().to_owned()),
        };
        let attributes = context.map(|(name, text)| (format!("{prefix}{name}"), attribute(text)));
        RawEvent::read(body, &attributes.collect(), "message-1", None)
    }

    #[test]
    fn a_cloud_event_in_a_messages_attributes_is_that_event() {
        let alone = parse(&cloud());
        for prefix in PREFIXES {
            let event = with_attributes(r#"{"a":1}"#, prefix, &cloud()).unwrap();
            assert_eq!(event, alone, "{prefix}");
        }
        // The attributes decide what it is, whatever its data look like.
        let data = framed().to_string();
        let event = with_attributes(&data, "ce_", &cloud()).unwrap();
        assert_eq!((&*event.metadata.id, event.data), ("ce-1", data));
        let error = with_attributes("text", "ce_", &cloud()).unwrap_err();
        assert!(error.is_malformed());
    }

    #[test]
    fn a_body_that_is_a_cloud_event_itself_counts_before_its_attributes() {
        let mut other = cloud();
        other["id"] = "ce-2".into();
        let event = with_attributes(&cloud().to_string(), "ce-", &other).unwrap();
        assert_eq!(event, parse(&cloud()));
    }

    #[test]
    fn attributes_that_describe_no_cloud_event_are_attributes() {
        for name in ["specversion", "id", "source", "type"] {
            let mut part = cloud();
            part.as_object_mut().unwrap().remove(name);
            let event = with_attributes(&framed().to_string(), "ce_", &part).unwrap();
            assert_eq!(event.metadata.id, "e-1", "{name}");
        }
    }

    #[test]
    fn what_names_an_event_has_a_limit() {
        let id = |bytes: usize| json!({"metadata": {"id": "x".repeat(bytes)}, "data": 1});
        assert_eq!(parse(&id(256)).metadata.id.len(), 256);
        let error = parse_text(&id(257).to_string()).unwrap_err();
        assert!(error.is_malformed());
        assert_eq!(
            error.to_string(),
            "the event's id has 257 bytes, and 256 at most are read"
        );
        for name in ["type", "source", "correlationid", "causationid", "producer"] {
            let mut body = framed();
            body["metadata"][name] = "x".repeat(1_024).into();
            parse(&body);
            body["metadata"][name] = "x".repeat(1_025).into();
            assert!(parse_text(&body.to_string()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        let error = parse_text("\u{feff}{}").unwrap_err().to_string();
        assert!(error.contains("byte order mark (U+FEFF)"), "{error}");
    }

    #[test]
    fn binary_cloud_events_say_why_they_are_malformed() {
        let body = json!({
            "specversion": "1.0", "id": "ce-1", "source": "/s", "type": "t", "data_base64": "AA=="
        });
        let error = parse_text(&body.to_string()).unwrap_err();
        assert!(error.is_malformed() && error.to_string().contains("data_base64"));
    }

    #[test]
    fn sns_notifications_are_unwrapped() {
        let around = |message: String| {
            json!({
                "Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:r:1:t",
                "Message": message, "Timestamp": "2026-11-21T10:00:00.000Z"
            })
        };
        let ours = parse(&around(on_the_bus(framed()).to_string()));
        assert_eq!(ours.metadata.id, "e-1");
        let plain = parse(&around(r#"{"a":"ü \"quoted\""}"#.into()));
        assert_eq!(plain.metadata.id, "sns-1");
        assert!(plain.metadata.time.is_some());
        assert_eq!(plain.data, r#"{"a":"ü \"quoted\""}"#);
        let error = parse_text(&around("hello".into()).to_string()).unwrap_err();
        assert!(error.is_malformed());
        let mut nameless = around("{}".into());
        nameless["MessageId"] = "".into();
        assert_eq!(parse(&nameless).metadata.id, "message-1");
    }

    #[test]
    fn any_other_json_has_the_message_id() {
        for body in [
            "[1,2]",
            "7",
            "null",
            r#""text""#,
            r#"{"id":5,"source":[]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"id":"a","id":"b"}"#,
            r#"{"specversion":"1.0","id":"x"}"#,
        ] {
            let event = parse_text(body).unwrap();
            assert_eq!(event.metadata.id, "message-1", "{body}");
            assert_eq!(event.data, body);
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in ["", "{", "hello", "{\"a\":1}}", "\u{0}"] {
            let error = parse_text(body).unwrap_err();
            assert!(error.is_malformed(), "{body}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let body = "[".repeat(100_000);
        assert!(parse_text(&body).unwrap_err().is_malformed());
    }
}
