//! A store as it is over a network, and what it is seen to do.

use super::{
    fault::Fault,
    process::{Process, latency},
    world::{Effect, State, milliseconds},
};
use crate::{
    Error, ErrorKind, IdempotencyKey, Result,
    envelope::Outgoing,
    idempotency::{
        AttemptFailure, AttemptHistory, AttemptStart, Begun, Claim, ClaimRequest, Commit,
        CommitStore, Commits, Committed, Lease, Store,
    },
};
use aws_sdk_dynamodb::types::TransactWriteItem;
use std::time::{Duration, SystemTime};

/// A store with a network in front of it.
///
/// A call takes effect half-way through its time. A call that was given up may still take effect,
/// even later. Everything that the inner store answers is compared with its earlier answers.
#[derive(Clone, Debug)]
pub struct SimulatedStore<St> {
    inner: St,
    process: Process,
}

/// A call that owns its arguments, since it may outlive its caller.
#[derive(Clone, Debug)]
enum Call {
    Claim(ClaimRequest),
    Complete(Lease, Option<String>, SystemTime),
    Release(Lease, bool, String),
    Abandon(Lease, String),
    Find(IdempotencyKey),
    Begin(AttemptStart),
    Failed(AttemptFailure),
    Commit(OwnedCommit),
}

enum Answer {
    Claim(Claim),
    Changed,
    Found(Option<Claim>),
    Begun(Begun),
    Committed(Committed),
}

impl Answer {
    fn found(self) -> Result<Option<Claim>> {
        match self {
            Self::Claim(claim) => Ok(Some(claim)),
            Self::Found(claim) => Ok(claim),
            Self::Changed | Self::Begun(_) | Self::Committed(_) => Err(unavailable(OTHER)),
        }
    }

    fn begun(self) -> Result<Begun> {
        match self {
            Self::Begun(begun) => Ok(begun),
            _ => Err(unavailable(OTHER)),
        }
    }
}

const OTHER: &str = "another call's answer";

#[derive(Clone, Debug)]
struct OwnedCommit {
    key: IdempotencyKey,
    fingerprint: String,
    owner: String,
    data: Option<String>,
    now: SystemTime,
    expires_at: SystemTime,
    writes: Vec<TransactWriteItem>,
    events: Vec<Outgoing>,
}

impl Call {
    fn name(&self) -> &'static str {
        match self {
            Self::Claim(_) => "claim",
            Self::Complete(..) => "complete",
            Self::Release(..) => "release",
            Self::Abandon(..) => "abandon",
            Self::Find(_) => "find",
            Self::Begin(_) => "begin",
            Self::Failed(_) => "failed",
            Self::Commit(_) => "commit",
        }
    }

    fn key(&self) -> &IdempotencyKey {
        match self {
            Self::Claim(request) => &request.key,
            Self::Complete(lease, ..) | Self::Release(lease, ..) | Self::Abandon(lease, _) => {
                &lease.key
            }
            Self::Find(key) => key,
            Self::Begin(attempt) => &attempt.key,
            Self::Failed(failure) => &failure.start.key,
            Self::Commit(commit) => &commit.key,
        }
    }

    /// Returns the owner that a call introduces, and a description of everything that is to happen
    /// in its name.
    fn new_owner(&self) -> Option<(&str, String)> {
        match self {
            Self::Claim(request) => {
                let until = milliseconds(request.until);
                Some((&request.owner, format!("{} until {until}", request.key)))
            }
            Self::Commit(commit) => {
                let events: Vec<&str> = commit.events.iter().map(Outgoing::id).collect();
                let what = format!("{} {:?} {events:?}", commit.key, commit.writes);
                Some((&commit.owner, what))
            }
            Self::Complete(..)
            | Self::Release(..)
            | Self::Abandon(..)
            | Self::Find(_)
            | Self::Begin(_)
            | Self::Failed(_) => None,
        }
    }
}

impl<St: CommitStore> SimulatedStore<St> {
    pub(super) fn new(inner: St, process: Process) -> Self {
        Self { inner, process }
    }

