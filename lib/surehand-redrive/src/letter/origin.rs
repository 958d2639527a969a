//! The ways into a dead-letter queue, and what each of them leaves on a letter.

use super::Letter;
use crate::destination::Destination;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use surehand::{
    aws::limits::ATTRIBUTES,
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
};

/// Who put a letter into the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A function of this framework, with the reason.
    Parked {
        /// The reason.
        note: Box<FailureNote>,
        /// The note is in an envelope around the body, since the message has ten attributes.
        enveloped: bool,
    },
    /// SQS, after the receives of the queue's redrive policy, without a reason; or another
    /// sender.
    MovedBySqs {
        /// The queue, as far as SQS tells.
        source_arn: Option<String>,
        /// The note of an earlier failure, on a message that was moved back as it was. Whoever sent the
        /// message may have written it as well: it is for people, and decides nothing.
        earlier: Option<Box<FailureNote>>,
    },
    /// An EventBridge rule that could not deliver to its target
    /// ([its attributes](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html)).
    Rule {
        /// `RULE_ARN`
        rule_arn: String,
        /// `TARGET_ARN`
        target_arn: Option<String>,
        /// `ERROR_CODE`
        error_code: Option<String>,
        /// `ERROR_MESSAGE`
        error_message: Option<String>,
        /// `EXHAUSTED_RETRY_CONDITION`
        exhausted_retry_condition: Option<String>,
        /// `RETRY_ATTEMPTS`
        retry_attempts: Option<u32>,
    },
    /// An EventBridge schedule that could not deliver to its target
    /// ([its attributes](https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html)).
    Schedule {
        /// `SCHEDULE_ARN`
        schedule_arn: String,
        /// `TARGET_ARN`
        target_arn: Option<String>,
        /// `ERROR_CODE`
        error_code: Option<String>,
        /// `ERROR_MESSAGE`
        error_message: Option<String>,
        /// `EXHAUSTED_RETRY_CONDITION`
        exhausted_retry_condition: Option<String>,
        /// `IS_PAYLOAD_TRUNCATED`: the body is only the beginning of what was to be delivered.
        is_truncated: bool,
    },
    /// The dead-letter queue of a Lambda function, after asynchronous invocations
    /// ([its attributes](https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq));
    /// or that of an SNS subscription, which has attributes of the same names. Neither says which function
    /// or subscription it was.
    Undelivered {
        /// `RequestID`
        request_id: Option<String>,
        /// `ErrorCode`
        error_code: Option<String>,
        /// `ErrorMessage`
        error_message: Option<String>,
    },
    /// Lambda's on-failure destination, after asynchronous invocations
    /// ([the record](https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html)).
    Invocation(InvocationFailure),
    /// Lambda's on-failure destination, or the dead-letter queue of an EventBridge pipe, after a batch of a
    /// DynamoDB or Kinesis stream. The records themselves are in the stream, for as long as it keeps them.
    Stream {
        /// What failed.
        failure: InvocationFailure,
        /// The stream.
        stream_arn: Option<String>,
        /// The shard.
        shard_id: Option<String>,
        /// The first record of the batch.
        first_sequence_number: Option<String>,
        /// The last record of the batch.
        last_sequence_number: Option<String>,
        /// How many records there are.
        batch_size: Option<u64>,
    },
}

/// What Lambda tells of invocations that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvocationFailure {
    /// The function, with its version; or the pipe.
    pub function_arn: String,
    /// The last invocation.
    pub request_id: Option<String>,
    /// Why Lambda gave up: `RetriesExhausted`, `EventAgeExceeded`, …
    pub condition: Option<String>,
    /// How often it was invoked.
    pub invoke_count: Option<u32>,
    /// The type of the function's error.
    pub error_type: Option<String>,
    /// The function's error.
    pub error_message: Option<String>,
}

/// Why a letter is in a dead-letter queue, whoever put it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cause {
    /// An [`ErrorKind`](surehand::ErrorKind)'s name, or one of `moved_by_sqs`, `rule_undelivered`,
    /// `schedule_undelivered`, `delivery_failed`, `invocation_failed` and `stream_batch_failed`.
    pub kind: String,
    /// What went wrong.
    pub message: String,
    /// The handler, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The Lambda function, or the rule's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

