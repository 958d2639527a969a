//! Letters that are only to be deleted: the journal has them as sent, or as dropped.

use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Deletions {
    due: Vec<String>,
    /// How often the deletion of a letter had no answer.
    unanswered: HashMap<String, u32>,
}

/// How often a deletion without an answer is begun again, each time its letter comes back.
const ATTEMPTS: u32 = 3;

impl Deletions {
    pub(super) fn push(&mut self, id: String) {
        self.due.push(id);
    }

    /// What is due now, and no longer afterwards.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.due)
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn count_unanswered(&mut self, id: String) {
        *self.unanswered.entry(id).or_default() += 1;
    }

    /// Whether it had no answer so often that it is left to a resume.
    pub(super) fn is_given_up(&self, id: &str) -> bool {
        let unanswered = self.unanswered.get(id);
        unanswered.is_some_and(|times| *times >= ATTEMPTS)
    }
}
