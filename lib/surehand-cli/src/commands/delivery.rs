//! How a function's events reach it, and an event in that form.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use aws_sdk_lambda::Client;
use jiff::Timestamp;
use serde_json::{Value, json, value::RawValue};

use super::{publish, sources};
use crate::cloud::{Cloud, reason};

/// What brings a function its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivery {
    /// An SQS queue, by its ARN.
    Queue(String),
    /// The stream of a table, by its ARN, and the names of the table's keys.
    Stream(String, Vec<String>),
    /// Rules of EventBridge.
    Rule,
    /// Nothing that is known here: the function takes what it is invoked with.
    Direct,
}

/// What brings events, and to what: the function's name, with the alias if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) delivery: Delivery,
    pub(super) target: String,
}

/// What a message has besides its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) group: Option<String>,
    /// Texts, by their names.
    pub(super) attributes: Vec<(String, String)>,
}

/// An object's fields, with their values as they are written.
type Fields = BTreeMap<String, Box<RawValue>>;

impl Delivery {
    /// Asks Lambda for the function's event sources, and for who may invoke it. Of several sources it is the first.
    pub(super) async fn of(cloud: &Cloud, function: &str) -> Result<Self> {
        let all = Self::all(cloud, function).await?;
        let first = all.into_iter().next();
        Ok(first.map_or(Self::Direct, |source| source.delivery))
    }

    /// All that is known to bring the function its events, with what of it is invoked; none if nothing is known.
    pub(super) async fn all(cloud: &Cloud, function: &str) -> Result<Vec<Source>> {
        // With an alias, it is the alias that has the event source and is invoked by rules. Who may not list aliases
        // has those of the function itself.
        let names = sources::names(cloud, function).await;
        let names = names.unwrap_or_else(|_| vec![function.to_owned()]);
        let mappings = sources::mappings(cloud, &names).await?;
        let mut found = Vec::new();
        for mapping in &mappings {
            let arn = mapping.event_source_arn().unwrap_or_default();
            let delivery = match arn.split(':').nth(2) {
                Some("sqs") => Self::Queue(arn.to_owned()),
                Some("dynamodb") => Self::Stream(arn.to_owned(), keys(cloud, arn).await?),
                _ => Self::Direct,
            };
            // arn:aws:lambda:REGION:ACCOUNT:function:NAME[:ALIAS]
            let alias = mapping.function_arn().and_then(|it| it.split(':').nth(7));
            found.push(Source {
                delivery,
                target: alias.map_or(function.to_owned(), |it| format!("{function}:{it}")),
            });
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let client = Client::new(&cloud.config);
        for name in &names {
            let (plain, alias) = match name.split_once(':') {
                Some((plain, alias)) => (plain, Some(alias.to_owned())),
                None => (name.as_str(), None),
            };
            let policy = client.get_policy().function_name(plain);
            // A function without a policy has none to read.
            let Ok(policy) = policy.set_qualifier(alias).send().await else {
                continue;
            };
            let policy = policy.policy().unwrap_or_default();
            if policy.contains("events.amazonaws.com") {
                found.push(Source {
                    delivery: Self::Rule,
                    target: name.clone(),
                });
            }
        }
        Ok(found)
    }

    /// Returns the event in the form in which it would arrive; one that has this form is left as it is.
    ///
    /// An event is an object with `source` and `detail-type`. Other functions than Surehand's take requests of their
    /// own beside a queue's messages, so that anything else becomes a message only when it `is_message`.
    pub(super) fn wrap(
        &self,
        event: Option<Box<RawValue>>,
        is_message: bool,
        now: Timestamp,
    ) -> Result<String> {
        let event = match (event, self) {
            (Some(event), _) => event,
            (None, Self::Direct | Self::Rule) => RawValue::from_string("{}".to_owned())?,
            (None, _) => bail!(
                "no event: {} brings events, so pass one with --event",
                self.name()
            ),
        };
        let text = event.get();
        let fields: Fields = serde_json::from_str(text).unwrap_or_default();
        if is_message && !matches!(self, Self::Queue(_)) {
            bail!("no queue brings the function's events, so that it has no messages");
        }
        match self {
            Self::Direct => Ok(text.to_owned()),
            Self::Rule => as_bus_event(&fields, text, now),
            _ if fields.contains_key("Records") => Ok(text.to_owned()),
            Self::Queue(_) if !is_message && !is_event(&fields) => Ok(text.to_owned()),
            Self::Queue(arn) => {
                let body = as_bus_event(&fields, text, now)?;
                Ok(json!({"Records": [message(arn, &body, &Extras::default(), now)]}).to_string())
            }
            Self::Stream(arn, keys) => Ok(format!(
                r#"{{"Records":[{}]}}"#,
                match fields.contains_key("dynamodb") {
                    true => text.to_owned(),
                    false => change(arn, keys, &fields, now)?,
                }
            )),
        }
    }

    /// Returns the body of a message, or the payload of an invocation, that `text` is meant to be.
    pub(super) fn content(&self, text: &str, now: Timestamp) -> Result<String> {
        let fields: Fields = serde_json::from_str(text).unwrap_or_default();
        match self {
            Self::Queue(_) if is_sqs_event(text) => bail!(
                "it is an event of SQS, with messages: `surehand invoke` takes that, and a message's body alone goes into the queue"
            ),
            Self::Queue(_) | Self::Rule => as_bus_event(&fields, text, now),
            Self::Stream(..) | Self::Direct => {
                let event = RawValue::from_string(text.to_owned())?;
                self.wrap(Some(event), false, now)
            }
        }
    }

    /// Returns the event of SQS with one message of this body.
    pub(super) fn delivered(arn: &str, body: &str, extras: &Extras, now: Timestamp) -> String {
        json!({"Records": [message(arn, body, extras, now)]}).to_string()
    }

    /// What it is, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Queue(arn) => format!("the queue {}", arn.rsplit(':').next().unwrap_or(arn)),
            Self::Stream(arn, _) => format!("the stream of the table {}", table(arn)),
            Self::Rule => "a rule".to_owned(),
            Self::Direct => "nothing".to_owned(),
        }
    }
}

