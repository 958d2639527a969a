//! Asks the functions what they are made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Result;
use surehand::description::Description;
use tokio::{process::Command, time::timeout};

use super::{
    compile::{Compiler, Profile},
    project::{Binary, Project},
    templates::Templates,
};
use crate::progress::{Step, number_of};

/// The description of each binary, or why there is none.
pub(crate) type Descriptions = BTreeMap<String, Result<Description, String>>;

/// The binaries of each package of the workspace, with the package's manifest.
pub(crate) type Binaries = BTreeMap<String, Vec<Binary>>;

/// How long a function may take. It takes milliseconds unless it waits for a service.
const LIMIT: Duration = Duration::from_secs(20);

/// Builds the functions of the templates and has them describe themselves; `output` is a folder for their packages, and
/// `begin` shows that it is done, if there is something to build.
pub(crate) async fn functions(
    project: &Project,
    templates: &Templates,
    output: PathBuf,
    begin: impl FnOnce(&'static str) -> Step,
) -> Result<(Binaries, Descriptions)> {
    let workspace = {
        let project = project.clone();
        tokio::task::spawn_blocking(move || project.workspace()).await??
    };
    let binaries = workspace.binaries(project.root());
    // A binary that does not exist is a finding, and no reason to stop.
    let named: BTreeSet<String> = (templates.binaries().into_iter())
        .filter(|name| binaries.contains_key(name))
        .collect();
    if named.is_empty() {
        return Ok((binaries, Descriptions::new()));
    }
    let compiler = Compiler::new(project, &workspace, named, Profile::Dev, output)?;
    let step = begin("building the functions");
    let executables = compiler.executables(&step).await?;
    step.say("asking the functions what they are made of");
    let descriptions = describe(&executables).await;
    step.done(number_of(executables.len() as u64, "function"));
    Ok((binaries, descriptions))
}

/// Asks these binaries, each given with its executable, for their descriptions.
pub(crate) async fn describe(executables: &BTreeMap<String, PathBuf>) -> Descriptions {
    let mut descriptions = Descriptions::new();
    for (binary, executable) in executables {
        descriptions.insert(binary.clone(), describe_one(executable).await);
    }
    descriptions
}

async fn describe_one(executable: &Path) -> Result<Description, String> {
    let mut command = Command::new(executable);
    // The environment is empty, so that a function cannot depend on this machine's credentials or
    // region.
    command
        .env_clear()
        .env("SUREHAND_DESCRIBE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("it cannot be started: {error}")),
        Err(_) => return Err(format!("it did not answer within {} s", LIMIT.as_secs())),
    };
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rfind(|line| !line.trim().is_empty());
        return Err(last
            .unwrap_or("it ended without a message")
            .trim()
            .to_owned());
    }
    // The description is the last line, after what `main` itself printed.
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| "it printed no description".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    async fn of_script(script: &str) -> Result<Description, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("function");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        describe_one(&path).await
    }

    #[tokio::test]
    async fn a_function_without_a_description_says_why() {
        let why = async |script| of_script(script).await.unwrap_err();
        assert_eq!(
            why("echo >&2; echo 'Error: no table' >&2; exit 1").await,
            "Error: no table"
        );
        assert_eq!(why("exit 3").await, "it ended without a message");
        assert_eq!(why("echo hello").await, "it printed no description");
        assert!(
            describe_one(Path::new("/nowhere/function"))
                .await
                .unwrap_err()
                .starts_with("it cannot be started: ")
        );
    }

    #[tokio::test]
    async fn lines_before_the_description_are_ignored() {
        let json = r#"{"surehand":"0.1.0","source":"sqs","handlers":[],"publishes":[],"batch":{"concurrency":10,"on_park":"proceed","max_attempts":5,"backoff_base_ms":1,"backoff_cap_ms":2,"backoff_factor":6,"backoff_least_percent":75,"margin_ms":null},"idempotency":null,"dead_letters":null,"redelivery":null,"variables":[]}"#;
        let description = of_script(&format!(
            "[ -z \"$HOME$AWS_REGION\" ] || exit 1; echo starting; echo '{json}'"
        ))
        .await
        .unwrap();
        assert_eq!(description.source, "sqs");
    }
}
