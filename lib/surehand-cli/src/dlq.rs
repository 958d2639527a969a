//! `surehand dlq`: what is in dead-letter queues, why, and how it is put back.
//!
//! The work is `surehand_redrive`'s. Here are the arguments, the queues' names, and what people and programs
//! read.

mod apply;
mod describe;
mod edit;
mod list;
mod move_task;
mod new_file;
mod outcomes;
mod plan;
mod read;
mod rehearse;
mod select;
mod target;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use clap::{Args, FromArgMatches as _, Subcommand};

pub(crate) use self::outcomes::Facts;
use self::{
    apply::{ApplyArgs, PurgeArgs, UndoArgs},
    edit::EditArgs,
    plan::PlanArgs,
    rehearse::RehearseArgs,
    select::SelectArgs,
    target::TargetArgs,
};
use crate::progress::Progress;

/// An error with an exit code of its own.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    text: &'static str,
}

impl Coded {
    /// Wrong usage that the parser cannot tell.
    const fn usage(text: &'static str) -> Self {
        Self { code: 2, text }
    }

    const INTERRUPTED: Self = Self {
        code: 130,
        text: "interrupted; the letters that were read are back in the queue",
    };
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl std::error::Error for Coded {}

/// The library's errors, which are no `std::error::Error`, as the command's.
fn said(error: surehand::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// How a command ended, beside success, errors (1) and wrong usage (2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// Exit code 3: there was nothing to do.
    Nothing,
    /// Exit code 4: something could not be done, or fails as before.
    Partly,
    /// Exit code 130: somebody asked it to stop.
    Stopped,
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::SUCCESS,
            End::Nothing => Self::from(3),
            End::Partly => Self::from(4),
            End::Stopped => Self::from(130),
        }
    }
}

/// The arguments of `surehand dlq`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 an error, 2 wrong usage, 3 nothing to do, 4 not all of it was done or is fixed, \
                  130 interrupted"
)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    command: Command,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead-letter queues, with how much is in them and since when
    List {
        /// Only queues whose names begin so
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Show letters: what each is about, why it is there, and where it would go
    Show {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        select: SelectArgs,
        /// How many letters to show
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Count the letters by what they failed for
    Groups {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        select: SelectArgs,
    },
    /// Write a snapshot of the queue, as JSON lines
    Pull {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        select: SelectArgs,
        /// The file; it must not be there yet
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Write a file that says what is to become of which letter
    Plan(PlanArgs),
    /// Change one letter's event in an editor, as a step of a plan
    Edit(EditArgs),
    /// Do what a plan says; without --yes only say what that would be
    Apply(ApplyArgs),
    /// Go on where an apply was stopped
    Resume(ApplyArgs),
    /// Put the letters of an apply into the dead-letter queue again; their effects stay
    Undo(UndoArgs),
    /// Delete letters, each of them written to an archive before
    Purge(PurgeArgs),
    /// Let SQS move the whole queue to where it came from: everything, as it is
    Move(move_task::MoveArgs),
    /// Run letters through the local build of their function, without committing anything
    Rehearse(RehearseArgs),
}

/// Letters of a queue, or of a snapshot of one.
#[derive(Debug, Clone, Args)]
struct SourceArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// A snapshot that `pull` wrote, instead of the queue
    #[arg(long = "in", value_name = "FILE", conflicts_with = "queue")]
    snapshot: Option<PathBuf>,
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
        !matches!(self.command, Command::List { .. })
    }
}

/// What every command needs to know.
struct Context<'a> {
    run: &'a str,
    json: bool,
    progress: &'a Progress,
    /// Set when somebody asks for an end.
    stop: &'a AtomicBool,
}

impl Context<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

pub(crate) async fn run(
    dlq: Dlq,
    run: &str,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<End> {
    let context = Context {
        run,
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
        Command::Apply(arguments) => apply::apply(&arguments, &context).await,
        Command::Resume(arguments) => apply::resume(&arguments, &context).await,
        Command::Undo(arguments) => apply::undo(&arguments, &context).await,
        Command::Purge(arguments) => apply::purge(&arguments, &context).await,
        Command::Move(arguments) => move_task::run(&arguments, &context).await,
        Command::Rehearse(arguments) => rehearse::run(&arguments, &context).await,
    }
}
