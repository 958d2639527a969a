//! What is asked of a store, and what it answers.

use super::attempts::{Sending, Suspect};
use crate::{Error, ErrorKind, IdempotencyKey};
use std::time::SystemTime;

/// What a claim asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// A digest of the payload that the key stands for.
    pub fingerprint: String,
    /// The fence: who claims. No other claim ever has the same.
    pub owner: String,
    /// When the lease ends and others may take over; the store keeps milliseconds.
    pub until: SystemTime,
    /// When the key is forgotten; the store keeps seconds.
    pub expires_at: SystemTime,
    /// What the attempt is made for. Attempts are counted by it.
    pub sending: Sending,
    /// How many attempts a [suspect](Claim::Suspect) may have had to be granted the key; 0 for none of them.
    pub limit: u32,
}

impl ClaimRequest {
    /// A claim on `key` by a new owner, for one sending and without a limit. A lease is not forgotten before its end, so that `expires_at` is
    /// that end at least.
    pub fn new(
        key: IdempotencyKey,
        fingerprint: impl Into<String>,
        until: SystemTime,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            key,
            fingerprint: fingerprint.into(),
            owner: uuid::Uuid::now_v7().to_string(),
            until,
            expires_at: expires_at.max(until),
            sending: Sending::default(),
            limit: u32::MAX,
        }
    }
}

/// An attempt that is about to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptStart {
    /// The key.
    pub key: IdempotencyKey,
    /// A digest of the payload that the key stands for.
    pub fingerprint: String,
    /// When it begins, in milliseconds of the function's clock: of all attempts of a sending it is the only
    /// one that did so then.
    pub at: SystemTime,
    /// When it has to end.
    pub until: SystemTime,
    /// When the key is forgotten; the store keeps seconds.
    pub expires_at: SystemTime,
    /// What the attempt is made for. Attempts are counted by it.
    pub sending: Sending,
    /// How many attempts a [suspect](Claim::Suspect) may have had to begin; 0 for none of them.
    pub limit: u32,
}

/// What came of [`Store::begin`](super::Store::begin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The attempt has begun.
    Begun {
        /// Which attempt at the sending it is, from 1; none where nothing is counted.
        number: Option<u32>,
    },
    /// This stands against it.
    Taken(Claim),
}

/// An attempt without a lease that has ended, and not by a commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptFailure {
    /// The attempt, as it began or would have.
    pub start: AttemptStart,
    /// Whether it is known to have been written down when it began.
    pub has_begun: bool,
    /// Whether it counts; else it is as if it had not begun. If it is not known to have begun, it is then taken
    /// back only if it is the last one that has.
    pub counts: bool,
    /// Why it failed.
    pub error: String,
}

/// What a store knows of the attempts at a key.
///
/// SQS moves a message whose last attempt died without saying why. This says that there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptHistory {
    /// How many attempts there were at the last sending: those that failed, and those that never ended.
    pub attempts: u32,
    /// How many of them never ended, the one that goes on now included.
    pub unended: u32,
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
    /// Nothing was written down: it still goes on, or its process died or was out of time.
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
    /// It is free, but earlier attempts at it began and never ended, and so many that the request does not
    /// want it.
    Suspect(Suspect),
}

/// The right to handle a key, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub key: IdempotencyKey,
    /// The fence: completion and release are refused once the key has another owner.
    pub owner: String,
    /// Which attempt at the sending this is, from 1.
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

impl Lease {
    /// What a change under the lease meets once the key has another owner.
    pub(super) fn fenced(&self) -> Error {
        Error::new(
            ErrorKind::Fenced,
            format!(
                "the lease on {} ended, and another attempt has taken the key over",
                self.key
            ),
        )
    }
}
