//! What people see of the functions' logs: one row for each record, one for each cause of failed invocations.

use std::{collections::BTreeMap, time::Duration};

use console::{Color, Style, measure_text_width};
use serde_json::{Map, Value};

use crate::{
    local::{logs::Line, stack::Function},
    progress::{duration, number_of},
    terminal::{plain, wrapped},
};

/// The colours that distinguish functions. Red is for what fails.
const COLORS: [Color; 5] = [
    Color::Cyan,
    Color::Magenta,
    Color::Blue,
    Color::Green,
    Color::Yellow,
];

/// The fields that every line has, which are therefore not shown.
const KNOWN: [&str; 8] = [
    "timestamp",
    "level",
    "own_level",
    "message",
    "service",
    "function_name",
    "cold_start",
    "target",
];

/// Fields that only those ask for who look for one event, or compare times.
const DETAILS: [&str; 8] = [
    "event_id",
    "correlation_id",
    "message_id",
    "function_request_id",
    "xray_trace_id",
    "trace_id",
    "span_id",
    "event_lag_ms",
];

/// The fields that the columns of a record's row show.
const COLUMNS: [&str; 7] = [
    "outcome",
    "event_type",
    "duration_ms",
    "delay_s",
    "at",
    "kind",
    "error",
];

/// The widest type of an event for which those of other rows leave room.
const WIDEST_TYPE: usize = 24;

/// With less room than this behind the columns, a message begins in a row of its own.
const LEAST_ROOM: usize = 40;

/// Where the rows of such a message begin: behind the time.
const INDENT: usize = 13;

/// After so long without it, in milliseconds, a cause is told as a new one.
const QUIET: i64 = 60_000;

/// Makes rows for people of the functions' lines.
pub(crate) struct Painter {
    /// Whether the ids are shown.
    is_verbose: bool,
    styles: BTreeMap<String, Style>,
    /// The widths of the columns so far.
    function: usize,
    event: usize,
    causes: BTreeMap<(String, String), Cause>,
    /// What functions have printed and may be the last words of their processes, by function.
    held: BTreeMap<String, Vec<Line>>,
}

/// Why invocations of a function failed.
struct Cause {
    count: u64,
    /// The time of the last one, in milliseconds since 1970.
    last: i64,
}

/// A row: its columns, and the text that may need more rows.
struct Row {
    columns: String,
    text: Vec<(Style, String)>,
}

