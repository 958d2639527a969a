//! One line of a function's log: what it says, and how that is written for people.

use std::fmt::Write as _;

use serde_json::Value;

/// The sentence with which each record ends.
const RECORD: &str = "record handled";

/// What begins the platform's own lines, which say only that a function was called.
const PLATFORM: [&str; 5] = [
    "START RequestId",
    "END RequestId",
    "REPORT RequestId",
    "INIT_START",
    "INIT_REPORT",
];

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Says {
    /// How an attempt at a record ended.
    Record(Outcome),
    /// Why an invocation ended without the function's answer.
    Died(String),
    /// Any other line of the function: its level, and its sentence.
    Line(Option<String>, String),
    /// Nothing of the function.
    Platform,
}

/// How an attempt at a record ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Outcome {
    /// `ok`, `duplicate`, `retry`, `park` or `discard`.
    pub(in crate::commands) outcome: String,
    pub(in crate::commands) milliseconds: Option<u64>,
    /// The kind of the error, and the error.
    pub(in crate::commands) error: Option<String>,
    /// Where the error was made.
    pub(in crate::commands) at: Option<String>,
}

impl Outcome {
    pub(in crate::commands) fn failed(&self) -> bool {
        !["ok", "duplicate"].contains(&&*self.outcome)
    }
}

/// Writes the outcome, how long it took, and why it failed.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:9}", self.outcome)?;
        match self.milliseconds {
            Some(milliseconds) => write!(f, " {milliseconds:>6} ms")?,
            None => write!(f, " {:>6}   ", "-")?,
        }
        if let Some(error) = &self.error {
            write!(f, "  {error}")?;
        }
        match &self.at {
            Some(at) => write!(f, " (at {at})"),
            None => Ok(()),
        }
    }
}

/// One line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Entry {
    pub(in crate::commands) says: Says,
    /// The event's id, else the message's.
    id: Option<String>,
    /// All ids by which the line may be asked for.
    ids: Vec<String>,
    /// The invocation's.
    request: Option<String>,
}

impl Entry {
    pub(in crate::commands) fn read(message: &str) -> Self {
        let message = message.trim_end();
        match serde_json::from_str::<Value>(message) {
            Ok(line) if line["record"].is_object() && line["type"].is_string() => {
                Self::of_platform(&line)
            }
            Ok(line) if line["message"].is_string() => Self::of_function(&line),
            _ => Self::of_text(message),
        }
    }

    /// A line that the function wrote as JSON, or Lambda for it.
    fn of_function(line: &Value) -> Self {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let sentence = text("message").unwrap_or_default();
        let says = match death(&sentence) {
            Some(reason) => Says::Died(reason.to_owned()),
            None if sentence == RECORD && line["outcome"].is_string() => Says::Record(Outcome {
                outcome: text("outcome").unwrap_or_default(),
                milliseconds: line["duration_ms"].as_u64(),
                error: match (text("kind"), text("error")) {
                    (Some(kind), Some(error)) => Some(format!("{kind}: {error}")),
                    (kind, error) => kind.or(error),
                },
                at: text("at"),
            }),
            None => Says::Line(text("level"), sentence),
        };
        let request = text("function_request_id").or_else(|| text("requestId"));
        let ids = ["event_id", "message_id", "correlation_id"];
        let ids: Vec<String> = ids.into_iter().filter_map(text).collect();
        Self {
            says,
            id: text("event_id").or_else(|| text("message_id")),
            ids,
            request,
        }
    }

    /// A line of the platform as JSON: a report says how the invocation ended.
    fn of_platform(line: &Value) -> Self {
        let record = &line["record"];
        let text = |key: &str| record[key].as_str().map(str::to_owned);
        let is_report = line["type"] == "platform.report";
        let says = match text("status").filter(|status| is_report && status != "success") {
            Some(status) => Says::Died(match text("errorType") {
                Some(kind) => format!("{status}: {kind}"),
                None => status,
            }),
            None => Says::Platform,
        };
        Self {
            says,
            id: None,
            ids: Vec::new(),
            request: text("requestId"),
        }
    }

    fn of_text(message: &str) -> Self {
        let request = message
            .split_ascii_whitespace()
            .find(|word| word.len() == 36 && word.split('-').count() == 5);
        let says = if PLATFORM.iter().any(|start| message.starts_with(start)) {
            Says::Platform
        } else if let Some(reason) = death(message) {
            Says::Died(reason.to_owned())
        } else {
            Says::Line(None, message.to_owned())
        };
        Self {
            says,
            id: None,
            ids: Vec::new(),
            request: request.map(str::to_owned),
        }
    }

    /// Whether the line tells of a failure: of a record, or of the whole invocation.
    pub(in crate::commands) fn failed(&self) -> bool {
        match &self.says {
            Says::Record(outcome) => outcome.failed(),
            Says::Died(_) => true,
            Says::Line(..) | Says::Platform => false,
        }
    }

    pub(super) fn is_of(&self, id: &str) -> bool {
        self.ids.iter().any(|it| it == id) || self.request.as_deref() == Some(id)
    }

