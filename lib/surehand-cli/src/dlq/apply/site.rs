//! Where a plan is carried out.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use surehand_redrive::{
    Apply, ApplyOptions, AwsPost, FileJournal, Ledger, Plan, Queue as _, Ramp, Report,
    SqsDeadLetterQueue, Stop,
};

use super::{PaceArgs, report};
use crate::{
    cloud::Cloud,
    dlq::{Context, End, outcomes::Facts, read, said, target::Target},
};

/// The queue that a plan is for, and the ways from it.
pub(super) struct Site {
    cloud: Cloud,
    pub(super) target: Target,
    queue: SqsDeadLetterQueue,
    pub(super) post: AwsPost,
}

/// What is said around it.
pub(super) struct Words<'a> {
    /// What goes on.
    pub(super) title: String,
    pub(super) journal: &'a Path,
    /// How to go on after a stop.
    pub(super) hint: &'a str,
}

impl Site {
    /// Also says whether the queue is there, before anything is written down.
    pub(super) async fn of(plan: &Plan, context: &Context<'_>) -> Result<Self> {
        let cloud = Cloud::connect(context.run).await?;
        let target = Target {
            url: plan.header.queue.clone(),
            function: None,
            despite_redrive_policy: false,
        };
        let site = Self::new(cloud, target);
        site.queue.info().await.map_err(said).with_context(|| {
            let (queue, cloud) = (site.target.name(), site.cloud.name());
            format!("cannot read {queue}, which the plan is for, at {cloud}")
        })?;
        Ok(site)
    }

    pub(super) fn new(cloud: Cloud, target: Target) -> Self {
        let sqs = aws_sdk_sqs::Client::new(&cloud.config);
        Self {
            queue: SqsDeadLetterQueue::new(sqs.clone(), &target.url),
            post: AwsPost::new(sqs)
                .event_bridge(aws_sdk_eventbridge::Client::new(&cloud.config))
                .lambda(aws_sdk_lambda::Client::new(&cloud.config)),
            cloud,
            target,
        }
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
        let apply = Apply::new(&self.queue, &self.post, plan).options(pace.options(&self.cloud));
        let dry = apply.dry_run(ledger).await.map_err(said)?;
        step.done("");
        report::dry(&dry, context.json);
        let count = dry.sends.values().sum::<u64>() + dry.drops;
        Ok(match (dry.problems.len(), count) {
            (0, 0) => End::Nothing,
            (0, _) => End::Done,
            _ => End::Partly,
        })
    }

    pub(super) async fn run(
        &self,
        plan: &Plan,
        pace: &PaceArgs,
        (mut journal, mut ledger): (FileJournal, Ledger),
        words: &Words<'_>,
        context: &Context<'_>,
    ) -> Result<End> {
        let facts = match pace.no_ramp {
            true => Facts::none(),
            false => Facts::find(Cloud::find(context.run).await?, Some(&self.target)).await,
        };
        let is_asked = || context.is_stopped();
        let mut apply = Apply::new(&self.queue, &self.post, plan)
            .options(pace.options(&self.cloud))
            .stop_when(&is_asked);
        if !pace.no_ramp {
            if facts.are_known().await {
                let ramp = Ramp::new(&facts)
                    .stages(pace.ramp.iter().copied())
                    .timeout(Duration::from_secs(pace.wait))
                    .poll(Duration::from_millis(500));
                apply = apply.ramp(ramp);
            } else {
                context
                    .progress
                    .line("no idempotency table tells what becomes of these letters: no ramp");
            }
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
        report::applied(&report, words, context.json);
        Ok(end(&report))
    }
}

fn end(report: &Report) -> End {
    let done = report.redriven + report.edited + report.dropped + report.finished;
    match report.stopped {
        Some(Stop::Asked) => End::Stopped,
        Some(_) => End::Partly,
        None if !report.failed.is_empty() || report.not_deleted > 0 => End::Partly,
        None if !report.not_fixed.is_empty() => End::Partly,
        None if done == 0 => End::Nothing,
        None => End::Done,
    }
}

impl PaceArgs {
    fn options(&self, cloud: &Cloud) -> ApplyOptions {
        let visibility = Duration::from_secs(self.visibility);
        let mut options = ApplyOptions::default();
        options.rate = self.rate;
        options.threshold_percent = self.threshold;
        options.read.wait = read::options(cloud).wait;
        options.read.visibility = visibility;
        options.read.despite_redrive_policy = self.despite_redrive_policy;
        options.read.patience = visibility + Duration::from_secs(30);
        options
    }
}
