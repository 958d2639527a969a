//! `surehand dlq`: what is in dead-letter queues, why, and how it is put back.
//!
//! The work is `surehand_redrive`'s. Here are the arguments, the queues' names, and what people and programs
//! read.

mod apply;
mod binary;
mod context;
mod describe;
mod edit;
mod grid;
mod keys;
mod list;
mod move_task;
mod new_file;
mod outcomes;
mod plan;
mod read;
mod rehearse;
mod runs;
mod select;
mod target;
mod through;
mod trust;

use std::{path::PathBuf, sync::atomic::AtomicBool};

use anyhow::Result;
use clap::{Args, FromArgMatches as _, Subcommand};

use self::{
    apply::{ApplyArgs, PurgeArgs, RedriveArgs, RestoreArgs, UndoArgs},
    context::Context,
    edit::EditArgs,
    plan::PlanArgs,
    rehearse::RehearseArgs,
    select::SelectArgs,
    target::{SourceArgs, TargetArgs},
};
pub(crate) use self::{
    context::{Coded, End},
    describe::age,
    grid::Grid,
    list::is_called_so,
    select::moment,
    target::{name_of, queue_url},
};
use crate::{cloud::Wanted, progress::Progress};

/// The arguments of `surehand dlq`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 nothing to do, 4 only partly done or not fixed, \
                  130 interrupted"
)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    command: Command,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead-letter queues, with the number and age of their messages
    List {
        /// List only queues whose names begin with this
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Show dead letters: their events, why they are there, and where they would go
    Show {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        select: SelectArgs,
        /// How many dead letters to show
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Count dead letters by the reason for which they failed
    Groups {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        select: SelectArgs,
    },
    /// Write a snapshot of the queue to a file of JSON lines
    Pull {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        select: SelectArgs,
        /// The file to create; it must not exist yet
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Write a plan: a file that says what to do with each dead letter
    Plan(PlanArgs),
    /// Edit the event of one dead letter, and add the edit to a plan
    Edit(EditArgs),
    /// Plan and apply at once: put the selected dead letters back; without --yes only show what it would do
    Redrive(RedriveArgs),
    /// List the plans that `redrive` made, and how far each has come; or say how far a run of a redrive function is
    Runs {
        /// The function's run
        #[arg(value_name = "RUN", requires = "through")]
        id: Option<String>,
        /// The function that does it
        #[arg(long, value_name = "FUNCTION", requires = "id")]
        through: Option<String>,
    },
    /// Carry out a plan; without --yes only show what it would do
    Apply(ApplyArgs),
    /// Continue an apply that was stopped
    Resume(ApplyArgs),
    /// Return the messages of an apply to the dead-letter queue; the effects that they had stay
    Undo(UndoArgs),
    /// Delete dead letters, after writing each to an archive
    Purge(PurgeArgs),
    /// Return the messages of a purge to the dead-letter queue
    Restore(RestoreArgs),
    /// Have SQS move all messages of the queue to another one, unchanged
    Move(move_task::MoveArgs),
    /// Run dead letters through the local build of their function, without committing anything
    Rehearse(RehearseArgs),
}

impl Dlq {
    /// What these arguments, without the name of the command, ask for.
    pub(crate) fn of(arguments: &[&str]) -> Result<Self> {
        let command = Self::augment_args(clap::Command::new("dlq").no_binary_name(true));
        Ok(Self::from_arg_matches(
            &command.try_get_matches_from(arguments)?,
        )?)
    }

    /// Whether the first interrupt is only a wish: what is on the way is finished then, and letters that were read
    /// are given back.
    pub(crate) fn stops_by_itself(&self) -> bool {
        !matches!(self.command, Command::List { .. } | Command::Runs { .. })
    }
}

pub(crate) async fn run(
    mut dlq: Dlq,
    run: Option<String>,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<End> {
    dlq.wanted.run = run;
    let context = Context {
        wanted: &dlq.wanted,
        json: dlq.json,
        progress,
        stop,
    };
    match dlq.command {
        Command::List { prefix } => list::run(prefix.as_deref(), &context).await,
        Command::Show {
            source,
            select,
            limit,
        } => read::show(&source, &select, limit, &context).await,
        Command::Groups { source, select } => read::groups(&source, &select, &context).await,
        Command::Pull {
            target,
            select,
            out,
        } => read::pull(&target, &select, &out, &context).await,
        Command::Plan(arguments) => plan::run(&arguments, &context).await,
        Command::Edit(arguments) => edit::run(&arguments, &context).await,
        Command::Redrive(arguments) => apply::redrive(&arguments, &context).await,
        Command::Runs {
            id: Some(id),
            through: Some(function),
        } => through::status(&id, &function, &context).await,
        Command::Runs { .. } => runs::run(&context),
        Command::Apply(arguments) => apply::apply(&arguments, &context).await,
        Command::Resume(arguments) => apply::resume(&arguments, &context).await,
        Command::Undo(arguments) => apply::undo(&arguments, &context).await,
        Command::Purge(arguments) => apply::purge(&arguments, &context).await,
        Command::Restore(arguments) => apply::restore(&arguments, &context).await,
        Command::Move(arguments) => move_task::run(&arguments, &context).await,
        Command::Rehearse(arguments) => rehearse::run(&arguments, &context).await,
    }
}
