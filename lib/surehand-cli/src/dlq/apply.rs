//! `surehand dlq apply` and `resume`, and what they share with `undo` and `purge`: everything that changes something,
//! with a journal.

mod purge;
mod report;
mod site;
mod undo;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use surehand_redrive::{Entry, FileJournal, Ledger, Plan};

use self::site::{Site, Words};
pub(super) use self::{
    purge::{PurgeArgs, purge},
    undo::{UndoArgs, undo},
};
use super::{Context, End, plan, said};

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
    /// How many letters are put back before their outcome is waited for: a canary, and growing stages. After the last
    /// they grow fivefold
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,5,20,100", value_parser = clap::value_parser!(u64).range(1..))]
    ramp: Vec<u64>,
    /// Put everything back at once, and wait for no outcome
    #[arg(long, conflicts_with = "ramp")]
    no_ramp: bool,
    /// How long to wait for the outcome of a stage, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    wait: u64,
    /// Stop when more than so many per cent of the letters fail
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    threshold: u32,
    /// How long letters are hidden while they are worked on, in seconds; also how long a resume waits for those of a
    /// process that died
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=43_200))]
    visibility: u64,
    /// Apply a plan also to a queue that has a redrive policy of its own
    #[arg(long)]
    despite_redrive_policy: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("not a number above 0".to_owned()),
    }
}

/// `dlq apply`.
pub(super) async fn apply(arguments: &ApplyArgs, context: &Context<'_>) -> Result<End> {
    let plan = plan::load(&arguments.plan)?;
    let path = journal_of(&arguments.plan, arguments.journal.as_deref());
    if path.exists() {
        bail!(
            "{} is there: this plan was applied before; go on with `surehand dlq resume {}`",
            path.display(),
            arguments.plan.display()
        );
    }
    let site = Site::of(&plan, context).await?;
    if !arguments.yes {
        let ledger = Ledger::default();
        return site.dry_run(&plan, &ledger, &arguments.pace, context).await;
    }
    let journal = FileJournal::create(&path).map_err(said)?;
    let opened = (journal, Ledger::default());
    let hint = arguments.hint();
    let words = Words {
        title: format!("redriving {}", site.target.name()),
        journal: &path,
        hint: &hint,
    };
    site.run(&plan, &arguments.pace, opened, &words, context)
        .await
}

/// `dlq resume`.
pub(super) async fn resume(arguments: &ApplyArgs, context: &Context<'_>) -> Result<End> {
    let plan = plan::load(&arguments.plan)?;
    let path = journal_of(&arguments.plan, arguments.journal.as_deref());
    if !path.exists() {
        bail!(
            "no journal {}: begin with `surehand dlq apply {}`",
            path.display(),
            arguments.plan.display()
        );
    }
    check_journal(&path, &plan)?;
    let site = Site::of(&plan, context).await?;
    if !arguments.yes {
        let ledger = ledger_of(&path)?;
        return site.dry_run(&plan, &ledger, &arguments.pace, context).await;
    }
    let opened = FileJournal::open(&path).map_err(said)?;
    let hint = arguments.hint();
    let words = Words {
        title: format!("resuming {}", site.target.name()),
        journal: &path,
        hint: &hint,
    };
    site.run(&plan, &arguments.pace, opened, &words, context)
        .await
}

impl ApplyArgs {
    /// How to go on.
    fn hint(&self) -> String {
        format!(
            "`surehand dlq resume {} --yes` goes on",
            self.plan.display()
        )
    }
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

/// What a journal says, without opening it for writing.
fn ledger_of(path: &Path) -> Result<Ledger> {
    let entries = FileJournal::entries(path).map_err(said)?;
    entries.collect::<Result<_, _>>().map_err(said)
}

/// A journal names its plan in its first line. Without one it was not begun.
fn check_journal(path: &Path, plan: &Plan) -> Result<()> {
    let first = FileJournal::entries(path).map_err(said)?.next();
    match first.transpose().map_err(said)? {
        Some(Entry::Begun { plan: of }) if of != plan.header.plan => bail!(
            "{} is the journal of plan {of}, and not of plan {}",
            path.display(),
            plan.header.plan
        ),
        _ => Ok(()),
    }
}