    async fn call(&self, call: Call) -> Result<Answer> {
        let world = self.process.world.clone();
        let mut sent = Sent {
            store: self,
            name: call.name(),
            key: call.key().clone(),
            invocation: world.state().current,
            call: Some(call),
            is_answered: false,
        };
        if let Some((owner, what)) = sent.call.as_ref().and_then(Call::new_owner) {
            let now = world.now();
            world.state().use_owner(now, owner, what);
        }
        tokio::time::sleep(latency(&world)).await;
        if world.meets(Fault::StoreSlow) {
            let takes = Duration::from_millis(world.state().rng.u64(100..40_000));
            sent.note(format_args!("takes {takes:?}"));
            tokio::time::sleep(takes).await;
        }
        if world.meets(Fault::StoreRefuses) {
            sent.note("is refused");
            sent.call = None;
            return Err(unavailable("the store refused the call"));
        }
        if world.meets(Fault::StoreHangs) {
            sent.note("hangs");
            sent.call = None;
            return std::future::pending().await;
        }
        let changes = !matches!(sent.call, Some(Call::Find(_)));
        if changes && world.meets(Fault::StoreLate) {
            let late = Duration::from_millis(world.state().rng.u64(1..3_000));
            sent.note(format_args!("will take effect in {late:?}"));
            sent.goes_on_alone(late);
            if world.state().rng.bool() {
                return std::future::pending().await;
            }
            return Err(unavailable("the store did not answer"));
        }
        if matches!(sent.call, Some(Call::Commit(_))) && world.meets(Fault::StoreConflict) {
            sent.note("meets a conflict");
            sent.call = None;
            sent.is_answered = true;
            return Ok(Answer::Committed(Committed::Conflict("simulated".into())));
        }
        let Some(call) = sent.call.take() else {
            return Err(unavailable("the call was made twice"));
        };
        let answer = self.apply(call, sent.invocation).await;
        tokio::time::sleep(latency(&world)).await;
        if world.meets(Fault::StoreAnswerLost) {
            sent.note("gets no answer");
            return Err(unavailable("the store's answer was lost"));
        }
        sent.is_answered = true;
        answer
    }

