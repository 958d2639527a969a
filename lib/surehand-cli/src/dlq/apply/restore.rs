//! `surehand dlq restore`: what a purge deleted, out of its archive.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use surehand_redrive::{Entry, FileJournal};

use super::{site::Site, undo};
use crate::dlq::{
    context::{Context, End, said},
    target::{self, TargetArgs},
};

#[derive(Debug, Clone, Args)]
pub(in crate::dlq) struct RestoreArgs {
    /// The archive that a purge wrote
    archive: PathBuf,
    /// The dead-letter queue, its name, URL or ARN; by default the one that the archive names
    #[arg(long, short, value_parser = target::queue)]
    queue: Option<String>,
    /// Make the changes; without this option the command only shows them
    #[arg(long)]
    yes: bool,
    /// Read the queue even if it has a redrive policy of its own
    #[arg(long)]
    despite_redrive_policy: bool,
}

/// `dlq restore`.
pub(in crate::dlq) async fn restore(arguments: &RestoreArgs, context: &Context<'_>) -> Result<End> {
    let archive = &arguments.archive;
    let mut entries = FileJournal::entries(archive).map_err(said)?;
    let recorded = match entries.next().transpose().map_err(said)? {
        Some(Entry::Begun { queue_arn, .. }) => queue_arn,
        _ => bail!("{} is not the archive of a purge", archive.display()),
    };
    let Some(queue) = arguments.queue.clone().or_else(|| recorded.clone()) else {
        bail!(
            "{} does not name its queue: pass --queue",
            archive.display()
        );
    };
    let arguments_of_queue = TargetArgs {
        queue: Some(queue),
        function: None,
        despite_redrive_policy: arguments.despite_redrive_policy,
    };
    let (cloud, target) = arguments_of_queue.find(context).await?;
    let site = Site::at(cloud, target).await?;
    if let Some(recorded) = recorded.filter(|it| *it != site.info.arn && arguments.queue.is_none())
    {
        bail!(
            "{} is for {recorded}, and {} was found: use the account and the region of the purge",
            archive.display(),
            site.info.arn
        );
    }
    if !arguments.yes {
        return undo::dry_run(&site, archive, context);
    }
    let hint = format!("`surehand dlq restore {} --yes` goes on", archive.display());
    undo::put_back(&site, archive, &hint, context).await
}
