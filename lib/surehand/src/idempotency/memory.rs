//! Claims in memory, for tests and for runs without a table.

use super::{
    attempts::{AttemptFailure, AttemptStart, Attempts},
    claim::{AttemptEnd, AttemptHistory, Begun, Claim, ClaimRequest, Completion, Lease},
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
    status: Status,
    last_error: Option<String>,
}

#[derive(Clone, Debug)]
enum Status {
    /// Until so many milliseconds after the epoch, as the table keeps it.
    InProgress {
        until: u64,
    },
    /// Its lease was given back, or there was none.
    Free,
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

    /// When the last lease ends or ended, unless its owner ended it.
    fn lease_until(&self) -> Option<SystemTime> {
        match self.status {
            Status::InProgress { until } => Some(from_epoch_ms(until)),
            Status::Free | Status::Completed { .. } => None,
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
            Status::InProgress { .. } | Status::Free => None,
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
        let old = state.items.get(&request.key);
        let acquired = |attempts: &Attempts| {
            Ok(Claim::Acquired(Lease {
                key: request.key.clone(),
                owner: request.owner.clone(),
                attempt: attempts.begun,
            }))
        };
        let mut attempts = Attempts::default();
        if let Some(item) = old {
            let is_own = item.owner == request.owner && !item.is_expired(now_ms);
            match item.taken(now_ms) {
                // The answer was lost, and the call repeated.
                Some(Claim::Held { .. }) if is_own => return acquired(&item.attempts),
                Some(taken) => return Ok(taken),
                // It comes late: what it was granted is over.
                None if is_own => {
                    let until = Some(from_epoch_ms(item.attempted_at));
                    return Ok(Claim::Held { until });
                }
                None => {}
            }
            let kept = item.attempts(now_ms);
            if let until @ Some(_) = kept.are_ahead_of(now_ms, true) {
                return Ok(Claim::Held { until });
            }
            attempts = kept.of(&request.sending, &request.fingerprint);
            // Of what is forgotten no attempt is left whose end could be unknown.
            let lease = item.lease_until().filter(|_| !item.is_expired(now_ms));
            if attempts.are_suspect(request.limit) || request.minds(lease) {
                return Ok(Claim::Suspect(attempts.suspect(lease)));
            }
        }
        let attempts = attempts.of(&request.sending, &request.fingerprint);
        let attempts = attempts.and_begin(now_ms);
        let claim = acquired(&attempts);
        let item = Item {
            owner: request.owner.clone(),
            fingerprint: request.fingerprint.clone(),
            expires_at: epoch_ms(request.expires_at) / 1000,
            attempts,
            attempted_at: now_ms,
            status: Status::InProgress {
                until: epoch_ms(request.until),
            },
            last_error: old.and_then(|item| item.last_error.clone()),
        };
        state.items.insert(request.key.clone(), item);
        claim
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
        let state = &mut *self.state();
        let old = state.items.get(&start.key);
        let mut attempts = Attempts::default();
        if let Some(item) = old {
            if let Some(taken) = item.taken(now_ms) {
                return Ok(Begun::Taken(taken));
            }
            let kept = item.attempts(now_ms);
            // The answer was lost, and the call repeated.
            if kept.have_open(start) {
                return Ok(Begun::Begun {
                    number: Some(kept.begun),
                });
            }
            if let until @ Some(_) = kept.are_ahead_of(epoch_ms(start.at), false) {
                return Ok(Begun::Taken(Claim::Held { until }));
            }
            attempts = kept.of(&start.sending, &start.fingerprint);
            if attempts.are_suspect(start.limit) {
                let suspect = attempts.suspect(item.lease_until());
                return Ok(Begun::Taken(Claim::Suspect(suspect)));
            }
        }
        let attempts = attempts.of(&start.sending, &start.fingerprint);
        let attempts = attempts.and_begin_without_lease(start);
        let number = Some(attempts.begun);
        let item = without_lease(old, start, attempts, None);
        state.items.insert(start.key.clone(), item);
        Ok(Begun::Begun { number })
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        let now_ms = epoch_ms(self.clock.now());
        let start = &failure.start;
        let state = &mut *self.state();
        let old = state.items.get(&start.key);
        let taken = old.and_then(|item| item.taken(now_ms));
        if let Some(taken @ Claim::Completed(_)) = taken {
            return Ok(Begun::Taken(taken));
        }
        let kept = old.map(|item| item.attempts(now_ms)).unwrap_or_default();
        let is_open = kept.have_open(start);
        let is_last = kept.at_ms == epoch_ms(start.at);
        // Whoever holds the key counts for itself.
        let failed = match taken.is_none() || is_open {
            true => kept.clone().and_failed(failure),
            false => None,
        };
        let Some(attempts) = failed else {
            // The answer was lost, and the call repeated.
            let number = is_last.then_some(kept.begun);
            return Ok(Begun::Begun { number });
        };
        let number = Some(attempts.begun);
        let error = Some(failure.error.clone());
        let item = match old {
            // Others may have begun since, and go on.
            Some(old) if is_open => Item {
                attempts,
                last_error: error,
                ..old.clone()
            },
            old => without_lease(old, start, attempts, error),
        };
        state.items.insert(start.key.clone(), item);
        Ok(Begun::Begun { number })
    }

    async fn history(&self, key: &IdempotencyKey) -> Result<Option<AttemptHistory>> {
        Ok(self.state().items.get(key).map(|item| {
            let (attempts, lease) = (&item.attempts, item.lease_until());
            AttemptHistory {
                attempts: attempts.begun,
                unended: attempts.deaths(),
                started_at: Some(from_epoch_ms(item.attempted_at)),
                deadline: attempts.suspect(lease).until,
                last_error: item.last_error.clone(),
                end: match item.status {
                    Status::Completed { .. } => AttemptEnd::Completed,
                    Status::Free if !attempts.open.contains_key(&attempts.at_ms) => {
                        AttemptEnd::Released
                    }
                    Status::InProgress { .. } | Status::Free => AttemptEnd::Unknown,
                },
            }
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
                Status::Free => return Ok(()),
                Status::Completed { .. } => return Err(lease.fenced()),
            }
            item.status = Status::Free;
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
    error: Option<String>,
) -> Item {
    Item {
        // Whose lease ended by itself may still complete it.
        owner: old.map(|item| item.owner.clone()).unwrap_or_default(),
        fingerprint: start.fingerprint.clone(),
        expires_at: epoch_ms(start.expires_at) / 1000,
        attempted_at: attempts.at_ms,
        attempts,
        status: Status::Free,
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
