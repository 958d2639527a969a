//! A claim that is completed at once, with everything that belongs to it.

use super::claim::Completion;
use crate::{IdempotencyKey, envelope::Outgoing, stage::Item};
use aws_sdk_dynamodb::types::TransactWriteItem;
use std::time::SystemTime;

/// A key with the effects and events that are to happen with its completion.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Commit<'a> {
    /// The key.
    pub key: &'a IdempotencyKey,
    /// A digest of the payload that the key stands for.
    pub fingerprint: &'a str,
    /// Who commits. A repeated commit of the same owner is the same commit.
    pub owner: &'a str,
    /// What duplicates get.
    pub data: Option<&'a str>,
    /// When the attempt took place.
    pub now: SystemTime,
    /// When the key is forgotten.
    pub expires_at: SystemTime,
    /// The effects.
    pub writes: &'a [TransactWriteItem],
    /// The events.
    pub events: &'a [Outgoing],
}

impl<'a> Commit<'a> {
    /// The completion of `key` by `owner`, with nothing beside it.
    pub fn new(
        key: &'a IdempotencyKey,
        fingerprint: &'a str,
        owner: &'a str,
        now: SystemTime,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            key,
            fingerprint,
            owner,
            data: None,
            now,
            expires_at,
            writes: &[],
            events: &[],
        }
    }

    /// The same with data for duplicates.
    pub fn with_data(mut self, data: Option<&'a str>) -> Self {
        self.data = data;
        self
    }
}

/// What came of a commit. In every case but the first nothing happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Committed {
    /// All of it happened, now or in an earlier call of the same commit.
    Done,
    /// The key was completed before.
    Completed(Completion),
    /// Somebody holds the key.
    Held {
        /// When their lease ends, if it does.
        until: Option<SystemTime>,
    },
    /// The condition of a write did not hold.
    Refused {
        /// Which of the writes, from 0.
        write: usize,
        /// The item as it was, if the write asked for it.
        item: Option<Item>,
    },
    /// Another transaction is at one of the items: the same commit may succeed in a moment.
    Conflict(String),
    /// A table of the transaction is throttled: the same commit may succeed in a moment. If it does not, the record
    /// has not failed, but could not be handled.
    Throttled(String),
}
