//! `surehand tools`: installs the tools, and says where they are.

use anyhow::Result;
use clap::Args;

use crate::terminal::say;
use crate::{
    application::project::Project,
    local::tools::{BUILD, LOCAL, TESTS, Tools},
    progress::Progress,
};

/// Install the tools and print the path of their virtual environment
///
/// With `--linters` or `--sqs` it prints several paths, one per line, in the order in which they belong in PATH.
#[derive(Debug, Args)]
pub(crate) struct ToolsArgs {
    /// Also install what `sam build` needs: cargo-lambda, about 1 GB
    #[arg(long)]
    all: bool,
    /// Also install linters for templates: cfn-lint with its rules for serverless applications, and checkov
    #[arg(long)]
    linters: bool,
    /// Also install what this repository's tests compare with
    #[arg(long)]
    tests: bool,
    /// Also install an SQS emulator with StartMessageMoveTask, for this repository's tests
    #[arg(long)]
    sqs: bool,
    /// No run is meant, so that the help does not offer to name one.
    #[arg(long = "run", id = "run", hide = true)]
    _run: Option<String>,
}

/// Prints the folders of the environments, one a line.
pub(crate) async fn run(arguments: &ToolsArgs, progress: &Progress) -> Result<()> {
    let project = Project::here()?;
    let mut groups = vec![LOCAL];
    groups.extend(arguments.all.then_some(BUILD));
    groups.extend(arguments.tests.then_some(TESTS));
    let tools = Tools::prepare(&project, &groups, progress).await?;
    if arguments.linters {
        // The SAM CLI brings a cfn-lint of its own, which does not know the rules for serverless.
        let linters = Tools::prepare_linters(&project, progress).await?;
        say!("{}", linters.folder().display());
    }
    if arguments.sqs {
        let sqs = Tools::prepare_sqs(&project, progress).await?;
        say!("{}", sqs.folder().display());
    }
    say!("{}", tools.folder().display());
    Ok(())
}
