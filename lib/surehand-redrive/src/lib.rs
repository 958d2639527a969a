//! Redrives dead letters: puts them back where they came from, once they can be handled.
//!
//! A function built on [`surehand`] parks what it cannot handle in a dead-letter queue, with the reason.
//! SQS moves messages there by itself, EventBridge sends what a rule could not deliver, and Lambda what an
//! asynchronous invocation failed on. This crate reads all four and sends them to where they were to go. A
//! handler does not need it: it is what the command `surehand dlq` is made of, and the
//! [function](mod@function) `redrive`, which an application makes a binary of in one line.
//!
//! # From a queue and back
//!
//! 1. **Read.** [`Reader`] takes a snapshot of a queue, whose messages stay hidden while it is open. A
//!    [`Letter`] says what a message is, why it is there and where it goes back to, and is one line of
//!    JSON.
//! 2. **Group.** [`Groups`] finds the few reasons behind many letters; a [`Selection`] picks some.
//! 3. **Plan.** A [`Plan`] names each letter and what becomes of it: it goes back, goes back
//!    [edited](edited()), is dropped, or stays. It is a file that people can read and change.
//! 4. **Apply.** [`Apply`] does what the plan says, and nothing else. A [`Ramp`] begins with a few letters
//!    and goes on once those were handled.
//! 5. **Journal.** Each step is in a [`Journal`] before the next is taken, so that a redrive that died is
//!    taken up with the same plan and journal. A crash can send a letter twice, and never loses one.
//!    Event ids stay, so that a consumer that is idempotent by them acts once.
//! 6. **Undo.** [`Undo`] puts the letters of a journal into the dead-letter queue again.
//!
//! ```no_run
//! use surehand_redrive::{
//!     Action, Apply, AwsPost, FileJournal, Groups, Ledger, Plan, ReadOptions, Reader, Selection,
//!     SqsDeadLetterQueue, Undo,
//! };
//!
//! async fn redrive(client: aws_sdk_sqs::Client, url: &str) -> surehand::Result<()> {
//!     let queue = SqsDeadLetterQueue::new(client.clone(), url);
//!
//!     // Read, group and plan: what is there, and why? Those that were rejected go back.
//!     let mut reader = Reader::open(&queue, ReadOptions::default()).await?;
//!     let (mut groups, mut plan) = (Groups::default(), Plan::new(url));
//!     // A dead letter goes where SQS moved it from. What else is written on it needs your word.
//!     let orders = "arn:aws:sqs:eu-central-1:123456789012:orders".parse()?;
//!     plan = plan.queue_arn(&reader.info().arn).allow([orders]);
//!     let fixed = Selection { kinds: vec!["rejected".into()], ..Selection::default() };
//!     loop {
//!         let letters = reader.next().await?;
//!         if letters.is_empty() {
//!             break;
//!         }
//!         for received in letters {
//!             groups.add(&received.letter);
//!             if fixed.matches(&received.letter) {
//!                 plan.add(&received.letter, Action::Redrive);
//!             }
//!         }
//!     }
//!     reader.close().await;
//!     for group in groups.largest_first() {
//!         println!("{} {} x {}: {}", group.id, group.count, group.kind, group.message);
//!     }
//!
//!     // Apply, with a journal. After a crash: `FileJournal::open`, and the same again.
//!     let mut journal = FileJournal::create("redrive.journal")?;
//!     let post = AwsPost::new(client);
//!     let mut ledger = Ledger::default();
//!     let report = Apply::new(&queue, &post, &plan)
//!         .run(&mut journal, &mut ledger, &mut |status| {
//!             eprintln!("{} of {}", status.settled, status.planned);
//!         })
//!         .await?;
//!     println!("{} put back, {} failed", report.redriven, report.failed.len());
//!     drop(journal);
//!
//!     // It was a mistake.
//!     let mut letters = FileJournal::letters("redrive.journal")?;
//!     let (mut journal, mut ledger) = FileJournal::open("redrive.journal")?;
//!     let undo = Undo::new(&queue, &post);
//!     let undone = undo.run(&mut letters, &mut journal, &mut ledger).await?;
//!     println!("{} are dead letters again", undone.restored);
//!     Ok(())
//! }
//! ```
//!
//! The services are behind [`Queue`] and [`Post`], with [`SqsDeadLetterQueue`] and [`AwsPost`] for AWS, so
//! that all of it can be tested without them.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod apply;
mod bus_event;
mod destination;
mod edit;
mod filter;
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
mod sqs;
mod time;
mod transfer;
mod undo;

pub use apply::{Apply, ApplyOptions, DryRun, NotFixed, Report, Status, Stop};
pub use destination::Destination;
pub use edit::edited;
pub use filter::Filter;
pub use group::{Group, Groups, Selection};
pub use journal::{Entry, FileJournal, Journal, Ledger, Progress};
pub use letter::{Cause, EventSummary, InvocationFailure, Letter, Origin};
pub use parcel::{Accepted, Parcel};
pub use plan::{Action, Header, Plan, Step, Unlisted};
pub use post::AwsPost;
pub use queue::{Post, Queue, QueueInfo, Received};
pub use ramp::{Outcomes, Ramp, Redriven};
pub use reader::{ReadOptions, ReadReport, Reader};
pub use sqs::SqsDeadLetterQueue;
pub use surehand::aws::{Entries, Refusal};
pub use undo::{Undo, Undone};
