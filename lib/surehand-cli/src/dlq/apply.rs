//! `surehand dlq apply` and `resume`, and what they share with `undo` and `purge`: everything that changes something,
//! with a journal.

mod journal;
mod pace;
mod purge;
mod report;
mod site;
mod undo;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use surehand::dead_letter::{FileJournal, Ledger};

use self::{
    journal::{check_journal, journal_of, ledger_of},
    pace::PaceArgs,
    report::Words,
    site::Site,
};
pub(super) use self::{
    purge::{PurgeArgs, purge},
    undo::{UndoArgs, undo},
};
use super::{
    context::{Context, End, said},
    plan,
};

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
