//! The log as functions write it.

use super::*;
use crate::{
    Clock, Deadline, Delivery, Error, Function, Metrics, OnMalformed, Reply, Result, Sqs,
    dead_letter::{DeadLetters, FailureNote},
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
fn a_line_in_a_handler_names_its_record() {
    let body = json!({
        "id": "bus-1", "source": "shop.orders", "detail-type": "OrderPlaced",
        "detail": {"metadata": {"id": "e-1", "correlationid": "c-1", "time": "2026-05-28T20:26:40.000Z"}, "data": {"card": "4111"}}
    });
    let mut context = Context::default();
    context.request_id = "r-1".into();
    context.xray_trace_id = Some("Root=1-2-3;Parent=4;Sampled=0".into());
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
        "function_request_id": "r-1", "cold_start": true, "xray_trace_id": "1-2-3",
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
fn unknown_fields_are_left_out() {
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
fn fields_that_a_span_records_later_are_in_the_line() {
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
        attempt.handled(&Reply::none().into_duplicate());
        attempt.retried(&Error::transient("busy"), Duration::from_millis(2500));
        attempt.parked(&Error::rejected("no such order"));
        attempt.discarded(&Error::malformed("not ours"));
    });
    assert_eq!(lines.len(), 3);
    let common = json!(["WARN", "record handled", "m-1", "surehand::telemetry"]);
    for line in &lines {
        let keys = ["level", "message", "message_id", "target"].map(|key| &line[key]);
        assert_eq!(json!(keys), common);
    }
    let (retry, park, discard) = (&lines[0], &lines[1], &lines[2]);
    assert_eq!(retry["outcome"], "retry");
    assert_eq!(retry["kind"], "transient");
    assert_eq!(retry["error"], "busy");
    assert_eq!(retry["delay_s"], 2.5);
    assert_eq!(park["outcome"], "park");
    assert_eq!(park["kind"], "rejected");
    assert_eq!(discard["outcome"], "discard");
    assert_eq!(discard["kind"], "malformed");
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

const KEEP: (&str, &str) = ("SUREHAND_LOG_BUFFER", "DEBUG");

/// A message's body says how its handler ends.
async fn talk(event: crate::Envelope<Value>) -> Result<()> {
    tracing::debug!(step = 1, payload = "4111 1111", "looking");
    tracing::trace!("too much");
    tracing::debug!(target: "aws_smithy_runtime::client", "a request");
    info!("found");
    tokio::task::yield_now().await;
    tracing::debug!(step = 2, "deciding");
    match event.data["do"].as_str().unwrap() {
        "fail" => Err(Error::transient("not now")),
        "hang" => pending().await,
        "garble" => Err(Error::malformed("not ours")),
        "talk" => {
            for n in 0..300 {
                tracing::debug!(n, "talking");
            }
            Err(Error::transient("not now"))
        }
        _ => Ok(()),
    }
}

/// Returns `message_id message` of each line, in a batch of these messages handled concurrently.
fn said(variables: &[(&str, &str)], acts: &[&str]) -> Vec<String> {
    let lines = talk_of(variables, acts);
    let lines = lines.iter().map(|line| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        text("message_id") + " " + &text("message")
    });
    lines.collect()
}

fn talk_of(variables: &[(&str, &str)], acts: &[&str]) -> Vec<Value> {
    lines_of(&[variables, &[LAMBDA]].concat(), || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let function = Function::new(Sqs, talk, ()).on_malformed(OnMalformed::Discard);
        let messages = acts.iter().map(|act| {
            Message::body(json!({ "do": act, "card": "4111 1111" }).to_string()).id(*act)
        });
        let event = testing::sqs_event("orders", messages);
        runtime
            .block_on(function.invoke(event, testing::context()))
            .unwrap();
    })
}

#[test]
fn the_detail_of_a_record_is_logged_if_it_fails() {
    let lines = said(&[KEEP], &["succeed", "fail", "hang", "garble"]);
    let of = |id: &str| {
        let lines = lines.iter().filter_map(|line| line.strip_prefix(id));
        lines.map(str::trim).collect::<Vec<_>>()
    };
    assert_eq!(of("succeed "), ["found", "record handled"]);
    let all = ["found", "looking", "deciding", "record handled"];
    assert_eq!(of("fail "), all);
    assert_eq!(of("hang "), all);
    assert_eq!(of("garble "), all);
    assert_eq!(lines.len(), 14);
    // Without the setting the log has the same lines as ever.
    let without = said(&[], &["succeed", "fail"]);
    assert_eq!(
        without,
        said(&[("SUREHAND_LOG_BUFFER", "off")], &["succeed", "fail"])
    );
    assert_eq!(without.len(), 4);
    // A line that the log has anyway is there once.
    let debug = said(&[KEEP, ("AWS_LAMBDA_LOG_LEVEL", "DEBUG")], &["fail"]);
    let all = ["looking", "found", "deciding", "record handled"];
    assert_eq!(debug, all.map(|message| format!("fail {message}")));
    // A log with a higher level has them as well.
    let error = said(
        &[KEEP, ("AWS_LAMBDA_LOG_LEVEL", "ERROR")],
        &["fail", "succeed"],
    );
    assert_eq!(error, ["fail looking", "fail found", "fail deciding"]);
}

#[test]
fn a_record_keeps_its_last_lines_and_says_how_many_it_dropped() {
    let lines = talk_of(&[KEEP], &["talk"]);
    let (first, rest) = lines.split_at(2);
    assert_eq!(first[0]["message"], "found");
    assert_eq!(first[1]["message"], "lines of the record were dropped");
    assert_eq!(first[1]["message_id"], "talk");
    assert_eq!(first[1]["dropped_lines"], 302 - detail::MAX_LINES);
    assert_eq!(rest.len(), detail::MAX_LINES + 1);
    assert_eq!(rest[0]["n"], 300 - detail::MAX_LINES);
    assert_eq!(rest[detail::MAX_LINES]["message"], "record handled");
}

