//! What a function tells about itself: its log.
//!
//! On Lambda a line is one JSON object without nesting, so that CloudWatch Logs Insights finds each
//! key by its name:
//!
//! ```json
//! {"timestamp":"2026-11-21T10:00:00.123Z","level":"INFO","message":"record handled","service":"shop","function_name":"shop-reserve-stock","cold_start":false,"correlation_id":"0190…","duration_ms":12,"event_id":"0190…","event_type":"OrderPlaced","function_request_id":"4f1c…","handler":"reserve_stock","message_id":"9b2e…","outcome":"ok","receive_count":1,"xray_trace_id":"Root=1-…","target":"surehand::telemetry"}
//! ```
//!
//! | Keys | Where they come from |
//! |---|---|
//! | `timestamp` `level` `message` `target` | the `tracing` event; the time is UTC, in milliseconds |
//! | `service` `function_name` | the environment |
//! | `function_request_id` `cold_start` `xray_trace_id` | the invocation |
//! | `event_id` `event_type` `correlation_id` `message_id` `receive_count` `handler` | the record, also in lines that its handler writes |
//! | any other | the fields of the event and of the spans around it; the innermost of a name wins |
//!
//! Every record ends with one line whose message is `record handled`. Its `outcome` is `ok`,
//! `duplicate`, `retry` or `park`. `duration_ms` is in milliseconds. Failures, which are warnings,
//! add `kind` and `error`, and a retry `delay_s` in seconds.
//!
//! The environment decides the rest:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `AWS_LAMBDA_LOG_FORMAT` | `JSON` or `Text`, which is for people; unless set, JSON on Lambda and text elsewhere |
//! | `AWS_LAMBDA_LOG_LEVEL` | `TRACE` to `FATAL`, which is the same as `ERROR`; unless set, `INFO` |
//! | `RUST_LOG` | `tracing`'s own [directives](tracing_subscriber::EnvFilter), which win over the level |
//! | `SUREHAND_SERVICE_NAME`, `OTEL_SERVICE_NAME` | the first that is set is the `service`; else the function's name |
//!
//! The AWS SDK, its HTTP stack and Lambda's runtime are heard from `WARN` on only, unless `RUST_LOG`
//! names them: `RUST_LOG=debug,aws_smithy_runtime=debug`. Payloads are not logged, at any level.

mod attempt;
mod json_lines;
pub(crate) mod metrics;
mod settings;

pub(crate) use attempt::Attempt;

use crate::{Record, trace};
use json_lines::JsonLines;
use lambda_runtime::Context;
use settings::{Format, Settings};
use tracing::{Span, Subscriber, error_span, field::Empty};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, MakeWriter, format::JsonFields},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Sends the process's log to standard output.
///
/// [`Function::run`](crate::Function::run) calls it; call it before to log what comes earlier. A
/// subscriber that was set already stays.
pub fn init() {
    let settings = Settings::from(|name| std::env::var(name).ok());
    // Whoever came first, this function or the program itself, has decided.
    let _ = subscriber(settings, std::io::stdout).try_init();
}

fn subscriber<W>(settings: Settings, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse_lossy(&settings.directives);
    let layer = fmt::layer().with_writer(writer);
    let layer = match settings.format {
        Format::Text => layer.with_ansi(false).boxed(),
        Format::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines::new(&settings))
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer)
        .with(filter)
        .with(trace::layer())
}

// The spans are of the highest level: a function that logs errors alone wants to know whose they are.

pub(crate) fn invocation_span(context: &Context, cold_start: bool) -> Span {
    let span = error_span!(
        "invocation",
        function_request_id = context.request_id,
        cold_start,
        xray_trace_id = context.xray_trace_id,
        trace_id = Empty,
        span_id = Empty,
        otel.kind = "server",
        otel.name = context.env_config.function_name,
    );
    trace::invocation(&span, context);
    span
}