const RULE_ARN: &str = "RULE_ARN";
const SCHEDULE_ARN: &str = "SCHEDULE_ARN";
/// What EventBridge writes on a message, by a rule or by a schedule.
const EVENT_BRIDGES: [&str; 8] = [
    RULE_ARN,
    SCHEDULE_ARN,
    "TARGET_ARN",
    "ERROR_CODE",
    "ERROR_MESSAGE",
    "EXHAUSTED_RETRY_CONDITION",
    "RETRY_ATTEMPTS",
    "IS_PAYLOAD_TRUNCATED",
];
/// What Lambda and SNS write on a message.
const LAMBDAS: [&str; 3] = ["RequestID", "ErrorCode", "ErrorMessage"];

impl Letter {
    /// What its consumer gets when it is put back: the body, without what parking or Lambda wrapped
    /// around it. None for a batch of stream records, of which a dead letter names only the position,
    /// and for an invocation whose payload Lambda left out of its record, as it does with large ones.
    pub fn payload(&self) -> Option<Cow<'_, str>> {
        match self.origin() {
            Origin::Parked {
                enveloped: true, ..
            } => FailureNote::in_body(&self.body).map(|(_, body)| Cow::Owned(body)),
            Origin::Invocation(_) | Origin::Stream { .. } => {
                let record = OnFailure::of(&self.body)?;
                record.payload.map(|json| Cow::Borrowed(json.get()))
            }
            Origin::Schedule {
                is_truncated: true, ..
            } => None,
            _ => Some(Cow::Borrowed(&self.body)),
        }
    }

    /// Why there is no [`payload`](Self::payload), where there is none.
    pub(crate) fn why_without_payload(&self) -> &'static str {
        match self.origin() {
            Origin::Invocation(_) => {
                "it cannot be put back: Lambda left the payload out of its record, which would have been too large"
            }
            Origin::Schedule { .. } => {
                "it cannot be put back: EventBridge Scheduler has truncated the payload"
            }
            _ => {
                "a batch of stream records cannot be put back: the letter holds only its position in the stream"
            }
        }
    }

    /// Who put it into the dead-letter queue.
    ///
    /// SQS's own word counts before anything that is written on the message or in it, since whoever sent
    /// the message to its queue can have written that. After it come the attributes, which a service that
    /// wraps nothing adds to a body that it did not write, and then the body.
    pub fn origin(&self) -> Origin {
        let note = self.note();
        if self.source_arn.is_some() {
            return Origin::MovedBySqs {
                source_arn: self.source_arn.clone(),
                earlier: note.map(|(note, _)| Box::new(note)),
            };
        }
        match (note, self.by_attributes()) {
            (Some((note, enveloped)), by_service) if !enveloped || by_service.is_none() => {
                return Origin::Parked {
                    note: Box::new(note),
                    enveloped,
                };
            }
            (_, Some(origin)) => return origin,
            (_, None) => {}
        }
        match OnFailure::of(&self.body) {
            Some(record) => record.origin(),
            None => Origin::MovedBySqs {
                source_arn: self.source_arn.clone(),
                earlier: None,
            },
        }
    }

    /// The origin that the attributes tell. A message that was parked with its note around the body has
    /// ten attributes, which is more than a service writes: they are its sender's.
    fn by_attributes(&self) -> Option<Origin> {
        if self.attributes.len() >= ATTRIBUTES {
            return None;
        }
        let owned = |name: &str| text(self, name).map(str::to_owned);
        if let Some(rule_arn) = owned(RULE_ARN) {
            return Some(Origin::Rule {
                rule_arn,
                target_arn: owned("TARGET_ARN"),
                error_code: owned("ERROR_CODE"),
                error_message: owned("ERROR_MESSAGE"),
                exhausted_retry_condition: owned("EXHAUSTED_RETRY_CONDITION"),
                retry_attempts: text(self, "RETRY_ATTEMPTS").and_then(|count| count.parse().ok()),
            });
        }
        if let Some(schedule_arn) = owned(SCHEDULE_ARN) {
            return Some(Origin::Schedule {
                schedule_arn,
                target_arn: owned("TARGET_ARN"),
                error_code: owned("ERROR_CODE"),
                error_message: owned("ERROR_MESSAGE"),
                exhausted_retry_condition: owned("EXHAUSTED_RETRY_CONDITION"),
                is_truncated: text(self, "IS_PAYLOAD_TRUNCATED")
                    .is_some_and(|it| it.eq_ignore_ascii_case("true")),
            });
        }
        text(self, "ErrorCode")
            .or_else(|| text(self, "ErrorMessage"))
            .map(|_| Origin::Undelivered {
                request_id: owned("RequestID"),
                error_code: owned("ErrorCode"),
                error_message: owned("ErrorMessage"),
            })
    }

    /// Why it is there.
    pub fn cause(&self) -> Cause {
        self.origin().cause()
    }

    /// Where it goes back to, unless a plan says otherwise: the queue it came from; the target of the
    /// rule that could not deliver it, and not the bus, since other rules had it already; the function
    /// that failed. None if the letter does not tell, and for a batch of stream records.
    pub fn destination(&self) -> Option<Destination> {
        self.origin().destination()
    }

    /// How often it has been put back already.
    pub fn redrive_count(&self) -> u32 {
        let counted = match self
            .attributes
            .get(FailureNote::REDRIVE_COUNT)
            .map(|a| &a.value)
        {
            Some(AttributeValue::Text(count)) => count.parse().unwrap_or(0),
            _ => 0,
        };
        let noted = self.note().map_or(0, |(note, _)| note.redrive_count);
        counted.max(noted)
    }

    /// The attributes that travel with it when it is put back: all but those that say why it was here.
    pub fn lasting_attributes(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        let reasons: &[&str] = match self.origin() {
            Origin::Rule { .. } | Origin::Schedule { .. } => &EVENT_BRIDGES,
            Origin::Undelivered { .. } => &LAMBDAS,
            _ => &[],
        };
        let attributes = self.attributes.iter();
        attributes.filter_map(move |(name, attribute)| {
            let is_stale = name == FailureNote::ATTRIBUTE
                || name == FailureNote::REDRIVE_COUNT
                || reasons.contains(&name.as_str());
            (!is_stale).then_some((name.as_str(), attribute))
        })
    }

    /// The failure note, and whether it is in an envelope.
    fn note(&self) -> Option<(FailureNote, bool)> {
        if let Some(attribute) = self.attributes.get(FailureNote::ATTRIBUTE) {
            return Some((FailureNote::from_attribute(attribute)?, false));
        }
        Some((FailureNote::in_body(&self.body)?.0, true))
    }
}

