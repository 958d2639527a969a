//! The rows as text, for terminals of 80 and 200 columns and for none.

use serde_json::json;

use super::*;

const NAMES: [&str; 2] = ["audit", "reserve-stock"];

fn painter(is_verbose: bool) -> Painter {
    let functions = NAMES.map(|name| Function {
        logical_id: String::new(),
        name: format!("shop-{name}"),
        binary: name.to_owned(),
    });
    let mut painter = Painter::new(is_verbose);
    painter.deployed(&functions);
    painter
}

fn line(function: &str, time: i64, message: &str) -> Line {
    Line {
        function: function.to_owned(),
        time,
        message: message.to_owned(),
    }
}

/// A line of the log of reserve-stock, with more fields than its own.
fn logged(level: &str, message: &str, more: Value) -> Line {
    let mut fields = json!({
        "timestamp": "2026-11-21T10:00:00.123Z", "level": level, "message": message, "service": "shop",
        "function_name": "shop-reserve-stock", "cold_start": true, "correlation_id": "c-1", "event_id": "e-1",
        "event_type": "OrderPlaced", "function_request_id": "r-1", "handler": "reserve_stock", "message_id": "m-1",
        "receive_count": 1, "target": "x",
    });
    let Value::Object(more) = more else { panic!() };
    fields.as_object_mut().unwrap().extend(more);
    line("reserve-stock", 0, &fields.to_string())
}

fn record(more: Value) -> Line {
    logged("INFO", "record handled", more)
}

fn paint(painter: &mut Painter, lines: Vec<Line>, width: Option<usize>) -> String {
    let rows = painter.paint(lines, width);
    console::strip_ansi_codes(&rows.join("\n")).into_owned()
}

fn records() -> Vec<Line> {
    vec![
        record(json!({"outcome": "ok", "duration_ms": 12, "event_lag_ms": 250})),
        record(json!({"outcome": "duplicate", "duration_ms": 0, "receive_count": 2})),
        record(json!({
            "outcome": "retry", "duration_ms": 1204, "delay_s": 2.375_520_234_999_999_8, "kind": "transient",
            "at": "handlers/src/reserve_stock.rs:33",
            "error": "cannot read the stock of widget-7: the connection was closed before a message was complete",
        })),
        record(json!({
            "outcome": "park", "duration_ms": 3, "kind": "rejected", "error": "no such product",
            "event_type": null, "handler": "other",
        })),
        logged(
            "WARN",
            "low",
            json!({"left": 2.375_520_234_999_999_8, "note": "two\nlines"}),
        ),
    ]
}

#[test]
fn a_record_is_one_row_of_a_wide_terminal() {
    assert_eq!(
        paint(&mut painter(false), records(), Some(200)),
        "\
10:00:00.123 reserve-stock OrderPlaced ok          12 ms
10:00:00.123 reserve-stock OrderPlaced duplicate    0 ms receive_count=2
10:00:00.123 reserve-stock OrderPlaced retry in 2.4 s 1204 ms at=handlers/src/reserve_stock.rs:33 transient: cannot read the stock of widget-7: the connection was closed before a message was complete
10:00:00.123 reserve-stock e-1         parked       3 ms rejected: no such product handler=other
10:00:00.123 reserve-stock WARN  low event_type=OrderPlaced left=2.376 note=two lines"
    );
}

#[test]
fn on_80_columns_the_message_gets_rows_of_its_own() {
    assert_eq!(
        paint(&mut painter(false), records(), Some(80)),
        "\
10:00:00.123 reserve-stock OrderPlaced ok          12 ms
10:00:00.123 reserve-stock OrderPlaced duplicate    0 ms receive_count=2
10:00:00.123 reserve-stock OrderPlaced retry in 2.4 s 1204 ms
             at=handlers/src/reserve_stock.rs:33 transient: cannot read the
             stock of widget-7: the connection was closed before a message was
             complete
10:00:00.123 reserve-stock e-1         parked       3 ms
             rejected: no such product handler=other
10:00:00.123 reserve-stock WARN  low event_type=OrderPlaced left=2.376 note=two
                                 lines"
    );
}

#[test]
fn without_a_terminal_no_row_is_broken() {
    let broken = paint(&mut painter(false), records(), None);
    assert_eq!(broken, paint(&mut painter(false), records(), Some(200)));
    assert_eq!(broken.lines().count(), records().len());
}

