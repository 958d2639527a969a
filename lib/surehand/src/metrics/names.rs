//! Surehand's own metrics, and what CloudWatch takes.

use super::unit::Unit;

/// The variable that turns metrics on.
pub(crate) const NAMESPACE: &str = "SUREHAND_METRICS_NAMESPACE";

/// A metric's name, its unit, and the dimension that it also has by itself.
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) by: Option<&'static str>,
    /// Whether it is also written without that dimension, as the total.
    pub(crate) has_total: bool,
}

const fn count(name: &'static str) -> Name {
    Name {
        name,
        unit: Unit::Count,
        by: None,
        has_total: true,
    }
}

/// Records whose handler succeeded in this invocation.
pub(crate) const PROCESSED: Name = count("RecordsProcessed");
/// Records that failed, whether they are retried, parked or discarded.
pub(crate) const FAILED: Name = Name {
    by: Some("kind"),
    ..count("RecordsFailed")
};
/// Records that had been handled before.
pub(crate) const DUPLICATES: Name = count("Duplicates");
/// Failed records that were parked in the dead-letter queue.
pub(crate) const PARKED: Name = count("Parked");
/// Records of an invocation.
pub(crate) const BATCH_SIZE: Name = count("BatchSize");
/// 1 in an invocation that waited for its process to start, 0 in others.
pub(crate) const COLD_START: Name = count("ColdStart");
/// How long a handler ran.
pub(crate) const HANDLER_DURATION: Name = Name {
    name: "HandlerDuration",
    unit: Unit::Milliseconds,
    by: None,
    has_total: true,
};
/// From an event's `metadata.time` to the start of an attempt at it.
pub(crate) const EVENT_LAG: Name = Name {
    name: "EventLag",
    unit: Unit::Milliseconds,
    by: Some("event_type"),
    has_total: true,
};
/// Records of an invocation of a published version, for a deployment that watches the new version alone.
pub(crate) const VERSION_RECORDS: Name = of_version("VersionRecords");
/// Those of them that failed.
pub(crate) const VERSION_FAILURES: Name = of_version("VersionFailures");

const fn of_version(name: &'static str) -> Name {
    Name {
        by: Some("version"),
        has_total: false,
        ..count(name)
    }
}

/// All of Surehand's metrics; a handler's own metrics have other names.
pub(crate) const ALL: [&Name; 10] = [
    &PROCESSED,
    &FAILED,
    &DUPLICATES,
    &PARKED,
    &BATCH_SIZE,
    &COLD_START,
    &HANDLER_DURATION,
    &EVENT_LAG,
    &VERSION_RECORDS,
    &VERSION_FAILURES,
];

/// The dimensions of every metric.
pub(crate) const SERVICE: &str = "service";
pub(crate) const FUNCTION: &str = "function";
/// Not a dimension: it serves to find an invocation's log.
pub(crate) const REQUEST_ID: &str = "function_request_id";
/// The members of a line whose names no metric or dimension can have.
pub(crate) const RESERVED: [&str; 4] = ["_aws", SERVICE, FUNCTION, REQUEST_ID];

/// The longest name, in characters.
pub(crate) const MAX_NAME: usize = 255;
/// The largest value, and the smallest with a minus: 2^360.
pub(crate) const MAX_NUMBER: f64 = 2.348_542_582_773_833_2e108;
/// The longest value of a dimension, in characters.
pub(crate) const MAX_VALUE: usize = 1_024;
/// The most metrics in a line.
pub(crate) const MAX_METRICS: usize = 100;
/// The most values of a metric in a line.
pub(crate) const MAX_VALUES: usize = 100;
/// The most dimensions of a metric.
pub(crate) const MAX_DIMENSIONS: usize = 30;
/// The `event_type` of events whose type no handler names.
pub(crate) const UNKNOWN_TYPE: &str = "unknown";
/// The most metrics of a handler's own in an invocation. More mean that a dimension has too many
/// values.
pub(crate) const MAX_SERIES: usize = 500;
