//! `surehand dlq plan`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use surehand_redrive::{Action, Destination, Plan, ReadReport, Unlisted};

use super::{
    context::{Coded, Context, End, said},
    new_file::NewFile,
    read,
    select::SelectArgs,
    target::{self, Target, TargetArgs},
    trust::{self, Claims},
};
use crate::cloud::Cloud;
use crate::progress::number_of;
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    choice: Choice,
    /// The file to create; it must not exist yet
    #[arg(long, short)]
    out: PathBuf,
    /// What to do with the selected dead letters
    #[arg(long, value_enum, default_value_t = Wanted::Redrive)]
    action: Wanted,
    /// Also put back dead letters of this selection that arrive later, or that a FIFO queue does not show yet
    #[arg(long, conflicts_with = "limit")]
    unlisted: bool,
}

/// Which dead letters go where.
#[derive(Debug, Clone, Args)]
pub(super) struct Choice {
    #[command(flatten)]
    select: SelectArgs,
    /// At most so many dead letters
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
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
}

/// A plan, and what is to be said of it.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) report: ReadReport,
}

impl Choice {
    /// Reads the queue, and plans `action` for what is chosen of it.
    pub(super) async fn plan(
        &self,
        cloud: &Cloud,
        target: &Target,
        action: Action,
        unlisted: Unlisted,
        context: &Context<'_>,
    ) -> Result<Made> {
        let given = trust::given(&self.allow)?;
        let selection = self.select.selection();
        let mut plan = Plan::new(&target.url)
            .selection(selection.clone())
            .unlisted(unlisted);
        if let Some(to) = &self.to {
            plan = plan.to(destination(cloud, to).await?);
        }
        if self.force {
            plan = plan.force();
        }
        let mut claims = Claims::default();
        let limit = self.limit.unwrap_or(u64::MAX);
        let (report, info) = read::queue(cloud, target, &selection, context, &mut |letter| {
            let is_within = (plan.steps().len() as u64) < limit;
            if is_within {
                let step = plan.add(&letter, action.clone());
                claims.note(&letter, step, &action);
            }
            Ok(())
        })
        .await?;
        plan = plan.queue_arn(&info.arn);
        if plan.header.to.is_none() {
            claims.settle(&mut plan, cloud, &given).await?;
        }
        Ok(Made { plan, report })
    }
}

impl Made {
    pub(super) fn count(&self) -> usize {
        self.plan.steps().len()
    }

    /// What cannot be put back, and why.
    pub(super) fn held(&self) -> BTreeMap<&str, &str> {
        let steps = self.plan.steps().iter();
        let held = steps.filter(|step| step.action == Action::Hold);
        held.filter_map(|step| Some((&*step.message_id, &**step.note.as_ref()?)))
            .collect()
    }

    pub(super) fn say_what_is_held(&self) {
        for (id, why) in self.held() {
            say!("  {id} is held: {why}");
        }
    }
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
    if arguments.unlisted && arguments.action != Wanted::Redrive {
        // What is to be deleted or to stay would be sent, only because it came late.
        bail!(Coded::usage(
            "--unlisted puts back what the plan does not list: leave it out, or leave out --action"
        ));
    }
    let (cloud, target) = arguments.target.find(context).await?;
    let file = NewFile::create(&arguments.out)?;
    let action = match arguments.action {
        Wanted::Redrive => Action::Redrive,
        Wanted::Drop => Action::Drop,
        Wanted::Hold => Action::Hold,
    };
    let unlisted = match arguments.unlisted {
        true => Unlisted::Redrive,
        false => Unlisted::Hold,
    };
    let choice = &arguments.choice;
    let made = choice
        .plan(&cloud, &target, action, unlisted, context)
        .await?;
    let count = made.count();
    if context.json {
        let file = (count > 0).then_some(&arguments.out);
        let line = serde_json::json!({
            "file": file, "plan": made.plan.header.plan, "queue": target.url, "letters": count,
            "held": made.held(), "complete": made.report.complete,
        });
        say!("{line}");
    } else if count > 0 {
        say!(
            "{} in {}",
            number_of(count as u64, "letter"),
            arguments.out.display()
        );
        made.say_what_is_held();
    } else {
        say!("no letters");
    }
    read::say_what_is_hidden(&made.report, context);
    let end = read::end_of_all(count, &made.report);
    if count == 0 {
        return Ok(end);
    }
    write(&made.plan, file)?;
    match made.held().is_empty() {
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
