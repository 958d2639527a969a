//! Child processes that never outlive the command.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

/// How many of the last lines an error shows.
const TAIL: usize = 30;

/// A child in a process group of its own, so that everything it starts ends with it.
///
/// Dropping it ends the group immediately. An interrupt on the terminal does not reach the group,
/// only the command, which then drops its work.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    group: Option<Pid>,
}

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let program = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let child = command
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal` to the child and all processes that it started.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It can only fail if the group is gone, which is the purpose of the signal.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for the child to end by itself, then ends the processes that it left behind.
    pub(crate) async fn wait(mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs `command` to its end and passes each line of its output to `on_line`.
///
/// If the command fails, the error has the last lines of its output.
pub(crate) async fn run(
    command: &mut Command,
    what: &str,
    on_line: impl Fn(&str) + Send + Sync,
) -> Result<Vec<String>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = Group::spawn(command)?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let keep = |line: String| {
        on_line(&line);
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    };
    let stdout = group.child().stdout.take();
    let stderr = group.child().stderr.take();
    tokio::join!(each_line(stdout, &keep), each_line(stderr, &keep));
    let status = group.wait().await?;
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    if !status.success() {
        bail!("{what} failed ({status}):\n{}", tail(&lines));
    }
    Ok(lines)
}

/// Calls `on_line` for each line until the pipe is closed.
pub(crate) async fn each_line(pipe: Option<impl AsyncRead + Unpin>, on_line: impl Fn(String)) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).split(b'\n');
    // A read error means that the child is gone; its exit status says more.
    while let Ok(Some(line)) = lines.next_segment().await {
        on_line(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

/// Returns the last lines, without the empty ones.
pub(crate) fn tail(lines: &[String]) -> String {
    let lines: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
