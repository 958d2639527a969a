//! What tests have cargo build.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Cargo, in the workspace's folder. What it is compiling is seen on standard error.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds something of the workspace; returns its binaries.
pub(crate) fn build(arguments: &[&str]) -> Vec<PathBuf> {
    let mut build = cargo();
    build
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(arguments);
    let output = output_of(&mut build);
    let messages = output.lines().map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        message["executable"].as_str().map(PathBuf::from)
    });
    messages.flatten().collect()
}

/// The folder of the programs of the virtual environment, which the first call installs.
pub(crate) fn tools() -> PathBuf {
    let mut tools = cargo();
    tools.args(["run", "-q", "-p", "surehand-cli", "--", "tools", "--tests"]);
    PathBuf::from(output_of(&mut tools).trim())
}

fn output_of(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
