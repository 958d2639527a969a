//! Where a plan is carried out.

use std::time::Duration;

use anyhow::{Context as _, Result};
use surehand_redrive::{
    Apply, AwsPost, FileJournal, Ledger, Plan, Queue as _, QueueInfo, Ramp, ReadOptions, Report,
    SqsDeadLetterQueue, Stop,
};

use super::{
    pace::PaceArgs,
    report::{self, Words},
};
use crate::{
    cloud::Cloud,
    dlq::{
        context::{Context, End, said},
        outcomes::Facts,
        read,
        target::{self, Target},
    },
};

/// The queue that a plan is for, and the ways from it.
pub(super) struct Site {
    cloud: Cloud,
    pub(super) target: Target,
    pub(super) queue: SqsDeadLetterQueue,
    pub(super) post: AwsPost,
    /// What the queue said of itself.
    pub(super) info: QueueInfo,
}

impl Site {
    /// Also says whether the queue is there, and is the plan's, before anything is written down.
    pub(super) async fn of(
        plan: &Plan,
        despite_redrive_policy: bool,
        context: &Context<'_>,
    ) -> Result<Self> {
        let cloud = context.connect().await?;
        let queue = plan.header.queue_arn.as_ref();
        let region = target::region_of(queue.unwrap_or(&plan.header.queue));
        let target = Target {
            url: plan.header.queue.clone(),
            function: None,
            despite_redrive_policy,
        };
        let site = Self::at(cloud.in_region(region), target).await?;
        plan.check_queue(&site.info).map_err(said)?;
        Ok(site)
    }

    /// Also says whether the queue is there.
    pub(super) async fn at(cloud: Cloud, target: Target) -> Result<Self> {
        let mut site = Self::new(cloud, target);
        site.info = site.queue.info().await.map_err(said).with_context(|| {
            let (queue, cloud) = (site.target.name(), site.cloud.name());
            format!("cannot read {queue}, which the plan is for, at {cloud}")
        })?;
        Ok(site)
    }

    fn new(cloud: Cloud, target: Target) -> Self {
        let sqs = aws_sdk_sqs::Client::new(&cloud.config);
        Self {
            queue: SqsDeadLetterQueue::new(sqs.clone(), &target.url),
            post: AwsPost::new(sqs)
                .event_bridge(aws_sdk_eventbridge::Client::new(&cloud.config))
                .lambda(aws_sdk_lambda::Client::new(&cloud.config)),
            info: QueueInfo::default(),
            cloud,
            target,
        }
    }

    /// Says what is about to be changed, and where.
    pub(super) fn announce(&self, context: &Context<'_>) {
        context.announce(&self.cloud, &self.info);
    }

    pub(super) fn read_options(&self, visibility: Duration) -> ReadOptions {
        let mut options = read::options(&self.cloud);
        options.visibility = visibility;
        options.despite_redrive_policy = self.target.despite_redrive_policy;
        options
    }

    /// What tells the outcomes that a ramp waits for; none without a ramp.
    pub(super) async fn facts(
        &self,
        pace: &PaceArgs,
        context: &Context<'_>,
    ) -> Result<Option<Facts>> {
        if pace.no_ramp {
            return Ok(None);
        }
        let (target, letters) = (&self.target, &self.info.arn);
        let facts = Facts::relied_on(&self.cloud, target, letters, pace.event_keys, context).await;
        let facts = facts.context(
            "nothing was sent: the outcomes of these messages cannot be known, so that no ramp can wait for them; pass \
             --no-ramp to redrive all of them at once",
        )?;
        Ok(Some(facts))
    }

    pub(super) async fn dry_run(
        &self,
        plan: &Plan,
        ledger: &Ledger,
        pace: &PaceArgs,
        context: &Context<'_>,
    ) -> Result<End> {
        let step = context
            .progress
            .task(format!("reading {}", self.target.name()));
        let apply = Apply::new(&self.queue, &self.post, plan)
            .options(pace.options(&self.cloud, &self.target));
        let dry = apply.dry_run(ledger).await.map_err(said)?;
        step.done("");
        report::dry(&dry, context.json);
        let count = dry.sends.values().sum::<u64>() + dry.drops;
        Ok(match (dry.problems.len(), count) {
            (0, 0) if dry.missing == 0 => End::Nothing,
            (0, _) if dry.missing == 0 => End::Done,
            _ => End::Partly,
        })
    }

    pub(super) async fn run(
        &self,
        plan: &Plan,
        pace: &PaceArgs,
        (mut journal, mut ledger): (FileJournal, Ledger),
        facts: Option<&Facts>,
        words: &Words<'_>,
        context: &Context<'_>,
    ) -> Result<End> {
        self.announce(context);
        let is_asked = || context.is_stopped();
        let mut apply = Apply::new(&self.queue, &self.post, plan)
            .options(pace.options(&self.cloud, &self.target))
            .stop_when(&is_asked);
        if let Some(facts) = facts {
            let ramp = Ramp::new(facts)
                .stages(pace.ramp.iter().copied())
                .timeout(Duration::from_secs(pace.wait))
                .poll(Duration::from_millis(500));
            apply = apply.ramp(ramp);
        }
        let step = context.progress.task(words.title.clone());
        let report = apply
            .run(&mut journal, &mut ledger, &mut |status| {
                let message = match status.stage {
                    Some((size, sent)) => format!("stage {sent}/{size}, {} failed", status.failed),
                    None => format!("{} failed", status.failed),
                };
                step.rate(status.settled, status.planned, message);
            })
            .await
            .map_err(said)
            .with_context(|| format!("stopped, and {}", words.hint))?;
        step.done("");
        let deployed = match facts {
            Some(facts) if !report.not_fixed.is_empty() => {
                facts.deployed(&plan.header.created).await
            }
            _ => None,
        };
        report::applied(&report, words, deployed.as_deref(), context.json);
        Ok(end(&report))
    }
}

fn end(report: &Report) -> End {
    let done = report.redriven + report.edited + report.dropped + report.finished;
    match report.stopped {
        Some(Stop::Asked) => End::Stopped,
        Some(_) => End::Partly,
        None if !report.failed.is_empty() || report.not_deleted > 0 => End::Partly,
        None if !report.not_fixed.is_empty() || !report.missing.is_empty() => End::Partly,
        None if !report.held_back.is_empty() => End::Partly,
        None if done == 0 => End::Nothing,
        None => End::Done,
    }
}
