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
    /// With how many attempts that never ended the key is refused, as a [suspect](Claim::Suspect); 0 is as 1.
    pub limit: u32,
    /// Until when somebody has looked at what attempts did whose lease ended by itself. If the last lease did so
    /// later, the key is a suspect. None if it need not be looked at.
    pub settled: Option<SystemTime>,
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
            settled: None,
        }
    }

    /// Whether the key is refused as a suspect whose last lease ended then, by itself; none if its owner ended it.
    pub fn minds(&self, lease_ended: Option<SystemTime>) -> bool {
        let settled = self.settled;
        lease_ended.is_some_and(|ended| settled.is_some_and(|settled| ended > settled))
    }
}

/// What came of [`Store::begin`](super::Store::begin), or of [`Store::failed`](super::Store::failed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The attempt has begun, or ended.
    Begun {
        /// Which attempt at the sending it is, from 1; none where it is not counted.
        number: Option<u32>,
    },
    /// This stands against it.
    Taken(Claim),
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
    /// It is free, but earlier attempts at it began and never ended, and the request does not want it: there were too
    /// many of those, or nobody has looked at what the last one did.
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
