//! `surehand dlq purge`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use surehand_redrive::{Action, FileJournal, Ledger, Plan};

use super::{pace::PaceArgs, report::Words, site::Site};
use crate::dlq::{
    context::{Context, End, said},
    read,
    select::SelectArgs,
    target::TargetArgs,
};
use crate::progress::number_of;
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(in crate::dlq) struct PurgeArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// The archive, a new file; `QUEUE.TIME.archive` by default
    #[arg(long)]
    archive: Option<PathBuf>,
    /// Make the changes; without this option the command only shows them
    #[arg(long)]
    yes: bool,
}

/// `dlq purge`: a plan of drops, whose journal is the archive.
pub(in crate::dlq) async fn purge(arguments: &PurgeArgs, context: &Context<'_>) -> Result<End> {
    let (cloud, target) = arguments.target.find(context).await?;
    let mut plan = Plan::new(&target.url);
    let selection = arguments.select.selection();
    let (report, info) = read::queue(&cloud, &target, &selection, context, &mut |letter| {
        plan.add(&letter, Action::Drop);
        Ok(())
    })
    .await?;
    plan = plan.queue_arn(&info.arn);
    let count = plan.steps().len();
    read::say_what_is_hidden(&report, context);
    if count == 0 {
        match context.json {
            true => say!("{}", json!({"dropped": 0, "journal": null})),
            false => say!("no letters"),
        }
        return Ok(read::end_of_all(count, &report));
    }
    let time = plan
        .header
        .created
        .get(..19)
        .unwrap_or_default()
        .replace(':', "");
    let archive = arguments.archive.clone();
    let archive =
        archive.unwrap_or_else(|| PathBuf::from(format!("{}.{time}.archive", target.name())));
    if !arguments.yes && context.json {
        say!(
            "{}",
            json!({"dry_run": true, "drops": count, "journal": archive})
        );
        return Ok(read::end_of_all(count, &report));
    }
    if !arguments.yes {
        say!(
            "{} would be written to {} and deleted from {}",
            number_of(count as u64, "letter"),
            archive.display(),
            target.name()
        );
        say!("nothing was changed; --yes does it");
        return Ok(read::end_of_all(count, &report));
    }
    let journal = FileJournal::create(&archive).map_err(said)?;
    let site = Site::at(cloud, target).await?;
    let pace = PaceArgs {
        rate: None,
        ramp: Vec::new(),
        no_ramp: true,
        event_keys: false,
        wait: 0,
        threshold: 20,
        visibility: 120,
    };
    let end = site
        .run(
            &plan,
            &pace,
            (journal, Ledger::default()),
            None,
            &Words {
                title: format!("purging {}", site.target.name()),
                journal: &archive,
                hint: "another purge goes on",
            },
            context,
        )
        .await?;
    if !context.json {
        say!(
            "the letters are in {archive}; `surehand dlq restore {archive}` returns them",
            archive = archive.display()
        );
    }
    Ok(end.and(read::end_of_all(count, &report)))
}