    /// Lets the call take effect.
    async fn apply(&self, call: Call, invocation: Option<usize>) -> Result<Answer> {
        let key = call.key().clone();
        let name = call.name();
        let result = match &call {
            Call::Claim(request) => self.inner.claim(request).await.map(Answer::Claim),
            Call::Complete(lease, data, expires_at) => self
                .inner
                .complete(lease, data.as_deref(), *expires_at)
                .await
                .map(|()| Answer::Changed),
            Call::Release(lease, counts, error) => self
                .inner
                .release(lease, *counts, error)
                .await
                .map(|()| Answer::Changed),
            Call::Abandon(lease, error) => self
                .inner
                .abandon(lease, error)
                .await
                .map(|()| Answer::Changed),
            Call::Find(key) => self.inner.find(key).await.map(Answer::Found),
            Call::Begin(attempt) => self.inner.begin(attempt).await.map(Answer::Begun),
            Call::Failed(failure) => self.inner.failed(failure).await.map(Answer::Begun),
            Call::Commit(commit) => {
                let commit = Commit {
                    key: &commit.key,
                    fingerprint: &commit.fingerprint,
                    owner: &commit.owner,
                    data: commit.data.as_deref(),
                    now: commit.now,
                    expires_at: commit.expires_at,
                    writes: &commit.writes,
                    events: &commit.events,
                };
                self.inner.commit(&commit).await.map(Answer::Committed)
            }
        };
        let world = &self.process.world;
        let now = world.now();
        let now_ms = milliseconds(world.wall_clock());
        let mut state = world.state();
        let outcome = match &result {
            Ok(Answer::Claim(Claim::Acquired(lease))) => {
                format!("acquired for attempt {}", lease.attempt)
            }
            Ok(
                Answer::Claim(taken)
                | Answer::Found(Some(taken))
                | Answer::Begun(Begun::Taken(taken)),
            ) => name_of(taken, now_ms),
            Ok(Answer::Begun(Begun::Begun { number })) => {
                format!("attempt {}", number.unwrap_or_default())
            }
            Ok(Answer::Found(None)) => "nothing found".into(),
            Ok(Answer::Changed) => "done".into(),
            Ok(Answer::Committed(committed)) => name_of_commit(committed, now_ms),
            Err(error) => error.kind().to_string(),
        };
        let by = match &call {
            Call::Claim(request) => state.owner(&request.owner),
            Call::Complete(lease, ..) | Call::Release(lease, ..) | Call::Abandon(lease, _) => {
                state.owner(&lease.owner)
            }
            Call::Find(_) | Call::Begin(_) | Call::Failed(_) => "anybody".into(),
            Call::Commit(commit) => state.owner(&commit.owner),
        };
        let line = format!(
            "process {}: {name} {} by {by}: {outcome}",
            self.process.id,
            state.event_of(&key)
        );
        state.note(now, line);
        match (&call, &result) {
            (Call::Claim(request), Ok(Answer::Claim(Claim::Acquired(_)))) => {
                claimed(&mut state, now, now_ms, &key, &request.owner);
                let log = state.keys.entry(key.clone()).or_default();
                if log.owner.as_ref() != Some(&request.owner) {
                    *state.begun.entry(key.clone()).or_default() += 1;
                }
                let log = state.keys.entry(key).or_default();
                log.owner = Some(request.owner.clone());
                log.until = Some(milliseconds(request.until));
            }
            (Call::Complete(lease, ..), Ok(_)) => {
                owned(&mut state, now, lease);
                let log = state.keys.entry(key).or_default();
                (log.is_completed, log.by_lease) = (true, true);
            }
            (Call::Release(lease, ..) | Call::Abandon(lease, _), Ok(_)) => {
                owned(&mut state, now, lease);
                if matches!(call, Call::Release(_, false, _)) {
                    let begun = state.begun.entry(key.clone()).or_default();
                    *begun = begun.saturating_sub(1);
                }
                let log = state.keys.entry(key).or_default();
                log.until = None;
                if log.is_completed {
                    let problem = format!(
                        "{} was completed and then released",
                        state.event_of(&lease.key)
                    );
                    state.violation(now, problem);
                }
            }
            (Call::Begin(_), Ok(Answer::Begun(Begun::Begun { .. }))) => {
                *state.begun.entry(key).or_default() += 1;
            }
            (Call::Failed(failure), Ok(Answer::Begun(Begun::Begun { number: Some(_) }))) => {
                let begun = state.begun.entry(key).or_default();
                match (failure.has_begun, failure.counts) {
                    (false, true) => *begun += 1,
                    (true, false) => *begun = begun.saturating_sub(1),
                    _ => {}
                }
            }
            (Call::Commit(commit), Ok(Answer::Committed(Committed::Done))) => {
                let at = state.trace.len();
                let log = state.keys.entry(key.clone()).or_default();
                // The second call of one commit finds the first one.
                if log.owner.as_deref() != Some(&commit.owner) {
                    claimed(&mut state, now, now_ms, &key, &commit.owner);
                    let log = state.keys.entry(key).or_default();
                    log.owner = Some(commit.owner.clone());
                    log.until = None;
                    log.is_completed = true;
                    log.commits.push(Effect {
                        key: commit.key.clone(),
                        invocation,
                        at,
                    });
                }
            }
            _ => {}
        }
        drop(state);
        result
    }
}

/// The largest difference between two clocks, plus what is lost to rounding.
const SKEW_MS: u64 = 1_801;

/// Checks that a key was free when it was taken.
fn claimed(state: &mut State, now: Duration, now_ms: u64, key: &IdempotencyKey, owner: &str) {
    let Some(log) = state.keys.get(key) else {
        return;
    };
    let is_held = log.until.is_some_and(|until| until > now_ms + SKEW_MS);
    let is_other = log.owner.as_deref() != Some(owner);
    let problem = match (log.is_completed, is_held && is_other) {
        (true, _) => "was completed",
        (_, true) => "was held by another owner",
        _ => return,
    };
    let problem = format!("{} was taken, which {problem}", state.event_of(key));
    state.violation(now, problem);
}

/// Checks that only the latest owner changes a key.
fn owned(state: &mut State, now: Duration, lease: &Lease) {
    let owner = state.keys.get(&lease.key).and_then(|log| log.owner.clone());
    if owner.as_ref() != Some(&lease.owner) {
        let problem = format!(
            "{} was changed by {}, a fenced owner: it belongs to {}",
            state.event_of(&lease.key),
            state.owner(&lease.owner),
            state.owner(owner.as_deref().unwrap_or_default()),
        );
        state.violation(now, problem);
    }
}

fn name_of(taken: &Claim, now_ms: u64) -> String {
    match taken {
        Claim::Acquired(_) => "acquired".into(),
        Claim::Completed(_) => "completed before".into(),
        Claim::Held { until } => held(*until, now_ms),
        Claim::Suspect(suspect) => format!(
            "a suspect, {} of {} attempts never ended",
            suspect.deaths, suspect.attempts
        ),
    }
}

