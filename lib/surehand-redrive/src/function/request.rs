//! What can be asked of the function.

use super::{
    redrive::{Redrive, RunStatus, Started},
    round::{Selecting, Settings, Work, acting},
};
use crate::{
    destination::Destination,
    group::{Group, Selection},
    plan::Plan,
    time::epoch_ms,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, time::SystemTime};
use surehand::{Deadline, Error};

/// What the function is asked: to put back letters of a queue, to apply a plan, or how far a run is.
///
/// ```json
/// {"queue": "reserve-stock", "select": {"kinds": ["rejected"]}, "rate": 50, "apply": true}
/// {"plan": "…the file that `surehand dlq plan` made…", "apply": true}
/// {"run": "…what the answer to either said…"}
/// ```
///
/// `queue` is a name of the template's, a URL or an ARN. Without `apply` nothing is changed, and the
/// answer says what would be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    queue: Option<String>,
    select: Option<Selection>,
    plan: Option<String>,
    run: Option<String>,
    to: Option<String>,
    force: bool,
    rate: Option<f64>,
    threshold_percent: Option<u32>,
    apply: bool,
}

/// What the function says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To messages: which of them must come back.
    Messages(Value),
    /// What would be done.
    DryRun(DryRun),
    /// What has begun.
    Started(Started),
    /// How a run is.
    Status(RunStatus),
}

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct DryRun {
    /// How many letters were looked at.
    pub seen: u64,
    /// How many would be put back, changed or dropped.
    pub selected: u64,
    /// How many of those meant would stay, by the reason.
    pub held: BTreeMap<String, u64>,
    /// The groups of those meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Whether there was time for all of them.
    pub complete: bool,
}

impl Request {
    pub(super) async fn answer(
        self,
        redrive: &Redrive,
        run: &str,
        deadline: &Deadline,
    ) -> surehand::Result<Answer> {
        let settings = self.settings()?;
        let is_bare = self.select.is_none() && self.to.is_none() && !self.force;
        match (&self.queue, &self.plan, &self.run) {
            (Some(queue), None, None) => {
                let queue = &url_of(queue, redrive.queues.by_name())?;
                let mut selecting = self.selecting()?;
                if selecting.to.is_none() {
                    selecting.destinations = redrive.queues.destinations(queue).await?;
                }
                if self.apply {
                    let work = work(run, queue, settings, Some(selecting));
                    let started = redrive.start(&work, None, deadline).await?;
                    return Ok(Answer::Started(started));
                }
                let letters = redrive.look(queue, &selecting, deadline).await?;
                let groups = letters.groups.largest_first();
                Ok(Answer::DryRun(DryRun {
                    seen: letters.seen,
                    selected: acting(&letters.plan) as u64,
                    held: held(&letters.plan),
                    groups: groups.into_iter().cloned().collect(),
                    complete: letters.complete,
                }))
            }
            (None, Some(file), None) if is_bare => {
                let plan = Plan::read(file.as_bytes())
                    .map_err(|error| Error::rejected(error.to_string()))?;
                if !self.apply {
                    let dry = redrive.try_plan(&plan, &settings, deadline).await?;
                    let mut held = held(&plan);
                    for problem in dry.problems.into_values() {
                        *held.entry(problem).or_default() += 1;
                    }
                    let selected = dry.sends.values().sum::<u64>() + dry.drops;
                    let seen = plan.steps().len() as u64 - dry.missing;
                    return Ok(Answer::DryRun(DryRun {
                        seen,
                        selected,
                        held,
                        groups: Vec::new(),
                        complete: dry.missing == 0,
                    }));
                }
                // Under its own name, so that a plan is not applied by two runs.
                let run = plan.header.plan.as_str();
                let work = work(run, &plan.header.queue, settings, None);
                let started = redrive.start(&work, Some(&plan), deadline).await?;
                Ok(Answer::Started(started))
            }
            (None, None, Some(run)) if is_bare && !self.apply => {
                redrive.status(run).await.map(Answer::Status)
            }
            _ => Err(Error::rejected(
                "the request makes no sense: it names a `queue`, with `select`, `to` and `force` if you like, or a `plan`, each with `apply` to have it done, or a `run`",
            )),
        }
    }

    fn settings(&self) -> surehand::Result<Settings> {
        // With less an invocation could spend all of its time waiting.
        if self.rate.is_some_and(|rate| rate < 1.0) {
            return Err(Error::rejected("`rate` is letters a second, 1 at least"));
        }
        if self.threshold_percent.is_some_and(|percent| percent > 100) {
            return Err(Error::rejected("`threshold_percent` is 100 at most"));
        }
        Ok(Settings {
            rate: self.rate,
            threshold_percent: self.threshold_percent,
        })
    }

    fn selecting(&self) -> surehand::Result<Selecting> {
        let to = self.to.as_deref().map(str::parse).transpose()?;
        Ok(Selecting {
            select: self.select.clone().unwrap_or_default(),
            to,
            force: self.force,
            began_ms: epoch_ms(SystemTime::now()),
            destinations: Vec::new(),
        })
    }
}

fn work(run: &str, queue: &str, settings: Settings, select: Option<Selecting>) -> Work {
    Work {
        run: run.to_owned(),
        round: 0,
        queue: queue.to_owned(),
        tries: 0,
        select,
        settings,
    }
}

fn url_of(queue: &str, by_name: &BTreeMap<String, String>) -> surehand::Result<String> {
    if let Some(url) = by_name.get(queue) {
        return Ok(url.clone());
    }
    match queue.parse() {
        Ok(Destination::Queue(url)) => Ok(url),
        _ => {
            let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
            let names = names.join(", ");
            Err(Error::rejected(format!(
                "`{queue}` is not a dead-letter queue: give its URL, its ARN or one of {names}"
            )))
        }
    }
}

/// The letters that a plan holds, by the reason.
fn held(plan: &Plan) -> BTreeMap<String, u64> {
    let mut held = BTreeMap::new();
    for note in plan.steps().iter().filter_map(|step| step.note.as_ref()) {
        *held.entry(note.clone()).or_default() += 1;
    }
    held
}
