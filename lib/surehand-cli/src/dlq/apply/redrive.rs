//! `surehand dlq redrive`: a plan that is made and applied at once.

use anyhow::Result;
use clap::Args;
use surehand_redrive::{Action, FileJournal, Ledger, Unlisted};

use super::{Begun, journal::journal_of, pace::PaceArgs, site::Site, steps};
use crate::dlq::{
    context::{Context, End, said},
    new_file::NewFile,
    plan::{self, Choice},
    read, runs,
    target::TargetArgs,
};
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(in crate::dlq) struct RedriveArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    pace: PaceArgs,
    /// Make the changes; without this option the command only shows them
    #[arg(long)]
    yes: bool,
}

/// `dlq redrive`.
pub(in crate::dlq) async fn redrive(arguments: &RedriveArgs, context: &Context<'_>) -> Result<End> {
    let (cloud, target) = arguments.target.find(context).await?;
    let choice = &arguments.choice;
    let made = choice
        .plan(&cloud, &target, Action::Redrive, Unlisted::Hold, context)
        .await?;
    read::say_what_is_hidden(&made.report, context);
    let all = read::end_of_all(made.count(), &made.report);
    if made.count() == 0 {
        match context.json {
            true => say!("{}", serde_json::json!({"redriven": 0, "journal": null})),
            false => say!("no letters"),
        }
        return Ok(all);
    }
    if !context.json {
        made.say_what_is_held();
    }
    let site = Site::at(cloud, target).await?;
    let end = if arguments.yes {
        let facts = site.facts(&arguments.pace, context).await?;
        let path = runs::new_plan(&made.plan)?;
        plan::write(&made.plan, NewFile::create(&path)?)?;
        let journal = journal_of(&path, None);
        let begun = Begun {
            opened: (
                FileJournal::create(&journal).map_err(said)?,
                Ledger::default(),
            ),
            journal: &journal,
            facts,
        };
        let run = path.file_name().unwrap_or_default().to_string_lossy();
        steps(
            &arguments.pace,
            "redriving",
            &run,
            &site,
            &made.plan,
            begun,
            context,
        )
        .await?
    } else {
        let ledger = Ledger::default();
        let pace = &arguments.pace;
        site.dry_run(&made.plan, &ledger, pace, context).await?
    };
    let is_whole = made.held().is_empty();
    let end = end.and(all);
    Ok(match is_whole {
        true => end,
        false => end.and(End::Partly),
    })
}
