//! The `surehand` command: runs an application of event handlers on this machine, and talks to one anywhere.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod application;
mod check;
mod child;
mod cloud;
mod commands;
mod dlq;
mod local;
mod private;
mod progress;
mod terminal;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use clap::{
    CommandFactory as _, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use console::style;
use tokio::signal::unix::{SignalKind, signal};

use crate::{commands::Command, local::tools, progress::Progress};

/// Serverless event handlers, each event once.
#[derive(Debug, Parser)]
#[command(name = "surehand", version, disable_help_subcommand = true)]
struct Cli {
    /// The name of the run to start or to connect to, if a project has several; `dev` or `demo` by default
    #[arg(long, global = true, value_name = "NAME", value_parser = run_name)]
    run: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// A run's state is in a folder of this name.
fn run_name(text: &str) -> Result<String, String> {
    let is_name = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match text {
        "" => Err("a run needs a name".to_owned()),
        _ if tools::FOLDERS.contains(&text) => {
            Err("the tools have the folder of this name".to_owned())
        }
        _ if is_name => Ok(text.to_owned()),
        _ => Err("use only letters, digits, `-` and `_`".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(run(cli));
    // A thread that still waits for standard input or a lock must not keep the command alive.
    runtime.shutdown_background();
    code
}

async fn run(cli: Cli) -> ExitCode {
    let progress = Progress::new();
    let goes_on = cli.command.goes_on();
    let stops_by_itself = matches!(&cli.command, Command::Dlq(dlq) if dlq.stops_by_itself());
    let stop = AtomicBool::new(false);
    let interrupted = async {
        if stops_by_itself {
            interrupted().await?;
            progress.line("finishing what is in progress; interrupt again to stop at once");
            stop.store(true, Ordering::Relaxed);
        }
        interrupted().await?;
        Ok(progress.interrupt())
    };
    // The end of this future, finished or dropped, ends the processes it started.
    let outcome = tokio::select! {
        outcome = commands::execute(cli.command, cli.run, Cli::command, &progress, &stop) => outcome,
        interrupted = interrupted => match interrupted {
            // It ends in no other way, once it is ready.
            Ok(false) if goes_on => return ExitCode::SUCCESS,
            // As a shell reports a process that was interrupted.
            Ok(_) => return ExitCode::from(130),
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Returns when the command is asked to end.
async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let mark = style("error:").red().bold().for_stderr();
    terminal::err(format!("{mark} "), &format!("{error:#}"));
    ExitCode::from(error.downcast_ref::<dlq::Coded>().map_or(1, |it| it.code))
}

/// Help is printed as it is; wrong usage is one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // This only fails if the output is closed, and then there is no reader.
        drop(error.print());
        return match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        };
    }
    let said = format!(
        "{}{} (see `{} --help`)",
        first_paragraph(&error.to_string()),
        similar(error),
        command_of(std::env::args().skip(1))
    );
    terminal::err("", &said);
    ExitCode::from(2)
}

/// Returns what was probably meant.
fn similar(error: &clap::Error) -> String {
    let kinds = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let suggested = kinds.into_iter().find_map(|kind| error.get(kind));
    match suggested {
        Some(ContextValue::String(one)) => format!(": did you mean '{one}'?"),
        Some(ContextValue::Strings(several)) if !several.is_empty() => {
            // The likeliest is the last.
            let several: Vec<&str> = several.iter().rev().map(String::as_str).collect();
            format!(": did you mean '{}'?", several.join("' or '"))
        }
        _ => String::new(),
    }
}

/// Returns the command with the subcommands that the arguments begin with.
fn command_of(arguments: impl Iterator<Item = String>) -> String {
    let mut command = Cli::command();
    let mut path = "surehand".to_owned();
    for argument in arguments {
        if let Some(subcommand) = command.find_subcommand(&argument) {
            path = format!("{path} {argument}");
            command = subcommand.clone();
        } else if !argument.starts_with('-') && path != "surehand" {
            // An argument's value is no subcommand, even if it is called like one.
            break;
        }
    }
    path
}

/// Returns clap's message without its usage and hints, in one line.
fn first_paragraph(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["surehand"].iter().chain(arguments))
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for (arguments, message) in [
            (
                &["invoke"][..],
                "error: the following required arguments were not provided: <FUNCTION>",
            ),
            (
                &["dev", "--port", "http"],
                "error: invalid value 'http' for '--port <PORT>': invalid digit found in string",
            ),
            (
                &["dev", "--run", "../x"],
                "error: invalid value '../x' for '--run <NAME>': use only letters, digits, `-` and `_`",
            ),
            (
                &["dev", "--parameter", "Stage"],
                "error: invalid value 'Stage' for '--parameter <NAME=VALUE>': write it as NAME=VALUE",
            ),
            (&["fly"], "error: unrecognized subcommand 'fly'"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(first_paragraph(&error.to_string()), message);
        }
    }

    #[test]
    fn an_error_leads_to_the_subcommands_help() {
        let of = |line: &str| command_of(line.split(' ').map(str::to_owned));
        assert_eq!(of("fly"), "surehand");
        assert_eq!(of("--run x dlq list"), "surehand dlq list");
        assert_eq!(of("dlq --run x apply p"), "surehand dlq");
        assert_eq!(of("publish dev"), "surehand publish");
    }

    #[test]
    fn an_event_may_be_given_in_place() {
        let cli = parse(&["invoke", "place-order", "--event", "{}"]).unwrap();
        assert!(matches!(cli.command, Command::Invoke { event: Some(event), .. } if event == "{}"));
    }
}
