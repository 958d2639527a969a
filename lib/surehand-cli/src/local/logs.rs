//! The functions' logs, followed while they are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use console::{Color, Style};
use serde_json::{Map, Value};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::local::stack::Function;

/// How often the emulator is asked for new lines.
const INTERVAL: Duration = Duration::from_millis(500);

/// Lines of different streams do not arrive in the order of their times, so the last ones are read again; in
/// milliseconds.
const OVERLAP: i64 = 2_000;

/// The colours that distinguish functions.
const COLORS: [Color; 6] = [
    Color::Cyan,
    Color::Magenta,
    Color::Blue,
    Color::Green,
    Color::Yellow,
    Color::Red,
];

/// The fields that every line has, which are therefore not shown.
const KNOWN: [&str; 11] = [
    "timestamp",
    "level",
    "message",
    "service",
    "function_name",
    "function_request_id",
    "cold_start",
    "xray_trace_id",
    "trace_id",
    "span_id",
    "target",
];

/// Ids that a line has besides the event's, of which they mostly are repetitions.
const OTHER_IDS: [&str; 2] = ["correlation_id", "message_id"];

/// One line of a function's log.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The short name of the function.
    pub(crate) function: String,
    /// In milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) message: String,
}

/// Reads what was logged since the last time.
pub(crate) struct Reader {
    client: Client,
    lambda: aws_sdk_lambda::Client,
    groups: Vec<Group>,
}

struct Group {
    /// The function's full name.
    of: String,
    function: String,
    name: String,
    /// The latest time of any line so far, in milliseconds.
    latest: i64,
    /// The lines of the last [`OVERLAP`], which are read again.
    seen: BTreeSet<Position>,
}

/// The position of a line: its time, its stream, and its place among the lines of that stream and
/// time.
///
/// It is used instead of an event id, which emulators do not provide.
type Position = (i64, String, usize);

impl Reader {
    /// Begins with the first line of each function.
    pub(crate) async fn new(config: &SdkConfig, functions: &[Function]) -> Result<Self> {
        let mut reader = Self {
            client: Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
            groups: Vec::new(),
        };
        reader.add(functions).await?;
        Ok(reader)
    }

    /// Reads the logs of these functions, too.
    async fn add(&mut self, functions: &[Function]) -> Result<()> {
        for function in functions {
            if self.groups.iter().any(|group| group.of == function.name) {
                continue;
            }
            let configuration = (self.lambda)
                .get_function_configuration()
                .function_name(&function.name)
                .send()
                .await
                .with_context(|| format!("cannot find {}", function.name))?;
            let name = configuration
                .logging_config()
                .and_then(|logging| logging.log_group())
                .map_or_else(|| format!("/aws/lambda/{}", function.name), str::to_owned);
            self.groups.push(Group {
                of: function.name.clone(),
                function: function.binary.clone(),
                name,
                latest: 0,
                seen: BTreeSet::new(),
            });
        }
        Ok(())
    }

    /// The new lines of all functions, in the order of their times.
    pub(crate) async fn read(&mut self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for group in &mut self.groups {
            group.read(&self.client, &mut lines).await?;
        }
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }

    /// Shows new lines until the future is dropped, also of the functions that are `deployed` meanwhile.
    pub(crate) async fn follow(
        mut self,
        mut deployed: UnboundedReceiver<Vec<Function>>,
        mut show: impl FnMut(&str),
    ) -> Result<()> {
        loop {
            while let Ok(functions) = deployed.try_recv() {
                self.add(&functions).await?;
            }
            let painter = Painter::new(self.groups.iter().map(|group| group.function.as_str()));
            for line in self.read().await? {
                if let Some(text) = painter.paint(&line) {
                    show(&text);
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Group {
    async fn read(&mut self, client: &Client, lines: &mut Vec<Line>) -> Result<()> {
        let since = (self.latest - OVERLAP).max(0);
        let mut pages = client
            .filter_log_events()
            .log_group_name(&self.name)
            .start_time(since)
            .into_paginator()
            .send();
        let mut places = BTreeMap::<(i64, String), usize>::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                // If the template does not declare the group, the function's first line creates it.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_resource_not_found_exception()) =>
                {
                    return Ok(());
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read the log group {}", self.name));
                }
            };
            for event in page.events() {
                let (Some(time), Some(stream), Some(message)) =
                    (event.timestamp(), event.log_stream_name(), event.message())
                else {
                    continue;
                };
                let place = places.entry((time, stream.to_owned())).or_default();
                *place += 1;
                if self.seen.insert((time, stream.to_owned(), *place)) {
                    self.latest = self.latest.max(time);
                    lines.push(Line {
                        function: self.function.clone(),
                        time,
                        message: message.to_owned(),
                    });
                }
            }
        }
        let since = self.latest - OVERLAP;
        self.seen.retain(|(time, _, _)| *time >= since);
        Ok(())
    }
}

/// Makes short coloured lines out of JSON ones.
struct Painter {
    width: usize,
    styles: BTreeMap<String, Style>,
}

impl Painter {
    fn new<'a>(functions: impl Iterator<Item = &'a str>) -> Self {
        let styles: BTreeMap<String, Style> = functions
            .zip(COLORS.iter().cycle())
            .map(|(function, color)| {
                let style = Style::new().for_stderr().fg(*color);
                (function.to_owned(), style)
            })
            .collect();
        Self {
            width: styles.keys().map(String::len).max().unwrap_or(0),
            styles,
        }
    }

    /// `None` for the platform's own lines, which say only that a function was called.
    fn paint(&self, line: &Line) -> Option<String> {
        let name = format!("{:width$}", line.function, width = self.width);
        let name = match self.styles.get(&line.function) {
            Some(style) => style.apply_to(name).to_string(),
            None => name,
        };
        let message = line.message.trim_end();
        match serde_json::from_str::<Map<String, Value>>(message) {
            Ok(fields) if fields.contains_key("message") => {
                Some(format!("{name} {}", summary(&fields)))
            }
            _ if is_platform(message) => None,
            _ => match death(message) {
                Some(reason) => {
                    let text = format!("{} ERROR {reason}", time(line.time));
                    let red = Style::new().for_stderr().red().bold();
                    Some(format!("{name} {}", red.apply_to(text)))
                }
                None => Some(format!("{name} {message}")),
            },
        }
    }
}

/// Time, level, sentence, and the fields that are this line's own.
fn summary(fields: &Map<String, Value>) -> String {
    let text = |key: &str| fields.get(key).map(plain).unwrap_or_default();
    let timestamp = text("timestamp");
    let time = timestamp
        .split_once('T')
        .map_or("", |(_, time)| time.get(..12).unwrap_or(time));
    let level = text("level");
    let style = match level.as_str() {
        "ERROR" => Style::new().red().bold(),
        "WARN" => Style::new().yellow(),
        "INFO" => Style::new().green(),
        _ => Style::new().dim(),
    };
    let dim = Style::new().for_stderr().dim();
    let mut line = format!(
        "{} {} {}",
        dim.apply_to(time),
        style.for_stderr().apply_to(format!("{level:5}")),
        text("message")
    );
    for (key, value) in fields {
        if !KNOWN.contains(&key.as_str()) && !is_said(fields, key, value) {
            let field = format!(" {key}={}", short(value));
            line.push_str(&dim.apply_to(field).to_string());
        }
    }
    line
}

/// Whether a field says nothing that a developer, who sees the function's name and the event's id, does not know.
fn is_said(fields: &Map<String, Value>, key: &str, value: &Value) -> bool {
    let function = fields.get("function_name").and_then(Value::as_str);
    match key {
        _ if value.is_null() => true,
        "receive_count" => value == 1,
        "handler" => {
            let handler = plain(value).replace('_', "-");
            function.is_some_and(|function| function.ends_with(&handler))
        }
        _ => OTHER_IDS.contains(&key) && fields.contains_key("event_id"),
    }
}

/// Writes a number with three digits after the point at most.
fn short(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if !value.is_i64() && !value.is_u64() => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => plain(value),
    }
}

/// Returns why an invocation ended without the function's answer, if the platform says so.
fn death(message: &str) -> Option<&str> {
    let (_, reason) = message
        .strip_prefix("RequestId: ")?
        .split_once(" Error: ")?;
    Some(reason)
}

/// Writes the time of day, in UTC as the functions do.
fn time(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    time.strftime("%H:%M:%S%.3f").to_string()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_platform(message: &str) -> bool {
    [
        "START RequestId",
        "END RequestId",
        "REPORT RequestId",
        "INIT_START",
        "{\"time\":",
    ]
    .iter()
    .any(|prefix| message.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paint(message: &str) -> Option<String> {
        let line = Line {
            function: "audit".to_owned(),
            time: 0,
            message: message.to_owned(),
        };
        Painter::new(["audit", "place-order"].into_iter())
            .paint(&line)
            .map(|text| console::strip_ansi_codes(&text).into_owned())
    }

    #[test]
    fn a_json_line_becomes_short() {
        let line = paint(
            r#"{"timestamp":"2026-11-21T10:00:00.123Z","level":"INFO","message":"record done","service":"shop","outcome":"ok","receive_count":2,"delay_s":2.3755202349999998}"#,
        );
        assert_eq!(
            line.unwrap(),
            "audit       10:00:00.123 INFO  record done delay_s=2.376 outcome=ok receive_count=2"
        );
    }

    #[test]
    fn of_the_ids_the_events_remains() {
        let line = paint(
            r#"{"timestamp":"2026-11-21T10:00:00.123Z","level":"INFO","message":"record handled","function_name":"shop-audit","handler":"audit","outcome":"ok","receive_count":1,"event_id":"e-1","correlation_id":"e-0","message_id":"m-1","trace_id":"t","span_id":"s"}"#,
        );
        assert_eq!(
            line.unwrap(),
            "audit       10:00:00.123 INFO  record handled event_id=e-1 outcome=ok"
        );
    }

    #[test]
    fn a_death_is_an_error() {
        let line =
            paint("RequestId: 1-2 Error: Task timed out after 3.00 seconds (Sandbox.Timedout)");
        assert_eq!(
            line.unwrap(),
            "audit       00:00:00.000 ERROR Task timed out after 3.00 seconds (Sandbox.Timedout)"
        );
    }

    #[test]
    fn other_lines_stay_and_platform_lines_go() {
        assert_eq!(
            paint("thread panicked\n").unwrap(),
            "audit       thread panicked"
        );
        assert_eq!(paint("START RequestId: 1 Version: $LATEST"), None);
    }
}