pub(crate) fn record_span(record: &Record, handler: &str) -> Span {
    let metadata = record.event().ok().map(|event| &event.metadata);
    error_span!(
        "record",
        event_id = metadata.map(|m| m.id.as_str()),
        event_type = metadata.and_then(|m| m.detail_type.as_deref()),
        correlation_id = metadata.map(|m| m.correlation_id()),
        message_id = record.id(),
        receive_count = record.delivery().receive_count,
        handler,
        trace_id = Empty,
        span_id = Empty,
        otel.kind = trace::kind(record),
        otel.name = trace::name(record, handler),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock, DeadLetters, Deadline, Delivery, Error, FailureNote, Function, Metrics, Reply,
        Result, Sqs,
        testing::{self, Message},
    };
    use futures_util::future::BoxFuture;
    use serde_json::{Value, json};
    use std::{
        future::pending,
        io,
        sync::{Arc, Mutex},
        time::{Duration, SystemTime},
    };
    use tracing::{info, warn};

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text_of(variables: &[(&str, &str)], write: impl FnOnce()) -> String {
        let settings = Settings::from(|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some((*value).to_owned())
        });
        let output = Output::default();
        let writer = output.clone();
        let subscriber = subscriber(settings, move || writer.clone());
        tracing::subscriber::with_default(subscriber, write);
        String::from_utf8(output.0.lock().unwrap().clone()).unwrap()
    }

    fn lines_of(variables: &[(&str, &str)], write: impl FnOnce()) -> Vec<Value> {
        let text = text_of(variables, write);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    const LAMBDA: (&str, &str) = ("AWS_LAMBDA_FUNCTION_NAME", "shop-reserve-stock");

    fn record(body: &Value) -> Record {
        let deadline = Deadline::new(SystemTime::now(), &Clock::system());
        let delivery = Delivery {
            message_id: "m-1".into(),
            receive_count: 3,
            ..Delivery::default()
        };
        Record::new(delivery, body.to_string(), Context::default(), deadline)
    }

    #[test]
    fn a_line_in_a_handler_says_whose_it_is() {
        let body = json!({
            "id": "bus-1", "source": "shop.orders", "detail-type": "OrderPlaced",
            "detail": {"metadata": {"id": "e-1", "correlationid": "c-1", "time": "2026-05-28T20:26:40.000Z"}, "data": {"card": "4111"}}
        });
        let mut context = Context::default();
        context.request_id = "r-1".into();
        context.xray_trace_id = Some("Root=1-2-3".into());
        let mut lines = lines_of(&[LAMBDA, ("OTEL_SERVICE_NAME", "shop")], || {
            let _invocation = invocation_span(&context, true).entered();
            let _record = record_span(&record(&body), "reserve").entered();
            info!(quantity = 7, price = 1.5, "stock \"taken\"\nü\u{1}");
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_780_000_000_250);
            Attempt::start(&record(&body), &Metrics::default(), now).handled(&Reply::none());
        });
        let timestamp = lines[0]["timestamp"].take();
        let timestamp = timestamp.as_str().unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.len() == 24);
        let common = json!({
            "timestamp": null, "level": "INFO", "service": "shop",
            "function_name": "shop-reserve-stock", "target": "surehand::telemetry::tests",
            "function_request_id": "r-1", "cold_start": true, "xray_trace_id": "Root=1-2-3",
            "event_id": "e-1", "event_type": "OrderPlaced", "correlation_id": "c-1",
            "message_id": "m-1", "receive_count": 3, "handler": "reserve",
            "message": "stock \"taken\"\nü\u{1}", "quantity": 7, "price": 1.5
        });
        assert_eq!(lines[0], common);
        assert_eq!(lines[1]["message"], "record handled");
        assert_eq!(lines[1]["outcome"], "ok");
        assert_eq!(lines[1]["duration_ms"], 0);
        assert_eq!(lines[1]["event_lag_ms"], 250);
        assert_eq!(lines[1]["event_id"], "e-1");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let context = Context::default();
        let lines = lines_of(&[("AWS_LAMBDA_LOG_FORMAT", "JSON")], || {
            let _invocation = invocation_span(&context, false).entered();
            let malformed = record(&Value::Null).with_malformed("not JSON");
            record_span(&malformed, "h").in_scope(|| info!("hello"));
        });
        let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
        let expected = "cold_start function_request_id handler level message message_id receive_count target timestamp";
        assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn no_key_appears_twice_and_the_innermost_wins() {
        let text = text_of(&[LAMBDA], || {
            let _outer = error_span!("outer", step = "a", handler = "h", only = 1).entered();
            let _inner = error_span!("inner", step = "b").entered();
            info!(
                step = "c",
                service = "mine",
                level = "deep",
                r#type = "t",
                "x"
            );
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with(r#"{"timestamp":""#), "{text}");
        for key in ["step", "service", "level", "handler"] {
            assert_eq!(text.matches(&format!("\"{key}\":")).count(), 1, "{text}");
        }
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["step"], "c");
        assert_eq!(line["service"], "mine");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["fields.level"], "deep");
        assert_eq!(line["type"], "t");
        assert_eq!((&line["handler"], &line["only"]), (&json!("h"), &json!(1)));
    }

    #[test]
    fn fields_that_a_span_learns_later_are_there() {
        let lines = lines_of(&[LAMBDA], || {
            let span = error_span!("s", first = 1, later = tracing::field::Empty);
            span.record("later", "value");
            span.in_scope(|| info!("x"));
        });
        assert_eq!(lines[0]["later"], "value");
        assert_eq!(lines[0]["first"], 1);
    }

    #[test]
    fn failures_are_warnings_with_kind_and_cause() {
        let lines = lines_of(&[LAMBDA, ("AWS_LAMBDA_LOG_LEVEL", "WARN")], || {
            let _record = record_span(&record(&json!({})), "h").entered();
            let record = record(&json!({}));
            let metrics = Metrics::default();
            let attempt = Attempt::start(&record, &metrics, SystemTime::now());
            attempt.handled(&Reply::none().as_duplicate());
            attempt.retried(&Error::transient("busy"), Duration::from_millis(2500));
            attempt.parked(&Error::rejected("no such order"));
        });
        assert_eq!(lines.len(), 2);
        let common = json!(["WARN", "record handled", "m-1"]);
        for line in &lines {
            let keys = [&line["level"], &line["message"], &line["message_id"]];
            assert_eq!(json!(keys), common);
        }
        let (retry, park) = (&lines[0], &lines[1]);
        assert_eq!(retry["outcome"], "retry");
        assert_eq!(retry["kind"], "transient");
        assert_eq!(retry["error"], "busy");
        assert_eq!(retry["delay_s"], 2.5);
        assert_eq!(park["outcome"], "park");
        assert_eq!(park["kind"], "rejected");
    }

    fn levels(variables: &[(&str, &str)]) -> Vec<String> {
        let lines = lines_of(&[variables, &[LAMBDA]].concat(), || {
            tracing::error!("e");
            info!("i");
            tracing::debug!("d");
            tracing::debug!(target: "aws_smithy_runtime::client", "aws-d");
            warn!(target: "hyper_util::client", "hyper-w");
        });
        let messages = lines.iter().map(|line| line["message"].as_str());
        messages.map(|m| m.unwrap().to_owned()).collect()
    }

    #[test]
    fn the_level_comes_from_lambda_unless_rust_log_says_otherwise() {
        let level = ("AWS_LAMBDA_LOG_LEVEL", "DEBUG");
        assert_eq!(levels(&[]), ["e", "i", "hyper-w"]);
        assert_eq!(levels(&[level]), ["e", "i", "d", "hyper-w"]);
        assert_eq!(levels(&[("AWS_LAMBDA_LOG_LEVEL", "FATAL")]), ["e"]);
        assert_eq!(levels(&[level, ("RUST_LOG", "error")]), ["e"]);
        assert!(levels(&[level, ("RUST_LOG", "off")]).is_empty());
        assert_eq!(levels(&[level, ("RUST_LOG", "")]), levels(&[level]));
        let named = ("RUST_LOG", "warn,aws_smithy_runtime=debug,hyper=error");
        assert_eq!(levels(&[level, named]), ["e", "aws-d"]);
        let noisy = ("RUST_LOG", "debug,aws_=trace");
        assert_eq!(levels(&[noisy]), ["e", "i", "d", "aws-d", "hyper-w"]);
    }

    #[test]
    fn people_get_text() {
        for variables in [vec![], vec![LAMBDA, ("AWS_LAMBDA_LOG_FORMAT", "Text")]] {
            let text = text_of(&variables, || info!(quantity = 7, "stock taken"));
            assert!(text.contains("stock taken quantity=7"), "{text}");
        }
    }

    /// A dead-letter queue that never answers.
    struct Silent;

    impl DeadLetters for Silent {
        fn park<'a>(&'a self, _: &'a Record, _: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
            Box::pin(pending())
        }
    }

    async fn refuse() -> Result<()> {
        Err(Error::rejected("no"))
    }

    #[test]
    fn a_record_that_is_cut_off_has_its_line_as_well() {
        let lines = lines_of(&[LAMBDA], || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            let function = Function::new(Sqs, refuse, ()).dead_letters(Silent);
            let event = testing::sqs_event("orders", [Message::body("{}").id("m-1")]);
            let response = runtime.block_on(function.invoke(event, testing::context()));
            assert_eq!(testing::failed_ids(&response.unwrap()), ["m-1"]);
        });
        let [line] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(line["message"], "record handled");
        assert_eq!(line["message_id"], "m-1");
        assert_eq!(line["outcome"], "retry");
        assert_eq!(line["kind"], "deadline");
    }
}
