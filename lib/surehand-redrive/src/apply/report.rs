//! What came of applying a plan, on the way and in the end.

use crate::group::Group;
use std::collections::BTreeMap;

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
    /// Of a ramp: how many letters the current stage has, and how many of them were sent.
    pub stage: Option<(u64, u64)>,
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
    /// deleted; or are deleted already, which the journal did not say.
    pub finished: u64,
    /// How many were put back without attributes that hold lists.
    pub without_lists: u64,
    /// The letters that were not sent because they cannot be, or whose send failed, with the reason.
    pub failed: BTreeMap<String, String>,
    /// The letters of the plan that were not found: another consumer took them, or, on a FIFO queue,
    /// they are behind a letter that stays.
    pub missing: Vec<String>,
    /// The letters of the plan that were seen and not sent: a letter before them in their group stays.
    pub held_back: Vec<String>,
    /// How many were sent and may still be there: a resume deletes them.
    pub not_deleted: u64,
    /// What the service last said of a deletion that it did not confirm.
    pub not_deleted_because: Option<String>,
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
    /// A group may fail in several stages.
    pub(super) fn add_not_fixed(&mut self, fails: NotFixed) {
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
    /// The caller asked for it.
    Asked,
    /// Too many letters could not be sent, or not be deleted.
    Failures,
    /// Too many letters of a ramp's stage came back or were not handled in time.
    NotFixed,
}
