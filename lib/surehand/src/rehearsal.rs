//! What a function would do with a record, without doing it.
//!
//! A function that is started with `SUREHAND_REHEARSE=1` reads [trials](Trial) from standard input,
//! one line of JSON each, and answers each with [findings](Finding) on standard output, one line a
//! record. It ends with its input. Where a trial has a [token](Trial::token), each line is [marked](Marked) with it, and
//! the first one says that the trial was heard. `surehand dlq rehearse` runs dead letters through a new build so.
//!
//! Claims are made in memory. What a handler stages in a [`Transaction`](crate::Transaction) is
//! described and not committed; what the handler reads is read. In a trial that [is answered](Trial::answers),
//! the function prints the staged writes before it would commit them, as a [`Proposal`] on a line of its own, and
//! reads a [`Ruling`] on them: whether their conditions hold and what was handled before is not for the function to know,
//! but what a refused write or a used key means is. Without answers, conditions are taken to hold, and [counted](Finding::conditions).
//!
//! A handler without a transaction may have effects of its own: it runs only with
//! `SUREHAND_REHEARSE_EFFECTS=1`, and then they happen. Nothing is parked, and no message is touched.
//! Logs go to standard error.

mod words;
mod write;

pub use write::ProposedWrite;

use crate::dead_letter::FailureNote;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event to rehearse with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The event that Lambda would deliver.
    pub event: Value,
    /// The time limit of the invocation, in milliseconds.
    pub timeout_ms: u64,
    /// Whether each [`Proposal`] is answered with a [`Ruling`]. If not, none is made.
    #[serde(default)]
    pub answers: bool,
    /// What is printed for it is then marked with this, as a [`Marked`]. Handlers print to standard output as well, what
    /// a sender wrote among it, and nobody can write down what they have not been told.
    #[serde(default)]
    pub token: Option<String>,
}

/// A line of the function itself, where a [trial](Trial::token) gives a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// The trial's.
    pub token: String,
    /// What the line says.
    pub said: Said,
}

/// What a function says of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Said {
    /// The trial was read, and no handler was called yet: what comes without the token is not from the function itself.
    Heard,
    /// This would be committed.
    Proposal(Proposal),
    /// A record has ended like this.
    Finding(Box<Finding>),
}

/// What a handler has staged, before it would be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The idempotency key that would be completed with it.
    pub key: String,
    /// The digest of the payload that the key stands for.
    pub fingerprint: String,
    /// The staged writes, in their order.
    pub writes: Vec<ProposedWrite>,
}

/// What would come of a [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ruling {
    /// Every condition holds.
    Committed,
    /// The key was completed before, so that nothing is committed.
    Completed {
        /// The digest of the payload that it was completed for; none if its writer kept none.
        fingerprint: Option<String>,
    },
    /// The condition of a write does not hold.
    Refused {
        /// Which of the writes, from 0.
        write: usize,
        /// The item as it was, in DynamoDB's JSON, if there is one and the write asks for it.
        item: Option<Value>,
    },
    /// It is not known.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// The result of one record of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The source's id of the record. None if the event could not be split into records.
    pub record: Option<String>,
    /// How the record's rehearsal ended.
    pub verdict: Ending,
    /// The handler's name; none if the event could not be split.
    pub handler: Option<String>,
    /// What the handler would have committed, one line for each write and each event.
    pub staged: Vec<String>,
    /// How many of the staged writes have a condition that was taken to hold.
    #[serde(default)]
    pub conditions: usize,
    /// Why it failed, as the note of its dead letter; none if it did not fail.
    pub failure: Option<FailureNote>,
}

/// How a rehearsal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The handler succeeded.
    Handled,
    /// A record with the same key was handled before in this rehearsal.
    Duplicate,
    /// The handler failed, or the record did not reach it, or what it staged was refused.
    Failed,
    /// The handler takes no transaction, so it was not run.
    NotRun,
}
