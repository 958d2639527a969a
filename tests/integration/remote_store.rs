//! A store as it is over a network.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use surehand::{
    Error, ErrorKind, IdempotencyKey, MemoryStore, Result,
    idempotency::{
        AttemptFailure, AttemptHistory, AttemptStart, Begun, Claim, ClaimRequest, Commit,
        CommitStore, Commits, Committed, Lease, Store,
    },
};

/// A call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Claim,
    Complete,
    Release,
    Find,
    Commit,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing has changed.
    Refused,
    /// The call took effect, but its caller does not learn of it.
    AnswerLost,
    /// There is never an answer.
    Hangs,
}

/// A memory store whose calls take its latency, and fail by its faults.
#[derive(Clone)]
pub(crate) struct RemoteStore {
    inner: MemoryStore,
    latency: Duration,
    faults: Arc<dyn Fn(Call) -> Option<Fault> + Send + Sync>,
    unwritten: Arc<Mutex<Vec<IdempotencyKey>>>,
}

impl RemoteStore {
    pub(crate) fn new(inner: MemoryStore, latency: Duration) -> Self {
        Self {
            inner,
            latency,
            faults: Arc::new(|_| None),
            unwritten: Arc::default(),
        }
    }

    pub(crate) fn faults(
        mut self,
        faults: impl Fn(Call) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        self.faults = Arc::new(faults);
        self
    }

    /// Returns the keys whose completion was tried and not written, once for each try.
    pub(crate) fn unwritten(&self) -> Vec<IdempotencyKey> {
        self.unwritten.lock().unwrap().clone()
    }

    /// How long a call takes.
    pub(crate) fn latency(&self) -> Duration {
        self.latency
    }

    /// The same claims by another clock.
    pub(crate) fn with_inner(&self, change: impl FnOnce(MemoryStore) -> MemoryStore) -> Self {
        Self {
            inner: change(self.inner.clone()),
            ..self.clone()
        }
    }

    async fn call<T>(&self, call: Call, work: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = (self.faults)(call);
        // The write happens half-way: a call that is given up may have written or not.
        tokio::time::sleep(self.latency / 2).await;
        match fault {
            Some(Fault::Refused) => return Err(unavailable("refused")),
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::AnswerLost) | None => {}
        }
        let result = work.await;
        tokio::time::sleep(self.latency / 2).await;
        match fault {
            Some(_) => Err(unavailable("the answer was lost")),
            None => result,
        }
    }
}

impl Store for RemoteStore {
    const COMMITS: Commits<Self> = Commits::with_claims();

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.call(Call::Claim, self.inner.claim(request)).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        let mut attempt = Attempt {
            store: self,
            key: &lease.key,
            is_written: false,
        };
        let write = async {
            let result = self.inner.complete(lease, data, expires_at).await;
            attempt.is_written = result.is_ok();
            result
        };
        self.call(Call::Complete, write).await
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        self.call(Call::Release, self.inner.release(lease, counts, error))
            .await
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        self.call(Call::Release, self.inner.abandon(lease, error))
            .await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        self.call(Call::Find, self.inner.find(key)).await
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Begun> {
        self.call(Call::Find, self.inner.begin(attempt)).await
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        self.call(Call::Release, self.inner.failed(failure)).await
    }

    async fn history(&self, key: &IdempotencyKey) -> Result<Option<AttemptHistory>> {
        self.call(Call::Find, self.inner.history(key)).await
    }
}

impl CommitStore for RemoteStore {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        self.call(Call::Commit, self.inner.commit(commit)).await
    }
}

/// Notes on drop, so also when the call is given up.
struct Attempt<'a> {
    store: &'a RemoteStore,
    key: &'a IdempotencyKey,
    is_written: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            self.store.unwritten.lock().unwrap().push(self.key.clone());
        }
    }
}

fn unavailable(problem: &str) -> Error {
    Error::new(ErrorKind::Store, problem)
}
