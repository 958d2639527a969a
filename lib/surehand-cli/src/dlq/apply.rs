//! `surehand dlq apply` and `resume`, and what they share with `undo` and `purge`: everything that changes something,
//! with a journal.

mod journal;
mod pace;
mod purge;
mod redrive;
mod report;
mod restore;
mod site;
mod undo;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use surehand_redrive::{FileJournal, Ledger, Plan};

use self::{journal::check_journal, pace::PaceArgs, report::Words, site::Site};
pub(super) use self::{
    journal::{journal_of, ledger_of},
    purge::{PurgeArgs, purge},
    redrive::{RedriveArgs, redrive},
    restore::{RestoreArgs, restore},
    undo::{UndoArgs, undo},
};
use super::{
    context::{Coded, Context, End, said},
    outcomes::Facts,
    plan, runs, through,
};

#[derive(Debug, Clone, Args)]
pub(super) struct ApplyArgs {
    /// The plan: a file, or the name of a run
    plan: PathBuf,
    /// Make the changes; without this option the command only shows them
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pace: PaceArgs,
    /// The journal; `PLAN.journal` by default
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Apply the plan even if the queue has a redrive policy of its own
    #[arg(long)]
    despite_redrive_policy: bool,
    /// Have this function do it, the application's redrive function: it goes on without this machine, and others see how
    /// far it is. It waits for no outcomes
    #[arg(long, value_name = "FUNCTION", requires = "no_ramp", conflicts_with_all = ["journal", "despite_redrive_policy"])]
    through: Option<String>,
}

/// `dlq apply`.
pub(super) async fn apply(arguments: &ApplyArgs, context: &Context<'_>) -> Result<End> {
    // A run that died before it had a journal is begun here, by its name.
    let file = runs::plan_of(&arguments.plan)?;
    let plan = plan::load(&file)?;
    if let Some(function) = &arguments.through {
        let pace = (arguments.pace.rate, arguments.pace.threshold);
        return through::apply(&plan, function, pace, arguments.yes, context).await;
    }
    let path = journal_of(&file, arguments.journal.as_deref());
    if path.exists() {
        bail!(
            "{} already exists, so this plan was applied before: continue with `surehand dlq resume {}`",
            path.display(),
            arguments.plan.display()
        );
    }
    carry_out(arguments, &plan, &path, Turn::First, context).await
}

/// `dlq resume`.
pub(super) async fn resume(arguments: &ApplyArgs, context: &Context<'_>) -> Result<End> {
    if arguments.through.is_some() {
        bail!(Coded::usage(
            "a run of the function goes on by itself: look at it with `surehand dlq runs`"
        ));
    }
    let file = runs::plan_of(&arguments.plan)?;
    let plan = plan::load(&file)?;
    let path = journal_of(&file, arguments.journal.as_deref());
    if !path.exists() {
        bail!(
            "no journal {}: begin with `surehand dlq apply {}`",
            path.display(),
            arguments.plan.display()
        );
    }
    check_journal(&path, &plan)?;
    carry_out(arguments, &plan, &path, Turn::Next, context).await
}

/// Whether a plan has a journal by now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Next,
}

async fn carry_out(
    arguments: &ApplyArgs,
    plan: &Plan,
    journal: &Path,
    turn: Turn,
    context: &Context<'_>,
) -> Result<End> {
    let site = Site::of(plan, arguments.despite_redrive_policy, context).await?;
    if !arguments.yes {
        let ledger = match turn {
            Turn::First => Ledger::default(),
            Turn::Next => ledger_of(journal)?,
        };
        return site.dry_run(plan, &ledger, &arguments.pace, context).await;
    }
    // Without outcomes to wait for nothing is begun, and no journal made.
    let facts = site.facts(&arguments.pace, context).await?;
    let (doing, opened) = match turn {
        Turn::First => {
            let created = FileJournal::create(journal).map_err(said)?;
            ("redriving", (created, Ledger::default()))
        }
        Turn::Next => ("resuming", FileJournal::open(journal).map_err(said)?),
    };
    let begun = Begun {
        journal,
        opened,
        facts,
    };
    let name = arguments.plan.display().to_string();
    steps(&arguments.pace, doing, &name, &site, plan, begun, context).await
}

/// What a run writes to, and what it waits for.
struct Begun<'a> {
    journal: &'a Path,
    opened: (FileJournal, Ledger),
    facts: Option<Facts>,
}

/// Carries out a plan, or the rest of it; `doing` says which, and `name` is what a resume calls the plan.
async fn steps(
    pace: &PaceArgs,
    doing: &str,
    name: &str,
    site: &Site,
    plan: &Plan,
    begun: Begun<'_>,
    context: &Context<'_>,
) -> Result<End> {
    let words = Words {
        title: format!("{doing} {}", site.target.name()),
        journal: begun.journal,
        hint: &format!("`surehand dlq resume {name} --yes` goes on"),
    };
    let facts = begun.facts.as_ref();
    site.run(plan, pace, begun.opened, facts, &words, context)
        .await
}