impl Origin {
    fn destination(&self) -> Option<Destination> {
        match self {
            Self::Parked { note, .. } => Destination::of_arn(note.source_queue.as_deref()?),
            Self::MovedBySqs { source_arn, .. } => Destination::of_arn(source_arn.as_deref()?),
            Self::Rule { target_arn, .. } | Self::Schedule { target_arn, .. } => {
                Destination::of_arn(target_arn.as_deref()?)
            }
            Self::Invocation(failure) => Destination::of_arn(&failure.function_arn),
            Self::Undelivered { .. } | Self::Stream { .. } => None,
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Self::Parked { note, .. } => Cause {
                kind: note.kind.clone(),
                message: note.message.clone(),
                handler: Some(note.handler.clone()).filter(|name| !name.is_empty()),
                function: Some(note.function.clone()).filter(|name| !name.is_empty()),
            },
            Self::MovedBySqs { earlier, .. } => Cause {
                kind: "moved_by_sqs".into(),
                message: match earlier {
                    None => "moved by SQS, or sent here, without a reason".into(),
                    Some(note) => {
                        format!(
                            "moved by SQS without a reason; before that: {}",
                            note.message
                        )
                    }
                },
                handler: earlier.as_ref().map(|note| note.handler.clone()),
                function: earlier.as_ref().map(|note| note.function.clone()),
            },
            Self::Rule {
                target_arn,
                error_code,
                error_message,
                exhausted_retry_condition,
                ..
            } => Cause {
                kind: "rule_undelivered".into(),
                message: joined([error_code, error_message, exhausted_retry_condition]),
                handler: None,
                function: target_arn.as_deref().and_then(last_part),
            },
            Self::Schedule {
                target_arn,
                error_code,
                error_message,
                exhausted_retry_condition,
                ..
            } => Cause {
                kind: "schedule_undelivered".into(),
                message: joined([error_code, error_message, exhausted_retry_condition]),
                handler: None,
                function: target_arn.as_deref().and_then(last_part),
            },
            Self::Undelivered {
                error_code,
                error_message,
                ..
            } => Cause {
                kind: "delivery_failed".into(),
                message: joined([error_code, error_message]),
                handler: None,
                function: None,
            },
            Self::Invocation(failure) => failure.cause("invocation_failed"),
            Self::Stream { failure, .. } => failure.cause("stream_batch_failed"),
        }
    }
}

