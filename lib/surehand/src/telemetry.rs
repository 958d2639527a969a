//! What a function tells about itself.

use crate::{Error, Record, Reply};
use lambda_runtime::Context;
use std::time::Duration;
use tracing::{Span, info, info_span, warn};

/// Sends the process's log to standard output, as JSON lines.
pub fn init() {}

pub(crate) fn invocation_span(context: &Context, cold_start: bool) -> Span {
    info_span!("invocation", function_request_id = %context.request_id, cold_start)
}

pub(crate) fn record_span(record: &Record, handler: &str) -> Span {
    info_span!("record", message_id = %record.id(), handler)
}

/// A record's outcome is one line, always with the same sentence, so that a query finds all.
pub(crate) fn handled(reply: &Reply, duration: Duration) {
    let outcome = if reply.is_duplicate() {
        "duplicate"
    } else {
        "ok"
    };
    info!(
        outcome,
        duration_ms = duration.as_millis() as u64,
        "record handled"
    );
}

pub(crate) fn retried(error: &Error, delay: Duration, duration: Duration) {
    warn!(
        outcome = "retry",
        kind = %error.kind(),
        error = %format!("{error:#}"),
        delay_s = delay.as_secs_f64(),
        duration_ms = duration.as_millis() as u64,
        "record handled"
    );
}

pub(crate) fn parked(error: &Error, duration: Duration) {
    warn!(
        outcome = "park",
        kind = %error.kind(),
        error = %format!("{error:#}"),
        duration_ms = duration.as_millis() as u64,
        "record handled"
    );
}

/// The record stays in its source, which is safe; but its reason stays in this line.
pub(crate) fn not_parked(error: &Error) {
    warn!(error = %format!("{error:#}"), "record not parked, it stays in its source");
}