#[test]
fn a_sampled_record_has_all_its_lines_immediately() {
    let all = ["looking", "found", "deciding", "record handled"];
    let of = |share: &str| said(&[("SUREHAND_LOG_SAMPLE", share)], &["succeed"]);
    assert_eq!(of("1"), all.map(|message| format!("succeed {message}")));
    for share in ["0", "", "many", "1.5"] {
        assert_eq!(
            of(share),
            ["succeed found", "succeed record handled"],
            "{share}"
        );
    }
}

#[test]
fn payloads_are_logged_only_on_request() {
    let secret = "4111";
    for variables in [
        &[KEEP][..],
        &[("AWS_LAMBDA_LOG_LEVEL", "TRACE")],
        &[("RUST_LOG", "trace"), ("SUREHAND_LOG_PAYLOADS", "0")],
        &[("SUREHAND_LOG_SAMPLE", "1")],
    ] {
        let lines = talk_of(variables, &["fail"]);
        let text = json!(lines).to_string();
        assert!(!text.contains(secret), "{text}");
        assert!(text.contains(r#""payload":"[9 bytes]""#), "{text}");
    }
    let lines = talk_of(&[("SUREHAND_LOG_PAYLOADS", "1")], &["succeed"]);
    assert_eq!(lines[0]["message"], "record received");
    let body: Value = serde_json::from_str(lines[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["card"], "4111 1111");
    let text = text_of(&[], || {
        let metrics = Metrics::default();
        Attempt::start(
            &record(&json!({"card": secret})),
            &metrics,
            SystemTime::now(),
        );
    });
    assert_eq!(text, "");
}

/// Returns the cells of the guide's table whose first column has this title.
fn table(title: &str) -> Vec<Vec<String>> {
    let guide = include_str!("../../docs/telemetry.md");
    let head = format!("| {title} |");
    let rows = guide.lines().skip_while(|line| !line.starts_with(&head));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn the_guide_has_the_metrics_that_there_are() {
    let ours = crate::metrics::names::ALL.map(|ours| {
        let by = ours.by.unwrap_or_default();
        vec![
            ours.name.to_owned(),
            ours.unit.as_str().to_owned(),
            by.to_owned(),
        ]
    });
    let documented = table("Metric").into_iter().map(|mut cells| {
        cells.truncate(3);
        cells
    });
    assert_eq!(documented.collect::<Vec<_>>(), ours);
}

#[test]
fn the_guide_has_the_variables_that_are_read() {
    let read = std::cell::RefCell::new(vec![crate::metrics::names::NAMESPACE.to_owned()]);
    Settings::from(|name| {
        read.borrow_mut().push(name.to_owned());
        None
    });
    let mut read = read.into_inner();
    // The function's name is not a setting, and the other name of the service belongs to traces.
    read.retain(|name| !["AWS_LAMBDA_FUNCTION_NAME", "OTEL_SERVICE_NAME"].contains(&&**name));
    let mut documented: Vec<String> = table("Variable")
        .into_iter()
        .map(|cells| cells[0].clone())
        .collect();
    read.sort();
    read.dedup();
    documented.sort();
    assert_eq!(documented, read);
}

/// Lambda drops lines whose level is below the function's, also those that are written on purpose.
#[test]
fn what_is_written_in_spite_of_its_level_gets_past_lambda() {
    let failing = || {
        let span = record_span(&record(&json!({})), "h");
        span.in_scope(|| {
            tracing::debug!("looking");
            let error = Error::transient("busy");
            let record = record(&json!({}));
            let metrics = Metrics::default();
            Attempt::start(&record, &metrics, SystemTime::now()).retried(&error, Duration::ZERO);
        });
    };
    let levels = |variables: &[(&str, &str)]| -> Vec<Value> {
        let lines = lines_of(variables, failing);
        let of = |line: &Value| json!([line["message"], line["level"], line["own_level"]]);
        lines.iter().map(of).collect()
    };
    let format = ("AWS_LAMBDA_LOG_FORMAT", "JSON");
    let buffer = ("SUREHAND_LOG_BUFFER", "DEBUG");
    let looking = json!(["looking", "INFO", "DEBUG"]);
    let verdict = json!(["record handled", "WARN", null]);
    let expected = [looking, verdict];
    assert_eq!(
        levels(&[format, buffer, ("AWS_LAMBDA_LOG_LEVEL", "INFO")]),
        expected
    );
    let directives = ("RUST_LOG", "debug");
    assert_eq!(
        levels(&[format, directives, ("AWS_LAMBDA_LOG_LEVEL", "INFO")]),
        expected
    );
    // Nothing is raised where nothing is dropped.
    let own = levels(&[format, buffer]);
    assert_eq!(own[0], json!(["looking", "DEBUG", null]));
    let fatal = levels(&[
        format,
        ("AWS_LAMBDA_LOG_LEVEL", "FATAL"),
        ("RUST_LOG", "warn"),
    ]);
    assert_eq!(fatal, [json!(["record handled", "FATAL", "WARN"])]);
}

#[test]
fn text_has_no_payloads_either() {
    let write = || info!(body = "4111", order = "o-1", "paying");
    let text = text_of(&[("AWS_LAMBDA_LOG_FORMAT", "Text")], write);
    assert!(
        text.contains("paying body=[left out] order=\"o-1\""),
        "{text}"
    );
    let text = text_of(&[("SUREHAND_LOG_PAYLOADS", "1")], write);
    assert!(text.contains("4111"), "{text}");
}
