//! The spans, named after OpenTelemetry's conventions for messaging and functions.

use super::{
    context::{remote, traceparent, xray},
    export::continues_xray,
};
use crate::{
    ErrorKind, Record,
    envelope::{Destination, Outgoing},
    trace_header::w3c_from_xray,
};
use opentelemetry::{
    Context,
    trace::{SpanContext, Status, TraceContextExt as _},
};
use tracing::{Span, error_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

// The spans have the highest level, so that no log level filters them out.

/// Returns the kind of a record's span.
pub(crate) fn kind(record: &Record) -> Option<&'static str> {
    Some(if record.wants_reply() {
        "internal"
    } else {
        "consumer"
    })
}

/// Returns the name of a record's span.
pub(crate) fn name(record: &Record, handler: &str) -> Option<String> {
    Some(if record.wants_reply() {
        handler.to_owned()
    } else {
        format!("process {}", subject(record))
    })
}

/// Gives `span` the attributes of an invocation.
///
/// X-Ray's span of the function is its parent only if `OTEL_PROPAGATORS` says so: another backend does not have that
/// span, and Lambda decides not to sample where nobody asked X-Ray for traces.
pub(crate) fn invocation(span: &Span, context: &lambda_runtime::Context, is_cold: bool) {
    let xray = context.xray_trace_id.as_deref().and_then(w3c_from_xray);
    if let Some(caller) = xray.as_deref().and_then(remote) {
        if continues_xray() {
            set_parent(span, Some(caller));
        } else {
            span.add_link(caller);
        }
    }
    let function = &context.env_config;
    span.set_attribute("faas.invocation_id", context.request_id.clone());
    span.set_attribute("faas.coldstart", is_cold);
    span.set_attribute("faas.name", function.function_name.clone());
    span.set_attribute("faas.version", function.version.clone());
    let invoked = &context.invoked_function_arn;
    span.set_attribute("aws.lambda.invoked_arn", invoked.clone());
    let parts: Vec<&str> = invoked.split(':').collect();
    if let [_, _, _, _, account, _, _, ..] = parts[..] {
        span.set_attribute("cloud.account.id", account.to_owned());
        // Without the alias or version by which it was invoked.
        span.set_attribute("cloud.resource_id", parts[..7].join(":"));
    }
    say_ids(span);
}

/// Says on the invocation's span what invoked the function.
pub(crate) fn trigger(invocation: &Span, records: &[Record]) {
    let Some(first) = records.first() else {
        return;
    };
    let event = first.event().ok();
    let event_type = event.and_then(|event| event.metadata.detail_type.as_deref());
    let trigger = match system(first) {
        _ if first.wants_reply() => "other",
        DYNAMODB => "datasource",
        EVENTBRIDGE if event_type == Some("Scheduled Event") => "timer",
        _ => "pubsub",
    };
    invocation.set_attribute("faas.trigger", trigger);
}

/// Makes the span of a batch; none for a request, which is all of its invocation.
///
/// Only its records' spans are said to process messages: otherwise each message would count twice.
pub(crate) fn batch(records: &[Record]) -> Span {
    let Some(first) = records.first().filter(|record| !record.wants_reply()) else {
        return Span::none();
    };
    let name = format!("batch {}", subject(first));
    let span = error_span!("batch", otel.kind = "internal", otel.name = name);
    say_origin(&span, first);
    let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
    span.set_attribute("messaging.batch.message_count", count);
    for creation in records.iter().filter_map(creation) {
        span.add_link(creation);
    }
    span
}

/// Gives `span` the attributes of a record, inside its batch's span.
pub(crate) fn record(span: &Span, record: &Record) {
    if let Some(creation) = creation(record) {
        let batch = own(&Span::current());
        set_parent(span, Some(creation));
        if let Some(batch) = batch {
            span.add_link(batch);
        }
    }
    if !record.wants_reply() {
        say_origin(span, record);
        span.set_attribute("messaging.operation.name", "process");
        span.set_attribute("messaging.operation.type", "process");
        // The id that its sender's span has; the queue's own is `message_id`.
        let mut id = record.id();
        if let Ok(event) = record.event() {
            id = &event.metadata.id;
            let story = event.metadata.correlation_id().to_owned();
            span.set_attribute("messaging.message.conversation_id", story);
        }
        span.set_attribute("messaging.message.id", id.to_owned());
    }
    say_ids(span);
}

/// Marks the current span as failed.
pub(crate) fn failed(kind: ErrorKind) {
    fail(&Span::current(), kind.as_str());
}

