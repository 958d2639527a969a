//! Claims in memory, and commits that are proposed to whoever rehearses.

use super::staged;
use crate::{
    DynamoDbStore, Error, ErrorKind, IdempotencyKey, MemoryStore, Result,
    idempotency::{
        AttemptFailure, AttemptStart, Begun, Claim, ClaimRequest, Commit, CommitStore, Commits,
        Committed, Completion, Lease, Store,
    },
    rehearsal::{Proposal, ProposedWrite, Ruling},
};
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// Asks what would come of a transaction.
pub(crate) type Ask = Arc<dyn Fn(Proposal) -> Result<Ruling> + Send + Sync>;

/// Clones share their claims.
#[derive(Clone, Default)]
pub(crate) struct RehearsalStore {
    claims: MemoryStore,
    /// If there is nobody to ask, every condition is taken to hold.
    ask: Option<Ask>,
    staged: Arc<Mutex<Staged>>,
}

/// What was staged since it was asked for.
#[derive(Default)]
pub(super) struct Staged {
    /// One for each write and each event, in words.
    pub(super) lines: Vec<String>,
    /// How many conditions nobody has looked at.
    pub(super) conditions: usize,
}

impl RehearsalStore {
    pub(super) fn asking(&self, ask: Option<Ask>) -> Self {
        Self {
            ask,
            ..self.clone()
        }
    }

    pub(super) fn take_staged(&self) -> Staged {
        mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, writes: &[ProposedWrite], commit: &Commit<'_>) {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let events = commit.events.iter().map(staged::event);
        staged
            .lines
            .extend(writes.iter().map(ToString::to_string).chain(events));
        if self.ask.is_none() {
            staged.conditions += writes.iter().filter(|it| it.has_condition()).count();
        }
    }
}

impl CommitStore for RehearsalStore {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        match self.claims.find(commit.key).await? {
            Some(Claim::Completed(completion)) => return Ok(Committed::Completed(completion)),
            Some(Claim::Held { until }) => return Ok(Committed::Held { until }),
            Some(Claim::Acquired(_) | Claim::Suspect(_)) | None => {}
        }
        let writes: Vec<ProposedWrite> = commit.writes.iter().map(staged::proposed).collect();
        self.note(&writes, commit);
        DynamoDbStore::takes(commit)?;
        if let Some(ask) = &self.ask {
            let proposal = Proposal {
                key: commit.key.as_str().to_owned(),
                fingerprint: commit.fingerprint.to_owned(),
                writes,
            };
            match ask(proposal)? {
                Ruling::Committed => {}
                Ruling::Completed { fingerprint } => {
                    return Ok(Committed::Completed(Completion {
                        data: None,
                        fingerprint,
                        expires_at: commit.expires_at,
                    }));
                }
                Ruling::Refused { write, item } if write < commit.writes.len() => {
                    let item = item.map(staged::item).transpose()?;
                    return Ok(Committed::Refused { write, item });
                }
                Ruling::Refused { write, .. } => {
                    return Err(unknown(format!(
                        "the ruling is about write {write}, and {} were proposed",
                        commit.writes.len()
                    )));
                }
                Ruling::Unknown { reason } => return Err(unknown(reason)),
            }
        }
        let claim = Commit {
            writes: &[],
            events: &[],
            ..commit.clone()
        };
        self.claims.commit(&claim).await
    }
}

fn unknown(reason: String) -> Error {
    Error::new(ErrorKind::Store, reason)
}

impl Store for RehearsalStore {
    const COMMITS: Commits<Self> = Commits::with_claims();

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.claims.claim(request).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        self.claims.complete(lease, data, expires_at).await
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        self.claims.release(lease, counts, error).await
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        self.claims.abandon(lease, error).await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        self.claims.find(key).await
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Begun> {
        self.claims.begin(attempt).await
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        self.claims.failed(failure).await
    }
}
