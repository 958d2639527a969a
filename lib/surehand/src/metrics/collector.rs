//! What was counted and measured in one invocation.

use super::{
    Unit,
    blob::{self, Constant, Series, Values},
    emf::Emf,
    names::{self, Name},
};
use crate::ErrorKind;
use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The initial values of an invocation's metrics.
pub(crate) struct Start<'a> {
    pub(crate) function: &'a str,
    pub(crate) request_id: &'a str,
    /// The function's version, as Lambda calls it.
    pub(crate) version: &'a str,
    pub(crate) is_cold: bool,
    /// The time in milliseconds since the epoch.
    pub(crate) now_ms: u64,
    /// The detail-types that the function's handlers say they take.
    pub(crate) event_types: Arc<[String]>,
}

/// Collects the metrics of one invocation. Several invocations may run concurrently in one process.
pub(crate) struct Collector {
    emf: Emf,
    function: String,
    request_id: String,
    /// None if what runs is not published.
    version: Option<String>,
    now_ms: u64,
    event_types: Arc<[String]>,
    counted: Mutex<Counted>,
}

/// The result as which a record is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountedAs {
    Processed,
    Duplicate,
    Retried(ErrorKind),
    Parked(ErrorKind),
    Discarded(ErrorKind),
}

impl CountedAs {
    /// Returns false if no handler got the record, whose lag is then not measured.
    fn was_started(self) -> bool {
        match self {
            Self::Processed => true,
            Self::Duplicate => false,
            Self::Retried(kind) | Self::Parked(kind) | Self::Discarded(kind) => {
                !matches!(kind, ErrorKind::Malformed | ErrorKind::Skipped)
            }
        }
    }
}

#[derive(Default)]
struct Counted {
    /// Surehand's own metrics.
    ours: Vec<Series>,
    /// The handlers' own.
    own: Vec<Series>,
    is_full: bool,
}

impl Collector {
    pub(super) fn new(emf: &Emf, start: Start<'_>) -> Self {
        let mut counted = Counted::default();
        let cold = u8::from(start.is_cold);
        counted.ours(&names::COLD_START, None).add(cold.into());
        let is_published = !["", "$LATEST"].contains(&start.version);
        Self {
            emf: emf.clone(),
            function: start.function.to_owned(),
            request_id: start.request_id.to_owned(),
            version: is_published.then(|| start.version.to_owned()),
            now_ms: start.now_ms,
            event_types: start.event_types,
            counted: Mutex::new(counted),
        }
    }

    pub(crate) fn batch(&self, records: usize) {
        let mut counted = self.counted();
        counted.ours(&names::BATCH_SIZE, None).add(records as f64);
        for from_zero in [&names::PROCESSED, &names::DUPLICATES, &names::PARKED] {
            counted.ours(from_zero, None);
        }
        if let Some(version) = self.version.as_deref() {
            let all = counted.ours(&names::VERSION_RECORDS, Some(version));
            all.add(records as f64);
            counted.ours(&names::VERSION_FAILURES, Some(version));
        }
    }

    pub(crate) fn handler_ran(&self, time: Duration) {
        let mut counted = self.counted();
        let durations = counted.ours(&names::HANDLER_DURATION, None);
        durations.add(milliseconds(time));
    }

    /// Counts a record's verdict, with its lag (the time from its event to its start) and the
    /// event's type.
    pub(crate) fn record(&self, result: CountedAs, lag: Option<(Duration, Option<&str>)>) {
        let mut counted = self.counted();
        let mut count = |metric, by| counted.ours(metric, by).add(1.0);
        match result {
            CountedAs::Processed => count(&names::PROCESSED, None),
            CountedAs::Duplicate => count(&names::DUPLICATES, None),
            CountedAs::Retried(kind) | CountedAs::Discarded(kind) => {
                count(&names::FAILED, Some(kind.as_str()));
            }
            CountedAs::Parked(kind) => {
                count(&names::FAILED, Some(kind.as_str()));
                count(&names::PARKED, None);
            }
        }
        let has_failed = !matches!(result, CountedAs::Processed | CountedAs::Duplicate);
        if let Some(version) = self.version.as_deref().filter(|_| has_failed) {
            count(&names::VERSION_FAILURES, Some(version));
        }
        if let Some((lag, event_type)) = lag.filter(|_| result.was_started()) {
            counted
                .ours(&names::EVENT_LAG, event_type.map(|it| self.known(it)))
                .add(milliseconds(lag));
        }
    }