/// Records in the event the span in which it was created.
pub(crate) fn created(event: &mut Outgoing, destination: Option<Destination<'_>>) {
    let span = error_span!(
        "create",
        otel.kind = "producer",
        otel.name = format!("create {}", event.detail_type())
    );
    span.set_attribute("messaging.operation.name", "create");
    span.set_attribute("messaging.operation.type", "create");
    say_destination(&span, destination);
    span.set_attribute("messaging.message.id", event.id().to_owned());
    if let Some(creation) = own(&span) {
        event.metadata_mut().traceparent = Some(traceparent(&creation));
        event.set_trace_header(Some(xray(&creation)));
    }
}

/// The spans of events that are being sent, one for each, until this is dropped.
pub(crate) struct Sending(Vec<(String, Span)>);

pub(crate) fn sending<'a>(
    events: &[Outgoing],
    destination: impl Fn(&Outgoing) -> Option<Destination<'a>>,
) -> Sending {
    let sender = own(&Span::current());
    let spans = events.iter().map(|event| {
        let span = error_span!(
            "send",
            otel.kind = "client",
            otel.name = format!("send {}", event.detail_type())
        );
        if let Some(creation) = event.metadata().traceparent.as_deref().and_then(remote) {
            set_parent(&span, Some(creation));
            if let Some(sender) = &sender {
                span.add_link(sender.clone());
            }
        }
        span.set_attribute("messaging.operation.name", "send");
        span.set_attribute("messaging.operation.type", "send");
        say_destination(&span, destination(event));
        span.set_attribute("messaging.message.id", event.id().to_owned());
        // A span that is never entered begins when its context is first read.
        own(&span);
        (event.id().to_owned(), span)
    });
    Sending(spans.collect())
}

impl Sending {
    /// Marks the event's span as failed.
    pub(crate) fn failed(&self, event_id: &str, code: &str) {
        let all = self.0.iter().filter(|(id, _)| id == event_id);
        all.for_each(|(_, span)| fail(span, code));
    }
}

/// What a span is named after. An event that a rule delivers does not name its bus, so that it is the event's type.
fn subject(record: &Record) -> &str {
    let event_type = || record.event().ok()?.metadata.detail_type.as_deref();
    destination(record).or_else(event_type).unwrap_or("event")
}

/// The queue, bus or table.
fn destination(record: &Record) -> Option<&str> {
    let arn = record.delivery().source_arn.as_deref()?;
    let resource = arn.splitn(6, ':').nth(5)?;
    let mut parts = resource.split('/');
    let (first, second) = (parts.next()?, parts.next());
    Some(second.unwrap_or(first))
}

const DYNAMODB: &str = "aws_dynamodb_streams";
const EVENTBRIDGE: &str = "aws_eventbridge";

fn system(record: &Record) -> &'static str {
    let arn = record.delivery().source_arn.as_deref().unwrap_or_default();
    match arn.split(':').nth(2) {
        Some("sqs") => "aws_sqs",
        Some("dynamodb") => DYNAMODB,
        _ => EVENTBRIDGE,
    }
}

fn say_origin(span: &Span, record: &Record) {
    span.set_attribute("messaging.system", system(record));
    if let Some(name) = destination(record) {
        span.set_attribute("messaging.destination.name", name.to_owned());
    }
}

fn say_destination(span: &Span, destination: Option<Destination<'_>>) {
    if let Some(Destination { system, name }) = destination {
        span.set_attribute("messaging.system", system.to_owned());
        span.set_attribute("messaging.destination.name", name.to_owned());
    }
}

fn creation(record: &Record) -> Option<SpanContext> {
    if record.wants_reply() {
        // The context of a request is its caller's, which is already the invocation's parent.
        return None;
    }
    remote(record.event().ok()?.metadata.traceparent.as_deref()?)
}

fn set_parent(span: &Span, parent: Option<SpanContext>) {
    if let Some(parent) = parent {
        // This fails if no layer exports spans, or if the span has begun, which it has not.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Returns the span's own context; none if no layer exports spans.
fn own(span: &Span) -> Option<SpanContext> {
    let context = span.context();
    let own = context.span().span_context().clone();
    own.is_valid().then_some(own)
}

/// Records the ids in the span, so that log lines say which span they belong to.
fn say_ids(span: &Span) {
    if let Some(own) = own(span) {
        span.record("trace_id", own.trace_id().to_string());
        span.record("span_id", own.span_id().to_string());
    }
}

fn fail(span: &Span, kind: &str) {
    span.set_attribute("error.type", kind.to_owned());
    span.set_status(Status::error(kind.to_owned()));
}
