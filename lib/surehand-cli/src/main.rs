//! The `surehand` command: runs an application of event handlers on this machine, and talks to one anywhere.

mod application;
mod check;
mod child;
mod cloud;
mod commands;
mod dlq;
mod local;
mod progress;

use std::{
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, error::ErrorKind};
use console::style;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    application::{compile::Profile, project::Project},
    commands::{demo, dev, invoke, new, publish},
    local::{
        run::Options,
        tools::{self, BUILD, LOCAL, TESTS, Tools},
    },
    progress::Progress,
};

/// Serverless event handlers, each event once.
#[derive(Debug, Parser)]
#[command(name = "surehand", version, disable_help_subcommand = true)]
struct Cli {
    /// The run to start or to talk to, where several go on in one project; `dev` or `demo` by default
    #[arg(long, global = true, value_name = "NAME", value_parser = run_name)]
    run: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new application, with one function that takes an event from a queue
    New(new::New),
    /// Run the application on this machine, follow its logs, and update functions when their source changes
    Dev(Run),
    /// Run the sample shop, send it orders of every kind, and account for each
    Demo {
        #[command(flatten)]
        run: Run,
        /// How many orders to place, 100 or more
        #[arg(long, default_value_t = 300, value_parser = orders)]
        orders: usize,
    },
    /// Publish events, given as JSON lines, to the bus
    Publish {
        /// A file of JSON lines, or `-` for standard input
        file: String,
        /// The bus; that of a running `surehand dev` by default
        #[arg(long, env = "EVENT_BUS_NAME")]
        bus: Option<String>,
    },
    /// Call a function and print its reply
    Invoke {
        /// Its short name (place-order), logical id or full name
        function: String,
        /// The event: JSON, a file, or `-` for standard input
        #[arg(long, short, default_value = "{}")]
        event: String,
    },
    /// Look at dead letters, and put them back
    Dlq(dlq::Dlq),
    /// Hold the template against what it must hold, and against what the functions are made of
    Check {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Install the tools and print the path of their virtual environment
    ///
    /// With `--linters` or `--sqs` there are more, one a line, as they belong into PATH.
    Tools {
        /// Also what `sam build` needs: cargo-lambda, about 1 GB
        #[arg(long)]
        all: bool,
        /// Also what looks over templates: cfn-lint with rules for serverless applications, and checkov
        #[arg(long)]
        linters: bool,
        /// Also what the tests of this repository compare with
        #[arg(long)]
        tests: bool,
        /// Also an SQS with StartMessageMoveTask, for the tests of this repository
        #[arg(long)]
        sqs: bool,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Build the functions in the release profile
    #[arg(long)]
    release: bool,
    /// The emulator's port; a free one by default
    #[arg(long)]
    port: Option<u16>,
    /// The address that the emulator listens on; another than this one lets containers reach it
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The name of the stack; that of `emulator` in samconfig.toml by default
    #[arg(long)]
    stack_name: Option<String>,
    /// A parameter of the template, as NAME=VALUE; may be repeated, and goes before samconfig.toml
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
}

impl Run {
    fn options(self, run: String) -> Options {
        Options {
            run,
            profile: if self.release {
                Profile::Release
            } else {
                Profile::Dev
            },
            address: (self.host, self.port),
            stack: self.stack_name,
            parameters: self.parameters.into_iter().collect(),
        }
    }
}

/// A run's state is in a folder of this name.
fn run_name(text: &str) -> Result<String, String> {
    let is_name = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match text {
        "" => Err("empty".to_owned()),
        _ if tools::FOLDERS.contains(&text) => Err("the tools are there".to_owned()),
        _ if is_name => Ok(text.to_owned()),
        _ => Err("neither letters, digits, `-` nor `_`".to_owned()),
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=VALUE".to_owned()),
    }
}

fn orders(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count >= demo::FEWEST => Ok(count),
        _ => Err(format!("not a number from {}", demo::FEWEST)),
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
    let is_dev = matches!(cli.command, Command::Dev(_));
    let stops_by_itself = matches!(&cli.command, Command::Dlq(dlq) if dlq.stops_by_itself());
    let stop = AtomicBool::new(false);
    let interrupted = async {
        if stops_by_itself {
            interrupted().await?;
            progress.line("ending what is on the way; interrupt again to end at once");
            stop.store(true, Ordering::Relaxed);
        }
        interrupted().await
    };
    // Whatever ends this future, by finishing or by being dropped, ends the processes it started.
    let outcome = tokio::select! {
        outcome = execute(cli, &progress, &stop) => outcome,
        interrupted = interrupted => match interrupted {
            Ok(()) if is_dev => return ExitCode::SUCCESS,
            // As a shell reports a process that was interrupted.
            Ok(()) => return ExitCode::from(130),
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn execute(cli: Cli, progress: &Progress, stop: &AtomicBool) -> Result<ExitCode> {
    let named = |default: &str| cli.run.clone().unwrap_or_else(|| default.to_owned());
    match cli.command {
        Command::New(new) => new::run(&new)?,
        Command::Dev(run) => dev::run(run.options(named("dev")), progress).await?,
        Command::Demo { run, orders } => {
            demo::run(run.options(named("demo")), orders, progress).await?;
        }
        Command::Publish { file, bus } => {
            publish::run(&file, bus, &named("dev"), progress).await?;
        }
        Command::Invoke { function, event } => {
            invoke::run(&function, &event, &named("dev")).await?;
        }
        Command::Dlq(dlq) => {
            let end = dlq::run(dlq, &named("dev"), progress, stop).await?;
            return Ok(end.into());
        }
        Command::Check { json } => return check::run(json, progress).await,
        Command::Tools {
            all,
            linters,
            tests,
            sqs,
        } => {
            let project = Project::here()?;
            let mut groups = vec![LOCAL];
            groups.extend(all.then_some(BUILD));
            groups.extend(tests.then_some(TESTS));
            let tools = Tools::prepare(&project, &groups, progress).await?;
            if linters {
                // The SAM CLI brings a cfn-lint of its own, which does not know the rules for serverless.
                let linters = Tools::prepare_linters(&project, progress).await?;
                println!("{}", linters.folder().display());
            }
            if sqs {
                let sqs = Tools::prepare_sqs(&project, progress).await?;
                println!("{}", sqs.folder().display());
            }
            println!("{}", tools.folder().display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns when somebody asks the command to end.
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
    eprintln!("{} {error:#}", style("error:").red().bold().for_stderr());
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
        // Only fails when the output is closed, and then nobody is reading.
        drop(error.print());
        return match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        };
    }
    eprintln!(
        "{} (see `surehand --help`)",
        first_paragraph(&error.to_string())
    );
    ExitCode::from(2)
}

/// What clap says before its usage and hints, in one line.
fn first_paragraph(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

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
                "error: invalid value '../x' for '--run <NAME>': neither letters, digits, `-` nor `_`",
            ),
            (
                &["dev", "--parameter", "Stage"],
                "error: invalid value 'Stage' for '--parameter <NAME=VALUE>': not NAME=VALUE",
            ),
            (&["fly"], "error: unrecognized subcommand 'fly'"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(first_paragraph(&error.to_string()), message);
        }
    }

    #[test]
    fn an_event_may_be_given_in_place() {
        let cli = parse(&["invoke", "place-order", "--event", "{}"]).unwrap();
        assert!(matches!(cli.command, Command::Invoke { event, .. } if event == "{}"));
    }
}
