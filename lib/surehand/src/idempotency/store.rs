//! Where claims are kept, and what every such place promises.

#[cfg(feature = "dynamodb")]
use super::commit::{Commit, Committed};
use super::{
    attempts::{AttemptFailure, AttemptStart},
    claim::{AttemptHistory, Begun, Claim, ClaimRequest, Lease},
};
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
/// What it keeps of the attempts at a key decides when a record is parked. Of one that counts none, records are
/// parked by their source's own count:
///
/// - A claim begins an attempt at its [`Sending`](super::Sending), and [`release`](Self::release) ends it. The first
///   attempt at another sending is number 1, and so is the first one after a completion or an expiry, unless that
///   sending is a copy that waited while the last attempt began, with the same payload.
/// - A key whose attempts began and did not all end is a [`Suspect`](Claim::Suspect). It is granted only to requests
///   whose limit is above the number of those that never ended, and that do not [mind](ClaimRequest::minds) how its
///   last lease ended. A request that is refused changes nothing, and counts as no attempt.
/// - The end of an attempt concerns the count that it began with, and no other.
///
/// The contract is a test suite as well, `surehand::testing::store_contract`, and the memory store
/// and the DynamoDB store pass the same one.
///
/// It may rely on an owner that no other attempt has ever had, and on times of the function's clock, which may
/// be a second off the store's.
///
/// This one counts the claims of another store. `examples/own_store.rs`, in this package, keeps its own.
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// use std::{sync::{Arc, atomic::{AtomicU32, Ordering}}, time::SystemTime};
/// use surehand::{
///     Function, IdempotencyKey, Json, MemoryStore, Result, Sqs,
///     idempotency::{Claim, ClaimRequest, Lease, Store},
///     testing::{self, Message, store_contract},
/// };
///
/// #[derive(Clone, Default)]
/// struct Counting<St> {
///     inner: St,
///     claims: Arc<AtomicU32>,
/// }
///
/// impl<St: Store> Store for Counting<St> {
///     async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
///         self.claims.fetch_add(1, Ordering::Relaxed);
///         self.inner.claim(request).await
///     }
///     async fn complete(&self, lease: &Lease, data: Option<&str>, expires_at: SystemTime) -> Result<()> {
///         self.inner.complete(lease, data, expires_at).await
///     }
///     async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
///         self.inner.release(lease, counts, error).await
///     }
///     async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
///         self.inner.find(key).await
///     }
/// }
///
/// let shared = MemoryStore::new();
/// store_contract::check(|clock| {
///     let inner = shared.clone().with_clock(clock);
///     Counting { inner, claims: Arc::default() }
/// })
/// .await;
///
/// async fn pack(Json(_): Json<String>) -> Result<()> { Ok(()) }
///
/// let store = Counting::<MemoryStore>::default();
/// let function = Function::new(Sqs, pack, ()).idempotent(store.clone());
/// let event = testing::sqs_event("orders", [r#""tea""#, r#""milk""#].map(Message::body));
/// function.invoke(event, testing::context()).await?;
/// assert_eq!(store.claims.load(Ordering::Relaxed), 2);
/// # Ok(()) }
/// ```
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
    /// end. An attempt that does not count is as if it had not begun. `error` is kept with the key.
    fn release(
        &self,
        lease: &Lease,
        counts: bool,
        error: &str,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Ends the lease without saying how its attempt ended: a request may [mind](ClaimRequest::minds) that. `error` is
    /// kept with the key.
    ///
    /// A store that cannot end it before its time need not.
    fn abandon(&self, lease: &Lease, error: &str) -> impl Future<Output = Result<()>> + Send {
        let _ = (lease, error);
        async { Ok(()) }
    }

    /// What stands against a claim on the key: it is completed, or held. None if nothing does.
    fn find(&self, key: &IdempotencyKey) -> impl Future<Output = Result<Option<Claim>>> + Send;

    /// Writes down that an attempt begins which claims its key only with its commit, and finds what
    /// stands against it. It locks nothing: whoever claims the key meets a lease that has ended.
    ///
    /// A store that cannot write it down need not.
    fn begin(&self, attempt: &AttemptStart) -> impl Future<Output = Result<Begun>> + Send {
        async { Ok(begun_if_free(self.find(&attempt.key).await?)) }
    }

    /// Writes down that an attempt which claims its key only with its commit has failed, and finds the
    /// completion that stands against it. It takes nothing from whoever holds the key meanwhile.
    ///
    /// A store that cannot write it down need not.
    fn failed(&self, failure: &AttemptFailure) -> impl Future<Output = Result<Begun>> + Send {
        async { Ok(begun_if_free(self.find(&failure.start.key).await?)) }
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

/// What a store that counts no attempts says of one.
fn begun_if_free(found: Option<Claim>) -> Begun {
    found.map_or(Begun::Begun { number: None }, Begun::Taken)
}

/// A store that can also complete a key at once, together with effects and events: what handlers that
/// take a [`Transaction`](crate::Transaction) need.
///
/// It says so by [`Store::COMMITS`] too, so that a function knows it whose store is of any kind.
///
/// It promises, beside what a [`Store`] does:
///
/// - A commit meets what a claim would meet: a completed key, or a lease that has not ended.
/// - After [`Committed::Done`] the key is completed, every write has happened and every event waits to be
///   published. After any other answer nothing has happened.
/// - After an error either may be: the same commit, sent again with the same owner, finds out, and has the
///   effect of one.
///
/// `surehand::testing::store_contract::check_commits` checks it. This one counts the commits of another
/// store:
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// # use std::{sync::{Arc, atomic::{AtomicU32, Ordering}}, time::SystemTime};
/// # use surehand::idempotency::{Claim, ClaimRequest, Lease};
/// # use surehand::{Function, IdempotencyKey, Json, MemoryStore, Result, Sqs, Transaction};
/// use surehand::{
///     idempotency::{Commit, CommitStore, Commits, Committed, Store},
///     testing::{self, Message, store_contract},
/// };
///
/// #[derive(Clone, Default)]
/// struct Counting<St> {
///     inner: St,
///     commits: Arc<AtomicU32>,
/// }
///
/// impl<St: CommitStore> Store for Counting<St> {
///     const COMMITS: Commits<Self> = Commits::with_claims();
///     // The methods are those of `inner`.
/// #     async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
/// #         self.inner.claim(request).await
/// #     }
/// #     async fn complete(&self, lease: &Lease, data: Option<&str>, expires_at: SystemTime) -> Result<()> {
/// #         self.inner.complete(lease, data, expires_at).await
/// #     }
/// #     async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
/// #         self.inner.release(lease, counts, error).await
/// #     }
/// #     async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
/// #         self.inner.find(key).await
/// #     }
/// }
///
/// impl<St: CommitStore> CommitStore for Counting<St> {
///     async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
///         self.commits.fetch_add(1, Ordering::Relaxed);
///         self.inner.commit(commit).await
///     }
/// }
///
/// let shared = MemoryStore::new();
/// store_contract::check_commits(|clock| {
///     let inner = shared.clone().with_clock(clock);
///     Counting { inner, commits: Arc::default() }
/// })
/// .await;
///
/// async fn pack(_: Json<String>, tx: Transaction) -> Result<()> { Ok(()) }
///
/// let store = Counting::<MemoryStore>::default();
/// let function = Function::new(Sqs, pack, ()).idempotent(store.clone());
/// let event = testing::sqs_event("orders", [Message::body(r#""tea""#)]);
/// function.invoke(event, testing::context()).await?;
/// assert_eq!(store.commits.load(Ordering::Relaxed), 1);
/// # Ok(()) }
/// ```
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
