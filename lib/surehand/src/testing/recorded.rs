//! Destinations that keep what they get.

use crate::{
    Delivery, Error, Event, Record, Result,
    dead_letter::{DeadLetters, FailureNote},
    envelope::Outgoing,
    metrics::Emf,
    publish::{PublishError, Transport},
    redelivery::Redelivery,
};
use futures_util::future::{BoxFuture, ready};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A dead-letter destination in memory. Clones share the records.
#[derive(Clone, Debug, Default)]
pub struct RecordedDeadLetters {
    parked: Arc<Mutex<Vec<(Record, FailureNote)>>>,
    refuses: bool,
}

impl RecordedDeadLetters {
    /// Makes an empty destination.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a destination that refuses every record.
    pub fn refusing() -> Self {
        Self {
            refuses: true,
            ..Self::default()
        }
    }

    /// Returns what was parked, in order.
    pub fn parked(&self) -> Vec<(Record, FailureNote)> {
        lock(&self.parked).clone()
    }

    /// Returns the id of each parked record with the kind of its failure, sorted by id.
    pub fn kinds(&self) -> Vec<(String, String)> {
        let mut kinds: Vec<_> = lock(&self.parked)
            .iter()
            .map(|(record, note)| (record.id().to_owned(), note.kind.clone()))
            .collect();
        kinds.sort();
        kinds
    }
}

impl DeadLetters for RecordedDeadLetters {
    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
        if self.refuses {
            return Box::pin(ready(Err(Error::transient(
                "this destination refuses every record",
            ))));
        }
        lock(&self.parked).push((record.clone(), note.clone()));
        Box::pin(ready(Ok(())))
    }
}

/// Records the delays after which records are to be delivered again. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecordedRedelivery {
    delays: Arc<Mutex<Vec<(Delivery, Duration)>>>,
}

impl RecordedRedelivery {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the message ids with their delays, in order.
    pub fn delays(&self) -> Vec<(String, Duration)> {
        lock(&self.delays)
            .iter()
            .map(|(delivery, delay)| (delivery.message_id.clone(), *delay))
            .collect()
    }
}

impl Redelivery for RecordedRedelivery {
    fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>> {
        lock(&self.delays).extend_from_slice(records);
        Box::pin(ready(Ok(())))
    }
}

/// Records the events that a [`Publisher`](crate::Publisher) sends:
/// `Publisher::new(recorded.clone())`. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecordedEvents {
    sent: Arc<Mutex<Vec<Outgoing>>>,
}

impl RecordedEvents {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what was sent, in order.
    pub fn sent(&self) -> Vec<Outgoing> {
        lock(&self.sent).clone()
    }

    /// Returns the data of the events of one type, in order.
    ///
    /// # Panics
    /// If the data does not decode as the type that it was made from.
    pub fn of_type<E: Event>(&self) -> Vec<E> {
        let sent = lock(&self.sent);
        let ours = sent
            .iter()
            .filter(|event| event.source() == E::SOURCE && event.detail_type() == E::DETAIL_TYPE);
        ours.map(|event| serde_json::from_str(event.data()).expect("an event reads what it wrote"))
            .collect()
    }
}

impl Transport for RecordedEvents {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        lock(&self.sent).extend_from_slice(events);
        Box::pin(ready(Ok(())))
    }
}

/// Records the metrics that a function writes: `function.metrics(recorded.emf("Shop"))`. Clones
/// share them.
#[derive(Clone, Debug, Default)]
pub struct RecordedMetrics {
    lines: Arc<Mutex<Vec<String>>>,
}

impl RecordedMetrics {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the destination for a function's metrics.
    pub fn emf(&self, namespace: &str) -> Emf {
        let lines = Arc::clone(&self.lines);
        Emf::new(namespace).write_to(move |line| lock(&lines).push(line.to_owned()))
    }

    /// Returns what was written, in CloudWatch's embedded metric format, line by line.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    /// Returns every value of a metric so far, in order; with a dimension, only the values that
    /// have it.
    ///
    /// # Panics
    /// If a line is not JSON, which would be a bug in Surehand.
    pub fn values(&self, name: &str, dimension: Option<(&str, &str)>) -> Vec<f64> {
        let mut values = Vec::new();
        for line in lock(&self.lines).iter() {
            let line: Value = serde_json::from_str(line).expect("metrics are JSON");
            let has_dimension = dimension.is_none_or(|(name, value)| line[name] == value);
            match &line[name] {
                Value::Array(all) if has_dimension => {
                    values.extend(all.iter().filter_map(Value::as_f64));
                }
                one if has_dimension => values.extend(one.as_f64()),
                _ => {}
            }
        }
        values
    }

    /// Returns the sum of a metric's [values](Self::values).
    pub fn sum(&self, name: &str, dimension: Option<(&str, &str)>) -> f64 {
        self.values(name, dimension).iter().sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
