//! Letters that come back while their plan is still being applied.

use crate::{letter::Letter, time::epoch_ms};
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::SystemTime,
};

/// What was put back by this run, for plans that take letters they do not name: one that fails again
/// would go round and round. Eight bytes a letter.
pub(super) struct Returns {
    since_ms: u64,
    hasher: RandomState,
    bodies: HashSet<u64>,
}

const CLOCKS_DIFFER_MS: u64 = 60_000;

impl Returns {
    pub(super) fn since(now: SystemTime) -> Self {
        Self {
            since_ms: epoch_ms(now).saturating_sub(CLOCKS_DIFFER_MS),
            hasher: RandomState::new(),
            bodies: HashSet::new(),
        }
    }

    pub(super) fn expect(&mut self, body: &str) {
        self.bodies.insert(self.hasher.hash_one(body));
    }

    /// Whether the letter has been put back by this run, and is here again. A copy that has been here
    /// all the time is none.
    pub(super) fn has(&self, letter: &Letter) -> bool {
        let is_later = letter.redrive_count() > 0
            || letter.sent_at_ms.is_none_or(|sent| sent >= self.since_ms);
        is_later
            && !self.bodies.is_empty()
            && letter
                .payload()
                .is_some_and(|body| self.bodies.contains(&self.hasher.hash_one(&*body)))
    }
}
