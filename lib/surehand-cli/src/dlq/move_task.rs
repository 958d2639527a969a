//! `surehand dlq move`: SQS itself moves the whole queue, which needs no journal since nothing leaves SQS.
//!
//! It moves everything or nothing, and as it is: the failure notes go along, FIFO messages keep their deduplication
//! ids, and sizes, counts and outcomes are not checked. For anything else there is a plan.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_sqs::{Client, types::ListMessageMoveTasksResultEntry};
use clap::Args;
use serde_json::json;
use surehand_redrive::{Queue as _, QueueInfo, SqsDeadLetterQueue};

use super::{
    context::{Coded, Context, End, said},
    target::{self, Target, TargetArgs},
};
use crate::cloud::{Cloud, reason};
use crate::progress::number_of;
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The queue to move the messages to: its name, URL or ARN
    #[arg(long, value_name = "QUEUE", value_parser = target::queue)]
    to: String,
    /// The maximum number of messages per second, from 1 to 500; SQS decides by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=500))]
    rate: Option<i32>,
    /// Make the changes; without this option the command only shows them
    #[arg(long)]
    yes: bool,
}

/// How often SQS is asked how far it is.
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(arguments: &MoveArgs, context: &Context<'_>) -> Result<End> {
    let way = Way::find(arguments, context).await?;
    if way.total == 0 {
        match context.json {
            true => say!("{}", json!({"moved": 0, "status": null, "failure": null})),
            false => say!("no letters"),
        }
        return Ok(End::Nothing);
    }
    if !arguments.yes {
        way.dry_run(context);
        return Ok(End::Done);
    }
    context.announce(&way.cloud, &way.source);
    let task = way.carry_out(arguments.rate, context).await?;
    way.report(task, context)
}

/// From which queue to which.
struct Way {
    cloud: Cloud,
    sqs: Client,
    target: Target,
    source: QueueInfo,
    to: QueueInfo,
    /// About how many messages there are to move.
    total: u64,
}

impl Way {
    async fn find(arguments: &MoveArgs, context: &Context<'_>) -> Result<Self> {
        let (cloud, target) = arguments.target.find(context).await?;
        let sqs = Client::new(&cloud.config);
        let info = async |url: &str| {
            let queue = SqsDeadLetterQueue::new(sqs.clone(), url);
            queue.info().await.map_err(said)
        };
        let source = info(&target.url).await?;
        let to = info(&target::named(&cloud, &arguments.to).await?).await?;
        if to.fifo != source.fifo {
            bail!(
                "cannot move from {} to {}: only one of them is a FIFO queue",
                target.name(),
                target::name_of(&arguments.to)
            );
        }
        if to.arn == source.arn {
            bail!(Coded::usage("a queue cannot be moved to itself"));
        }
        Ok(Self {
            total: source.visible + source.delayed,
            cloud,
            sqs,
            target,
            source,
            to,
        })
    }

    fn dry_run(&self, context: &Context<'_>) {
        let (total, to) = (self.total, &self.to);
        if context.json {
            say!("{}", json!({"dry_run": true, "moves": total, "to": to.url}));
            return;
        }
        say!(
            "about {} of {} would go to {}, each with its note",
            number_of(total, "letter"),
            self.target.name(),
            target::name_of(&to.arn)
        );
        say!("nothing was changed; --yes does it");
    }

    /// Starts the move, and cancels it once the command is asked to stop.
    async fn carry_out(
        &self,
        rate: Option<i32>,
        context: &Context<'_>,
    ) -> Result<ListMessageMoveTasksResultEntry> {
        let name = self.target.name();
        let step = context.progress.task(format!("moving {name}"));
        let started = self
            .sqs
            .start_message_move_task()
            .source_arn(&self.source.arn)
            .destination_arn(&self.to.arn)
            .set_max_number_of_messages_per_second(rate)
            .send()
            .await
            .map_err(reason)
            .context("SQS did not start the move")?;
        let handle = started.task_handle.unwrap_or_default();
        let mut is_cancelled = false;
        loop {
            let task = task_of(&self.sqs, &self.source.arn, &handle).await?;
            let count = |of: Option<i64>| u64::try_from(of.unwrap_or_default()).unwrap_or(0);
            let moved = count(Some(task.approximate_number_of_messages_moved));
            let all = count(task.approximate_number_of_messages_to_move).max(moved);
            let status = task.status.clone().unwrap_or_default().to_lowercase();
            step.rate(moved, all, status.clone());
            if !["running", "cancelling"].contains(&status.as_str()) {
                step.done(format!("{}, {status}", number_of(moved, "letter")));
                return Ok(task);
            }
            if context.is_stopped() && !is_cancelled {
                is_cancelled = true;
                self.sqs
                    .cancel_message_move_task()
                    .task_handle(&handle)
                    .send()
                    .await
                    .map_err(reason)
                    .context("SQS did not cancel the move, and keeps moving messages")?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn report(&self, task: ListMessageMoveTasksResultEntry, context: &Context<'_>) -> Result<End> {
        let moved = task.approximate_number_of_messages_moved;
        let status = task.status.unwrap_or_default();
        if context.json {
            let line = json!({"moved": moved, "status": status.to_lowercase(), "failure": task.failure_reason});
            say!("{line}");
        } else {
            let to = target::name_of(&self.to.arn);
            match moved {
                1 => say!("1 letter was moved to {to}"),
                _ => say!("{moved} letters were moved to {to}"),
            }
        }
        match (status.as_str(), task.failure_reason) {
            ("COMPLETED", _) => Ok(End::Done),
            ("CANCELLED", _) => Ok(End::Stopped),
            (_, Some(reason)) => bail!("SQS stopped after {moved} letters: {reason}"),
            _ => Ok(End::Partly),
        }
    }
}

/// How far the task with this handle is. SQS gives handles only of tasks that run: without one it is the newest.
async fn task_of(
    sqs: &Client,
    source: &str,
    handle: &str,
) -> Result<ListMessageMoveTasksResultEntry> {
    let tasks = sqs
        .list_message_move_tasks()
        .source_arn(source)
        .max_results(10)
        .send()
        .await
        .map_err(reason)
        .context("cannot read the progress of the move, which goes on in SQS")?;
    let mut tasks = tasks.results.unwrap_or_default();
    let ours = |it: &ListMessageMoveTasksResultEntry| it.task_handle.as_deref() == Some(handle);
    let index = tasks.iter().position(ours).or_else(|| {
        let newest = tasks.iter().enumerate();
        newest
            .max_by_key(|(_, task)| task.started_timestamp)
            .map(|(index, _)| index)
    });
    index
        .map(|index| tasks.swap_remove(index))
        .context("SQS no longer lists the move")
}
