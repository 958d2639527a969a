//! `surehand dlq apply`, `resume`, `undo` and `purge`: everything that changes something, with a journal.

mod crash;
mod report;

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use surehand::dead_letter::{
    Action, Apply, ApplyOptions, FileJournal, Journal, Ledger, Plan, Ramp, Report,
    SqsDeadLetterQueue, Stop,
};

use self::crash::Mortal;
use super::{
    Context, End,
    outcomes::Facts,
    plan,
    post::CloudPost,
    read, said,
    select::SelectArgs,
    target::{Target, TargetArgs},
};
use crate::cloud::Cloud;

#[derive(Debug, Clone, Args)]
pub(super) struct ApplyArgs {
    /// The plan
    plan: PathBuf,
    /// Do it; without it the command only says what it would do
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pace: PaceArgs,
    /// The journal; `PLAN.journal` by default
    #[arg(long)]
    journal: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct PaceArgs {
    /// Letters a second at most
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How many letters are put back before their outcome is waited for: a canary, and growing steps. After the last
    /// they grow fivefold
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,5,20,100", value_parser = clap::value_parser!(u64).range(1..))]
    ramp: Vec<u64>,
    /// Put everything back at once, and wait for no outcome
    #[arg(long, conflicts_with = "ramp")]
    no_ramp: bool,
    /// How long to wait for the outcome of a step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    wait: u64,
    /// Stop when more than so many per cent of the letters fail
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    threshold: u32,
    /// How long letters are hidden while they are worked on, in seconds; also how long a resume waits for those of a
    /// process that died
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=43_200))]
    visibility: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("not a number above 0".to_owned()),
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct UndoArgs {
    /// The plan that was applied
    plan: PathBuf,
    /// Do it; without it the command only says what it would do
    #[arg(long)]
    yes: bool,
    /// The journal; `PLAN.journal` by default
    #[arg(long)]
    journal: Option<PathBuf>,
}

/// `dlq apply`.
pub(super) async fn apply(arguments: &ApplyArgs, context: &Context<'_>) -> Result<End> {
    let plan = plan::load(&arguments.plan)?;
    let journal = journal_of(&arguments.plan, arguments.journal.as_deref());
    if journal.exists() {
        bail!(
            "{} is there: this plan was applied before; go on with `surehand dlq resume {}`",
            journal.display(),
            arguments.plan.display()
        );
    }
    let site = Site::of(&plan, context).await?;
    if !arguments.yes {
        let ledger = Ledger::default();
        return site.dry_run(&plan, &ledger, &arguments.pace, context).await;
    }
    let open = FileJournal::create(&journal).map_err(said)?;
    let title = format!("redriving {}", site.target.name());
    site.run(
        &plan,
        &arguments.pace,
        (open, Ledger::default()),
        title,
        context,
    )
    .await
}

/// `dlq resume`.
pub(super) async fn resume(arguments: &ApplyArgs, context: &Context<'_>) -> Result<End> {
    let plan = plan::load(&arguments.plan)?;
    let journal = journal_of(&arguments.plan, arguments.journal.as_deref());
    if !journal.exists() {
        bail!(
            "no journal {}: begin with `surehand dlq apply {}`",
            journal.display(),
            arguments.plan.display()
        );
    }
    let site = Site::of(&plan, context).await?;
    if !arguments.yes {
        let entries = FileJournal::entries(&journal).map_err(said)?;
        let ledger = entries.collect::<Result<_, _>>().map_err(said)?;
        return site.dry_run(&plan, &ledger, &arguments.pace, context).await;
    }
    let opened = FileJournal::open(&journal).map_err(said)?;
    let title = format!("resuming {}", site.target.name());
    site.run(&plan, &arguments.pace, opened, title, context)
        .await
}

/// `dlq undo`.
pub(super) async fn undo(arguments: &UndoArgs, context: &Context<'_>) -> Result<End> {
    let plan = plan::load(&arguments.plan)?;
    let path = journal_of(&arguments.plan, arguments.journal.as_deref());
    if !path.exists() {
        bail!("no journal {}: nothing was applied", path.display());
    }
    let site = Site::of(&plan, context).await?;
    if !arguments.yes {
        let count = FileJournal::letters(&path).map_err(said)?.count();
        println!(
            "up to {count} letters of {} would be put into {} again; what their consumers did stays done (--yes does it)",
            path.display(),
            site.target.name()
        );
        return Ok(read::end_of(count));
    }
    let (mut journal, mut ledger) = FileJournal::open(&path).map_err(said)?;
    let mut letters = FileJournal::letters(&path).map_err(said)?;
    let step = context
        .progress
        .step(format!("restoring {}", site.target.name()));
    let undone = surehand::dead_letter::undo(
        &site.target.url,
        &site.post,
        &mut letters,
        &mut journal,
        &mut ledger,
    )
    .await
    .map_err(said)?;
    step.done(format!("{} letters", undone.restored));
    report::undone(&undone, context.json);
    Ok(match (undone.failed.len(), undone.restored) {
        (0, 0) => End::Nothing,
        (0, _) => End::Done,
        _ => End::Partly,
    })
}

