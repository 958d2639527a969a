//! A stage of a ramp: what was put back, and what became of it.

use super::{job::Job, report::NotFixed};
use crate::{letter::Letter, ramp::Redriven, time::epoch_ms};
use std::{
    collections::{BTreeMap, HashSet},
    time::SystemTime,
};
use surehand::Metadata;

/// What of a ramp is on the way.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) index: usize,
    pub(super) sent: u64,
    /// What was put back, and has no known outcome yet.
    pub(super) waiting: Vec<Redriven>,
    pub(super) is_awaited: bool,
    groups: BTreeMap<String, NotFixed>,
    failed: u64,
}

impl Stage {
    pub(super) fn count(&mut self, job: Job, message_id: String, now: SystemTime) {
        self.sent += 1;
        let Some(story) = job.story else {
            return;
        };
        let group_id = story.group.id.clone();
        let group = self.groups.entry(group_id.clone());
        let group = group.or_insert_with(|| NotFixed {
            group: story.group,
            returned: 0,
            unanswered: 0,
        });
        group.group.count += 1;
        self.waiting.push(Redriven {
            event: story.event.unwrap_or_else(|| Metadata::new(&*message_id)),
            message_id,
            letter_id: job.parcel.letter_id,
            handler: story.cause.handler,
            to: job.to,
            group_id,
            message_group: job.group,
            redrive_count: story.redrive_count,
            reuses_key: story.reuses_key,
            sent_ms: epoch_ms(now),
        });
    }

    /// Takes the answers for those that are waited for, in their order.
    pub(super) fn complete(&mut self, completed: &[bool]) {
        let mut completed = completed.iter();
        let is_open = |redriven: &Redriven| {
            let is_completed = completed.next().copied().unwrap_or(false);
            redriven.reuses_key || !is_completed
        };
        self.waiting.retain(is_open);
    }

    /// The message groups of what was put back and has no known outcome yet.
    pub(super) fn busy(&self) -> HashSet<String> {
        let groups = self.waiting.iter();
        groups.filter_map(|it| it.message_group.clone()).collect()
    }

    /// Whether the letter is one that was put back by this stage, and failed again.
    pub(super) fn has_returned(&mut self, letter: &Letter) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let event = letter.event().map(|event| event.identity());
        let count = letter.redrive_count();
        // A second letter of one event may have been here all the time.
        let is_later = |redriven: &Redriven| {
            count > redriven.redrive_count
                || letter
                    .sent_at_ms
                    .is_some_and(|sent| sent >= redriven.sent_ms)
        };
        let index = self.waiting.iter().position(|redriven| {
            redriven.message_id == letter.id
                || (event.as_ref() == Some(&redriven.event) && is_later(redriven))
        });
        let Some(index) = index else {
            return false;
        };
        let redriven = self.waiting.swap_remove(index);
        self.failed += 1;
        if let Some(group) = self.groups.get_mut(&redriven.group_id) {
            group.returned += 1;
        }
        true
    }

    /// Ends the stage, and makes this the next one. Says which groups of reasons are not fixed, and
    /// whether no more than so many per cent of the letters failed.
    pub(super) fn end(&mut self, threshold_percent: u32) -> (Vec<NotFixed>, bool) {
        let next = Self {
            index: self.index + 1,
            ..Self::default()
        };
        let mut stage = std::mem::replace(self, next);
        for redriven in &stage.waiting {
            if let Some(group) = stage.groups.get_mut(&redriven.group_id) {
                group.unanswered += 1;
            }
        }
        let groups = stage.groups.into_values();
        let not_fixed = groups.filter(|group| group.returned + group.unanswered > 0);
        let failed = stage.failed + stage.waiting.len() as u64;
        let is_fixed = failed * 100 <= stage.sent * u64::from(threshold_percent);
        (not_fixed.collect(), is_fixed)
    }
}
