//! What was about to be done, and what was done.

mod file;

pub use file::FileJournal;

use crate::{destination::Destination, letter::Letter, plan::Action};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use surehand::Result;

/// Keeps the steps of a redrive, so that it can be taken up after a crash.
///
/// What is in it when `append` returns must survive the process. An error stops the redrive before
/// the step that the entries announce.
pub trait Journal: Send {
    /// Appends the entries, in their order.
    fn append<'a>(&'a mut self, entries: &'a [Entry]) -> BoxFuture<'a, Result<()>>;
}

/// One step for one letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
#[non_exhaustive]
pub enum Entry {
    /// The plan that the journal belongs to.
    Begun {
        /// Its name.
        plan: String,
        /// The ARN of the plan's queue, where it has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue_arn: Option<String>,
    },
    /// The letter is about to be sent, or dropped. This is its archive as well.
    Intent {
        /// What becomes of it; the new body of an edit is in it.
        #[serde(flatten)]
        action: Action,
        /// Where it goes; none if it is dropped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Destination>,
        /// The letter as it was.
        letter: Box<Letter>,
    },
    /// The destination has it.
    Sent {
        /// The letter's message id.
        id: String,
        /// The id that the destination gave it.
        message_id: String,
    },
    /// It is deleted from the dead-letter queue.
    Done {
        /// The letter's message id.
        id: String,
    },
    /// It is about to be put back into the dead-letter queue.
    Restoring {
        /// The letter's message id.
        id: String,
    },
    /// The dead-letter queue has it again.
    Restored {
        /// The letter's message id.
        id: String,
        /// The id that it has there now.
        message_id: String,
    },
}

/// How far a letter has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It may have been sent.
    Intended,
    /// It is about to be deleted without being sent.
    Dropping,
    /// It was sent, and is not known to be deleted.
    Sent,
    /// It is deleted.
    Done,
    /// It may be in the dead-letter queue again.
    Restoring,
    /// It is in the dead-letter queue again.
    Restored,
}

/// What a journal says, without the letters: how far each has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    plan: Option<String>,
    letters: HashMap<String, Progress>,
}

impl Ledger {
    /// Takes an entry into account.
    pub fn note(&mut self, entry: &Entry) {
        let (id, progress) = match entry {
            Entry::Begun { plan, .. } => {
                self.plan = Some(plan.clone());
                return;
            }
            Entry::Intent { letter, action, .. } => {
                let progress = match action {
                    Action::Drop => Progress::Dropping,
                    _ => Progress::Intended,
                };
                (&letter.id, progress)
            }
            Entry::Sent { id, .. } => (id, Progress::Sent),
            Entry::Done { id } => (id, Progress::Done),
            Entry::Restoring { id } => (id, Progress::Restoring),
            Entry::Restored { id, .. } => (id, Progress::Restored),
        };
        self.letters.insert(id.clone(), progress);
    }

    /// The plan that the journal belongs to.
    pub fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }

    /// How far a letter has come; none if nothing was begun.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.letters.get(id).copied()
    }

    /// How many letters something was begun with.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether nothing was begun.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many letters have come as far as `progress` and no further.
    pub fn count(&self, progress: Progress) -> usize {
        self.at(progress).count()
    }

    /// The letters that have come as far as `progress` and no further.
    pub(crate) fn at(&self, progress: Progress) -> impl Iterator<Item = &String> {
        let letters = self.letters.iter();
        letters.filter_map(move |(id, at)| (*at == progress).then_some(id))
    }
}

impl FromIterator<Entry> for Ledger {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut ledger = Self::default();
        for entry in entries {
            ledger.note(&entry);
        }
        ledger
    }
}

/// A journal with its ledger.
pub(crate) struct Book<'a> {
    pub(crate) journal: &'a mut dyn Journal,
    pub(crate) ledger: &'a mut Ledger,
}

impl Book<'_> {
    /// The ledger says nothing that the journal might forget.
    pub(crate) async fn write(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.journal.append(entries).await?;
        for entry in entries {
            self.ledger.note(entry);
        }
        Ok(())
    }
}