    /// The type as a dimension. It comes from another program, may be any text, and each costs as
    /// much as a metric: so only those are told apart that a handler says it takes.
    fn known<'a>(&self, event_type: &'a str) -> &'a str {
        match self.event_types.iter().any(|known| known == event_type) {
            true => event_type,
            false => names::UNKNOWN_TYPE,
        }
    }

    pub(super) fn count(&self, name: &str, dimensions: &[(String, String)], amount: f64) {
        self.counted()
            .own(name, dimensions, Unit::Count, |values| values.add(amount));
    }

    pub(super) fn measure(
        &self,
        name: &str,
        dimensions: &[(String, String)],
        value: f64,
        unit: Unit,
    ) {
        if !value.is_finite() || value.abs() > names::MAX_NUMBER {
            tracing::warn!(
                metric = name,
                value,
                "metric left out, because CloudWatch takes finite numbers between -2^360 and 2^360"
            );
            return;
        }
        self.counted()
            .own(name, dimensions, unit, |values| match values {
                Values::Each(all) => all.push(value),
                // The earlier count becomes a value like the others.
                Values::Sum(sum) => *values = Values::Each(vec![*sum, value]),
            });
    }

    /// Writes the metrics so far, and starts anew.
    pub(super) fn flush(&self) {
        let series = mem::take(&mut *self.counted()).series();
        let constant = Constant {
            namespace: &self.emf.namespace,
            service: self.emf.service.as_deref().unwrap_or(&self.function),
            function: &self.function,
            request_id: &self.request_id,
            now_ms: self.now_ms,
        };
        for line in blob::lines(&constant, &series) {
            (self.emf.write)(&line);
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tasks that a handler spawned may still count after its invocation has ended.
impl Drop for Collector {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("emf", &self.emf)
            .finish_non_exhaustive()
    }
}

impl Counted {
    /// Returns the values of one of Surehand's own metrics, with this value of its dimension.
    fn ours(&mut self, metric: &Name, by: Option<&str>) -> &mut Values {
        let by = metric.by.zip(by);
        let is_this = |series: &Series| {
            let dimension = series.dimensions.first();
            let dimension = dimension.map(|(name, value)| (name.as_str(), value.as_str()));
            series.name == metric.name && dimension == by
        };
        let place = self.ours.iter().position(is_this).unwrap_or_else(|| {
            let dimension = by.map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.ours.push(Series {
                name: metric.name.to_owned(),
                unit: metric.unit,
                dimensions: dimension.into_iter().collect(),
                is_also_without: metric.has_total,
                values: Values::none(metric.unit),
            });
            self.ours.len() - 1
        });
        &mut self.ours[place].values
    }

    fn own(
        &mut self,
        name: &str,
        dimensions: &[(String, String)],
        unit: Unit,
        add: impl FnOnce(&mut Values),
    ) {
        let is_this = |series: &&mut Series| {
            series.name == name && series.unit == unit && series.dimensions == dimensions
        };
        if let Some(series) = self.own.iter_mut().find(is_this) {
            return add(&mut series.values);
        }
        if let Some(problem) = problem(name, dimensions) {
            tracing::warn!(metric = name, problem, "metric left out");
            return;
        }
        if self.own.len() == names::MAX_SERIES {
            if !mem::replace(&mut self.is_full, true) {
                tracing::warn!(
                    metric = name,
                    limit = names::MAX_SERIES,
                    "metric left out, and so are all further ones of this invocation, because a dimension has too many values"
                );
            }
            return;
        }
        let mut series = Series {
            name: name.to_owned(),
            unit,
            dimensions: dimensions.to_vec(),
            is_also_without: false,
            values: Values::none(unit),
        };
        add(&mut series.values);
        self.own.push(series);
    }

    fn series(mut self) -> Vec<Series> {
        let has = |metric: &Name| self.ours.iter().any(|it| it.name == metric.name);
        if has(&names::BATCH_SIZE) && !has(&names::FAILED) {
            self.ours(&names::FAILED, None);
        }
        // Those of which there may be most come last.
        self.ours.sort_by_key(|it| it.name == names::EVENT_LAG.name);
        self.ours.extend(self.own);
        self.ours
    }
}

/// Returns why CloudWatch or Surehand does not take a handler's own metric; none if they do.
fn problem(name: &str, dimensions: &[(String, String)]) -> Option<&'static str> {
    let is_name = |text: &str| {
        !text.trim().is_empty()
            && text.len() <= names::MAX_NAME
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && !text.starts_with(':')
    };
    if !is_name(name) || !dimensions.iter().all(|(name, _)| is_name(name)) {
        return Some("the name is not 1 to 255 ASCII characters, or begins with a colon");
    }
    let is_ours = |text: &str| {
        names::RESERVED.contains(&text) || names::ALL.iter().any(|ours| ours.name == text)
    };
    if is_ours(name) || dimensions.iter().any(|(name, _)| is_ours(name)) {
        return Some("the name is one of Surehand's own");
    }
    if dimensions.iter().any(|(dimension, _)| dimension == name) {
        return Some("a dimension has the same name");
    }
    // Every metric has two dimensions already.
    (dimensions.len() + 2 > names::MAX_DIMENSIONS).then_some("it has more than 28 dimensions")
}

/// Converts it to milliseconds, rounded to the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
