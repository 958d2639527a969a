//! Claims in memory, for tests and for runs without a table.

use super::{
    attempts::Attempts,
    claim::{
        AttemptEnd, AttemptFailure, AttemptHistory, AttemptStart, Begun, Claim, ClaimRequest,
        Completion, Lease,
    },
    store::Store,
};
#[cfg(feature = "dynamodb")]
use super::{
    commit::{Commit, Committed},
    store::{CommitStore, Commits},
};
#[cfg(feature = "dynamodb")]
use crate::envelope::Outgoing;
use crate::{
    Clock, IdempotencyKey, Result,
    clock::{epoch_ms, from_epoch_ms},
};
#[cfg(feature = "dynamodb")]
use aws_sdk_dynamodb::types::TransactWriteItem;
#[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
use std::collections::BTreeSet;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Keeps claims in memory. Clones share them.
///
/// It is held to the same contract as the DynamoDB store, and forgets everything with the process.
/// What transactions commit is kept as well; **the conditions of their writes are taken to hold**, since there are no
/// items to look at. A test of those takes `testing::DynamoDb`, of the feature `testing-dynamodb`.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    items: HashMap<IdempotencyKey, Item>,
    #[cfg(feature = "dynamodb")]
    writes: Vec<TransactWriteItem>,
    #[cfg(feature = "dynamodb")]
    events: Vec<Outgoing>,
    #[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
    outbox: Vec<Waiting>,
}

/// The events that one commit left to publish.
#[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) key: IdempotencyKey,
    /// In milliseconds since the epoch.
    pub(crate) since: u64,
    pub(crate) events: Vec<Outgoing>,
    /// The ids of the events that were published while others were not.
    pub(crate) accepted: BTreeSet<String>,
    pub(crate) is_published: bool,
}

#[derive(Clone, Debug)]
struct Item {
    owner: String,
    fingerprint: String,
    /// In seconds since the epoch, as the table keeps it.
    expires_at: u64,
    attempts: Attempts,
    /// When the last attempt began, also if it has completed the key, in milliseconds since the epoch.
    attempted_at: u64,
    interrupted: Option<u64>,
    /// When the attempt without a lease began that ended last.
    ended_at: Option<u64>,
    status: Status,
    last_error: Option<String>,
}

#[derive(Clone, Debug)]
enum Status {
    /// Until so many milliseconds after the epoch, as the table keeps it.
    InProgress {
        until: u64,
    },
    /// An attempt that holds no lease has so long.
    Begun {
        until: u64,
    },
    Released,
    Completed {
        data: Option<String>,
    },
}

impl Item {
    /// The attempts that count for one that is made now.
    fn attempts(&self, now_ms: u64) -> Attempts {
        match self.is_expired(now_ms) {
            true => Attempts::default(),
            false => self.attempts.clone(),
        }
    }

    fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at < now_ms / 1000
    }

    /// When the last attempt had to end, unless it has.
    fn until(&self) -> Option<u64> {
        match self.status {
            Status::InProgress { until } | Status::Begun { until } => Some(until),
            Status::Released | Status::Completed { .. } => None,
        }
    }

    /// Why the key cannot be claimed, if it cannot.
    fn taken(&self, now_ms: u64) -> Option<Claim> {
        if self.is_expired(now_ms) {
            return None;
        }
        match &self.status {
            Status::Completed { data } => Some(Claim::Completed(Completion {
                data: data.clone(),
                fingerprint: Some(self.fingerprint.clone()),
                expires_at: from_epoch_ms(self.expires_at * 1000),
            })),
            Status::InProgress { until } if *until >= now_ms => Some(Claim::Held {
                until: Some(from_epoch_ms(*until)),
            }),
            Status::InProgress { .. } | Status::Begun { .. } | Status::Released => None,
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same claims, seen through another clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many keys are completed.
    pub fn completed(&self) -> usize {
        let completed = |item: &&Item| matches!(item.status, Status::Completed { .. });
        self.state().items.values().filter(completed).count()
    }

    /// The last error that was kept with the key.
    pub fn last_error(&self, key: &IdempotencyKey) -> Option<String> {
        self.state().items.get(key)?.last_error.clone()
    }

    /// The effects that transactions committed, in order.
    #[cfg(feature = "dynamodb")]
    pub fn writes(&self) -> Vec<TransactWriteItem> {
        self.state().writes.clone()
    }

    /// The events that transactions committed, in order.
    #[cfg(feature = "dynamodb")]
    pub fn events(&self) -> Vec<Outgoing> {
        self.state().events.clone()
    }

    /// What commits left to publish, in their order.
    #[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
    pub(crate) fn outbox(&self) -> Vec<Waiting> {
        self.state().outbox.clone()
    }

    /// Takes events out that were accepted, of those that have waited since then.
    #[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
    pub(crate) fn accepted(&self, key: &str, since: u64, ids: Vec<String>) {
        let mut state = self.state();
        let is_meant = |it: &&mut Waiting| it.key.as_str() == key && it.since == since;
        if let Some(waiting) = state.outbox.iter_mut().find(is_meant) {
            waiting.accepted.extend(ids);
        }
    }

    /// Marks the events of a key that have waited since then.
    #[cfg(any(all(test, feature = "dynamodb"), feature = "testing"))]
    pub(crate) fn mark_published(&self, key: &str, since: u64) {
        let mut state = self.state();
        let is_meant = |it: &&mut Waiting| it.key.as_str() == key && it.since == since;
        for waiting in state.outbox.iter_mut().filter(is_meant) {
            waiting.is_published = true;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole items behind: each is written in one go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, lease: &Lease, change: impl FnOnce(&mut Item) -> Result<()>) -> Result<()> {
        let state = &mut *self.state();
        match state.items.get_mut(&lease.key) {
            Some(item) if item.owner == lease.owner => change(item),
            _ => Err(lease.fenced()),
        }
    }
}

impl Store for MemoryStore {
    #[cfg(feature = "dynamodb")]
    const COMMITS: Commits<Self> = Commits::with_claims();

    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let now_ms = epoch_ms(self.clock.now());
        let state = &mut *self.state();
        let (mut attempts, mut last_error, mut interrupted) = (Attempts::default(), None, None);
        if let Some(item) = state.items.get(&request.key) {
            match item.taken(now_ms) {
                // The claim in its way is its own: the answer was lost, and the call repeated.
                Some(Claim::Held { .. }) if item.owner == request.owner => {
                    return Ok(Claim::Acquired(Lease {
                        key: request.key.clone(),
                        owner: item.owner.clone(),
                        attempt: item.attempts.begun,
                        interrupted: item.interrupted.map(from_epoch_ms),
                    }));
                }
                Some(taken) => return Ok(taken),
                None => {}
            }
            attempts = item.attempts(now_ms).of(&request.sending);
            if attempts.are_suspect(request.limit) {
                let until = item.until().map(from_epoch_ms);
                return Ok(Claim::Suspect(attempts.suspect(until)));
            }
            last_error = item.last_error.clone();
            // Of what is forgotten no attempt is left whose end could be unknown.
            if let Status::InProgress { until } = item.status
                && !item.is_expired(now_ms)
            {
                interrupted = Some(until);
            }
        }
        let attempts = attempts.of(&request.sending).and_begin(now_ms);
        let attempt = attempts.begun;
        let item = Item {
            owner: request.owner.clone(),
            fingerprint: request.fingerprint.clone(),
            expires_at: epoch_ms(request.expires_at) / 1000,
            attempts,
            attempted_at: now_ms,
            interrupted,
            ended_at: None,
            status: Status::InProgress {
                until: epoch_ms(request.until),
            },
            last_error,
        };
        state.items.insert(request.key.clone(), item);
        Ok(Claim::Acquired(Lease {
            key: request.key.clone(),
            owner: request.owner.clone(),
            attempt,
            interrupted: interrupted.map(from_epoch_ms),
        }))
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        self.update(lease, |item| {
            item.status = Status::Completed {
                data: data.map(str::to_owned),
            };
            item.expires_at = epoch_ms(expires_at) / 1000;
            item.attempts = Attempts::default();
            Ok(())
        })
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        let now_ms = epoch_ms(self.clock.now());
        Ok(self
            .state()
            .items
            .get(key)
            .and_then(|item| item.taken(now_ms)))
    }

    async fn begin(&self, start: &AttemptStart) -> Result<Begun> {
        let now_ms = epoch_ms(self.clock.now());
        let (at, until) = (epoch_ms(start.at), epoch_ms(start.until));
        let state = &mut *self.state();
        let old = state.items.get(&start.key);
        let mut attempts = Attempts::default();
        if let Some(item) = old {
            if let Some(taken) = item.taken(now_ms) {
                return Ok(Begun::Taken(taken));
            }
            attempts = item.attempts(now_ms).of(&start.sending);
            // The answer was lost, and the call repeated.
            if attempts.at_ms == at
                && matches!(item.status, Status::Begun { until: it } if it == until)
            {
                return Ok(Begun::Begun {
                    number: Some(attempts.begun),
                });
            }
            if attempts.are_suspect(start.limit) {
                let suspect = attempts.suspect(item.until().map(from_epoch_ms));
                return Ok(Begun::Taken(Claim::Suspect(suspect)));
            }
        }
        let attempts = attempts.of(&start.sending).and_begin(at);
        let number = Some(attempts.begun);
        let status = Status::Begun { until };
        let item = without_lease(old, start, attempts, status, None);
        state.items.insert(start.key.clone(), item);
        Ok(Begun::Begun { number })
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        let now_ms = epoch_ms(self.clock.now());
        let start = &failure.start;
        let at = epoch_ms(start.at);
        let state = &mut *self.state();
        let old = state.items.get(&start.key);
        let mut attempts = Attempts::default();
        if let Some(item) = old {
            match item.taken(now_ms) {
                Some(taken @ Claim::Completed(_)) => return Ok(Begun::Taken(taken)),
                // Whoever holds the key counts for itself.
                Some(_) => return Ok(Begun::Begun { number: None }),
                None => {}
            }
            attempts = item.attempts(now_ms).of(&start.sending);
            // The answer was lost, and the call repeated.
            if item.ended_at == Some(at) {
                return Ok(Begun::Begun {
                    number: Some(attempts.begun),
                });
            }
        }
        let attempts = attempts.of(&start.sending);
        let is_last = old.is_some_and(|item| {
            item.attempts.at_ms == at && matches!(item.status, Status::Begun { .. })
        });
        let (has_begun, counts) = (failure.has_begun, failure.counts);
        // What the attempt began with is gone, or it has never begun.
        if (has_begun && attempts.begun == 0) || (!has_begun && !counts && !is_last) {
            return Ok(Begun::Begun { number: None });
        }
        let attempts = match has_begun || !counts {
            true => attempts.and_end(counts),
            false => attempts.and_begin(at).and_end(counts),
        };
        let number = Some(attempts.begun);
        let error = Some(failure.error.clone());
        let mut item = match old {
            // Another one has begun since, and goes on.
            Some(old) if has_begun && !is_last => Item {
                attempts,
                last_error: error,
                ..old.clone()
            },
            old => without_lease(old, start, attempts, Status::Released, error),
        };
        item.ended_at = Some(at);
        state.items.insert(start.key.clone(), item);
        Ok(Begun::Begun { number })
    }

    async fn history(&self, key: &IdempotencyKey) -> Result<Option<AttemptHistory>> {
        Ok(self.state().items.get(key).map(|item| AttemptHistory {
            attempts: item.attempts.begun,
            unended: item.attempts.deaths(),
            started_at: Some(from_epoch_ms(item.attempted_at)),
            deadline: item.until().map(from_epoch_ms),
            last_error: item.last_error.clone(),
            end: match item.status {
                Status::Completed { .. } => AttemptEnd::Completed,
                Status::Released => AttemptEnd::Released,
                Status::InProgress { .. } | Status::Begun { .. } => AttemptEnd::Unknown,
            },
        }))
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        let now_ms = epoch_ms(self.clock.now());
        self.update(lease, |item| {
            let Status::InProgress { until } = &mut item.status else {
                return Err(lease.fenced());
            };
            // It still holds in the millisecond in which it ends.
            *until = now_ms.saturating_sub(1).min(*until);
            item.last_error = Some(error.to_owned());
            Ok(())
        })
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        self.update(lease, |item| {
            match item.status {
                Status::InProgress { .. } => {}
                Status::Released => return Ok(()),
                Status::Completed { .. } | Status::Begun { .. } => return Err(lease.fenced()),
            }
            item.status = Status::Released;
            item.attempts = std::mem::take(&mut item.attempts).and_end(counts);
            item.last_error = Some(error.to_owned());
            Ok(())
        })
    }
}

/// What is kept of an attempt that claims its key only with its commit.
fn without_lease(
    old: Option<&Item>,
    start: &AttemptStart,
    attempts: Attempts,
    status: Status,
    error: Option<String>,
) -> Item {
    Item {
        // Whose lease ended by itself may still complete it.
        owner: old.map(|item| item.owner.clone()).unwrap_or_default(),
        fingerprint: start.fingerprint.clone(),
        expires_at: epoch_ms(start.expires_at) / 1000,
        attempts,
        attempted_at: epoch_ms(start.at),
        interrupted: None,
        ended_at: None,
        status,
        last_error: error.or_else(|| old.and_then(|item| item.last_error.clone())),
    }
}

#[cfg(feature = "dynamodb")]
impl CommitStore for MemoryStore {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        let state = &mut *self.state();
        if let Some(item) = state.items.get(commit.key) {
            if item.owner == commit.owner {
                return Ok(Committed::Done);
            }
            match item.taken(epoch_ms(commit.now)) {
                Some(Claim::Completed(completion)) => return Ok(Committed::Completed(completion)),
                Some(Claim::Held { until }) => return Ok(Committed::Held { until }),
                Some(Claim::Acquired(_) | Claim::Suspect(_)) | None => {}
            }
        }
        let item = Item {
            owner: commit.owner.to_owned(),
            fingerprint: commit.fingerprint.to_owned(),
            expires_at: epoch_ms(commit.expires_at) / 1000,
            attempts: Attempts::default(),
            attempted_at: epoch_ms(commit.now),
            interrupted: None,
            ended_at: None,
            status: Status::Completed {
                data: commit.data.map(str::to_owned),
            },
            last_error: None,
        };
        state.items.insert(commit.key.clone(), item);
        state.writes.extend_from_slice(commit.writes);
        state.events.extend_from_slice(commit.events);
        #[cfg(any(test, feature = "testing"))]
        if !commit.events.is_empty() {
            state.outbox.push(Waiting {
                key: commit.key.clone(),
                since: epoch_ms(commit.now),
                events: commit.events.to_vec(),
                accepted: BTreeSet::new(),
                is_published: false,
            });
        }
        Ok(Committed::Done)
    }
}
