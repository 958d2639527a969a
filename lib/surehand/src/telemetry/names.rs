//! What lines and spans are known by.

/// The target of Surehand's own lines and spans.
pub(super) const TARGET: &str = "surehand::telemetry";
/// The target of the lines with payloads.
pub(super) const PAYLOAD_TARGET: &str = "surehand::payload";
/// The name of a record's span.
pub(super) const RECORD: &str = "record";
/// The name of the event with a record's verdict.
pub(super) const VERDICT: &str = "verdict";

/// Whether a field of this name is a payload, which another program wrote and which may be about people.
pub(crate) fn is_payload(field: &str) -> bool {
    matches!(field, "body" | "payload")
}

/// What is written instead of a payload.
pub(crate) fn redacted(payload: &str) -> String {
    format!("[{} bytes]", payload.len())
}
