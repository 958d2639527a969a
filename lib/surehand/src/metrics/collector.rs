//! What was counted and measured in one invocation.

use super::{
    Emf, Start, Unit,
    blob::{self, Constant, Series, Values},
    names::{self, Name},
};
use crate::ErrorKind;
use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Collects the metrics of one invocation. Several invocations may run concurrently in one process.
pub(crate) struct Collector {
    emf: Emf,
    function: String,
    request_id: String,
    now_ms: u64,
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
    is_cold: Option<bool>,
    /// None until there is a batch.
    batch_size: Option<usize>,
    processed: usize,
    duplicates: usize,
    parked: usize,
    failed: Vec<(ErrorKind, usize)>,
    durations: Vec<f64>,
    lags: Vec<(Option<String>, Vec<f64>)>,
    own: Vec<Series>,
    is_full: bool,
}

impl Collector {
    pub(super) fn new(emf: &Emf, start: Start<'_>) -> Self {
        Self {
            emf: emf.clone(),
            function: start.function.to_owned(),
            request_id: start.request_id.to_owned(),
            now_ms: start.now_ms,
            counted: Mutex::new(Counted {
                is_cold: Some(start.is_cold),
                ..Counted::default()
            }),
        }
    }

    pub(crate) fn batch(&self, records: usize) {
        self.counted().batch_size = Some(records);
    }

    pub(crate) fn handler_ran(&self, time: Duration) {
        self.counted().durations.push(milliseconds(time));
    }

    /// Counts a record's verdict, with its lag (the time from its event to its start) and the
    /// event's type.
    pub(crate) fn record(&self, result: CountedAs, lag: Option<(Duration, Option<&str>)>) {
        let mut counted = self.counted();
        match result {
            CountedAs::Processed => counted.processed += 1,
            CountedAs::Duplicate => counted.duplicates += 1,
            CountedAs::Retried(kind) | CountedAs::Discarded(kind) => counted.failed(kind),
            CountedAs::Parked(kind) => {
                counted.failed(kind);
                counted.parked += 1;
            }
        }
        if let Some((lag, event_type)) = lag.filter(|_| result.was_started()) {
            counted.lag(lag, event_type);
        }
    }

    pub(super) fn count(&self, name: &str, dimensions: &[(String, String)], amount: f64) {
        self.counted()
            .own(name, dimensions, Unit::Count, |values| match values {
                Values::Sum(sum) => *sum += amount,
                Values::Each(all) => all.push(amount),
            });
    }

    pub(super) fn measure(
        &self,
        name: &str,
        dimensions: &[(String, String)],
        value: f64,
        unit: Unit,
    ) {
        // 2 to the power of 360: of what is beyond, CloudWatch drops the whole value without a word.
        const LARGEST: f64 = f64::from_bits((360 + 1_023) << 52);
        if value.is_nan() || value.abs() > LARGEST {
            tracing::warn!(
                metric = name,
                value,
                "metric left out, because CloudWatch takes numbers from -2^360 to 2^360"
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
    fn failed(&mut self, kind: ErrorKind) {
        match self.failed.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.failed.push((kind, 1)),
        }
    }

    fn lag(&mut self, lag: Duration, event_type: Option<&str>) {
        let lag = milliseconds(lag);
        // The type comes from another program and may be any text.
        let event_type = event_type.filter(|it| {
            let is_known = |(known, _): &(Option<String>, _)| known.as_deref() == Some(it);
            self.lags.len() < names::MAX_EVENT_TYPES || self.lags.iter().any(is_known)
        });
        let of_type = self
            .lags
            .iter_mut()
            .find(|(known, _)| known.as_deref() == event_type);
        match of_type {
            Some((_, lags)) => lags.push(lag),
            None => self.lags.push((event_type.map(str::to_owned), vec![lag])),
        }
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
        let values = match unit {
            Unit::Count => Values::Sum(0.0),
            _ => Values::Each(Vec::new()),
        };
        let mut series = Series {
            name: name.to_owned(),
            unit,
            dimensions: dimensions.to_vec(),
            is_also_without: false,
            values,
        };
        add(&mut series.values);
        self.own.push(series);
    }

    fn series(self) -> Vec<Series> {
        let mut all = Vec::new();
        all.extend(self.is_cold.map(|is_cold| {
            let one = usize::from(is_cold);
            sum(&names::COLD_START, one)
        }));
        if let Some(batch_size) = self.batch_size {
            all.push(sum(&names::BATCH_SIZE, batch_size));
            all.push(sum(&names::PROCESSED, self.processed));
            all.push(sum(&names::DUPLICATES, self.duplicates));
            all.push(sum(&names::PARKED, self.parked));
            if self.failed.is_empty() {
                all.push(sum(&names::FAILED, 0));
            }
        }
        let failed = self.failed.into_iter();
        all.extend(failed.map(|(kind, count)| Series {
            dimensions: own_dimension(&names::FAILED, Some(kind.as_str())),
            ..sum(&names::FAILED, count)
        }));
        if !self.durations.is_empty() {
            all.push(each(&names::HANDLER_DURATION, self.durations));
        }
        let lags = self.lags.into_iter();
        all.extend(lags.map(|(event_type, lags)| Series {
            dimensions: own_dimension(&names::EVENT_LAG, event_type.as_deref()),
            ..each(&names::EVENT_LAG, lags)
        }));
        all.extend(self.own);
        all
    }
}

fn sum(name: &Name, count: usize) -> Series {
    series(name, Values::Sum(count as f64))
}

fn each(name: &Name, values: Vec<f64>) -> Series {
    series(name, Values::Each(values))
}

fn series(name: &Name, values: Values) -> Series {
    Series {
        name: name.name.to_owned(),
        unit: name.unit,
        dimensions: Vec::new(),
        is_also_without: true,
        values,
    }
}

fn own_dimension(name: &Name, value: Option<&str>) -> Vec<(String, String)> {
    let dimension = name.by.zip(value);
    let dimension = dimension.map(|(name, value)| (name.to_owned(), value.to_owned()));
    dimension.into_iter().collect()
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