#[test]
fn ids_are_for_those_who_ask() {
    let lines = vec![record(
        json!({"outcome": "ok", "duration_ms": 12, "event_lag_ms": 250}),
    )];
    assert_eq!(
        paint(&mut painter(true), lines, None),
        "10:00:00.123 reserve-stock OrderPlaced ok          12 ms correlation_id=c-1 event_id=e-1 event_lag_ms=250 \
         function_request_id=r-1 message_id=m-1"
    );
}

#[test]
fn a_failed_invocation_is_one_row() {
    let start = "START RequestId: 1 Version: $LATEST";
    let death = "RequestId: 1 Error: the process ended with exit code 1, before it took an event: Error: \"SHOP_TABLE is not set\" (Runtime.Unknown)";
    let slow = "RequestId: 1 Error: Task timed out after 30.00 seconds (Sandbox.Timedout)";
    let lines = vec![
        line("audit", 0, start),
        line("audit", 0, "Error: \"SHOP_TABLE is not set\"\n"),
        line("audit", 0, death),
        line("audit", 0, "END RequestId: 1"),
        line("reserve-stock", 1_000, slow),
        logged(
            "ERROR",
            "invocation failed",
            json!({"kind": "malformed", "error": "missing field `Records`"}),
        ),
    ];
    let expected = "\
00:00:00.000 audit         ERROR the process ended with exit code 1, before it took an event: Error: \"SHOP_TABLE is not set\"
00:00:01.000 reserve-stock ERROR timed out after 30 s
00:00:00.000 reserve-stock ERROR the invocation failed: malformed: missing field `Records`";
    assert_eq!(
        paint(&mut painter(false), lines.clone(), Some(200)),
        expected
    );
    let narrow = "\
00:00:00.000 audit         ERROR the process ended with exit code 1, before it
                                 took an event: Error: \"SHOP_TABLE is not set\"";
    let rows = paint(&mut painter(false), lines, Some(80));
    assert!(rows.starts_with(narrow), "{rows}");
}

#[test]
fn a_panic_is_not_told_twice() {
    let lines = vec![
        line("audit", 0, "starting"),
        line("audit", 0, "thread 'main' (7) panicked at src/main.rs:3:5:"),
        line("audit", 0, "no table"),
        line(
            "audit",
            0,
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ),
        line(
            "audit",
            0,
            "RequestId: 1 Error: exit code 101: panicked at src/main.rs:3:5: no table (Runtime.ExitError)",
        ),
    ];
    assert_eq!(
        paint(&mut painter(false), lines, None),
        "\
00:00:00.000 audit         starting
00:00:00.000 audit         ERROR exit code 101: panicked at src/main.rs:3:5: no table"
    );
}

#[test]
fn a_flood_of_one_cause_is_a_few_rows() {
    let died = |time| {
        vec![
            line("audit", time, "Traceback:"),
            line("audit", time, "no table"),
            line(
                "audit",
                time,
                &format!("RequestId: 1 Error: died of {time} (Runtime.ExitError)"),
            ),
        ]
    };
    let mut painter = painter(false);
    let rows = paint(&mut painter, (0..9).flat_map(died).collect(), None);
    let errors: Vec<&str> = rows.lines().filter(|row| row.contains("ERROR")).collect();
    assert_eq!(
        errors,
        [
            "00:00:00.000 audit         ERROR died of 0",
            "00:00:00.001 audit         ERROR died of 1 (2 times)",
            "00:00:00.003 audit         ERROR died of 3 (4 times)",
            "00:00:00.007 audit         ERROR died of 7 (8 times)",
        ]
    );
    assert_eq!(
        rows.lines().count(),
        3 * errors.len(),
        "what they print is said as often"
    );

    let again = "00:02:00.000 audit         ERROR died of 120000";
    assert!(paint(&mut painter, died(120_000), None).ends_with(again));
    assert_eq!(paint(&mut painter, died(120_001), None).lines().count(), 3);
    assert_eq!(paint(&mut painter, died(120_002), None), "");
    painter.deployed(&[]);
    let anew = "00:02:00.003 audit         ERROR died of 120003";
    assert!(paint(&mut painter, died(120_003), None).ends_with(anew));
}

#[test]
fn what_functions_print_stays_and_platform_lines_go() {
    let lines = vec![
        line("audit", 0, "hello \u{1b}[2J\n"),
        line(
            "audit",
            0,
            r#"{"_aws":{"CloudWatchMetrics":[]},"ColdStart":0}"#,
        ),
        line("audit", 0, "START RequestId: 1 Version: $LATEST"),
    ];
    assert_eq!(
        paint(&mut painter(false), lines, None),
        "00:00:00.000 audit         hello \\u001b[2J"
    );
}
