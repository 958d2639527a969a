//! Letters and groups in words and tables.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use serde_json::Value;
use surehand::{dead_letter::FailureNote, record::AttributeValue};
use surehand_redrive::{Group, Letter, Origin};

use super::grid::Grid;
use crate::progress::number_of;

/// How much of a message a table shows.
const WIDTH: usize = 120;

/// The few reasons, the most frequent first.
pub(super) fn groups(groups: &[&Group]) -> Grid {
    let mut table = Grid::new(
        [
            "group", "letters", "event", "handler", "kind", "message", "oldest",
        ],
        &[1],
        &[5],
    );
    for group in groups {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([
            group.id.clone(),
            group.count.to_string(),
            or_dash(&group.event_type),
            or_dash(&group.handler),
            group.kind.clone(),
            console::truncate_str(&group.message, WIDTH, "...").into_owned(),
            group.first_ms.map_or_else(|| "-".to_owned(), age),
        ]);
    }
    table
}

/// How long ago that was, in its largest unit.
pub(crate) fn age(ms: u64) -> String {
    span(now().saturating_sub(ms))
}

/// When a queue that keeps messages for `retention` loses the one that was sent at `sent_ms`.
pub(super) fn expiry(sent_ms: u64, retention: Duration) -> String {
    let end = sent_ms.saturating_add(u64::try_from(retention.as_millis()).unwrap_or(u64::MAX));
    match end.saturating_sub(now()) {
        0 => "now".to_owned(),
        left => format!("in {}", span(left)),
    }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// 1st, 2nd, 3rd, 4th, ...
fn nth(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// RFC 3339.
fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

/// When a note says that it failed, and how long ago that was.
fn when(note: &FailureNote) -> String {
    match note.last_failure.parse::<jiff::Timestamp>() {
        Ok(time) => {
            let ms = u64::try_from(time.as_millisecond()).unwrap_or_default();
            format!("{time:.3}, {} ago", age(ms))
        }
        // A note can be written by anybody.
        Err(_) => note.last_failure.clone(),
    }
}

/// A letter on several lines; `retention` is that of its queue, if it is in one.
pub(super) fn text(letter: &Letter, attempts: Option<&str>, retention: Option<Duration>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<12} {value}", format!("{name}:"));
    };
    let cause = letter.cause();
    if let Some(event) = letter.event() {
        let kind = event.event_type.as_deref().unwrap_or("no type");
        line("event", &format!("{kind} {}", event.id));
    }
    line("reason", &format!("{}: {}", cause.kind, cause.message));
    if let Some(attempts) = attempts {
        line("attempts", attempts);
    }
    let origin = letter.origin();
    if let Origin::Parked { note, .. } = &origin {
        for cause in &note.chain {
            line("because", cause);
        }
        if let Some(place) = &note.at {
            line("made at", place);
        }
        let when = when(note);
        let (attempt, request) = (note.attempts, &note.request_id);
        line(
            "failed",
            &format!(
                "in the {} attempt, at {when}, request {request}",
                nth(attempt)
            ),
        );
    }
    if let Origin::MovedBySqs {
        earlier: Some(note),
        ..
    } = &origin
    {
        line("failed", &format!("before that, at {}", when(note)));
    }
    match (&cause.handler, &cause.function) {
        (Some(handler), Some(function)) => line("handler", &format!("{handler} of {function}")),
        (Some(handler), None) => line("handler", handler),
        (None, Some(function)) => line("function", function),
        (None, None) => {}
    }
    let to = letter.destination();
    line(
        "goes to",
        &to.map_or_else(|| "unknown, plan with --to".to_owned(), |to| to.to_string()),
    );
    if let Some(sent) = letter.sent_at_ms {
        line("sent", &format!("{}, {} ago", time(sent), age(sent)));
        if let Some(retention) = retention {
            line("expires", &expiry(sent, retention));
        }
    }
    if let Some(group) = &letter.group {
        line("in order", &format!("with message group {group}"));
    }
    match letter.redrive_count() {
        0 => {}
        count => {
            let times = number_of(u64::from(count), "time");
            line("put back", &format!("{times} before"));
        }
    }
    for (name, attribute) in &letter.attributes {
        let ours = [FailureNote::ATTRIBUTE, FailureNote::REDRIVE_COUNT];
        let value = match &attribute.value {
            AttributeValue::Text(text) => console::truncate_str(text, WIDTH, "...").into_owned(),
            AttributeValue::Binary(bytes) => format!("{} bytes", bytes.len()),
        };
        if !ours.contains(&name.as_str()) {
            line("attribute", &format!("{name} = {value}"));
        }
    }
    if !letter.dropped_attributes.is_empty() {
        line(
            "loses",
            &format!(
                "attributes that hold lists: {}",
                letter.dropped_attributes.join(", ")
            ),
        );
    }
    let payload = letter
        .payload()
        .unwrap_or_else(|| letter.body.as_str().into());
    let pretty = serde_json::from_str::<Value>(&payload)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| payload.into_owned());
    line("body", &pretty.replace('\n', "\n  "));
    let group = Group::of(letter).id;
    format!("{} group {group}\n{text}", letter.id)
}

/// A letter on one line, with what can be said of it.
pub(super) fn json(letter: &Letter, attempts: Option<&str>) -> Result<String> {
    let mut value = serde_json::to_value(letter)?;
    value["group_id"] = Group::of(letter).id.into();
    value["destination"] = serde_json::to_value(letter.destination())?;
    if let Some(attempts) = attempts {
        value["attempts"] = attempts.into();
    }
    Ok(value.to_string())
}
