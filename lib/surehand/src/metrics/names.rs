//! Surehand's own metrics, and what CloudWatch takes.

use super::unit::Unit;

/// A metric's name, its unit, and the dimension that it also has by itself.
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) by: Option<&'static str>,
}

const fn count(name: &'static str) -> Name {
    Name {
        name,
        unit: Unit::Count,
        by: None,
    }
}

/// Records whose handler succeeded in this invocation.
pub(crate) const PROCESSED: Name = count("RecordsProcessed");
/// Records that failed, whatever became of them.
pub(crate) const FAILED: Name = Name {
    by: Some("kind"),
    ..count("RecordsFailed")
};
/// Records that had been handled before.
pub(crate) const DUPLICATES: Name = count("Duplicates");
/// Of those that failed: the ones that a dead-letter queue has now.
pub(crate) const PARKED: Name = count("Parked");
/// Records of an invocation.
pub(crate) const BATCH_SIZE: Name = count("BatchSize");
/// 1 in a process's first invocation, 0 in others.
pub(crate) const COLD_START: Name = count("ColdStart");
/// How long a handler ran.
pub(crate) const HANDLER_DURATION: Name = Name {
    name: "HandlerDuration",
    unit: Unit::Milliseconds,
    by: None,
};
/// From an event's `metadata.time` to its handler's start.
pub(crate) const EVENT_LAG: Name = Name {
    name: "EventLag",
    unit: Unit::Milliseconds,
    by: Some("event_type"),
};

/// All of them; a handler's own have other names.
pub(crate) const ALL: [&Name; 8] = [
    &PROCESSED,
    &FAILED,
    &DUPLICATES,
    &PARKED,
    &BATCH_SIZE,
    &COLD_START,
    &HANDLER_DURATION,
    &EVENT_LAG,
];

/// The dimensions of every metric.
pub(crate) const SERVICE: &str = "service";
pub(crate) const FUNCTION: &str = "function";
/// No dimension, but there to find an invocation's log.
pub(crate) const REQUEST_ID: &str = "function_request_id";
/// Members of a line that no metric and no dimension can be called.
pub(crate) const RESERVED: [&str; 4] = ["_aws", SERVICE, FUNCTION, REQUEST_ID];

/// The longest name, in characters.
pub(crate) const MAX_NAME: usize = 255;
/// The longest value of a dimension, in characters.
pub(crate) const MAX_VALUE: usize = 1_024;
/// Metrics in a line.
pub(crate) const MAX_METRICS: usize = 100;
/// Values of a metric in a line.
pub(crate) const MAX_VALUES: usize = 100;
/// Dimensions of a metric.
pub(crate) const MAX_DIMENSIONS: usize = 30;
/// Event types of an invocation whose lag is a metric of its own.
pub(crate) const MAX_EVENT_TYPES: usize = 20;
/// Metrics of a handler's own in an invocation. More are a dimension that should be none.
pub(crate) const MAX_SERIES: usize = 500;
