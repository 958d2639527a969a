//! What a function would do with a record, without doing it.
//!
//! A function that is started with `SUREHAND_REHEARSE=1` reads [trials](Trial) from standard input,
//! one line of JSON each, and answers each with [findings](Finding) on standard output, one line a
//! record. It ends with its input. `surehand dlq rehearse` runs dead letters through a new build so.
//!
//! Claims are made in memory. What a handler stages in a [`Transaction`](crate::Transaction) is
//! described and not committed, so the conditions of its writes are not looked at, only
//! [counted](Finding::conditions); what it reads is read. A handler without a transaction may have effects of its own: it runs only with
//! `SUREHAND_REHEARSE_EFFECTS=1`, and then they happen. Nothing is parked, and no message is touched.
//! Logs go to standard error.

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
    /// How many of the staged writes have a condition. Whether it holds is not known before the commit.
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
    /// The handler failed, or the record did not reach it.
    Failed,
    /// The handler takes no transaction, so it was not run.
    NotRun,
}
