//! The command `surehand dlq` beside the running shop, in a folder for its files.

use super::{dev::Dev, shop::Shop};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};
use surehand_test_support::run::surehand;

pub(crate) struct Shell {
    /// Inside the workspace, so that the run is found.
    pub(crate) folder: PathBuf,
}

/// How a command ended, and its output.
#[derive(Debug)]
pub(crate) struct Said {
    /// None after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    /// Makes a shell in an empty folder of this name, and takes all dead letters out of their
    /// queues.
    pub(crate) async fn new(dev: &Dev, shop: &Shop, name: &str) -> Self {
        shop.take_dead_letters().await;
        let folder = dev.folder().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    /// Makes the command for this run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.elsewhere(arguments);
        command.args(["--run", "tests"]);
        command
    }

    /// Makes the command, without the variables of the environment that select a cloud.
    pub(crate) fn elsewhere(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(surehand());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.arg("dlq").args(arguments);
        command.current_dir(&self.folder);
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        command
    }

    pub(crate) async fn run(&self, command: Command) -> Said {
        let mut command = tokio::process::Command::from(command);
        said(command.kill_on_drop(true).output().await.unwrap())
    }

    /// Runs it, and checks its exit code and that it prints only its result.
    pub(crate) async fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let said = self.run(self.command(arguments)).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert_eq!(said.err, "", "{arguments:?}: {said:?}");
        said.out
    }

    /// As [`Shell::ends`], with `--json`: each line is an object.
    pub(crate) async fn json(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let out = self.ends(code, &[arguments, &["--json"]].concat()).await;
        let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