/// `dlq purge`: a plan of drops, whose journal is the archive.
pub(super) async fn purge(
    target: &TargetArgs,
    select: &SelectArgs,
    archive: Option<PathBuf>,
    yes: bool,
    context: &Context<'_>,
) -> Result<End> {
    let cloud = Cloud::find(context.run).await?;
    let target = target.find(&cloud).await?;
    let mut plan = Plan::new(&target.url);
    let selection = select.selection();
    read::queue(&cloud, &target, &selection, context, &mut |letter| {
        plan.add(&letter, Action::Drop);
        Ok(())
    })
    .await?;
    let count = plan.steps().len();
    if count == 0 {
        println!("no letters");
        return Ok(End::Nothing);
    }
    let time = plan
        .header
        .created
        .get(..19)
        .unwrap_or_default()
        .replace(':', "");
    let archive =
        archive.unwrap_or_else(|| PathBuf::from(format!("{}.{time}.archive", target.name())));
    if !yes {
        println!(
            "{count} letters would be written to {} and deleted from {} (--yes does it)",
            archive.display(),
            target.name()
        );
        return Ok(End::Done);
    }
    let journal = FileJournal::create(&archive).map_err(said)?;
    let title = format!("purging {}", target.name());
    let site = Site::new(cloud, target);
    let pace = PaceArgs {
        rate: None,
        ramp: Vec::new(),
        no_ramp: true,
        wait: 0,
        threshold: 20,
        visibility: 120,
    };
    let end = site
        .run(&plan, &pace, (journal, Ledger::default()), title, context)
        .await?;
    if !context.json {
        println!("the letters are in {}", archive.display());
    }
    Ok(end)
}

fn journal_of(plan: &Path, given: Option<&Path>) -> PathBuf {
    match given {
        Some(journal) => journal.to_owned(),
        None => {
            let mut name = plan.as_os_str().to_owned();
            name.push(".journal");
            name.into()
        }
    }
}

/// The queue that a plan is for, and the ways from it.
struct Site {
    cloud: Cloud,
    target: Target,
    queue: SqsDeadLetterQueue,
    post: CloudPost,
}

impl Site {
    async fn of(plan: &Plan, context: &Context<'_>) -> Result<Self> {
        let cloud = Cloud::find(context.run).await?;
        let target = Target {
            url: plan.header.queue.clone(),
            function: None,
        };
        Ok(Self::new(cloud, target))
    }

    fn new(cloud: Cloud, target: Target) -> Self {
        let sqs = aws_sdk_sqs::Client::new(&cloud.config);
        Self {
            queue: SqsDeadLetterQueue::new(sqs, &target.url),
            post: CloudPost::new(&cloud),
            cloud,
            target,
        }
    }

    async fn dry_run(
        &self,
        plan: &Plan,
        ledger: &Ledger,
        pace: &PaceArgs,
        context: &Context<'_>,
    ) -> Result<End> {
        let step = context
            .progress
            .step(format!("reading {}", self.target.name()));
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

    async fn run(
        self,
        plan: &Plan,
        pace: &PaceArgs,
        (journal, mut ledger): (FileJournal, Ledger),
        title: String,
        context: &Context<'_>,
    ) -> Result<End> {
        let facts = match pace.no_ramp {
            true => Facts::none(),
            false => Facts::find(Cloud::find(context.run).await?, Some(&self.target)).await,
        };
        let is_asked = || context.stop.load(Ordering::Relaxed);
        let mut apply = Apply::new(&self.queue, &self.post, plan)
            .options(pace.options(&self.cloud))
            .stop_when(&is_asked);
        if !pace.no_ramp {
            if facts.are_known().await {
                let ramp = Ramp::new(&facts)
                    .steps(pace.ramp.iter().copied())
                    .timeout(Duration::from_secs(pace.wait))
                    .poll(Duration::from_millis(500));
                apply = apply.ramp(ramp);
            } else {
                context
                    .progress
                    .line("no idempotency table tells what becomes of these letters: no ramp");
            }
        }
        let step = context.progress.step(title);
        let journal: &mut dyn Journal = &mut Mortal::new(journal);
        let report = apply
            .run(journal, &mut ledger, &mut |status| {
                let message = match status.step {
                    Some((size, sent)) => format!("step {sent}/{size}, {} failed", status.failed),
                    None => format!("{} failed", status.failed),
                };
                step.rate(status.settled, status.planned, message);
            })
            .await
            .map_err(said)
            .context("stopped; `surehand dlq resume` goes on")?;
        step.done(report::line(&report));
        report::applied(&report, context.json);
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
        options.read.patience = visibility + Duration::from_secs(30);
        options
    }
}
