//! What lines and spans are known by.

/// The target of Surehand's own lines and spans.
pub(super) const TARGET: &str = "surehand::telemetry";
/// The target of the lines with payloads.
pub(super) const PAYLOAD_TARGET: &str = "surehand::payload";
/// The name of a record's span.
pub(super) const RECORD: &str = "record";
/// The name of the event with a record's verdict.
pub(super) const VERDICT: &str = "verdict";
