//! What the environment says about the log.

use super::{names::PAYLOAD_TARGET, sample::Sample};
use crate::{environment, redact::payloads_are_allowed};
use tracing::{Level, level_filters::LevelFilter};

pub(super) struct Settings {
    pub(super) format: Format,
    /// The directives of the log's `EnvFilter`.
    pub(super) directives: String,
    /// The additional lines of a record that are written if it fails or is in the sample.
    pub(super) detail: Option<Detail>,
    /// Whether the log contains bodies and payloads.
    pub(super) payloads: bool,
    pub(super) service: Option<String>,
    pub(super) function_name: Option<String>,
    pub(super) platform: Platform,
}

/// What Lambda does with the lines of standard output: it drops JSON whose `level` is below the function's.
#[derive(Clone, Copy, Default)]
pub(super) struct Platform(Option<(LevelFilter, &'static str)>);

impl Platform {
    fn of(level: Option<&str>) -> Self {
        let level = level.map(str::to_ascii_uppercase);
        Self(match level.as_deref() {
            Some("FATAL") => Some((LevelFilter::OFF, "FATAL")),
            Some("ERROR") => Some((LevelFilter::ERROR, "ERROR")),
            Some("WARN") => Some((LevelFilter::WARN, "WARN")),
            Some("INFO") => Some((LevelFilter::INFO, "INFO")),
            Some("DEBUG") => Some((LevelFilter::DEBUG, "DEBUG")),
            _ => None,
        })
    }

    /// Returns the level that a line must have to be kept, if its own is too low.
    pub(super) fn raised(self, level: Level) -> Option<&'static str> {
        let (least, name) = self.0?;
        (level > least).then_some(name)
    }
}

pub(super) struct Detail {
    pub(super) directives: String,
    /// Whether lines are kept until it is known whether the record fails.
    pub(super) keeps: bool,
    pub(super) sample: Sample,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Format {
    Json,
    Text,
}

/// The prefixes of targets that log much, and seldom what a function's author wants to know.
const NOISY: [&str; 7] = [
    "aws_",
    "h2",
    "hyper",
    "lambda_runtime",
    "rustls",
    "tokio_util",
    "tower",
];

impl Settings {
    /// Reads the settings from the variables that `variable` returns.
    pub(super) fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let function_name = variable("AWS_LAMBDA_FUNCTION_NAME");
        let format = match variable("AWS_LAMBDA_LOG_FORMAT") {
            Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
            None if function_name.is_some() => Format::Json,
            _ => Format::Text,
        };
        let level = variable("AWS_LAMBDA_LOG_LEVEL");
        let rust_log = variable("RUST_LOG").unwrap_or_default();
        let payloads = payloads_are_allowed(variable);
        let payload = if payloads { "debug" } else { "off" };
        let directives = |level, rust_log: &str| {
            format!("{},{PAYLOAD_TARGET}={payload}", directives(level, rust_log))
        };
        let kept = variable("SUREHAND_LOG_BUFFER");
        let kept = kept.filter(|level| !level.eq_ignore_ascii_case("off"));
        let sample = variable("SUREHAND_LOG_SAMPLE").and_then(|share| share.parse().ok());
        let sample = sample.and_then(Sample::new).unwrap_or_default();
        let has_detail = format == Format::Json && (kept.is_some() || !sample.is_empty());
        Self {
            format,
            directives: directives(level.as_deref(), &rust_log),
            detail: has_detail.then(|| Detail {
                directives: directives(Some(kept.as_deref().unwrap_or("debug")), ""),
                keeps: kept.is_some(),
                sample,
            }),
            payloads,
            service: environment::service(variable).or_else(|| function_name.clone()),
            function_name,
            platform: Platform::of(level.as_deref()),
        }
    }
}

/// Returns the level for everything, then the muted targets, then `RUST_LOG`: of several directives
/// for a target the last one counts.
fn directives(level: Option<&str>, rust_log: &str) -> String {
    let level = match level.map(str::to_ascii_uppercase).as_deref() {
        Some("FATAL") => LevelFilter::ERROR,
        level => level
            .and_then(|level| level.parse().ok())
            .unwrap_or(LevelFilter::INFO),
    };
    let overall = rust_log.split(',').map(str::trim);
    let overall = overall
        .filter(|part| !part.is_empty())
        .filter_map(|part| part.parse().ok())
        .next_back();
    // Muting a target must not raise its level above the level for everything.
    let muted = overall.unwrap_or(level).min(LevelFilter::WARN);
    let mut directives = level.to_string();
    for target in NOISY {
        directives += &format!(",{target}={muted}");
    }
    directives + "," + rust_log
}
