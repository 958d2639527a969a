//! A `surehand dev` of the test's own, and the command beside it.

use super::processes::{self, FunctionProcess};
use crate::cargo;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

/// The folder of the run's state, so that the `surehand dev` of whoever develops goes on undisturbed.
const RUN: &str = "tests";

/// Seconds: short, since a message whose process dies stays invisible for six times as long.
const FUNCTION_TIMEOUT: &str = "FunctionTimeout=3";

/// From nothing it installs its tools and compiles the functions.
const START: Duration = Duration::from_secs(30 * 60);

/// Its emulator may take three seconds to end.
const STOP: Duration = Duration::from_secs(20);

/// A running `surehand dev`; dropping it ends it.
pub(crate) struct Dev {
    command: PathBuf,
    child: Child,
    watchdog: Child,
    pub(crate) stack: Stack,
    /// Held until the process is gone, for somebody else may be testing the same checkout.
    _lock: File,
}

/// What it announces.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stack {
    pub(crate) endpoint: String,
    pub(crate) outputs: BTreeMap<String, String>,
}

/// What a function did not finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Lost as a whole.
    pub(crate) batches: usize,
    /// Returned, of batches that were answered.
    pub(crate) records: usize,
}

impl Dev {
    /// Returns once it has deployed the application, which exports its traces to `collector`.
    pub(crate) async fn start(collector: &str) -> Self {
        let command = build();
        let lock = lock();
        // A run that was killed could not take it back.
        let _ = fs::remove_file(folder().join("stack.json"));
        let output = File::create(output()).unwrap();
        let child = plain(&command)
            .args(["dev", "--run", RUN, "--parameter", FUNCTION_TIMEOUT])
            .args(["--parameter", &format!("OtlpEndpoint={collector}")])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let watchdog = watch(&child);
        let stack = Stack {
            endpoint: String::new(),
            outputs: BTreeMap::new(),
        };
        let mut dev = Self {
            command,
            child,
            watchdog,
            stack,
            _lock: lock,
        };
        let started = Instant::now();
        dev.stack = loop {
            let ended = dev.child.try_wait().unwrap();
            assert!(ended.is_none(), "`surehand dev` ended: {}", said());
            if let Some(stack) = dev.announced() {
                break stack;
            }
            assert!(started.elapsed() < START, "not ready: {}", said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        dev
    }

    /// Runs another command of `surehand` that finds this run by its name; `input` is its standard
    /// input.
    pub(crate) fn surehand(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = plain(&self.command)
            .args(arguments)
            .args(["--run", RUN])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Another run in the same folder says so, and does not disturb this one.
    pub(crate) fn check_lock(&self) {
        let output = self.surehand(&["dev"], "");
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!("error: a run named {RUN} is already going on in this project\n");
        assert_eq!(said, expected);
        assert!(!output.status.success());
    }

    /// The processes of functions at this moment.
    pub(crate) fn functions(&self) -> Vec<FunctionProcess> {
        processes::functions_below(&folder().join("tmp"))
    }

    /// The lines that functions have logged and that the emulator has passed on. What a process says
    /// in an invocation that kills it may be lost.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = self.emulator_log();
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How many batches each function has lost as a whole, and how many records it has returned of
    /// others, by its full name.
    pub(crate) fn unfinished(&self) -> BTreeMap<String, Unfinished> {
        let mut unfinished = BTreeMap::<String, Unfinished>::new();
        for line in self.emulator_log().lines() {
            let Some((_, rest)) = line.split_once("ESM: Lambda ") else {
                continue;
            };
            let Some((function, what)) = rest.split_once(' ') else {
                continue;
            };
            let of_function = unfinished.entry(function.to_owned()).or_default();
            if what.starts_with("failed processing SQS batch") {
                of_function.batches += 1;
            }
            let returned = what
                .strip_suffix(" partial failures)")
                .and_then(|what| what.rsplit_once('('))
                .map(|(_, count)| count.parse::<usize>().unwrap());
            of_function.records += returned.unwrap_or_default();
        }
        unfinished
    }

    /// Ends it as Ctrl-C does; nothing of it may be left.
    pub(crate) async fn end(mut self) {
        let functions = self.functions();
        assert!(!functions.is_empty(), "no function ever ran");
        let launcher = folder().join("launch.py");
        let emulators = processes::with_argument(launcher.to_str().unwrap());
        assert_eq!(emulators.len(), 1, "{emulators:?}");

        self.signal(Signal::INT);
        let status = self.wait(STOP).expect("it does not end");
        assert!(status.success(), "{status}: {}", said());
        for pid in functions.iter().map(|process| process.pid).chain(emulators) {
            assert!(!processes::is_alive(pid), "{pid:?} is left");
        }
        // Nor any that was started since.
        assert_eq!(self.functions(), []);
        assert!(self.announced().is_none(), "it is still announced");
        assert!(!folder().join("tmp").exists(), "its files are left");
        let address = self.stack.endpoint.strip_prefix("http://").unwrap();
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    fn announced(&self) -> Option<Stack> {
        let text = fs::read_to_string(folder().join("stack.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    fn emulator_log(&self) -> String {
        let bytes = fs::read(folder().join("emulator.log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::INT);
            if self.wait(STOP).is_none() {
                // Its launcher notices, and ends the emulator.
                self.signal(Signal::KILL);
            }
        }
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

/// Interrupts the child when this process is gone and with it the pipe's other end, however that
/// happened.
fn watch(child: &Child) -> Child {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -INT "$1""#, "sh"])
        .arg(child.id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Built anew only when `cargo test` was not asked for the whole workspace.
fn build() -> PathBuf {
    let mut build = cargo::cargo();
    build.args([
        "build",
        "--bin=surehand",
        "--message-format=json-render-diagnostics",
    ]);
    let output = cargo::output_of(&mut build);
    let mut messages = output.lines().map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["executable"].as_str().map(PathBuf::from)
    });
    messages.find_map(|executable| executable).unwrap()
}

/// The command, with nothing in its environment that names a cloud.
fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(cargo::workspace());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env_remove("EVENT_BUS_NAME");
    command
}

/// Waits for whoever has it.
fn lock() -> File {
    fs::create_dir_all(folder()).unwrap();
    let file = File::create(folder().join("test.lock")).unwrap();
    file.lock().unwrap();
    file
}

pub(crate) fn folder() -> PathBuf {
    cargo::workspace().join(".surehand").join(RUN)
}

/// Where it writes what it says.
fn output() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("surehand-dev.log")
}

fn said() -> String {
    let text = fs::read_to_string(output()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
