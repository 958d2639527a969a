//! What a function says while it runs: its log.
//!
//! A function that is [run](crate::Function::run) logs JSON lines on standard output, and so do its metrics. The
//! keys, and the variables that decide what is logged, are in the guide `docs/telemetry.md`. You need [`init`] in a
//! program that has no such function and is to log the same way, and in a `main` that logs before it runs one.

mod attempt;
mod detail;
mod json_lines;
mod names;
mod sample;
mod settings;
#[cfg(feature = "dynamodb")]
#[cfg(test)]
mod tests;

pub(crate) use attempt::Attempt;

use crate::{Record, redact::is_payload, trace, trace_header::xray_trace_id};
use detail::Detail;
use json_lines::JsonLines;
use lambda_runtime::Context;
use names::{RECORD, TARGET, VERDICT};
use settings::{Format, Settings};
use std::fmt::Debug;
use tracing::{
    Span, Subscriber, error_span,
    field::{Empty, Field},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt as _,
    filter::{FilterExt, filter_fn},
    fmt::{
        self, MakeWriter,
        format::{JsonFields, Writer, debug_fn},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Sends the process's log to standard output, as the environment configures it.
///
/// [`Function::run`](crate::Function::run) calls it; call it earlier to log what happens before. A
/// subscriber that is already set stays.
pub fn init() {
    let settings = Settings::from(|name| std::env::var(name).ok());
    // A subscriber that is already set, by an earlier call or by the program itself, stays.
    let _ = subscriber(settings, std::io::stdout).try_init();
}

/// Sends the log to standard error, as [`init`] for a process whose standard output is used for
/// something else.
pub(crate) fn init_on_stderr() {
    let settings = Settings::from(|name| std::env::var(name).ok());
    let _ = subscriber(settings, std::io::stderr).try_init();
}

fn subscriber<W>(settings: Settings, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let filter = || EnvFilter::builder().parse_lossy(&settings.directives);
    let Some(detail) = &settings.detail else {
        let log = tracing_subscriber::registry().with(lines(&settings, writer));
        return Box::new(log.with(filter()).with(trace::layer()));
    };
    let more = EnvFilter::builder().parse_lossy(&detail.directives);
    let is_needed = filter_fn(|metadata| metadata.is_span() || metadata.name() == VERDICT);
    let detail = Detail {
        lines: JsonLines::new(&settings),
        writer: writer.clone(),
        keeps: detail.keeps,
        sample: detail.sample,
    };
    // The first layer sees an event first, so that a record's lines come before its verdict.
    let log = tracing_subscriber::registry()
        .with(detail.with_filter(more.and(filter().not().or(is_needed))))
        .with(lines(&settings, writer).with_filter(filter()));
    Box::new(log.with(trace::layer().with_filter(filter())))
}

fn lines<S, W>(settings: &Settings, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match settings.format {
        Format::Text if settings.payloads => layer.with_ansi(false).boxed(),
        Format::Text => {
            let fields = debug_fn(text_field).delimited(" ");
            layer.with_ansi(false).fmt_fields(fields).boxed()
        }
        Format::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines::new(settings))
            .boxed(),
    }
}

/// Writes a field for people, without payloads.
fn text_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name if is_payload(name) => write!(writer, "{name}=[left out]"),
        name => write!(writer, "{name}={value:?}"),
    }
}

// The spans have the highest level, so that a function that logs only errors still shows which
// record they belong to.

pub(crate) fn invocation_span(context: &Context, cold_start: bool) -> Span {
    let span = error_span!(
        target: TARGET,
        "invocation",
        function_request_id = context.request_id,
        cold_start,
        xray_trace_id = context.xray_trace_id.as_deref().map(xray_trace_id),
        trace_id = Empty,
        span_id = Empty,
        otel.kind = "server",
        otel.name = context.env_config.function_name,
    );
    trace::invocation(&span, context, cold_start);
    span
}

pub(crate) fn record_span(record: &Record, handler: &str) -> Span {
    let metadata = record.event().ok().map(|event| &event.metadata);
    error_span!(
        target: TARGET,
        RECORD,
        event_id = metadata.map(|m| m.id.as_str()),
        event_type = metadata.and_then(|m| m.detail_type.as_deref()),
        correlation_id = metadata.map(|m| m.correlation_id()),
        message_id = record.id(),
        receive_count = Some(record.delivery().receive_count).filter(|count| *count > 0),
        handler,
        trace_id = Empty,
        span_id = Empty,
        otel.kind = trace::kind(record),
        otel.name = trace::name(record, handler),
    )
}
