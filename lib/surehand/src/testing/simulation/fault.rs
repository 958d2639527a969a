//! What can go wrong, and how often.

use std::collections::{BTreeMap, BTreeSet};

/// A fault in a simulated run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A standard queue delivers a message that is being handled, or one that was deleted.
    Duplicate,
    /// A process dies, at any point at which one of its invocations waits. Its leases stay.
    Kill,
    /// An invocation makes no progress, and Lambda ends it and its process at its deadline.
    Timeout,
    /// A process stands still, for seconds or for longer than its leases, and then goes on.
    Freeze,
    /// A process's clock is up to 900 ms ahead or behind.
    ClockSkew,
    /// The store refuses a call, which has no effect.
    StoreRefuses,
    /// A call to the store takes effect, but its caller gets an error.
    StoreAnswerLost,
    /// A call to the store never gets an answer and has no effect.
    StoreHangs,
    /// A call to the store takes effect after its caller has given up.
    StoreLate,
    /// A call to the store takes seconds.
    StoreSlow,
    /// A commit meets another transaction, or a throttled table.
    StoreConflict,
    /// The dead-letter queue refuses a message.
    ParkRefused,
    /// The dead-letter queue accepts a message, but its sender gets an error.
    ParkAnswerLost,
    /// The dead-letter queue never answers and does not accept the message.
    ParkHangs,
    /// The visibility timeouts of some messages of a call are not changed, and its caller gets an
    /// error.
    DelayRefused,
    /// A published event is refused, and so are those after it in the same call.
    PublishRefused,
    /// Published events are accepted, but their publisher gets an error.
    PublishAnswerLost,
    /// A call that publishes never gets an answer, and no event is published.
    PublishHangs,
    /// An event is refused for good: each time, and alone.
    PublishRefusedForGood,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 19] = [
        Self::Duplicate,
        Self::Kill,
        Self::Timeout,
        Self::Freeze,
        Self::ClockSkew,
        Self::StoreRefuses,
        Self::StoreAnswerLost,
        Self::StoreHangs,
        Self::StoreLate,
        Self::StoreSlow,
        Self::StoreConflict,
        Self::ParkRefused,
        Self::ParkAnswerLost,
        Self::ParkHangs,
        Self::DelayRefused,
        Self::PublishRefused,
        Self::PublishAnswerLost,
        Self::PublishHangs,
        Self::PublishRefusedForGood,
    ];
}

/// The faults that a run may have.
///
/// The seed draws from them: each fault is part of about half of the runs, in which it is rare or
/// frequent. A run in which everything always fails would not reach interesting states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeSet<Fault>);

impl Faults {
    /// Makes a set of no faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Makes the set of all faults.
    pub fn all() -> Self {
        Self::only(Fault::ALL)
    }

    /// Makes the set of these faults.
    pub fn only(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(faults.into_iter().collect())
    }

    /// Removes a fault from the set.
    pub fn without(mut self, fault: Fault) -> Self {
        self.0.remove(&fault);
        self
    }
}

/// How often each fault occurs in one run.
#[derive(Debug)]
pub(super) struct Rates(BTreeMap<Fault, f64>);

impl Rates {
    pub(super) fn draw(faults: &Faults, rng: &mut fastrand::Rng) -> Self {
        const RATES: [f64; 3] = [0.03, 0.1, 0.3];
        let mut rates = BTreeMap::new();
        for fault in &faults.0 {
            if rng.bool() {
                rates.insert(*fault, RATES[rng.usize(..RATES.len())]);
            }
        }
        Self(rates)
    }

    pub(super) fn of(&self, fault: Fault) -> f64 {
        self.0.get(&fault).copied().unwrap_or_default()
    }

    pub(super) fn describe(&self) -> String {
        let rates = self.0.iter();
        let rates: Vec<String> = rates.map(|(f, rate)| format!("{f:?} {rate}")).collect();
        if rates.is_empty() {
            return "no faults".into();
        }
        rates.join(", ")
    }
}