impl Painter {
    pub(crate) fn new(is_verbose: bool) -> Self {
        Self {
            is_verbose,
            styles: BTreeMap::new(),
            function: 0,
            event: 0,
            causes: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Takes what is deployed now. Its failures are new ones.
    pub(crate) fn deployed(&mut self, functions: &[Function]) {
        self.causes.clear();
        for function in functions {
            self.function = self.function.max(function.binary.len());
            let color = COLORS[self.styles.len() % COLORS.len()];
            (self.styles.entry(function.binary.clone())).or_insert_with(|| ours().fg(color));
        }
    }

    /// The rows for these lines, on a terminal with so many columns; without a terminal a row is never broken.
    pub(crate) fn paint(&mut self, lines: Vec<Line>, width: Option<usize>) -> Vec<String> {
        let mut rows = Vec::new();
        for line in lines {
            self.paint_one(line, width, &mut rows);
        }
        for function in self.held.keys().cloned().collect::<Vec<_>>() {
            self.release(&function, width, &mut rows);
        }
        rows
    }

    fn paint_one(&mut self, line: Line, width: Option<usize>, rows: &mut Vec<String>) {
        let message = line.message.trim_end();
        if is_metrics(message) {
            return;
        }
        let fields = serde_json::from_str::<Map<String, Value>>(message);
        let fields = fields.ok().filter(|fields| fields.contains_key("message"));
        let failure = match &fields {
            Some(fields) => reported(fields),
            None => death(message),
        };
        let row = match (failure, fields) {
            (Some(reason), _) => {
                let Some(count) = self.count(&line.function, &reason, line.time) else {
                    // What was printed for the last one is known, too.
                    self.held.remove(&line.function);
                    return;
                };
                if let Some(held) = self.held.get_mut(&line.function) {
                    held.retain(|it| !is_in(it.message.trim(), &reason));
                }
                self.failed(&line, &reason, count)
            }
            (None, Some(fields)) => match is_record(&fields) {
                true => self.record(&line.function, &fields),
                false => self.said(&line.function, &fields),
            },
            (None, None) if is_platform(message) => {
                return self.release(&line.function, width, rows);
            }
            (None, None) => {
                (self.held.entry(line.function.clone()).or_default()).push(line);
                return;
            }
        };
        self.release(&line.function, width, rows);
        rows.push(row.fit(width));
    }

    /// Shows what the function has printed.
    fn release(&mut self, function: &str, width: Option<usize>, rows: &mut Vec<String>) {
        for line in self.held.remove(function).unwrap_or_default() {
            let row = Row {
                columns: format!("{} {}", dim(&time_of(line.time)), self.name(function)),
                text: vec![(ours(), plain(line.message.trim_end()).into_owned())],
            };
            rows.push(row.fit(width));
        }
    }

    /// Counts a failed invocation; returns how many there were if that is worth a line: the first, the second, the
    /// fourth and so on.
    fn count(&mut self, function: &str, reason: &str, time: i64) -> Option<u64> {
        // Numbers differ where the cause is the same: process ids, addresses, times.
        let shape = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
        let cause = (self.causes.entry((function.to_owned(), shape))).or_insert(Cause {
            count: 0,
            last: time,
        });
        if time - cause.last > QUIET {
            cause.count = 0;
        }
        cause.count += 1;
        cause.last = time;
        cause.count.is_power_of_two().then_some(cause.count)
    }

    fn failed(&self, line: &Line, reason: &str, count: u64) -> Row {
        let red = ours().red().bold();
        let mut text = vec![(red.clone(), plain(reason).into_owned())];
        if count > 1 {
            text.push((red.clone(), format!("({})", number_of(count, "time"))));
        }
        let (time, name) = (time_of(line.time), self.name(&line.function));
        Row {
            columns: format!("{} {name} {}", dim(&time), red.apply_to("ERROR")),
            text,
        }
    }

    /// The row of a record: time, function, event, outcome, milliseconds, and what went wrong where.
    fn record(&mut self, function: &str, fields: &Map<String, Value>) -> Row {
        let text = |key: &str| fields.get(key).map(shown).unwrap_or_default();
        let event = ["event_type", "event_id", "message_id"]
            .iter()
            .map(|key| text(key))
            .find(|text| !text.is_empty());
        let event = event.unwrap_or_else(|| "-".to_owned());
        let event_width = measure_text_width(&event);
        if event_width <= WIDEST_TYPE {
            self.event = self.event.max(event_width);
        }
        let (outcome, style) = match text("outcome").as_str() {
            "ok" => ("ok".to_owned(), Style::new().green()),
            "duplicate" => ("duplicate".to_owned(), Style::new().dim()),
            "retry" => {
                let delay = fields.get("delay_s").and_then(Value::as_f64);
                let delay = delay.and_then(|it| Duration::try_from_secs_f64(it).ok());
                let delay = delay.map_or_else(String::new, |it| format!(" in {}", duration(it)));
                (format!("retry{delay}"), Style::new().yellow())
            }
            "park" => ("parked".to_owned(), Style::new().red()),
            "discard" => ("discarded".to_owned(), Style::new().red()),
            other => (other.to_owned(), Style::new()),
        };
        let columns = format!(
            "{} {} {event:events$} {} {:>4} ms",
            dim(&time(fields)),
            self.name(function),
            style.for_stderr().apply_to(format!("{outcome:9}")),
            text("duration_ms"),
            events = self.event,
        );
        let mut said = Vec::new();
        let at = text("at");
        if !at.is_empty() {
            said.push((ours().dim(), format!("at={at}")));
        }
        let reason = [text("kind"), text("error")];
        let reason: Vec<&str> = reason
            .iter()
            .map(String::as_str)
            .filter(|it| !it.is_empty())
            .collect();
        said.push((ours(), reason.join(": ")));
        said.extend(self.rest(fields, &COLUMNS));
        Row {
            columns,
            text: said,
        }
    }

    /// The row of what a handler logs: time, function, level, sentence and fields.
    fn said(&self, function: &str, fields: &Map<String, Value>) -> Row {
        let level = fields.get("own_level").or_else(|| fields.get("level"));
        let level = level.map(shown).unwrap_or_default();
        let style = match level.as_str() {
            "ERROR" => Style::new().red().bold(),
            "WARN" => Style::new().yellow(),
            "INFO" => Style::new().green(),
            _ => Style::new().dim(),
        };
        let columns = format!(
            "{} {} {}",
            dim(&time(fields)),
            self.name(function),
            style.for_stderr().apply_to(format!("{level:5}")),
        );
        let mut text = vec![(ours(), fields.get("message").map(shown).unwrap_or_default())];
        text.extend(self.rest(fields, &[]));
        Row { columns, text }
    }

    /// The fields that are this line's own, and no column's.
    fn rest(&self, fields: &Map<String, Value>, columns: &[&str]) -> Vec<(Style, String)> {
        let is_shown = |(key, value): &(&String, &Value)| {
            let key = key.as_str();
            !KNOWN.contains(&key)
                && !columns.contains(&key)
                && (self.is_verbose || !DETAILS.contains(&key))
                && !is_said(fields, key, value)
        };
        let rest = fields.iter().filter(is_shown);
        rest.map(|(key, value)| (ours().dim(), format!("{}={}", plain(key), shown(value))))
            .collect()
    }

    fn name(&self, function: &str) -> String {
        let name = format!("{function:width$}", width = self.function);
        match self.styles.get(function) {
            Some(style) => style.apply_to(name).to_string(),
            None => name,
        }
    }
}

impl Row {
    fn fit(self, width: Option<usize>) -> String {
        let Self { columns, mut text } = self;
        text.retain(|(_, text)| !text.is_empty());
        if text.is_empty() {
            return columns.trim_end().to_owned();
        }
        let used = measure_text_width(&columns) + 1;
        let lengths = text.iter().map(|(_, text)| measure_text_width(text) + 1);
        let one_row = used + lengths.sum::<usize>() - 1;
        match width {
            Some(width) if one_row > width => {
                let from = match width.checked_sub(used) {
                    Some(room) if room >= LEAST_ROOM => used,
                    _ => INDENT,
                };
                let text = wrapped(&text, (from, from), width);
                match from == used {
                    true => format!("{columns} {text}"),
                    false => format!("{}\n{:from$}{text}", columns.trim_end(), ""),
                }
            }
            _ => {
                let text = text
                    .iter()
                    .map(|(style, text)| style.apply_to(text).to_string());
                format!("{columns} {}", text.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// Rows go to standard error.
fn ours() -> Style {
    Style::new().for_stderr()
}

fn dim(text: &str) -> String {
    ours().dim().apply_to(text).to_string()
}

/// Whether the line is the library's on the outcome of a record.
fn is_record(fields: &Map<String, Value>) -> bool {
    fields
        .get("message")
        .is_some_and(|it| it == "record handled")
        && fields.contains_key("outcome")
}

/// Whether a field says nothing that a developer, who sees the function's name, does not know.
fn is_said(fields: &Map<String, Value>, key: &str, value: &Value) -> bool {
    let function = fields.get("function_name").and_then(Value::as_str);
    match key {
        _ if value.is_null() => true,
        "receive_count" => value == 1,
        "handler" => {
            let handler = shown(value).replace('_', "-");
            function.is_some_and(|function| function.ends_with(&handler))
        }
        _ => false,
    }
}

/// Returns why an invocation failed, if the line is the library's that says so.
fn reported(fields: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| fields.get(key).map(shown).unwrap_or_default();
    (text("message") == "invocation failed")
        .then(|| format!("the invocation failed: {}: {}", text("kind"), text("error")))
}

/// Returns why an invocation failed, if the line is the platform's that says so.
fn death(message: &str) -> Option<String> {
    let (_, reason) = message
        .strip_prefix("RequestId: ")?
        .split_once(" Error: ")?;
    // Behind it is the class of the error, which says it once more.
    let reason = match reason.rsplit_once(" (") {
        Some((reason, class)) if class.ends_with(')') && !class.contains(' ') => reason,
        _ => reason,
    };
    let seconds = reason
        .strip_prefix("Task timed out after ")
        .and_then(|rest| rest.strip_suffix(" seconds"))
        .and_then(|seconds| seconds.parse::<f64>().ok());
    Some(match seconds {
        Some(seconds) => format!("timed out after {seconds} s"),
        None => reason.to_owned(),
    })
}

/// The time of day of a line, in UTC as the functions write it.
fn time(fields: &Map<String, Value>) -> String {
    let timestamp = fields.get("timestamp").map(shown).unwrap_or_default();
    let time = timestamp.split_once('T').map_or("", |(_, time)| time);
    time.get(..12).unwrap_or(time).to_owned()
}

/// The time of day, in UTC as the functions write it.
fn time_of(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    time.strftime("%H:%M:%S%.3f").to_string()
}

/// Writes a value in one line; a number with three digits after the point at most.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace(['\n', '\r', '\t'], " "),
        Value::Number(number) if number.is_f64() => {
            let text = format!("{:.3}", number.as_f64().unwrap_or_default());
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        other => other.to_string(),
    };
    plain(&text).into_owned()
}

/// Whether the reason of a failed invocation has what the process has printed.
fn is_in(printed: &str, reason: &str) -> bool {
    let is_of_panic = || {
        let parts = [" panicked at ", "note: run with `RUST_BACKTRACE"];
        reason.contains("panicked at ") && parts.iter().any(|part| printed.contains(part))
    };
    reason.contains(printed) || is_of_panic()
}

/// Whether the line is for CloudWatch, which makes metrics of it.
fn is_metrics(message: &str) -> bool {
    message.starts_with("{\"_aws\":")
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
mod tests;