impl InvocationFailure {
    fn cause(&self, kind: &str) -> Cause {
        Cause {
            kind: kind.into(),
            message: joined([&self.error_type, &self.error_message, &self.condition]),
            handler: None,
            function: match self.function_arn.split(':').nth(6) {
                Some(function) => Some(function.to_owned()),
                None => last_part(&self.function_arn),
            },
        }
    }
}

fn joined<const N: usize>(parts: [&Option<String>; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter_map(Option::as_deref).collect();
    if parts.is_empty() {
        return "no reason was given".into();
    }
    parts.join(": ")
}

fn last_part(arn: &str) -> Option<String> {
    arn.rsplit([':', '/']).next().map(str::to_owned)
}

fn text<'a>(letter: &'a Letter, name: &str) -> Option<&'a str> {
    match letter.attributes.get(name) {
        Some(Attribute {
            value: AttributeValue::Text(text),
            ..
        }) => Some(text),
        _ => None,
    }
}

/// The record that Lambda sends to an on-failure destination.
/// A pipe's has `context` for `requestContext`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnFailure<'a> {
    version: Option<String>,
    timestamp: Option<String>,
    #[serde(alias = "context")]
    request_context: RequestContext,
    #[serde(
        borrow,
        default,
        rename = "requestPayload",
        deserialize_with = "present"
    )]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    response_context: Option<ResponseContext>,
    #[serde(borrow, default)]
    response_payload: Option<&'a RawValue>,
    #[serde(default, rename = "DDBStreamBatchInfo")]
    dynamodb: Option<BatchInfo>,
    #[serde(default, rename = "KinesisBatchInfo")]
    kinesis: Option<BatchInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    #[serde(alias = "partnerResourceArn")]
    function_arn: String,
    condition: String,
    request_id: Option<String>,
    approximate_invoke_count: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    function_error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponsePayload {
    error_type: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo {
    stream_arn: Option<String>,
    shard_id: Option<String>,
    start_sequence_number: Option<String>,
    end_sequence_number: Option<String>,
    batch_size: Option<u64>,
}

impl<'a> OnFailure<'a> {
    fn of(body: &'a str) -> Option<Self> {
        let record: Self = body
            .contains("\"condition\"")
            .then(|| serde_json::from_str(body).ok())??;
        let has_content =
            record.payload.is_some() || record.dynamodb.is_some() || record.kinesis.is_some();
        // Lambda leaves out a payload that would make the record too large.
        let is_whole = record.version.is_some() && record.timestamp.is_some();
        (has_content || is_whole).then_some(record)
    }

    fn origin(self) -> Origin {
        let response = self.response_payload;
        let response = response.and_then(|json| serde_json::from_str(json.get()).ok());
        let ResponsePayload {
            error_type,
            error_message,
        } = response.unwrap_or(ResponsePayload {
            error_type: None,
            error_message: None,
        });
        let failure = InvocationFailure {
            function_arn: self.request_context.function_arn,
            request_id: self.request_context.request_id,
            condition: Some(self.request_context.condition),
            invoke_count: self.request_context.approximate_invoke_count,
            error_type: error_type.or(self.response_context.and_then(|c| c.function_error)),
            error_message,
        };
        match self.dynamodb.or(self.kinesis) {
            None => Origin::Invocation(failure),
            Some(info) => Origin::Stream {
                failure,
                stream_arn: info.stream_arn,
                shard_id: info.shard_id,
                first_sequence_number: info.start_sequence_number,
                last_sequence_number: info.end_sequence_number,
                batch_size: info.batch_size,
            },
        }
    }
}

/// A payload that is `null` is one, too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
