//! `surehand dlq plan`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use surehand_redrive::{Action, Destination, Plan, Unlisted};

use super::{
    context::{Context, End, said},
    new_file::NewFile,
    read,
    select::SelectArgs,
    target::{self, TargetArgs},
    trust::{self, Claims},
};
use crate::cloud::Cloud;
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// The file to create; it must not exist yet
    #[arg(long, short)]
    out: PathBuf,
    /// What to do with the selected dead letters
    #[arg(long, value_enum, default_value_t = Wanted::Redrive)]
    action: Wanted,
    /// Send them here instead of to where each came from: a queue's name or URL, or the ARN of a queue, a function or
    /// a bus
    #[arg(long, value_name = "DESTINATION", value_parser = place)]
    to: Option<String>,
    /// Also let dead letters go here if that is what the message itself says: the URL or ARN of a queue, a function or
    /// a bus. What SQS says needs no permission, nor what the queue's sources and the stack have
    #[arg(long, value_name = "DESTINATION")]
    allow: Vec<String>,
    /// Include dead letters that have come back three times
    #[arg(long)]
    force: bool,
    /// Include dead letters of this selection that arrive later, or that a FIFO queue does not show yet
    #[arg(long)]
    unlisted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wanted {
    /// Put them back
    Redrive,
    /// Delete them; the journal keeps them
    Drop,
    /// Leave them in the dead-letter queue
    Hold,
}

pub(super) async fn run(arguments: &PlanArgs, context: &Context<'_>) -> Result<End> {
    let (cloud, target) = arguments.target.find(context).await?;
    let given = trust::given(&arguments.allow)?;
    let file = NewFile::create(&arguments.out)?;
    let selection = arguments.select.selection();
    let mut plan = Plan::new(&target.url).selection(selection.clone());
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
    let mut claims = Claims::default();
    let (report, info) = read::queue(&cloud, &target, &selection, context, &mut |letter| {
        if plan.add(&letter, action.clone()).action == Action::Redrive {
            claims.note(&letter);
        }
        Ok(())
    })
    .await?;
    plan = plan.queue_arn(&info.arn);
    if plan.header.to.is_none() {
        claims.settle(&mut plan, &cloud, &given).await?;
    }
    let unfit: BTreeMap<_, _> = plan
        .steps()
        .iter()
        .filter(|step| step.action == Action::Hold)
        .filter_map(|step| Some((&step.message_id, step.note.as_ref()?)))
        .collect();
    let count = plan.steps().len();
    if context.json {
        let file = (count > 0).then_some(&arguments.out);
        let line = serde_json::json!({
            "file": file, "plan": plan.header.plan, "queue": target.url, "letters": count,
            "held": unfit, "complete": report.complete,
        });
        say!("{line}");
    } else if count > 0 {
        say!("{count} letters in {}", arguments.out.display());
        for (id, why) in &unfit {
            say!("  {id} is held: {why}");
        }
    } else {
        say!("no letters");
    }
    read::say_what_is_hidden(&report, context);
    let end = read::end_of_all(count, &report);
    if count == 0 {
        return Ok(end);
    }
    let is_whole = unfit.is_empty();
    write(&plan, file)?;
    match is_whole {
        true => Ok(end),
        false => Ok(End::Partly),
    }
}

/// Looks over how a destination is named.
fn place(text: &str) -> Result<String, String> {
    let is_other = text.starts_with("arn:") && !text.contains(":sqs:");
    let known = match is_other {
        true => text.parse::<Destination>().is_ok(),
        false => target::queue(text).is_ok(),
    };
    match known {
        true => Ok(text.to_owned()),
        false => {
            Err("use a queue's name or URL, or the ARN of a queue, a function or a bus".to_owned())
        }
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
pub(super) fn write(plan: &Plan, mut file: NewFile) -> Result<()> {
    plan.write(&mut file.writer).map_err(said)?;
    file.keep()
}

/// Reads a plan's file.
pub(super) fn load(path: &Path) -> Result<Plan> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Plan::read(BufReader::new(file))
        .map_err(said)
        .with_context(|| path.display().to_string())
}
