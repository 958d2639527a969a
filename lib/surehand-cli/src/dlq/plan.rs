//! `surehand dlq plan`.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use surehand::dead_letter::{Action, Destination, Plan, Unlisted};

use super::{
    Context, End,
    read::{self, create},
    said,
    select::SelectArgs,
    target::{self, TargetArgs},
};
use crate::cloud::Cloud;

#[derive(Debug, Clone, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// The file; it must not be there yet
    #[arg(long, short)]
    out: PathBuf,
    /// What becomes of the selected letters
    #[arg(long, value_enum, default_value_t = Wanted::Redrive)]
    action: Wanted,
    /// Where they go, instead of where each came from: a queue's name or URL, or the ARN of a queue, a function or a
    /// bus
    #[arg(long)]
    to: Option<String>,
    /// Also letters that have come back three times
    #[arg(long)]
    force: bool,
    /// Also letters that come later, or that a FIFO queue does not show yet
    #[arg(long)]
    unlisted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wanted {
    /// They are put back
    Redrive,
    /// They are deleted; the journal keeps them
    Drop,
    /// They stay
    Hold,
}

pub(super) async fn run(arguments: &PlanArgs, context: &Context<'_>) -> Result<End> {
    let cloud = Cloud::find(context.run).await?;
    let target = arguments.target.find(&cloud).await?;
    let mut plan = Plan::new(&target.url);
    if let Some(to) = &arguments.to {
        plan = plan.to(destination(&cloud, to).await?);
    }
    if arguments.force {
        plan = plan.force();
    }
    if arguments.unlisted {
        plan = plan.unlisted(Unlisted::Redrive);
    }
    let action = match arguments.action {
        Wanted::Redrive => Action::Redrive,
        Wanted::Drop => Action::Drop,
        Wanted::Hold => Action::Hold,
    };
    let selection = arguments.select.selection();
    read::queue(&cloud, &target, &selection, context, &mut |letter| {
        plan.add(&letter, action.clone());
        Ok(())
    })
    .await?;
    if plan.steps().is_empty() {
        context
            .progress
            .line("no letter is selected, and no plan was written");
        return Ok(End::Nothing);
    }
    write(&plan, create(&arguments.out)?)?;
    let unfit: Vec<_> = plan
        .steps()
        .iter()
        .filter(|step| step.action == Action::Hold)
        .filter_map(|step| Some((&step.message_id, step.note.as_ref()?)))
        .collect();
    if context.json {
        let line = serde_json::json!({
            "plan": plan.header.plan, "file": arguments.out, "queue": target.url,
            "letters": plan.steps().len(), "held": unfit.iter().map(|(id, why)| serde_json::json!({"id": id, "why": why})).collect::<Vec<_>>(),
        });
        println!("{line}");
    } else {
        println!(
            "{} letters in {}",
            plan.steps().len(),
            arguments.out.display()
        );
        for (id, why) in &unfit {
            println!("  {id} is held: {why}");
        }
    }
    match unfit.len() {
        0 => Ok(End::Done),
        _ => Ok(End::Partly),
    }
}

/// A destination in any of its forms, or a queue's name.
async fn destination(cloud: &Cloud, text: &str) -> Result<Destination> {
    if text.contains(':') {
        return text.parse().map_err(said);
    }
    Ok(Destination::Queue(target::queue_url(cloud, text).await?))
}

/// Writes a plan's file.
pub(super) fn write(plan: &Plan, file: File) -> Result<()> {
    let mut file = BufWriter::new(file);
    plan.write(&mut file).map_err(said)?;
    file.flush().context("cannot write the plan")
}

/// Reads a plan's file.
pub(super) fn load(path: &Path) -> Result<Plan> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Plan::read(BufReader::new(file)).map_err(said)
}
