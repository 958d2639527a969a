//! A part of a run: some letters, a plan for them, and what comes after it.

use super::pace::Pace;
use crate::{
    apply::ApplyOptions,
    destination::Destination,
    group::{Groups, Selection},
    plan::{Action, Plan},
    queue::Queue,
    reader::Reader,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use surehand::Deadline;

/// Letters of one plan: its journal is read by each invocation that continues it.
const ROUND: usize = 5_000;
/// How often a round is gone through again for letters that were not there, or not deleted. They may
/// be hidden by an invocation that died.
const TRIES: u32 = 3;

/// What there is to do, as a message of the function's queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Work {
    pub(super) run: String,
    pub(super) round: u32,
    /// The queue with the dead letters.
    pub(super) queue: String,
    /// How often this round was gone through to its end.
    #[serde(default)]
    pub(super) tries: u32,
    /// None if the run was started with a plan.
    #[serde(default)]
    pub(super) select: Option<Selecting>,
    #[serde(default)]
    pub(super) settings: Settings,
}

/// Which letters each round is for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Selecting {
    pub(super) select: Selection,
    pub(super) to: Option<Destination>,
    pub(super) force: bool,
    /// When the run began, in ms since the epoch. What comes into the queue later may be what the run
    /// itself has put back, so it is left.
    pub(super) began_ms: u64,
    /// Where letters may go by what is written on them.
    #[serde(default)]
    pub(super) destinations: Vec<Destination>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Settings {
    pub(super) rate: Option<f64>,
    pub(super) threshold_percent: Option<u32>,
}

/// A plan as it is kept.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Planned {
    /// Whether no letter was left to plan for.
    pub(super) complete: bool,
    /// The plan's file.
    pub(super) plan: String,
}

/// How a run ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Ended {
    /// Whether it has seen all that it was for.
    pub(super) complete: bool,
    /// The letters that could not be put back in the end, with the reason.
    pub(super) failed: BTreeMap<String, String>,
    /// The letters of a plan that were not there.
    pub(super) missing: Vec<String>,
}

/// What was found in a queue.
pub(super) struct Letters {
    pub(super) plan: Plan,
    pub(super) groups: Groups,
    pub(super) seen: u64,
    pub(super) complete: bool,
}

impl Work {
    pub(super) fn may_try_again(&self) -> bool {
        self.tries < TRIES
    }

    /// Whether it goes on with the run that `started` began: for the same queue, with the same selection.
    pub(super) fn is_of(&self, started: &Self) -> bool {
        self.run == started.run && self.queue == started.queue && self.select == started.select
    }
}

impl Ended {
    pub(super) fn after(planned: &Planned) -> Self {
        Self {
            complete: planned.complete,
            ..Self::default()
        }
    }
}

impl Settings {
    /// `tries` is how often the round was gone through already: each time after a wait for what may have
    /// been hidden.
    pub(super) fn options(self, pace: &Pace, tries: u32) -> ApplyOptions {
        let usual = ApplyOptions::default();
        ApplyOptions {
            rate: self.rate,
            settle: (tries > 0).then_some(Duration::ZERO),
            threshold_percent: self.threshold_percent.unwrap_or(usual.threshold_percent),
            read: pace.read_options(),
            ..usual
        }
    }
}

impl Planned {
    pub(super) fn new(plan: &Plan, complete: bool) -> surehand::Result<Self> {
        let mut file = Vec::new();
        plan.write(&mut file)?;
        let plan = String::from_utf8(file)?;
        Ok(Self { complete, plan })
    }
}

impl Selecting {
    fn selection(&self) -> Selection {
        let mut selection = self.select.clone();
        let until = selection.until_ms.unwrap_or(u64::MAX);
        selection.until_ms = Some(until.min(self.began_ms));
        selection
    }

    fn plan(&self, queue: &str) -> Plan {
        let plan = Plan::new(queue).allow(self.destinations.iter().cloned());
        let plan = if self.force { plan.force() } else { plan };
        match &self.to {
            Some(to) => plan.to(to.clone()),
            None => plan,
        }
    }
}

/// How many letters a plan does something to.
pub(super) fn acting(plan: &Plan) -> usize {
    let steps = plan.steps().iter();
    steps.filter(|step| step.action != Action::Hold).count()
}

/// Reads the queue for half of the time there is, and plans for what is selected of it.
pub(super) async fn plan_letters(
    (queue, url): (&dyn Queue, &str),
    selecting: &Selecting,
    deadline: &Deadline,
) -> surehand::Result<Letters> {
    let selection = selecting.selection();
    let mut plan = selecting.plan(url);
    let (mut groups, mut acts) = (Groups::default(), 0);
    let half = deadline.remaining() / 2;
    let mut reader = Reader::open(queue, Pace::of(deadline).read_options()).await?;
    plan = plan.queue_arn(&reader.info().arn);
    let read = loop {
        if acts >= ROUND || deadline.remaining() < half {
            break Ok(());
        }
        let received = match reader.next().await {
            Ok(received) if received.is_empty() => break Ok(()),
            Ok(received) => received,
            Err(error) => break Err(error),
        };
        for letter in received.iter().map(|received| &received.letter) {
            if selection.matches(letter) {
                groups.add(letter);
                acts += usize::from(plan.add(letter, Action::Redrive).action != Action::Hold);
            }
        }
    };
    let report = reader.close().await;
    read?;
    Ok(Letters {
        plan,
        groups,
        seen: report.read,
        complete: report.complete,
    })
}