fn held(until: Option<SystemTime>, now_ms: u64) -> String {
    match until.map(milliseconds) {
        Some(until) => format!("held for {} ms", until.saturating_sub(now_ms)),
        None => "held for ever".into(),
    }
}

fn name_of_commit(committed: &Committed, now_ms: u64) -> String {
    match committed {
        Committed::Done => "COMMITTED".into(),
        Committed::Completed(_) => "completed before".into(),
        Committed::Held { until } => held(*until, now_ms),
        Committed::Refused { write, .. } => format!("write {write} refused"),
        Committed::Conflict(what) => format!("conflict, {what}"),
        Committed::Throttled(what) => format!("throttled, {what}"),
    }
}

fn unavailable(problem: &str) -> Error {
    Error::new(ErrorKind::Store, problem)
}

/// A call that is under way. If it is dropped before its answer, it was given up.
struct Sent<'a, St: CommitStore> {
    store: &'a SimulatedStore<St>,
    name: &'static str,
    key: IdempotencyKey,
    invocation: Option<usize>,
    call: Option<Call>,
    is_answered: bool,
}

impl<St: CommitStore> Sent<'_, St> {
    fn note(&self, what: impl std::fmt::Display) {
        let world = &self.store.process.world;
        let now = world.now();
        let mut state = world.state();
        let line = format!(
            "process {}: {} {} {what}",
            self.store.process.id,
            self.name,
            state.event_of(&self.key)
        );
        state.note(now, line);
    }

    /// Lets the call take effect later, even if its caller is gone.
    fn goes_on_alone(&mut self, late: Duration) {
        let Some(call) = self.call.take() else {
            return;
        };
        let (store, invocation) = (self.store.clone(), self.invocation);
        self.store.process.spawn(async move {
            tokio::time::sleep(late).await;
            drop(store.apply(call, invocation).await);
        });
    }
}

impl<St: CommitStore> Drop for Sent<'_, St> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if self.call.is_some() {
            // Whether it was already on its way is not known.
            let world = &self.store.process.world;
            let changes = !matches!(self.call, Some(Call::Find(_)));
            let is_on_its_way = changes && world.state().rng.bool();
            if is_on_its_way {
                self.note("was given up, and takes effect");
                self.goes_on_alone(Duration::from_millis(1));
            } else {
                self.note("was given up");
            }
        }
        let mut state = self.store.process.world.state();
        let at = state.trace.len();
        if let Some(invocation) = self.invocation {
            let invocation = &mut state.invocations[invocation];
            invocation.store_failed = true;
            if self.name == "complete" {
                invocation.incomplete.push((self.key.clone(), at));
            }
        }
    }
}

impl<St: CommitStore> Store for SimulatedStore<St> {
    const COMMITS: Commits<Self> = Commits::with_claims();

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let answer = self.call(Call::Claim(request.clone())).await?;
        answer.found()?.ok_or_else(|| unavailable(OTHER))
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        let call = Call::Complete(lease.clone(), data.map(str::to_owned), expires_at);
        self.call(call).await.map(drop)
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        let call = Call::Release(lease.clone(), counts, error.to_owned());
        self.call(call).await.map(drop)
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        let call = Call::Abandon(lease.clone(), error.to_owned());
        self.call(call).await.map(drop)
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        self.call(Call::Find(key.clone())).await?.found()
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Begun> {
        self.call(Call::Begin(attempt.clone())).await?.begun()
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        self.call(Call::Failed(failure.clone())).await?.begun()
    }

    /// A look from outside meets no faults.
    async fn history(&self, key: &IdempotencyKey) -> Result<Option<AttemptHistory>> {
        self.inner.history(key).await
    }
}

impl<St: CommitStore> CommitStore for SimulatedStore<St> {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        let call = Call::Commit(OwnedCommit {
            key: commit.key.clone(),
            fingerprint: commit.fingerprint.to_owned(),
            owner: commit.owner.to_owned(),
            data: commit.data.map(str::to_owned),
            now: commit.now,
            expires_at: commit.expires_at,
            writes: commit.writes.to_vec(),
            events: commit.events.to_vec(),
        });
        match self.call(call).await? {
            Answer::Committed(committed) => Ok(committed),
            _ => Err(unavailable(OTHER)),
        }
    }
}
