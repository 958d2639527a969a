//! What every [`Store`] promises, and every [`CommitStore`], as checks.
//!
//! Run them over your own store; each makes its own keys, so that the store need not be empty.

mod attempts;
mod commits;
mod leases;

use crate::{
    Clock, ErrorKind, IdempotencyKey, Result,
    clock::{epoch_ms, from_epoch_ms},
    idempotency::{Claim, ClaimRequest, CommitStore, Lease, Store},
};
use std::time::{Duration, SystemTime};

const LEASE: Duration = Duration::from_secs(30);
const EXPIRY: Duration = Duration::from_secs(3600);

/// Checks the whole contract of a store. `open` opens the store with the given clock; all stores
/// that it opens must share their claims.
///
/// # Panics
/// If the store breaks the contract; the message names the promise that it breaks.
pub async fn check<St: Store>(open: impl Fn(Clock) -> St) {
    let world = World::new(open);
    world.leases().await;
    world.attempts().await;
}

/// Checks the whole contract of a store that also commits. `open` is as for [`check`].
///
/// # Panics
/// If the store breaks the contract; the message names the promise that it breaks.
pub async fn check_commits<St: CommitStore>(open: impl Fn(Clock) -> St) {
    assert!(
        St::COMMITS.are_possible(),
        "a store that commits sets `Store::COMMITS`"
    );
    check(&open).await;
    World::new(open).commits().await;
}

struct World<F> {
    open: F,
    start: SystemTime,
}

impl<St: Store, F: Fn(Clock) -> St> World<F> {
    fn new(open: F) -> Self {
        Self {
            open,
            start: from_epoch_ms(epoch_ms(SystemTime::now())),
        }
    }

    /// Opens the store with a clock that shows `after` past the start.
    fn at(&self, after: Duration) -> St {
        let now = self.start + after;
        (self.open)(Clock::from_fn(move || now))
    }

    fn now(&self) -> St {
        self.at(Duration::ZERO)
    }

    /// Makes a claim at `after` past the start.
    fn request_at(&self, key: &IdempotencyKey, after: Duration) -> ClaimRequest {
        let now = self.start + after;
        ClaimRequest::new(key.clone(), "fingerprint", now + LEASE, now + EXPIRY)
    }

    fn request(&self, key: &IdempotencyKey) -> ClaimRequest {
        self.request_at(key, Duration::ZERO)
    }

    async fn acquire(&self, key: &IdempotencyKey, after: Duration) -> Lease {
        let claim = self.at(after).claim(&self.request_at(key, after)).await;
        acquired(claim)
    }

    async fn complete(&self, lease: &Lease, after: Duration, data: Option<&str>) -> Result<()> {
        let expires_at = self.start + after + EXPIRY;
        self.at(after).complete(lease, data, expires_at).await
    }
}

fn new_key() -> IdempotencyKey {
    IdempotencyKey::new(format!("contract#{}", uuid::Uuid::now_v7()))
}

#[track_caller]
fn expect<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {error:?}"))
}

#[track_caller]
fn acquired(claim: Result<Claim>) -> Lease {
    match expect(claim) {
        Claim::Acquired(lease) => lease,
        other => panic!("a free key is acquired, not {other:?}"),
    }
}

#[track_caller]
fn fenced(result: Result<()>, what: &str) {
    match result {
        Err(error) if error.kind() == ErrorKind::Fenced => {}
        other => panic!("{what} is refused as fenced, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    #[tokio::test]
    async fn the_memory_store_keeps_the_contract() {
        let store = MemoryStore::new();
        check(|clock| store.clone().with_clock(clock)).await;
    }
}
