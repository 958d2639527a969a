//! What was counted: for people who wait, for the report, and for the limit of failures.

use super::{
    job::Job,
    report::{Report, Status},
};
use crate::{
    journal::{Ledger, Progress},
    plan::{Action, Plan},
};
use std::collections::HashSet;

/// The counts of a run.
pub(super) struct Counts<'a> {
    plan: &'a Plan,
    pub(super) status: Status,
    pub(super) report: Report,
    sends: Tally,
    deletions: Tally,
    /// What an earlier run sent or archived, and did not see deleted.
    inherited: HashSet<String>,
}

/// How many were tried, and how many of them failed.
#[derive(Default)]
struct Tally {
    tried: u64,
    failed: u64,
}

impl<'a> Counts<'a> {
    pub(super) fn new(plan: &'a Plan, ledger: &Ledger) -> Self {
        let inherited = [Progress::Sent, Progress::Dropping].map(|at| ledger.at(at));
        let mut counts = Self {
            plan,
            status: Status::default(),
            report: Report::default(),
            sends: Tally::default(),
            deletions: Tally::default(),
            inherited: inherited.into_iter().flatten().cloned().collect(),
        };
        let steps = plan.steps().iter();
        for step in steps.filter(|step| step.action != Action::Hold) {
            let is_done = ledger.progress(&step.message_id) >= Some(Progress::Done);
            counts.status.planned += 1;
            counts.status.settled += u64::from(is_done);
        }
        counts
    }

    pub(super) fn sent(&mut self, job: &Job) {
        self.sends.count(true);
        self.status.sent += 1;
        match job.is_edit {
            true => self.report.edited += 1,
            false => self.report.redriven += 1,
        }
        self.report.without_lists += u64::from(job.lost_lists);
    }

    pub(super) fn not_sent(&mut self) {
        self.sends.count(false);
    }

    /// A letter that is not sent, with the reason.
    pub(super) fn failed(&mut self, id: &str, problem: String) {
        self.status.failed += 1;
        self.settled(id);
        self.report.failed.insert(id.to_owned(), problem);
    }

    pub(super) fn tried_to_delete(&mut self, is_answered: bool) {
        self.deletions.count(is_answered);
    }

    /// A letter that is deleted, and was sent or, if `is_dropped`, is not.
    pub(super) fn deleted(&mut self, id: &str, is_dropped: bool) {
        if self.inherited.remove(id) {
            self.report.finished += 1;
        } else if is_dropped {
            self.report.dropped += 1;
            self.status.dropped += 1;
        }
    }

    /// A letter that needs nothing more, whatever came of it.
    pub(super) fn settled(&mut self, id: &str) {
        let step = self.plan.step(id);
        let is_planned = step.is_some_and(|step| step.action != Action::Hold);
        self.status.settled += u64::from(is_planned);
    }

    /// Whether more than so many per cent of the sends, or of the deletions, failed.
    pub(super) fn is_beyond(&self, percent: u32) -> bool {
        self.sends.is_beyond(percent) || self.deletions.is_beyond(percent)
    }
}

impl Tally {
    fn count(&mut self, has_succeeded: bool) {
        self.tried += 1;
        self.failed += u64::from(!has_succeeded);
    }

    fn is_beyond(&self, percent: u32) -> bool {
        self.failed * 100 > self.tried * u64::from(percent)
    }
}
