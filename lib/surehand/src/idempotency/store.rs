//! Where claims are kept, and what every such place promises.

use super::claim::{AttemptHistory, AttemptStart, Claim, ClaimRequest, Lease};
#[cfg(feature = "dynamodb")]
use super::commit::{Commit, Committed};
use crate::{IdempotencyKey, Result};
#[cfg(feature = "dynamodb")]
use futures_util::future::BoxFuture;
use std::{fmt, future::Future, marker::PhantomData, time::SystemTime};

/// Keeps the claims on idempotency keys.
///
/// Whatever implements it promises, also when several processes call it at once:
///
/// - Of all calls to [`claim`](Self::claim) with one key, one acquires it until its lease ends.
/// - A lease that ended can be taken over. From then on [`complete`](Self::complete) and
///   [`release`](Self::release) with the old lease change nothing and fail with
///   [`ErrorKind::Fenced`](crate::ErrorKind::Fenced).
/// - A completed key stays completed until it expires, and gives the data it was completed with.
/// - A call that is repeated because its answer was lost has the effect of one call.
/// - Any other failure is of kind [`ErrorKind::Store`](crate::ErrorKind::Store).
///
/// The contract is a test suite as well, `surehand::testing::store_contract`, and the memory store
/// and the DynamoDB store pass the same one.
pub trait Store: Clone + Send + Sync + 'static {
    /// Whether it commits transactions as well. A store that is a `CommitStore` says
    /// `Commits::with_claims()`; one that says nothing is refused by a function whose handler takes a
    /// `Transaction`, when that function is built.
    const COMMITS: Commits<Self> = Commits::never();

    /// What it is called in a function's [description](crate::description).
    fn kind(&self) -> &'static str {
        "custom"
    }

    /// Takes the key, unless it is completed or somebody else holds it.
    fn claim(&self, request: &ClaimRequest) -> impl Future<Output = Result<Claim>> + Send;

    /// Marks the key as completed, with the data that duplicates get.
    fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives the key back after a failure, so that the next attempt need not wait for the lease to
    /// end. `error` is kept with the key.
    fn release(&self, lease: &Lease, error: &str) -> impl Future<Output = Result<()>> + Send;

    /// What stands against a claim on the key: it is completed, or held. None if nothing does.
    fn find(&self, key: &IdempotencyKey) -> impl Future<Output = Result<Option<Claim>>> + Send;

    /// Writes down that an attempt begins which claims its key only with its commit, and finds what
    /// stands against it. It locks nothing: whoever claims the key meets a lease that has ended.
    ///
    /// A store that cannot write it down need not.
    fn begin(&self, attempt: &AttemptStart) -> impl Future<Output = Result<Option<Claim>>> + Send {
        self.find(&attempt.key)
    }

    /// What is known of the attempts at a key; none of a key that nobody has claimed, and where
    /// nothing is kept.
    fn history(
        &self,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<AttemptHistory>>> + Send {
        let _ = key;
        async { Ok(None) }
    }
}

/// A store that can also complete a key at once, together with effects and events: what handlers that
/// take a [`Transaction`](crate::Transaction) need.
///
/// It says so by [`Store::COMMITS`] too, so that a function knows it whose store is of any kind.
#[cfg(feature = "dynamodb")]
pub trait CommitStore: Store {
    /// Completes the key at once, together with effects and events: all of it or nothing.
    fn commit(&self, commit: &Commit<'_>) -> impl Future<Output = Result<Committed>> + Send;
}

/// Whether a store commits: what [`Store::COMMITS`] says.
pub struct Commits<St> {
    #[cfg(feature = "dynamodb")]
    commit: Option<CommitCall<St>>,
    _store: PhantomData<fn(St)>,
}

#[cfg(feature = "dynamodb")]
type CommitCall<St> = for<'a> fn(&'a St, &'a Commit<'a>) -> BoxFuture<'a, Result<Committed>>;

impl<St> Commits<St> {
    /// It only leases keys.
    pub const fn never() -> Self {
        Self {
            #[cfg(feature = "dynamodb")]
            commit: None,
            _store: PhantomData,
        }
    }

    /// It commits, as the [`CommitStore`] that it is.
    #[cfg(feature = "dynamodb")]
    pub const fn with_claims() -> Self
    where
        St: CommitStore,
    {
        Self {
            commit: Some(|store, commit| Box::pin(store.commit(commit))),
            _store: PhantomData,
        }
    }

    /// True if it commits.
    pub(crate) const fn are_possible(&self) -> bool {
        #[cfg(feature = "dynamodb")]
        return self.commit.is_some();
        #[cfg(not(feature = "dynamodb"))]
        false
    }

    #[cfg(feature = "dynamodb")]
    pub(super) fn call(&self) -> Option<CommitCall<St>> {
        self.commit
    }
}

impl<St> fmt::Debug for Commits<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commits({})", self.are_possible())
    }
}
