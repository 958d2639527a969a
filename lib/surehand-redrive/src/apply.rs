//! Does what a plan says, so that nothing is lost.

mod engine;
mod returns;
mod step;
mod stock;
mod transfer;

pub(crate) use transfer::send_parcels;

use crate::{
    destination::Destination,
    group::Group,
    journal::{Book, Journal, Ledger, Progress},
    letter::Letter,
    plan::{Action, Plan, Unlisted},
    queue::{Post, Queue},
    ramp::Ramp,
    reader::{ReadOptions, Reader},
};
use engine::Engine;
use std::{collections::BTreeMap, time::Duration};
use surehand::{Clock, Error, Result};

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

/// How a plan is applied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Letters a second at most; unlimited unless set.
    pub rate: Option<f64>,
    /// Stops when more than so many per cent of the letters fail; 20 unless set.
    pub threshold_percent: u32,
    /// How many letters are sent at once at most, and between two syncs of the journal; 4 MiB of them
    /// in any case. 100 unless set.
    pub wave: usize,
    /// How the queue is read. The visibility timeout, 2 minutes unless set, is also how long a
    /// resume waits for what a process that died had received.
    pub read: ReadOptions,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        let visibility = Duration::from_secs(120);
        Self {
            rate: None,
            threshold_percent: 20,
            wave: 100,
            read: ReadOptions {
                visibility,
                patience: visibility + Duration::from_secs(30),
                // As many as a wave needs.
                receivers: 10,
                ..ReadOptions::default()
            },
            clock: Clock::system(),
        }
    }
}

/// How far it is, for people who wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many letters the plan wants to touch.
    pub planned: u64,
    /// How many of them need nothing more, whatever came of them.
    pub settled: u64,
    /// How many were sent by this run.
    pub sent: u64,
    /// How many were deleted without being sent by this run.
    pub dropped: u64,
    /// How many could not be sent by this run.
    pub failed: u64,
    /// Of a ramp: how many letters the current step has, and how many of them were sent.
    pub step: Option<(u64, u64)>,
}

/// What came of applying a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many letters were put back as they were.
    pub redriven: u64,
    /// How many were put back with another body.
    pub edited: u64,
    /// How many were dropped, and are deleted.
    pub dropped: u64,
    /// How many had been sent, or written down to be dropped, by an earlier run, and needed only to be
    /// deleted; or are deleted already, which nobody had written down.
    pub finished: u64,
    /// How many were put back without attributes that hold lists.
    pub without_lists: u64,
    /// The letters that were not sent because they cannot be, or whose send failed, with the reason.
    pub failed: BTreeMap<String, String>,
    /// The letters of the plan that were not found: somebody else took them, or, on a FIFO queue,
    /// they are behind a letter that stays.
    pub missing: Vec<String>,
    /// How many were sent and may still be there: a resume deletes them.
    pub not_deleted: u64,
    /// How many letters stay, about: held, unlisted, or left by a stop.
    pub left: u64,
    /// With a ramp: the groups whose letters came back or were not handled in time.
    pub not_fixed: Vec<NotFixed>,
    /// Why it ended before its end.
    pub stopped: Option<Stop>,
}

/// A group that fails again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFixed {
    /// The group that the letters were of when they were put back; counts those put back.
    pub group: Group,
    /// How many came back.
    pub returned: u64,
    /// How many were neither handled nor back in time.
    pub unanswered: u64,
}

impl Report {
    /// A group may fail in several steps.
    fn add_not_fixed(&mut self, fails: NotFixed) {
        let mut groups = self.not_fixed.iter_mut();
        match groups.find(|known| known.group.id == fails.group.id) {
            Some(known) => {
                known.group.count += fails.group.count;
                known.returned += fails.returned;
                known.unanswered += fails.unanswered;
            }
            None => self.not_fixed.push(fails),
        }
    }
}

/// Why applying a plan ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// Somebody asked for it.
    Asked,
    /// Too many letters could not be sent, or not be deleted.
    Failures,
    /// Too many letters of a ramp's step came back or were not handled in time.
    NotFixed,
}

