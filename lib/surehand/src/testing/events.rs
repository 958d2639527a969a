//! What Lambda delivers.

use crate::{
    Event,
    envelope::Outgoing,
    source::{QueueEvent, StreamEvent},
};
use aws_lambda_events::sqs::SqsBatchResponse;
use lambda_runtime::Context;
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "123456789012";

/// Makes the context of an invocation of `test-function` that has 30 seconds.
pub fn context() -> Context {
    context_ending_in(Duration::from_secs(30))
}

/// Makes the context of an invocation of `test-function` that has this much time.
pub fn context_ending_in(time: Duration) -> Context {
    let config = lambda_runtime::Config {
        function_name: "test-function".into(),
        memory: 256,
        version: "$LATEST".into(),
        ..Default::default()
    };
    let mut context = Context::default();
    context.request_id = uuid::Uuid::now_v7().to_string();
    context.deadline = crate::clock::epoch_ms(SystemTime::now() + time);
    context.invoked_function_arn =
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:test-function");
    context.env_config = Arc::new(config);
    context
}

/// An SQS message for a test.
#[derive(Clone, Debug)]
pub struct Message {
    id: String,
    body: String,
    receive_count: u32,
    group: Option<String>,
    attributes: Map<String, Value>,
    sent_at: SystemTime,
}

impl Message {
    /// Makes a message with this body.
    pub fn body(body: impl Into<String>) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            body: body.into(),
            receive_count: 1,
            group: None,
            attributes: Map::new(),
            sent_at: SystemTime::now(),
        }
    }

    /// Makes a message with this event, in the form in which a rule sends it to a queue.
    ///
    /// # Panics
    /// If the event does not serialize.
    pub fn event<E: Event>(event: &E) -> Self {
        Self::outgoing(&outgoing(event))
    }

    /// Makes a message with this event; a clone has the same event id.
    pub fn outgoing(event: &Outgoing) -> Self {
        Self::body(event.body())
    }

    /// Sets the message id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets how often it has been received, including this time.
    pub fn receive_count(mut self, count: u32) -> Self {
        self.receive_count = count;
        self
    }

    /// Sets when it was sent; when it was made unless set. With another time it is another message to the count
    /// of attempts.
    pub fn sent_at(mut self, time: SystemTime) -> Self {
        self.sent_at = time;
        self
    }

    /// Sets the message group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Adds a message attribute of type `String`.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let attribute = json!({
            "dataType": "String", "stringValue": value.into(),
            "stringListValues": [], "binaryListValues": []
        });
        self.attributes.insert(name.into(), attribute);
        self
    }

    fn to_json(&self, queue: &str) -> Value {
        let sent_at = crate::clock::epoch_ms(self.sent_at).to_string();
        let mut attributes = json!({
            "ApproximateReceiveCount": self.receive_count.to_string(),
            "SentTimestamp": sent_at,
            "SenderId": ACCOUNT,
            "ApproximateFirstReceiveTimestamp": sent_at,
        });
        if let Some(group) = &self.group {
            attributes["MessageGroupId"] = group.as_str().into();
            attributes["MessageDeduplicationId"] = self.id.as_str().into();
        }
        json!({
            "messageId": self.id,
            "receiptHandle": format!("handle-of-{}", self.id),
            "body": self.body,
            "attributes": attributes,
            "messageAttributes": self.attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
            "awsRegion": REGION,
        })
    }
}

/// Makes the event that Lambda delivers from an SQS queue. The name of a FIFO queue ends in
/// `.fifo`.
///
/// # Panics
/// Never: the shape is the one that the event type reads.
pub fn sqs_event(queue: &str, messages: impl IntoIterator<Item = Message>) -> QueueEvent {
    let records: Vec<Value> = messages.into_iter().map(|m| m.to_json(queue)).collect();
    serde_json::from_value(json!({ "Records": records })).expect("the shape of an SQS event")
}

/// Returns the ids of the messages that the response returns to the queue.
pub fn failed_ids(response: &SqsBatchResponse) -> Vec<&str> {
    let failures = response.batch_item_failures.iter();
    failures
        .map(|failure| failure.item_identifier.as_str())
        .collect()
}

/// Makes the event that Lambda delivers from an EventBridge rule.
///
/// # Panics
/// If the event does not serialize.
pub fn eventbridge_event<E: Event>(event: &E) -> Box<RawValue> {
    RawValue::from_string(outgoing(event).body()).expect("an event's body is JSON")
}

/// Makes the event that Lambda delivers from a direct invocation.
///
/// # Panics
/// If the request does not serialize.
pub fn direct_event(request: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(request).expect("the request serializes")
}

/// Makes the event that Lambda delivers from a DynamoDB stream. Each change has its name (`INSERT`,
/// `MODIFY`, `REMOVE`), the item's keys and its new image, in DynamoDB's JSON. Sequence numbers
/// count from 1.
///
/// # Panics
/// Never: the shape is the one that the event type reads.
pub fn stream_event(
    table: &str,
    changes: impl IntoIterator<Item = (&'static str, Value, Value)>,
) -> StreamEvent {
    let arn = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/1");
    let records: Vec<Value> = changes
        .into_iter()
        .zip(1..)
        .map(|((name, keys, image), number)| {
            json!({
                "eventID": format!("change-{number}"),
                "eventName": name,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": REGION,
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_780_000_000 + number,
                    "Keys": keys,
                    "NewImage": image,
                    "SequenceNumber": format!("{number}"),
                    "SizeBytes": 26,
                    "StreamViewType": "NEW_IMAGE",
                },
                "eventSourceARN": arn,
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).expect("the shape of a stream event")
}

fn outgoing<E: Event>(event: &E) -> Outgoing {
    Outgoing::new(event).expect("the event serializes")
}
