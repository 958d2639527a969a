//! redrive: puts dead letters back where nobody waits for it, for hours or on a schedule.
//!
//! Whoever invokes it says what is meant ([`Request`]), and gets a run. The run's work is a message in
//! the function's own queue. Whoever gets that message works until its time is nearly out, and sends
//! the next one. An invocation that dies leaves its message, and with it the run, to the next.
//!
//! A run goes in rounds: a plan of so many letters, and a journal of what became of them. Both are in
//! the idempotency table (`log.rs`), so that whoever goes on sends nothing that is known to be
//! sent.

mod log;
mod request;
mod round;
mod services;
mod source;
mod turn;

pub use request::{Answer, DryRun, Request, RunStatus, Select, Started};
pub use round::Work;
pub use services::{Queues, SqsQueues};
pub use source::Invocation;

use log::{Log, Logs};
use round::{Ended, Planned, Selecting, Settings, plan_letters};
use services::Pace;
use std::{sync::Arc, time::Duration};
use surehand::{Deadline, Error, ErrorKind, Function, Json, Record, Source, Sqs, State};
use surehand_redrive::{Apply, DryRun as PlanDryRun, Ledger, Plan, Progress, Reader};

/// What the function works with.
#[derive(Clone)]
pub struct Redrive {
    logs: Logs,
    queues: Arc<dyn Queues>,
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

/// The function: a request that somebody makes, or messages of its own queue, which `worker` handles.
#[derive(Clone)]
pub struct Invocations {
    redrive: Redrive,
    worker: Arc<Function<Sqs>>,
}

impl Invocations {
    /// `worker` is a function around [`work`].
    pub fn new(redrive: Redrive, worker: Function<Sqs>) -> Self {
        let worker = Arc::new(worker);
        Self { redrive, worker }
    }
}

/// Hands messages to the worker, whose answer is that of the invocation, and answers requests.
///
/// # Errors
/// A request that makes no sense is rejected; anything else may work next time.
pub async fn invoked(
    record: Record,
    deadline: Deadline,
    State(invocations): State<Invocations>,
) -> surehand::Result<Answer> {
    if let Ok(messages) = serde_json::from_str::<<Sqs as Source>::Event>(record.body())
        && !messages.records.is_empty()
    {
        let context = record.context().clone();
        let response = invocations.worker.invoke(messages, context).await?;
        return Ok(Answer::Messages(serde_json::to_value(response)?));
    }
    let request: Request = serde_json::from_str(record.body())
        .map_err(|error| Error::rejected(format!("the request makes no sense: {error}")))?;
    let run = &record.context().request_id;
    request.answer(&invocations.redrive, run, &deadline).await
}

/// Goes on with a run.
///
/// # Errors
/// If a queue or the table does not answer; and if so many letters cannot be sent that somebody has to
/// look.
pub async fn work(
    Json(work): Json<Work>,
    deadline: Deadline,
    State(redrive): State<Redrive>,
) -> surehand::Result<()> {
    let pace = Pace::of(&deadline);
    match redrive.go_on(&work, &pace, &deadline).await {
        // They have a message of their own, unless what looks like them is a write of one that died.
        Err(error) if error.kind() == ErrorKind::Fenced => {
            tracing::info!(run = work.run, "another invocation works on this run");
            match work.may_try_again() {
                true => redrive.try_again(&work, &pace).await,
                false => Ok(()),
            }
        }
        result => result,
    }
}

impl Redrive {
    async fn go_on(&self, work: &Work, pace: &Pace, deadline: &Deadline) -> surehand::Result<()> {
        let (run, round) = (work.run.as_str(), work.round);
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
        if round::acting(&plan) == 0 {
            return self.end(work, Ended::after(&planned)).await;
        }
        let (mut journal, mut ledger) = self.journal(run, round).await?;
        let queue = self.queues.dead_letters(&plan.header.queue);
        let is_time = || deadline.remaining() < pace.reserve;
        let report = Apply::new(queue.as_ref(), self.queues.post(), &plan)
            .options(work.settings.options(pace))
            .stop_when(&is_time)
            .run(&mut journal, &mut ledger, &mut |_| {})
            .await?;
        tracing::info!(
            run,
            round,
            planned = round::acting(&plan),
            done = ledger.count(Progress::Done),
            failed = report.failed.len(),
            stopped = ?report.stopped,
            "letters were put back"
        );
        self.next(work, pace, &planned, &report, &ledger).await
    }

    /// Plans the next letters, and keeps the plan before anything of it is done. None if the queue has
    /// letters that nobody sees now.
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
        if round::acting(&letters.plan) == 0 && !letters.complete {
            if work.may_try_again() {
                return Ok(None);
            }
            self.logs.end_turn(&work.queue, &work.run).await;
            return Err(Error::rejected(format!(
                "{} has letters that cannot be seen: somebody else holds them, or there are too many for one invocation",
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
    async fn start(
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
            self.queues.go_on(work, Duration::ZERO).await
        };
        if let Err(error) = started.await {
            self.logs.end_turn(url, &run).await;
            return Err(error);
        }
        Ok(Started { run })
    }

    async fn try_plan(
        &self,
        plan: &Plan,
        settings: &Settings,
        deadline: &Deadline,
    ) -> surehand::Result<PlanDryRun> {
        let queue = self.queues.dead_letters(&plan.header.queue);
        let pace = Pace::of(deadline);
        let (_, ledger) = self.journal(&plan.header.plan, 0).await?;
        let apply = Apply::new(queue.as_ref(), self.queues.post(), plan);
        apply
            .options(settings.options(&pace))
            .dry_run(&ledger)
            .await
    }

    async fn look(
        &self,
        url: &str,
        selecting: &Selecting,
        deadline: &Deadline,
    ) -> surehand::Result<round::Letters> {
        let queue = self.queues.dead_letters(url);
        plan_letters((queue.as_ref(), url), selecting, deadline).await
    }
}