    pub(super) fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// The line for people; none for what says nothing of the function.
    pub(super) fn show(&self, function: &str, time: i64) -> Option<String> {
        let time = jiff::Timestamp::from_millisecond(time).unwrap_or_default();
        let id = self.id.as_deref();
        let mut line = format!("{time:.3}  {function}");
        // Writing to a string does not fail.
        let _ = match &self.says {
            Says::Record(outcome) => write!(line, "  {}  {outcome}", id.unwrap_or("-")),
            Says::Died(reason) => {
                let request = id.or(self.request.as_deref()).unwrap_or("-");
                write!(line, "  {request}  died       {reason}")
            }
            Says::Line(level, sentence) => {
                let level = level.as_deref().unwrap_or("-");
                write!(line, "  {}  {level:9}  {sentence}", id.unwrap_or("-"))
            }
            Says::Platform => return None,
        };
        Some(line)
    }
}

/// Why the platform says that an invocation ended without an answer.
fn death(message: &str) -> Option<&str> {
    // RequestId: 4f1c… Error: Runtime exited with error: signal: killed
    let exited = message
        .split_once("RequestId: ")
        .and_then(|(_, rest)| rest.split_once(" Error: "))
        .map(|(_, reason)| reason);
    // 2026-11-21T10:00:00.123Z 4f1c… Task timed out after 3.00 seconds
    let timed_out = || message.find("Task timed out").map(|at| &message[at..]);
    let reason = exited.or_else(timed_out)?;
    reason.lines().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLED: &str = r#"{"timestamp":"2026-11-21T10:00:00.123Z","level":"WARN","message":"record handled","function_name":"shop-audit","function_request_id":"r-1","event_id":"e-1","message_id":"m-1","correlation_id":"c-1","outcome":"park","kind":"rejected","error":"no such sku","at":"src/stock.rs:33:20","duration_ms":12}"#;

    fn show(message: &str) -> Option<String> {
        Entry::read(message).show("audit", 1_000)
    }

    #[test]
    fn a_record_is_its_outcome_with_the_reason_and_its_place() {
        assert_eq!(
            show(HANDLED).unwrap(),
            "1970-01-01T00:00:01.000Z  audit  e-1  park          12 ms  rejected: no such sku (at src/stock.rs:33:20)"
        );
        let ok =
            r#"{"message":"record handled","message_id":"m-1","outcome":"ok","duration_ms":3}"#;
        assert_eq!(
            show(ok).unwrap(),
            "1970-01-01T00:00:01.000Z  audit  m-1  ok             3 ms"
        );
        assert!(Entry::read(HANDLED).failed() && !Entry::read(ok).failed());
    }

    #[test]
    fn a_line_is_found_by_each_of_its_ids() {
        let entry = Entry::read(HANDLED);
        for id in ["e-1", "m-1", "c-1", "r-1"] {
            assert!(entry.is_of(id), "{id}");
        }
        assert!(!entry.is_of("e-2"));
    }

    #[test]
    fn what_died_is_told_in_each_form_of_the_platform() {
        let request = "4f1c2d3e-0000-4000-8000-000000000001";
        for (message, reason) in [
            (
                format!("2026-11-21T10:00:00.123Z {request} Task timed out after 3.00 seconds\n\n"),
                "Task timed out after 3.00 seconds",
            ),
            (
                format!(
                    "RequestId: {request} Error: Runtime exited with error: signal: killed\nRuntime.ExitError\n"
                ),
                "Runtime exited with error: signal: killed",
            ),
            (
                format!(
                    r#"{{"time":"2026-11-21T10:00:00.123Z","type":"platform.report","record":{{"requestId":"{request}","status":"timeout"}}}}"#
                ),
                "timeout",
            ),
            (
                format!(
                    r#"{{"type":"platform.report","record":{{"requestId":"{request}","status":"error","errorType":"Runtime.ExitError"}}}}"#
                ),
                "error: Runtime.ExitError",
            ),
        ] {
            let entry = Entry::read(&message);
            assert_eq!(entry.says, Says::Died(reason.to_owned()), "{message}");
            assert_eq!(entry.request(), Some(request), "{message}");
            assert!(entry.failed());
        }
    }

    #[test]
    fn the_platforms_own_lines_are_not_shown_and_others_are() {
        for message in [
            "START RequestId: 1 Version: $LATEST",
            r#"{"type":"platform.start","record":{"requestId":"1"}}"#,
            r#"{"type":"platform.report","record":{"requestId":"1","status":"success"}}"#,
        ] {
            assert_eq!(show(message), None, "{message}");
        }
        let shown = show(r#"{"level":"INFO","message":"packing","event_id":"e-1"}"#).unwrap();
        assert!(shown.ends_with("audit  e-1  INFO       packing"), "{shown}");
        let shown = show("thread panicked\n").unwrap();
        assert!(
            shown.ends_with("audit  -  -          thread panicked"),
            "{shown}"
        );
    }
}