/// Messages of other services have `Records` as well: a bucket's notifications, for example.
fn is_sqs_event(text: &str) -> bool {
    let event: Value = serde_json::from_str(text).unwrap_or_default();
    event["Records"][0]["eventSource"] == "aws:sqs"
}

fn is_event(fields: &Fields) -> bool {
    fields.contains_key("source") && fields.contains_key("detail-type")
}

/// An event as `surehand publish` takes it becomes what EventBridge makes of it; anything else is not its own.
fn as_bus_event(fields: &Fields, text: &str, now: Timestamp) -> Result<String> {
    if !is_event(fields) || fields.contains_key("id") {
        return Ok(text.to_owned());
    }
    let event = publish::parse_event(text)?;
    let detail: Box<RawValue> = RawValue::from_string(event.detail)?;
    let (id, time) = (id(now), now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    // Its parts are strings, so that they are written as they are.
    Ok(format!(
        r#"{{"version":"0","id":{},"detail-type":{},"source":{},"account":"000000000000","time":{},"region":"","resources":[],"detail":{}}}"#,
        json!(id),
        json!(event.detail_type),
        json!(event.source),
        json!(time),
        detail.get()
    ))
}

/// A message of the queue, as it is received for the first time.
fn message(arn: &str, body: &str, extras: &Extras, now: Timestamp) -> Value {
    let (id, sent) = (id(now), now.as_millisecond().to_string());
    let mut attributes = json!({
        "ApproximateReceiveCount": "1",
        "SentTimestamp": sent,
        "SenderId": "surehand-invoke",
        "ApproximateFirstReceiveTimestamp": sent,
    });
    if let Some(group) = &extras.group {
        attributes["MessageGroupId"] = json!(group);
    }
    let named = extras.attributes.iter();
    let named: BTreeMap<&str, Value> = named
        .map(|(name, value)| {
            let value = json!({"stringValue": value, "dataType": "String", "stringListValues": [], "binaryListValues": []});
            (name.as_str(), value)
        })
        .collect();
    if arn.ends_with(".fifo") {
        let group = extras.group.as_deref().unwrap_or("surehand-invoke");
        attributes["MessageGroupId"] = json!(group);
        attributes["MessageDeduplicationId"] = json!(id);
        attributes["SequenceNumber"] = json!("1");
    }
    json!({
        "messageId": id,
        // There is no such receipt: what the function would change about the message is refused.
        "receiptHandle": id,
        "body": body,
        "attributes": attributes,
        "messageAttributes": named,
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": region(arn),
    })
}

/// The change that puts an item, given as plain JSON, into the table.
fn change(arn: &str, keys: &[String], item: &Fields, now: Timestamp) -> Result<String> {
    let missing = keys.iter().find(|key| !item.contains_key(*key));
    if let Some(missing) = missing {
        bail!(
            "the event is not an item of the table {}: it has no `{missing}`. Pass an item as JSON, a record of the stream, or {{\"Records\": [...]}}",
            table(arn)
        );
    }
    let image = attributes(item)?;
    let of_keys = item.iter().filter(|(name, _)| keys.contains(name));
    let of_keys = attributes(
        &of_keys
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )?;
    let (id, region) = (json!(id(now)), json!(region(arn)));
    Ok(format!(
        r#"{{"eventID":{id},"eventName":"INSERT","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":{region},"dynamodb":{{"ApproximateCreationDateTime":{},"Keys":{of_keys},"NewImage":{image},"SequenceNumber":"{}","SizeBytes":{},"StreamViewType":"NEW_AND_OLD_IMAGES"}},"eventSourceARN":{}}}"#,
        now.as_second(),
        now.as_nanosecond(),
        image.len(),
        json!(arn),
    ))
}

/// Writes fields as attributes of DynamoDB, with numbers as they are written.
fn attributes(fields: &Fields) -> Result<String> {
    let written = fields
        .iter()
        .map(|(name, value)| Ok(format!("{}:{}", json!(name), attribute(value)?)));
    let written: Vec<String> = written.collect::<Result<_>>()?;
    Ok(format!("{{{}}}", written.join(",")))
}

fn attribute(value: &RawValue) -> Result<String> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => format!(r#"{{"M":{}}}"#, attributes(&serde_json::from_str(text)?)?),
        Some(b'[') => {
            let values: Vec<Box<RawValue>> = serde_json::from_str(text)?;
            let values: Vec<String> = values
                .iter()
                .map(|it| attribute(it))
                .collect::<Result<_>>()?;
            format!(r#"{{"L":[{}]}}"#, values.join(","))
        }
        Some(b'"') => format!(r#"{{"S":{text}}}"#),
        Some(b't' | b'f') => format!(r#"{{"BOOL":{text}}}"#),
        Some(b'n') => r#"{"NULL":true}"#.to_owned(),
        _ => format!(r#"{{"N":"{text}"}}"#),
    })
}

async fn keys(cloud: &Cloud, stream: &str) -> Result<Vec<String>> {
    let client = aws_sdk_dynamodb::Client::new(&cloud.config);
    let table = table(stream);
    let described = client.describe_table().table_name(table).send().await;
    let described = described
        .map_err(reason)
        .with_context(|| format!("cannot describe the table {table}"))?;
    let schema = described
        .table()
        .map(|it| it.key_schema())
        .unwrap_or_default();
    Ok(schema
        .iter()
        .map(|key| key.attribute_name().to_owned())
        .collect())
}

/// The table of a stream.
fn table(stream: &str) -> &str {
    stream.split('/').nth(1).unwrap_or(stream)
}

fn region(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// An id that no other event has.
pub(super) fn id(now: Timestamp) -> String {
    format!("invoked-{}-{}", now.as_nanosecond(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:stock";
    const STREAM: &str =
        "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/2026-01-01T00:00:00.000";

    #[test]
    fn a_message_has_its_group_and_attributes() {
        let extras = Extras {
            group: Some("a".to_owned()),
            attributes: vec![("kind".to_owned(), "test".to_owned())],
        };
        let fifo = format!("{QUEUE}.fifo");
        let event = Delivery::delivered(&fifo, "{}", &extras, Timestamp::UNIX_EPOCH);
        let event: Value = serde_json::from_str(&event).unwrap();
        let record = &event["Records"][0];
        assert_eq!(record["body"], "{}");
        assert_eq!(record["attributes"]["MessageGroupId"], "a");
        let kind = &record["messageAttributes"]["kind"];
        assert_eq!(kind["stringValue"], "test");
        assert_eq!(kind["dataType"], "String");
    }

    #[test]
    fn the_content_of_a_message_is_one_body() {
        let content =
            |delivery: &Delivery, text: &str| delivery.content(text, Timestamp::UNIX_EPOCH);
        // A bucket's notification is a body like any other.
        for body in [
            r#"{"n": 1.0}"#,
            r#"{"Records": [{"eventSource": "aws:s3"}]}"#,
        ] {
            assert_eq!(content(&queue(), body).unwrap(), body);
        }
        let bare = r#"{"source":"shop","detail-type":"Placed","detail":{}}"#;
        for delivery in [queue(), Delivery::Rule] {
            let body = content(&delivery, bare).unwrap();
            assert!(body.contains(r#""id":"invoked-0-"#), "{body}");
        }
        let batch = r#"{"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}"#;
        let error = content(&queue(), batch).unwrap_err().to_string();
        assert!(error.starts_with("it is an event of SQS"), "{error}");
        let change = content(&stream(), r#"{"pk":"a"}"#).unwrap();
        assert!(
            change.contains(r#""NewImage":{"pk":{"S":"a"}}"#),
            "{change}"
        );
        assert_eq!(content(&Delivery::Direct, "[1]").unwrap(), "[1]");
    }

    fn wrap(delivery: &Delivery, event: &str) -> String {
        let event = RawValue::from_string(event.to_owned()).unwrap();
        delivery
            .wrap(Some(event), false, Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    fn queue() -> Delivery {
        Delivery::Queue(QUEUE.to_owned())
    }

    fn stream() -> Delivery {
        Delivery::Stream(STREAM.to_owned(), vec!["pk".to_owned()])
    }

    #[test]
    fn a_full_event_is_left_as_it_is() {
        let full = r#"{ "Records": [ 1.0 ] }"#;
        assert_eq!(wrap(&queue(), full), full);
        assert_eq!(wrap(&stream(), full), full);
        let full = r#"{"id":"1","source":"a","detail-type":"b","detail":{}}"#;
        assert_eq!(wrap(&Delivery::Rule, full), full);
        assert_eq!(wrap(&Delivery::Direct, "[1]"), "[1]");
        // The event of a schedule is what its target says.
        assert_eq!(wrap(&Delivery::Rule, r#"{"dry":true}"#), r#"{"dry":true}"#);
    }

    #[test]
    fn an_event_becomes_a_message_of_the_queue() {
        let bare =
            r#"{"source":"shop","detail-type":"Placed","detail":{"n":12345678901234567890123}}"#;
        let event: Value = serde_json::from_str(&wrap(&queue(), bare)).unwrap();
        let record = &event["Records"][0];
        assert_eq!(record["eventSourceARN"], QUEUE);
        assert_eq!(record["awsRegion"], "eu-west-1");
        assert!(record["attributes"]["MessageGroupId"].is_null());
        let body = record["body"].as_str().unwrap();
        assert!(
            body.contains(r#""detail":{"n":12345678901234567890123}"#),
            "{body}"
        );
        assert!(body.contains(r#""id":"invoked-0-"#), "{body}");
        // The request of a function that has a queue as well, and the same as a message.
        let other = r#"{"n": 1.0}"#;
        assert_eq!(wrap(&queue(), other), other);
        let given = || RawValue::from_string(other.to_owned()).ok();
        let event = queue().wrap(given(), true, Timestamp::UNIX_EPOCH).unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["Records"][0]["body"], other);
        assert!(stream().wrap(given(), true, Timestamp::UNIX_EPOCH).is_err());
        let fifo = Delivery::Queue(format!("{QUEUE}.fifo"));
        let event: Value = serde_json::from_str(&wrap(&fifo, bare)).unwrap();
        assert_eq!(event["Records"][0]["attributes"]["SequenceNumber"], "1");
    }

    #[test]
    fn an_item_becomes_a_change_of_the_table() {
        let item = r#"{"pk":"a","n":1.50,"l":[true,null],"m":{"x":"y"}}"#;
        let event: Value = serde_json::from_str(&wrap(&stream(), item)).unwrap();
        let change = &event["Records"][0]["dynamodb"];
        assert_eq!(change["Keys"], json!({"pk": {"S": "a"}}));
        assert_eq!(
            change["NewImage"],
            json!({"pk": {"S": "a"}, "n": {"N": "1.50"}, "l": {"L": [{"BOOL": true}, {"NULL": true}]}, "m": {"M": {"x": {"S": "y"}}}})
        );
        let record = r#"{"dynamodb":{}}"#;
        assert_eq!(wrap(&stream(), record), r#"{"Records":[{"dynamodb":{}}]}"#);
    }

    #[test]
    fn what_cannot_be_wrapped_says_why() {
        let error = queue()
            .wrap(None, false, Timestamp::UNIX_EPOCH)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no event: the queue stock brings events, so pass one with --event"
        );
        let event = RawValue::from_string("{}".to_owned()).unwrap();
        let error = stream()
            .wrap(Some(event), false, Timestamp::UNIX_EPOCH)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the event is not an item of the table shop: it has no `pk`")
        );
    }
}
