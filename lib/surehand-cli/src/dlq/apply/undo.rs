//! `surehand dlq undo`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use surehand_redrive::{FileJournal, Progress, Undo};

use super::{
    journal::{check_journal, journal_of, ledger_of},
    report,
    site::Site,
};
use crate::dlq::{
    context::{Context, End, said},
    plan, read, runs,
};
use crate::progress::number_of;
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(in crate::dlq) struct UndoArgs {
    /// The plan that was applied: a file, or the name of a run
    plan: PathBuf,
    /// Make the changes; without this option the command only shows them
    #[arg(long)]
    yes: bool,
    /// The journal; `PLAN.journal` by default
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Read the queue even if it has a redrive policy of its own
    #[arg(long)]
    despite_redrive_policy: bool,
}

/// For how long a redrive hides what it holds, unless it was told otherwise.
const VISIBILITY: Duration = Duration::from_secs(120);

/// `dlq undo`.
pub(in crate::dlq) async fn undo(arguments: &UndoArgs, context: &Context<'_>) -> Result<End> {
    let file = runs::plan_of(&arguments.plan)?;
    let plan = plan::load(&file)?;
    let path = journal_of(&file, arguments.journal.as_deref());
    if !path.exists() {
        bail!("no journal {}: nothing was applied", path.display());
    }
    check_journal(&path, &plan)?;
    let site = Site::of(&plan, arguments.despite_redrive_policy, context).await?;
    if !arguments.yes {
        return dry_run(&site, &path, context);
    }
    let hint = format!(
        "`surehand dlq undo {} --yes` goes on",
        arguments.plan.display()
    );
    put_back(&site, &path, &hint, context).await
}

/// Says what would be returned.
pub(super) fn dry_run(site: &Site, path: &Path, context: &Context<'_>) -> Result<End> {
    let count = gone(path)?;
    if context.json {
        say!("{}", json!({"dry_run": true, "restores": count}));
    } else if count > 0 {
        say!(
            "{} of {} would be put into {} again; what their consumers did stays done",
            number_of(count as u64, "letter"),
            path.display(),
            site.target.name()
        );
        say!("nothing was changed; --yes does it");
    } else {
        say!("no letters");
    }
    Ok(read::end_of(count))
}

/// Returns the letters of a journal to their dead-letter queue; `hint` is how to go on after a stop.
pub(super) async fn put_back(
    site: &Site,
    path: &Path,
    hint: &str,
    context: &Context<'_>,
) -> Result<End> {
    let (mut journal, mut ledger) = FileJournal::open(path).map_err(said)?;
    site.announce(context);
    let step = context
        .progress
        .task(format!("restoring {}", site.target.name()));
    let all = ledger.len() as u64;
    let mut read = 0;
    let mut letters = FileJournal::letters(path).map_err(said)?.inspect(|_| {
        read += 1;
        step.count(read, all.max(read), "");
    });
    let is_asked = || context.is_stopped();
    let undone = Undo::new(&site.queue, &site.post)
        .options(site.read_options(VISIBILITY))
        .stop_when(&is_asked)
        .run(&mut letters, &mut journal, &mut ledger)
        .await
        .map_err(said)?;
    drop(letters);
    step.done("");
    let hint = undone.stopped.then_some(hint);
    report::undone(&undone, hint, context.json);
    Ok(match (undone.failed.len(), undone.restored) {
        _ if undone.stopped => End::Stopped,
        (0, 0) => End::Nothing,
        (0, _) => End::Done,
        _ => End::Partly,
    })
}

/// How many letters were taken out of the queue.
fn gone(journal: &Path) -> Result<usize> {
    let ledger = ledger_of(journal)?;
    let taken = [
        Progress::Sent,
        Progress::Dropping,
        Progress::Done,
        Progress::Restoring,
    ];
    Ok(taken.into_iter().map(|it| ledger.count(it)).sum())
}
