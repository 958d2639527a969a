//! Where claims are kept, and what every such place promises.

use super::Key;
#[cfg(feature = "dynamodb")]
use super::{Commit, Committed};
use crate::Result;
use std::{future::Future, time::SystemTime};

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
    fn find(&self, key: &Key) -> impl Future<Output = Result<Option<Claim>>> + Send;

    /// Writes down that an attempt begins which claims its key only with its commit, and finds what
    /// stands against it. It locks nothing: whoever claims the key meets a lease that has ended.
    ///
    /// A store that cannot write it down need not.
    fn begin(&self, attempt: &Beginning) -> impl Future<Output = Result<Option<Claim>>> + Send {
        self.find(&attempt.key)
    }

    /// What is known of the attempts at a key; none of a key that nobody has claimed, and where
    /// nothing is kept.
    fn facts(&self, key: &Key) -> impl Future<Output = Result<Option<Facts>>> + Send {
        let _ = key;
        async { Ok(None) }
    }

    /// Completes the key at once, together with effects and events: all of it or nothing.
    #[cfg(feature = "dynamodb")]
    fn commit(&self, commit: &Commit<'_>) -> impl Future<Output = Result<Committed>> + Send;
}

/// What a claim asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The key.
    pub key: Key,
    /// A digest of the payload that the key stands for.
    pub fingerprint: String,
    /// The fence: who claims. No other claim ever has the same.
    pub owner: String,
    /// When the lease ends and others may take over; the store keeps milliseconds.
    pub until: SystemTime,
    /// When the key is forgotten; the store keeps seconds.
    pub expires_at: SystemTime,
}

impl ClaimRequest {
    /// A claim on `key` by a new owner.
    pub fn new(
        key: Key,
        fingerprint: impl Into<String>,
        until: SystemTime,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            key,
            fingerprint: fingerprint.into(),
            owner: uuid::Uuid::now_v7().to_string(),
            until,
            expires_at,
        }
    }
}

/// An attempt that is about to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Beginning {
    /// The key.
    pub key: Key,
    /// A digest of the payload that the key stands for.
    pub fingerprint: String,
    /// Which attempt it is, from 1.
    pub number: u32,
    /// When it has to end.
    pub until: SystemTime,
    /// When the key is forgotten; the store keeps seconds.
    pub expires_at: SystemTime,
}

/// What a store knows of the attempts at a key.
///
/// SQS moves a message whose last attempt died without saying why. This says that there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// How many attempts there were. Of attempts with a transaction those count that began after
    /// the first receive.
    pub attempts: u32,
    /// When the last one began.
    pub started_at: Option<SystemTime>,
    /// When it had to end: its lease's end, or its invocation's.
    pub deadline: Option<SystemTime>,
    /// What the last failure said that was written down.
    pub last_error: Option<String>,
    /// How the last one ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// With success.
    Completed,
    /// With a failure, after which it gave its lease back.
    Released,
    /// Nothing was written down: it still goes on, or its process died or was out of time. An
    /// attempt with a transaction writes down its success alone.
    Unknown,
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The key is the caller's until the lease ends.
    Acquired(Lease),
    /// It was handled before.
    Completed(Completion),
    /// Somebody else holds it.
    Held {
        /// When their lease ends. None if it does not: the key is locked until it expires.
        until: Option<SystemTime>,
    },
}

/// The right to handle a key, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub key: Key,
    /// The fence: completion and release are refused once the key has another owner.
    pub owner: String,
    /// Which attempt at the key this is, from 1.
    pub attempt: u32,
    /// When the lease of the attempt before this one ended, if it ended by itself: what that attempt
    /// has done is not known.
    pub interrupted: Option<SystemTime>,
}

/// What is known of a completed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What the key was completed with.
    pub data: Option<String>,
    /// The digest of the payload that the key stood for; none if its writer kept none.
    pub fingerprint: Option<String>,
    /// When the key is forgotten.
    pub expires_at: SystemTime,
}
