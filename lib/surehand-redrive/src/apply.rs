//! Does what a plan says, so that nothing is lost.

mod counts;
mod deletions;
mod dry_run;
mod engine;
mod job;
mod options;
mod order;
mod pacing;
mod report;
mod returns;
mod stage;
mod stock;

pub use dry_run::DryRun;
pub use options::ApplyOptions;
pub use report::{NotFixed, Report, Status, Stop};

use crate::{
    journal::Ledger,
    letter::Letter,
    plan::{Action, Plan, Unlisted},
    queue::{Post, Queue},
    ramp::Ramp,
    reader::Reader,
};
use surehand::{Error, Result};

/// Applies a plan to its queue.
///
/// For every letter: the journal has the intent, with the letter; it is sent; the queue's answer is
/// checked, per entry and by MD5; the journal has it as sent; it is deleted; the journal has it as
/// done. While one wave of letters is sent, the one before it is deleted and the next one is read; the
/// journal is written once for all three. Whatever dies in between, applying the same plan with the
/// same journal goes on: what the journal has as sent is only deleted then. What may have been sent is
/// sent again: a consumer that is idempotent by event id sees it once.
///
/// On a FIFO queue a group has one letter on the way at a time, and stops at its first letter that
/// fails, is held, or is not in the plan.
pub struct Apply<'a> {
    queue: &'a dyn Queue,
    post: &'a dyn Post,
    plan: &'a Plan,
    options: ApplyOptions,
    ramp: Option<Ramp<'a>>,
    stop: Option<&'a (dyn Fn() -> bool + Send + Sync)>,
}

impl<'a> Apply<'a> {
    /// The plan's letters go from `queue` to where `post` brings them.
    pub fn new(queue: &'a dyn Queue, post: &'a dyn Post, plan: &'a Plan) -> Self {
        Self {
            queue,
            post,
            plan,
            options: ApplyOptions::default(),
            ramp: None,
            stop: None,
        }
    }

    /// Sets how.
    pub fn options(mut self, options: ApplyOptions) -> Self {
        self.options = options;
        self
    }

    /// Begins with a few letters, and goes on with more once those were handled.
    pub fn ramp(mut self, ramp: Ramp<'a>) -> Self {
        self.ramp = Some(ramp);
        self
    }

    /// Ends early, after what is on the way, when `stop` says so.
    pub fn stop_when(mut self, stop: &'a (dyn Fn() -> bool + Send + Sync)) -> Self {
        self.stop = Some(stop);
        self
    }

    fn check(&self, ledger: &Ledger) -> Result<()> {
        let plan = &self.plan.header.plan;
        match ledger.plan().filter(|other| other != plan) {
            Some(other) => Err(Error::rejected(format!(
                "the journal belongs to plan {other}, and not to plan {plan}"
            ))),
            None => Ok(()),
        }
    }

    async fn open(&self) -> Result<Reader<'a>> {
        let mut options = self.options.read.clone();
        options.clock = self.options.clock.clone();
        let reader = Reader::open(self.queue, options).await?;
        if let Err(error) = self.plan.check_queue(reader.info()) {
            reader.close().await;
            return Err(error);
        }
        Ok(reader)
    }

    /// Asks for the right to delete before anything is sent: what is sent and cannot be deleted is there
    /// twice.
    async fn check_rights(&self) -> Result<()> {
        // No receipt is like it, so that nothing is deleted.
        let none = ["may this be deleted".to_owned()];
        match self.queue.delete(&none).await {
            Err(error) if error.to_string().contains("AccessDenied") => {
                let queue = &self.plan.header.queue;
                Err(Error::rejected(format!(
                    "nothing was sent, since dead letters of {queue} could not be deleted afterwards; \
                     allow sqs:DeleteMessage on it: {error}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// What is done with a letter. The error is why it is not what the plan says.
    fn action(&self, letter: &Letter) -> Result<&Action, String> {
        match self.plan.step(&letter.id) {
            Some(step) if step.sha256 != letter.digest() => {
                Err("its body is not the one that the plan was made for".into())
            }
            _ => Ok(self.planned(letter)),
        }
    }

    /// What the plan says of a letter.
    fn planned(&self, letter: &Letter) -> &Action {
        let header = &self.plan.header;
        match (self.plan.step(&letter.id), header.unlisted) {
            (Some(step), _) => &step.action,
            (None, Unlisted::Redrive) if header.selection.matches(letter) => &Action::Redrive,
            (None, _) => &Action::Hold,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop())
    }
}
