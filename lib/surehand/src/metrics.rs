//! What a function counts and measures, as CloudWatch metrics.
//!
//! A handler takes [`Metrics`] as an argument. The counts leave the function as lines of its log, in CloudWatch's
//! embedded metric format, so that no call is made for them. They have a namespace from the variable
//! `SUREHAND_METRICS_NAMESPACE`, or from [`Function::metrics`](crate::Function::metrics) with an [`Emf`]. The names,
//! units and dimensions of what Surehand itself counts are in `docs/telemetry.md`.

mod blob;
mod collector;
mod emf;
pub(crate) mod names;
mod unit;

pub(crate) use collector::{Collector, CountedAs, Start};
pub use emf::Emf;
pub use unit::Unit;

use std::sync::Arc;

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
