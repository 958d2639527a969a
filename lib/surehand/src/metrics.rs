//! What a function counts and measures, as CloudWatch metrics.
//!
//! A handler takes [`Metrics`] as an argument. The counts leave the function as lines of its log, in CloudWatch's
//! embedded metric format, so that no call is made for them. They have a namespace from the variable
//! `SUREHAND_METRICS_NAMESPACE`, or from [`Function::metrics`](crate::Function::metrics) with an [`Emf`]. The names,
//! units and dimensions of what Surehand itself counts are in `docs/telemetry.md`.

mod blob;
mod collector;
pub(crate) mod names;
mod unit;

pub(crate) use collector::{Collector, CountedAs};
pub use unit::Unit;

use crate::{BoxError, Result, environment};
use std::{fmt, io::Write, sync::Arc};

/// The destination of a function's metrics.
///
/// Unless [`Function::metrics`](crate::Function::metrics) sets it, the environment decides: with
/// `SUREHAND_METRICS_NAMESPACE` the metrics of each invocation are written to standard output under
/// that namespace; without it there are none.
#[derive(Clone)]
pub struct Emf {
    namespace: String,
    service: Option<String>,
    write: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Emf {
    /// Writes metrics to standard output under a namespace: 1 to 255 letters, digits and `.-_/#: `.
    ///
    /// Their `service` is as in the log: `SUREHAND_SERVICE_NAME`, else `OTEL_SERVICE_NAME`, else the function's name.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            service: environment::service(|name| std::env::var(name).ok()),
            write: Arc::new(|line| {
                // Each line is one write, so that the output of another thread cannot come in
                // between. If it fails, there is no place to report it.
                let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
            }),
        }
    }

    /// Sets the dimension `service`.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Passes each line, without its line end, to `write` instead of standard output.
    pub fn write_to(mut self, write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.write = Arc::new(write);
        self
    }

    /// Returns the destination that the environment asks for, if any.
    pub(crate) fn from_env() -> Option<Self> {
        environment::optional(NAMESPACE).map(Self::new)
    }

    /// CloudWatch silently drops the metrics of an invalid namespace, so it is checked here.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        let name = &self.namespace;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
        let is_valid = !name.trim().is_empty()
            && name.len() <= names::MAX_NAME
            && name.chars().all(is_allowed)
            && !name.starts_with(':')
            && !name.starts_with("AWS/");
        if is_valid {
            return Ok(());
        }
        Err(format!("the metrics' namespace `{name}` is not valid: set {NAMESPACE} to 1 to 255 letters, digits and `.-_/#: ` that do not begin with `AWS/`").into())
    }
}

/// The variable that turns metrics on.
pub(crate) const NAMESPACE: &str = "SUREHAND_METRICS_NAMESPACE";

impl From<&str> for Emf {
    fn from(namespace: &str) -> Self {
        Self::new(namespace)
    }
}

impl From<String> for Emf {
    fn from(namespace: String) -> Self {
        Self::new(namespace)
    }
}

impl fmt::Debug for Emf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emf")
            .field("namespace", &self.namespace)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// A handler's own metrics. A handler takes it as an argument.
///
/// ```
/// use surehand::{Metrics, metrics::Unit};
///
/// async fn pack(metrics: Metrics) -> surehand::Result<()> {
///     metrics.count("ParcelsPacked", 1);
///     metrics.with("carrier", "post").record("ParcelWeight", 2.5, Unit::None);
///     Ok(())
/// }
/// ```
///
/// They have the dimensions `service` and `function`, and are written with the metrics of the
/// invocation, whether or not the record succeeds: a repeated attempt counts again. If the function
/// has no metrics, nothing happens.
///
/// Metrics that CloudWatch would not take are left out, with a line in the log: names that are
/// empty or used by Surehand, values that are not finite or beyond 2^360, more than 28 dimensions, more
/// than 500 metrics in an invocation. Every value of a dimension makes a separate metric, which
/// CloudWatch charges for: do not use ids as values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    collector: Option<Arc<Collector>>,
    dimensions: Vec<(String, String)>,
}

impl Metrics {
    /// Starts the metrics of one invocation, which are written when the [`Flush`] is dropped.
    pub(crate) fn start(emf: Option<&Emf>, start: Start<'_>) -> (Self, Flush) {
        let collector = emf.map(|emf| Arc::new(Collector::new(emf, start)));
        let metrics = Self {
            collector: collector.clone(),
            dimensions: Vec::new(),
        };
        (metrics, Flush(collector))
    }

    /// Adds to a count. The invocation's sum is written as one value.
    pub fn count(&self, name: &str, amount: u64) {
        if let Some(collector) = &self.collector {
            collector.count(name, &self.dimensions, amount as f64);
        }
    }

    /// Records a measurement. Each is written as a value of its own, so that CloudWatch can compute
    /// percentiles.
    pub fn record(&self, name: &str, value: f64, unit: Unit) {
        if let Some(collector) = &self.collector {
            collector.measure(name, &self.dimensions, value, unit);
        }
    }

    /// Returns the same metrics with one more dimension. What it counts is a metric of its own,
    /// with the dimensions `service`, `function` and this one.
    #[must_use]
    pub fn with(&self, dimension: &str, value: &str) -> Self {
        let mut metrics = self.clone();
        if metrics.collector.is_some() {
            metrics.dimensions.retain(|(name, _)| name != dimension);
            let dimension = (dimension.to_owned(), value.to_owned());
            metrics.dimensions.push(dimension);
        }
        metrics
    }

    pub(crate) fn collector(&self) -> Option<&Arc<Collector>> {
        self.collector.as_ref()
    }
}

/// The initial values of an invocation's metrics.
pub(crate) struct Start<'a> {
    pub(crate) function: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) is_cold: bool,
    /// The time in milliseconds since the epoch.
    pub(crate) now_ms: u64,
}

/// Writes an invocation's metrics when it is dropped, and so also if the invocation fails, panics
/// or is cut off.
pub(crate) struct Flush(Option<Arc<Collector>>);

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(collector) = &self.0 {
            collector.flush();
        }
    }
}