/// What applying a plan would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryRun {
    /// How many letters go where.
    pub sends: BTreeMap<Destination, u64>,
    /// How many are dropped.
    pub drops: u64,
    /// How many stay.
    pub holds: u64,
    /// How many lose attributes that hold lists.
    pub without_lists: u64,
    /// The letters that cannot be put back, with the reason.
    pub problems: BTreeMap<String, String>,
    /// How many letters need nothing but to be deleted, since an earlier run sent them; or are dealt
    /// with already.
    pub finished: u64,
    /// How many letters of the plan were not found.
    pub missing: u64,
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

    /// Does it. `ledger` is what the journal said when it was opened; empty for a new one.
    ///
    /// # Errors
    /// If the queue cannot be read, or the journal not written: nothing is done then that is not
    /// announced. If the journal belongs to another plan, or the plan to another queue.
    pub async fn run(
        &self,
        journal: &mut dyn Journal,
        ledger: &mut Ledger,
        progress: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<Report> {
        self.check(ledger)?;
        let reader = self.open().await?;
        let mut engine = Engine::new(self, reader, Book { journal, ledger });
        let result = engine.run(progress).await;
        let (report, read) = engine.close().await;
        result?;
        Ok(Report {
            left: read.left + report.left,
            ..report
        })
    }

    /// Reads the queue, and says what would be done. `ledger` is what the journal says; empty if there
    /// is none.
    ///
    /// # Errors
    /// If the queue cannot be read. If the journal belongs to another plan, or the plan to another
    /// queue.
    pub async fn dry_run(&self, ledger: &Ledger) -> Result<DryRun> {
        self.check(ledger)?;
        let mut reader = self.open().await?;
        let is_sent = |id: &str| ledger.progress(id) >= Some(Progress::Sent);
        let steps = self.plan.steps().iter();
        let finished = steps.filter(|step| is_sent(&step.message_id)).count() as u64;
        let mut dry = DryRun {
            finished,
            ..DryRun::default()
        };
        let mut found = 0;
        let result = loop {
            let letters = match reader.next().await {
                Ok(letters) if letters.is_empty() => break Ok(()),
                Ok(letters) => letters,
                Err(error) => break Err(error),
            };
            for received in letters {
                let letter = received.letter;
                if is_sent(&letter.id) {
                    continue;
                }
                found += u64::from(self.plan.step(&letter.id).is_some());
                match self.action(&letter) {
                    Err(problem) => {
                        dry.problems.insert(letter.id, problem);
                    }
                    Ok(Action::Hold) => dry.holds += 1,
                    Ok(Action::Drop) => dry.drops += 1,
                    Ok(action) => match self.plan.prepare(&letter, action) {
                        Err(problem) => {
                            dry.problems.insert(letter.id, problem);
                        }
                        Ok(None) => dry.holds += 1,
                        Ok(Some((to, _))) => {
                            dry.without_lists += u64::from(!letter.dropped_attributes.is_empty());
                            *dry.sends.entry(to).or_default() += 1;
                        }
                    },
                }
            }
        };
        reader.close().await;
        result?;
        dry.missing = self.plan.steps().len() as u64 - finished - found;
        Ok(dry)
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
        let reader = Reader::open(self.queue, self.options.read.clone()).await?;
        let (ours, theirs) = (&self.plan.header.queue, &reader.info().url);
        if ours != theirs {
            reader.close().await;
            return Err(Error::rejected(format!(
                "the plan is for queue {ours}, and not for this one"
            )));
        }
        Ok(reader)
    }

    /// What is done with a letter. The error is why it is not what the plan says.
    fn action(&self, letter: &Letter) -> Result<&Action, String> {
        match self.plan.step(&letter.id) {
            Some(step) if step.sha256 != letter.digest() => {
                Err("its body is not the one that the plan was made for".into())
            }
            _ => Ok(self.planned(&letter.id)),
        }
    }

    /// What the plan says of a letter.
    fn planned(&self, id: &str) -> &Action {
        match (self.plan.step(id), self.plan.header.unlisted) {
            (Some(step), _) => &step.action,
            (None, Unlisted::Hold) => &Action::Hold,
            (None, Unlisted::Redrive) => &Action::Redrive,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop())
    }
}
