//! Puts dead letters back.
#![doc = include_str!("tour.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod apply;
mod bus_event;
mod destination;
mod edit;
pub mod function;
mod group;
mod journal;
mod letter;
mod parcel;
mod plan;
mod post;
mod queue;
mod ramp;
mod reader;
mod refusal;
mod sqs;
mod time;
mod transfer;
mod undo;

pub use apply::{Apply, ApplyOptions, DryRun, NotFixed, Report, Status, Stop};
pub use destination::Destination;
pub use edit::edited;
pub use group::{Group, Groups, Selection};
pub use journal::{Entry, FileJournal, Journal, Ledger, Progress};
pub use letter::{Cause, EventSummary, InvocationFailure, Letter, Origin};
pub use parcel::{Accepted, Parcel};
pub use plan::{Action, Header, Plan, Step, Unlisted};
pub use post::AwsPost;
pub use queue::{Entries, Post, Queue, QueueInfo, Received};
pub use ramp::{Outcomes, Ramp, Redriven};
pub use reader::{ReadOptions, ReadReport, Reader};
pub use refusal::Refusal;
pub use sqs::SqsDeadLetterQueue;
pub use undo::{Undone, undo};
