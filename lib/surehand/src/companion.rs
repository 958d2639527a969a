//! What the library knows of an attempt at a record, and hands along with it.

#[cfg(feature = "dynamodb")]
use crate::stage::Stage;
use crate::{IdempotencyKey, Metrics};
use futures_util::future::BoxFuture;
use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::time::Instant;

/// What accompanies a record from the batch to its handler. It is empty for a record outside a
/// function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Companion {
    /// The invocation's metrics.
    pub(crate) metrics: Metrics,
    /// Whether the claim is committed together with the handler's effects, rather than made before.
    #[cfg_attr(
        not(feature = "dynamodb"),
        expect(dead_code, reason = "only a DynamoDB transaction commits")
    )]
    pub(crate) commits: bool,
    /// How many attempts are made at the record; none if it cannot be parked then.
    pub(crate) limit: Option<u32>,
    /// Whether a record that cannot be read comes back.
    #[cfg_attr(
        not(feature = "dynamodb"),
        expect(dead_code, reason = "only a DynamoDB transaction commits")
    )]
    pub(crate) retries_malformed: bool,
    /// Whether other records are delivered with it, which its process would take along if it died.
    pub(crate) has_neighbours: bool,
    /// The key that the record is claimed under, once it is known.
    pub(crate) key: Option<IdempotencyKey>,
    /// How many events the attempt has published.
    pub(crate) published: Option<Published>,
    /// How the attempt ends.
    pub(crate) ending: Ending,
    /// The handler's stage, if the handler commits.
    #[cfg(feature = "dynamodb")]
    pub(crate) stage: Option<Stage>,
}

impl Companion {
    /// Makes the companion of an attempt that begins.
    pub(crate) fn new(metrics: Metrics, commits: bool) -> Self {
        Self {
            metrics,
            commits,
            published: Some(Published::default()),
            ..Self::default()
        }
    }
}

impl Companion {
    /// Whether it accompanies an attempt; not so for a record that nobody handles in a function.
    pub(crate) fn is_of_an_attempt(&self) -> bool {
        self.published.is_some()
    }

    /// The handler is called. A layer may call it more than once, and of what an earlier call staged
    /// and published nothing counts.
    pub(crate) fn handler_called(&self) {
        if let Some(published) = &self.published {
            published.begin();
        }
        #[cfg(feature = "dynamodb")]
        if let Some(stage) = &self.stage {
            stage.begin();
        }
    }
}

/// What whoever settles a record has to know of the attempt's end.
#[derive(Clone, Default)]
pub(crate) struct Ending(Arc<EndingState>);

#[derive(Default)]
struct EndingState {
    /// When the handler was first called, or the layers around it.
    called: OnceLock<Instant>,
    /// Calls of the handler that began and did not return.
    open: AtomicU32,
    count: Mutex<Count>,
    once_parked: Mutex<Option<BoxFuture<'static, ()>>>,
}

/// Who counts the attempts at a record.
#[derive(Clone, Copy, Default)]
enum Count {
    /// Its source.
    #[default]
    Source,
    /// The store that keeps its claim; none of this one, or not yet.
    Claims(Option<u32>),
    /// This one is left for later, after so many that never ended.
    Suspect(u32),
}

/// A call of the handler that has begun. Dropped before it has returned, its end is not known: it was
/// stopped at the deadline, or by a layer, at any of its awaits.
pub(crate) struct Call(Ending);

impl Ending {
    /// The handler is called, or a layer around it. Returns when that happened first in this attempt.
    pub(crate) fn called(&self) -> Instant {
        *self.0.called.get_or_init(Instant::now)
    }

    pub(crate) fn was_called(&self) -> bool {
        self.0.called.get().is_some()
    }

    pub(crate) fn call_begins(&self) -> Call {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    /// Whether a call of the handler was stopped, so that nobody knows what it has done.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }

    /// The attempts are counted with the record's claim, and this one is not, unless that is said later.
    pub(crate) fn is_counted_by_claims(&self) {
        *self.count() = Count::Claims(None);
    }

    /// The claim counts this attempt; the source does, if it has no number.
    pub(crate) fn counts(&self, number: Option<u32>) {
        *self.count() = number.map_or(Count::Source, |number| Count::Claims(Some(number)));
    }

    /// The record is a suspect, whose turn comes later.
    pub(crate) fn is_suspect(&self, deaths: u32) {
        *self.count() = Count::Suspect(deaths);
    }

    /// How many attempts of the record never ended, if this one is left for later.
    pub(crate) fn suspect(&self) -> Option<u32> {
        match *self.count() {
            Count::Suspect(deaths) => Some(deaths),
            Count::Source | Count::Claims(_) => None,
        }
    }

    /// Which attempt this is, if it is counted.
    pub(crate) fn attempt(&self, receives: u32) -> Option<u32> {
        match *self.count() {
            Count::Source => Some(receives),
            Count::Claims(number) => number,
            Count::Suspect(_) => None,
        }
    }

    /// Whether somebody counts how often the record is tried; its source does by its receives.
    pub(crate) fn is_counted(&self, receive_count: u32) -> bool {
        matches!(*self.count(), Count::Claims(Some(_))) || receive_count > 0
    }

    fn count(&self) -> std::sync::MutexGuard<'_, Count> {
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what is done once the record's dead letter is where it belongs.
    pub(crate) fn once_parked(&self, settle: BoxFuture<'static, ()>) {
        *self.settle() = Some(settle);
    }

    pub(crate) fn parked(&self) -> Option<BoxFuture<'static, ()>> {
        mem::take(&mut *self.settle())
    }

    fn settle(&self) -> std::sync::MutexGuard<'_, Option<BoxFuture<'static, ()>>> {
        let settle = &self.0.once_parked;
        settle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(crate) fn returned(self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending")
            .field("is_unknown", &self.is_unknown())
            .finish_non_exhaustive()
    }
}

/// How many events of each source and type an attempt at a record has published. All publishers of
/// the attempt share it, so that no two of its events get the same id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    counts: HashMap<EventType, u32>,
    /// Those of when the handler was first called.
    begun: Option<HashMap<EventType, u32>>,
}

/// Source and detail-type.
type EventType = (String, String);

impl Published {
    fn begin(&self) {
        let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match published.begun.clone() {
            Some(begun) => published.counts = begun,
            None => published.begun = Some(published.counts.clone()),
        }
    }

    /// Returns the ordinal, from 0, of the next event of a type.
    pub(crate) fn next(&self, source: &str, detail_type: &str) -> u32 {
        let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = published
            .counts
            .entry((source.to_owned(), detail_type.to_owned()))
            .or_default();
        let ordinal = *count;
        *count += 1;
        ordinal
    }
}
