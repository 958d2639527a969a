//! Runs: what is done of one in an invocation, and how it goes on in the next.

use super::{
    log::{Log, Logs},
    pace::Pace,
    round::{Ended, Letters, Planned, Selecting, Settings, Work, acting, plan_letters},
    services::Queues,
    turn,
};
use crate::{
    apply::{Apply, DryRun, Report, Stop},
    destination::Destination,
    journal::{Ledger, Progress},
    plan::Plan,
    reader::Reader,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use surehand::{Deadline, Error};

/// What the function works with.
#[derive(Clone)]
pub struct Redrive {
    logs: Logs,
    pub(super) queues: Arc<dyn Queues>,
}

impl Redrive {
    /// Keeps its plans and journals in `table`, whose key is the string `id`.
    pub fn new(
        client: aws_sdk_dynamodb::Client,
        table: impl Into<String>,
        queues: impl Queues,
    ) -> Self {
        Self {
            logs: Logs::new(client, table),
            queues: Arc::new(queues),
        }
    }

    async fn planned(&self, run: &str, round: u32) -> surehand::Result<Option<Planned>> {
        self.logs.last(&format!("{run}#{round}#plan")).await
    }

    async fn ended(&self, run: &str) -> surehand::Result<Option<Ended>> {
        self.logs.last(&format!("{run}#end")).await
    }

    async fn journal(&self, run: &str, round: u32) -> surehand::Result<(Log, Ledger)> {
        let mut ledger = Ledger::default();
        let name = format!("{run}#{round}#journal");
        let mut note = |entry| ledger.note(&entry);
        let log = self.logs.open(&name, &mut note).await?;
        Ok((log, ledger))
    }
}

/// A run that has begun.
#[derive(Debug, Serialize)]
pub struct Started {
    /// Its name.
    pub run: String,
}

/// How far a run is.
#[derive(Debug, Serialize)]
pub struct RunStatus {
    /// Its name.
    pub run: String,
    /// How many plans it has made.
    pub rounds: u32,
    /// How many letters these do something to.
    pub planned: u64,
    /// How many letters were sent, and are not known to be deleted.
    pub sent: u64,
    /// How many letters are done with.
    pub done: u64,
    /// Whether it has ended.
    pub ended: bool,
    /// Whether it had seen all that it was for when it ended.
    pub complete: bool,
    /// The letters that could not be put back in the end, with the reason.
    pub failed: BTreeMap<String, String>,
    /// The letters of a plan that were not there.
    pub missing: Vec<String>,
}

impl Redrive {
    async fn started(&self, run: &str) -> surehand::Result<Option<Work>> {
        self.logs.last(&format!("{run}#start")).await
    }

    /// A message is not enough to have letters sent: whoever may send to the function's queue could
    /// write one. What a run is for is what the request said that started it.
    async fn check_started(&self, work: &Work) -> surehand::Result<()> {
        let is_known = match self.started(&work.run).await? {
            Some(started) => work.is_of(&started),
            None => false,
        };
        let is_next = match work.round.checked_sub(1) {
            Some(before) if is_known => self.planned(&work.run, before).await?.is_some(),
            _ => true,
        };
        match is_known && is_next {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "nothing was sent: run {} was not started by a request to this function, or not with what its message says; \
                 start a run by a request",
                work.run
            ))),
        }
    }

    pub(super) async fn go_on(
        &self,
        work: &Work,
        pace: &Pace,
        deadline: &Deadline,
    ) -> surehand::Result<()> {
        let (run, round) = (work.run.as_str(), work.round);
        self.check_started(work).await?;
        if self.ended(run).await?.is_some() {
            tracing::info!(run, "the run has ended");
            self.logs.end_turn(&work.queue, run).await;
            return Ok(());
        }
        if self.planned(run, round + 1).await?.is_some() {
            tracing::info!(run, round, "this part of the run has been worked on");
            return Ok(());
        }
        let silence = turn::silence(deadline);
        self.logs.take_turn(&work.queue, run, silence).await?;
        let planned = match self.planned(run, round).await? {
            Some(planned) => planned,
            None => match self.plan_round(work, deadline).await? {
                Some(planned) => planned,
                None => return self.try_again(work, pace).await,
            },
        };
        let plan = Plan::read(planned.plan.as_bytes())?;
        if acting(&plan) == 0 {
            return self.end(work, Ended::after(&planned)).await;
        }
        let (mut journal, mut ledger) = self.journal(run, round).await?;
        let queue = self.queues.dead_letters(&plan.header.queue);
        let is_time = || deadline.remaining() < pace.reserve;
        let report = Apply::new(queue.as_ref(), self.queues.post(), &plan)
            .options(work.settings.options(pace, work.tries))
            .stop_when(&is_time)
            .run(&mut journal, &mut ledger, &mut |_| {})
            .await?;
        tracing::info!(
            run,
            round,
            planned = acting(&plan),
            done = ledger.count(Progress::Done),
            failed = report.failed.len(),
            stopped = ?report.stopped,
            "letters were put back"
        );
        self.next(work, pace, &planned, &report, &ledger).await
    }

    /// Plans the next letters, and keeps the plan before anything of it is done. None if the queue has
    /// letters that are hidden now.
    async fn plan_round(
        &self,
        work: &Work,
        deadline: &Deadline,
    ) -> surehand::Result<Option<Planned>> {
        let Some(selecting) = &work.select else {
            let lost = format!("the plan of run {} is no longer there", work.run);
            return Err(Error::rejected(lost));
        };
        let letters = self.look(&work.queue, selecting, deadline).await?;
        if acting(&letters.plan) == 0 && !letters.complete {
            if work.may_try_again() {
                return Ok(None);
            }
            self.logs.end_turn(&work.queue, &work.run).await;
            return Err(Error::rejected(format!(
                "{} has letters that cannot be seen: another consumer holds them, or there are too many for one invocation",
                work.queue
            )));
        }
        let planned = Planned::new(&letters.plan, letters.complete)?;
        self.keep(&work.run, work.round, &planned).await?;
        Ok(Some(planned))
    }

    async fn keep(&self, run: &str, round: u32, planned: &Planned) -> surehand::Result<()> {
        let name = format!("{run}#{round}#plan");
        self.logs.begin(&name).write(&[planned]).await
    }

    async fn end(&self, work: &Work, ended: Ended) -> surehand::Result<()> {
        let (failed, missing) = (ended.failed.len(), ended.missing.len());
        let name = format!("{}#end", work.run);
        self.logs.begin(&name).write(&[ended]).await?;
        self.logs.end_turn(&work.queue, &work.run).await;
        tracing::info!(run = work.run, failed, missing, "the run has ended");
        Ok(())
    }

    /// Puts a run into the function's queue, once it can be seen to make sense.
    pub(super) async fn start(
        &self,
        work: &Work,
        plan: Option<&Plan>,
        deadline: &Deadline,
    ) -> surehand::Result<Started> {
        let (run, url) = (work.run.clone(), &work.queue);
        if self.queues.is_own(url) {
            // A run that puts runs back, this one among them.
            return Err(Error::rejected(format!(
                "{url} is this function's own: put its letters back with `surehand dlq`"
            )));
        }
        let to = work.select.as_ref().and_then(|it| it.to.as_ref());
        if let Some(Destination::Queue(to)) = to
            && self.queues.is_own(to)
        {
            return Err(Error::rejected(format!(
                "{to} is this function's own: letters do not go there"
            )));
        }
        let queue = self.queues.dead_letters(url);
        let options = Pace::default().read_options();
        Reader::open(queue.as_ref(), options).await?.close().await;
        let silence = turn::silence(deadline);
        self.logs.take_turn(url, &run, silence).await?;
        let started = async {
            if let Some(plan) = plan
                && self.planned(&run, 0).await?.is_none()
            {
                self.keep(&run, 0, &Planned::new(plan, true)?).await?;
            }
            if self.started(&run).await?.is_none() {
                let name = format!("{run}#start");
                self.logs.begin(&name).write(&[work]).await?;
            }
            self.queues.go_on(work, Duration::ZERO).await
        };
        if let Err(error) = started.await {
            self.logs.end_turn(url, &run).await;
            return Err(error);
        }
        Ok(Started { run })
    }

    pub(super) async fn try_plan(
        &self,
        plan: &Plan,
        settings: &Settings,
        deadline: &Deadline,
    ) -> surehand::Result<DryRun> {
        let queue = self.queues.dead_letters(&plan.header.queue);
        let pace = Pace::of(deadline);
        let (_, ledger) = self.journal(&plan.header.plan, 0).await?;
        let apply = Apply::new(queue.as_ref(), self.queues.post(), plan);
        apply
            .options(settings.options(&pace, 0))
            .dry_run(&ledger)
            .await
    }

    pub(super) async fn look(
        &self,
        url: &str,
        selecting: &Selecting,
        deadline: &Deadline,
    ) -> surehand::Result<Letters> {
        let queue = self.queues.dead_letters(url);
        plan_letters((queue.as_ref(), url), selecting, deadline).await
    }

    /// Says how the run goes on after this invocation.
    async fn next(
        &self,
        work: &Work,
        pace: &Pace,
        planned: &Planned,
        report: &Report,
        ledger: &Ledger,
    ) -> surehand::Result<()> {
        if report.stopped == Some(Stop::Asked) {
            let moved = report.redriven + report.edited + report.dropped + report.finished;
            if moved > 0 {
                let work = Work {
                    tries: 0,
                    ..work.clone()
                };
                return self.queues.go_on(&work, Duration::ZERO).await;
            }
            if work.may_try_again() {
                return self.try_again(work, pace).await;
            }
            self.logs.end_turn(&work.queue, &work.run).await;
            // It is parked with this, and the alarm of the function's dead-letter queue goes off.
            return Err(Error::rejected(format!(
                "run {} made no progress in {} invocations: give the function more time, or see who else holds letters of {}",
                work.run,
                work.tries + 1,
                work.queue
            )));
        }
        if report.stopped.is_some() {
            self.logs.end_turn(&work.queue, &work.run).await;
            // It is parked with this. Putting that dead letter back goes on with the run.
            return Err(Error::rejected(format!(
                "{} letters cannot be put back, so that the run stopped: {}",
                report.failed.len(),
                report.failed.values().next().map_or("", String::as_str)
            )));
        }
        let is_left = !report.missing.is_empty() || report.not_deleted > 0;
        if is_left && work.may_try_again() {
            return self.try_again(work, pace).await;
        }
        // A round that changed nothing would be the same again.
        let has_moved = ledger.count(Progress::Done) > 0;
        if !planned.complete && has_moved && work.select.is_some() {
            let work = Work {
                round: work.round + 1,
                tries: 0,
                ..work.clone()
            };
            return self.queues.go_on(&work, Duration::ZERO).await;
        }
        let ended = Ended {
            failed: report.failed.clone(),
            missing: report.missing.clone(),
            ..Ended::after(planned)
        };
        self.end(work, ended).await
    }

    /// Goes through the round once more, when what an invocation that died had received is there again.
    pub(super) async fn try_again(&self, work: &Work, pace: &Pace) -> surehand::Result<()> {
        let work = Work {
            tries: work.tries + 1,
            ..work.clone()
        };
        self.queues.go_on(&work, pace.visibility).await
    }

    pub(super) async fn status(&self, run: &str) -> surehand::Result<RunStatus> {
        let ended = self.ended(run).await?;
        let mut status = RunStatus {
            run: run.to_owned(),
            rounds: 0,
            planned: 0,
            sent: 0,
            done: 0,
            ended: ended.is_some(),
            complete: false,
            failed: BTreeMap::new(),
            missing: Vec::new(),
        };
        if let Some(ended) = ended {
            status.complete = ended.complete;
            (status.failed, status.missing) = (ended.failed, ended.missing);
        }
        while let Some(planned) = self.planned(run, status.rounds).await? {
            let (_, ledger) = self.journal(run, status.rounds).await?;
            status.planned += acting(&Plan::read(planned.plan.as_bytes())?) as u64;
            status.sent += ledger.count(Progress::Sent) as u64;
            status.done += ledger.count(Progress::Done) as u64;
            status.rounds += 1;
        }
        if status.rounds == 0 {
            let unknown = format!("there is no run `{run}`, or it has not begun");
            return Err(Error::rejected(unknown));
        }
        Ok(status)
    }
}
