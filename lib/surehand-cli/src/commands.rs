//! The commands by their names. What `check` and `dlq` do is on floors of their own.

mod delivery;
mod demo;
mod deploy;
mod dev;
mod env;
mod invoke;
mod logs;
mod manual;
mod new;
mod pair;
mod pause;
mod publish;
mod send;
mod sources;
mod status;
mod tools;

use std::{
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    sync::atomic::AtomicBool,
};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{
    application::compile::Profile,
    check,
    cloud::Wanted,
    dlq,
    local::{run::Options, stack::Stack},
    progress::Progress,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an application with one function that handles an event from a queue
    New(new::New),
    /// Run the application on this machine, follow its logs, and update functions when their source changes
    Dev {
        #[command(flatten)]
        run: Run,
        /// Show the ids of each record
        #[arg(long, short)]
        verbose: bool,
    },
    /// Run the sample shop, send it orders of every kind, and account for each
    Demo {
        #[command(flatten)]
        run: Run,
        /// How many orders to place, 100 or more
        #[arg(long, default_value_t = 300, value_parser = orders)]
        orders: usize,
    },
    /// Publish events from JSON lines to the event bus, and say which rules and functions take them
    Publish {
        /// A file of JSON lines, or `-` for standard input
        file: String,
        /// The event bus; the one of a running `surehand dev` by default
        #[arg(long, env = "EVENT_BUS_NAME")]
        bus: Option<String>,
        /// Print a JSON line for each event: its line, and the rules that take it
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Invoke a function and print its reply
    Invoke {
        /// The function's short name (place-order), logical id or full name
        function: String,
        /// The event: JSON, a file, or `-` for standard input; what a queue, a rule or a table's stream would
        /// bring is made of it
        #[arg(long, short)]
        event: Option<String>,
        #[command(flatten)]
        form: invoke::Form,
        #[command(flatten)]
        wanted: Wanted,
    },
    Send(send::SendArgs),
    Logs(logs::LogsArgs),
    Status(status::StatusArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Env(env::EnvArgs),
    /// Inspect dead letters, and redrive them
    Dlq(Box<dlq::Dlq>),
    /// Check that the templates lose no events, and that they fit what the functions do
    Check(check::CheckArgs),
    Deploy(deploy::Deploy),
    Tools(tools::ToolsArgs),
    /// Print completions for a shell
    Completions(manual::Completions),
    /// Print the manual, or write its pages
    Man(manual::Man),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Build the functions in the release profile
    #[arg(long)]
    release: bool,
    /// The emulator's port; a free one by default
    #[arg(long)]
    port: Option<u16>,
    /// The address on which the emulator listens; pass another one so that containers can reach it
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The name of the stack; the one of the environment `emulator` in samconfig.toml by default
    #[arg(long)]
    stack_name: Option<String>,
    /// A parameter of the template, as NAME=VALUE; may be repeated, and overrides samconfig.toml
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair::parse)]
    parameters: Vec<(String, String)>,
}

impl Command {
    /// Whether an interrupt is how the command is meant to end.
    pub(crate) fn goes_on(&self) -> bool {
        match self {
            Self::Dev { .. } => true,
            Self::Logs(logs) => logs.goes_on(),
            Self::Status(status) => status.goes_on(),
            _ => false,
        }
    }
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

fn orders(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count >= demo::FEWEST => Ok(count),
        _ => Err(format!("use a number of {} or more", demo::FEWEST)),
    }
}

/// `run` is the name of the run, if it was given, and `whole` the command with all its arguments.
pub(crate) async fn execute(
    command: Command,
    run: Option<String>,
    whole: fn() -> clap::Command,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<ExitCode> {
    let named = |default: &str| run.clone().unwrap_or_else(|| default.to_owned());
    match command {
        Command::New(new) => new::run(&new)?,
        Command::Dev { run: dev, verbose } => {
            let options = dev.options(named(Stack::DEFAULT_RUN));
            dev::run(options, verbose, progress).await?;
        }
        Command::Demo { run: demo, orders } => {
            demo::run(demo.options(named("demo")), orders, progress).await?;
        }
        Command::Publish {
            file,
            bus,
            json,
            wanted,
        } => publish::run(&file, bus, json, &Wanted { run, ..wanted }, progress).await?,
        Command::Invoke {
            function,
            event,
            form,
            wanted,
        } => invoke::run(&function, event.as_deref(), form, &Wanted { run, ..wanted }).await?,
        Command::Send(arguments) => return Ok(send::run(arguments, run, progress).await?.into()),
        Command::Logs(arguments) => return Ok(logs::run(arguments, run).await?.into()),
        Command::Status(arguments) => {
            return Ok(status::run(arguments, run, progress).await?.into());
        }
        Command::Env(arguments) => return Ok(env::run(arguments, run).await?.into()),
        Command::Pause(arguments) => {
            return Ok(pause::pause(arguments, run, progress).await?.into());
        }
        Command::Resume(arguments) => {
            return Ok(pause::resume(arguments, run, progress).await?.into());
        }
        Command::Dlq(dlq) => {
            let end = dlq::run(*dlq, run, progress, stop).await?;
            return Ok(end.into());
        }
        Command::Check(arguments) => return check::run(&arguments, progress).await,
        Command::Deploy(arguments) => return deploy::run(arguments, progress).await,
        Command::Tools(arguments) => tools::run(&arguments, progress).await?,
        Command::Completions(arguments) => manual::completions(&arguments, whole()),
        Command::Man(arguments) => manual::man(&arguments, whole())?,
    }
    Ok(ExitCode::SUCCESS)
}
