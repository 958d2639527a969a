//! `surehand dlq move`: SQS itself moves the whole queue, which needs no journal since nothing leaves SQS.
//!
//! It moves everything or nothing, and as it is: the failure notes go along, FIFO messages keep their deduplication
//! ids, and nobody looks at sizes, counts or outcomes. For anything else there is a plan.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_sqs::{Client, types::ListMessageMoveTasksResultEntry};
use clap::Args;
use serde_json::json;
use surehand::dead_letter::{Queue as _, SqsDeadLetterQueue};

use super::{
    context::{Coded, Context, End, said},
    target::{self, TargetArgs},
};
use crate::cloud::reason;

#[derive(Debug, Clone, Args)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The queue that gets everything: its name, URL or ARN
    #[arg(long, value_name = "QUEUE", value_parser = target::queue)]
    to: String,
    /// Messages a second at most, from 1 to 500; SQS decides by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=500))]
    rate: Option<i32>,
    /// Do it
    #[arg(long)]
    yes: bool,
}

/// How often SQS is asked how far it is.
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(arguments: &MoveArgs, context: &Context<'_>) -> Result<End> {
    let (cloud, target) = arguments.target.find(context).await?;
    let sqs = Client::new(&cloud.config);
    let source = SqsDeadLetterQueue::new(sqs.clone(), &target.url)
        .info()
        .await
        .map_err(said)?;
    let to_url = target::queue_url(&cloud, &arguments.to).await?;
    let to = SqsDeadLetterQueue::new(sqs.clone(), &to_url)
        .info()
        .await
        .map_err(said)?;
    if to.fifo != source.fifo {
        bail!(
            "{} and {} are not of the same kind: one keeps order",
            target.name(),
            target::name_of(&arguments.to)
        );
    }
    if to.arn == source.arn {
        bail!(Coded::usage("a queue cannot be moved to itself"));
    }
    let total = source.visible + source.delayed;
    if total == 0 {
        match context.json {
            true => println!("{}", json!({"moved": 0, "status": null, "failure": null})),
            false => println!("no letters"),
        }
        return Ok(End::Nothing);
    }
    if !arguments.yes && context.json {
        println!("{}", json!({"dry_run": true, "moves": total, "to": to.url}));
        return Ok(End::Done);
    }
    if !arguments.yes {
        println!(
            "about {total} letters of {} would go to {}, each with its note",
            target.name(),
            target::name_of(&to.arn)
        );
        println!("nothing was changed; --yes does it");
        return Ok(End::Done);
    }
    let step = context.progress.task(format!("moving {}", target.name()));
    let started = sqs
        .start_message_move_task()
        .source_arn(&source.arn)
        .destination_arn(&to.arn)
        .set_max_number_of_messages_per_second(arguments.rate)
        .send()
        .await
        .map_err(reason)
        .context("SQS does not start to move")?;
    let handle = started.task_handle.unwrap_or_default();
    let mut is_cancelled = false;
    let task = loop {
        let task = newest(&sqs, &source.arn).await?;
        let moved = u64::try_from(task.approximate_number_of_messages_moved).unwrap_or(0);
        let of = task
            .approximate_number_of_messages_to_move
            .unwrap_or_default();
        let of = u64::try_from(of).unwrap_or(0).max(moved);
        step.rate(
            moved,
            of,
            task.status.clone().unwrap_or_default().to_lowercase(),
        );
        if !matches!(task.status.as_deref(), Some("RUNNING" | "CANCELLING")) {
            break task;
        }
        if context.is_stopped() && !is_cancelled {
            is_cancelled = true;
            sqs.cancel_message_move_task()
                .task_handle(&handle)
                .send()
                .await
                .map_err(reason)
                .context("SQS does not stop to move")?;
        }
        tokio::time::sleep(POLL).await;
    };
    let (status, moved) = (
        task.status.unwrap_or_default(),
        task.approximate_number_of_messages_moved,
    );
    step.done(format!("{moved} letters, {}", status.to_lowercase()));
    if context.json {
        let line = json!({"moved": moved, "status": status.to_lowercase(), "failure": task.failure_reason});
        println!("{line}");
    } else {
        println!("{moved} letters were moved to {}", target::name_of(&to.arn));
    }
    match (status.as_str(), task.failure_reason) {
        ("COMPLETED", _) => Ok(End::Done),
        ("CANCELLED", _) => Ok(End::Stopped),
        (_, Some(reason)) => bail!("SQS stopped after {moved} letters: {reason}"),
        _ => Ok(End::Partly),
    }
}

async fn newest(sqs: &Client, source: &str) -> Result<ListMessageMoveTasksResultEntry> {
    let tasks = sqs
        .list_message_move_tasks()
        .source_arn(source)
        .max_results(1)
        .send()
        .await
        .map_err(reason)
        .context("SQS does not say how far it is")?;
    let newest = tasks.results.unwrap_or_default().into_iter().next();
    newest.context("SQS does not know of the move any more")
}
