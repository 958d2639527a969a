//! A `surehand dev` of the test's own in the folder of an application, and the command beside it.

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::cargo;

/// How long it may take to start: on a new machine it installs its tools and compiles the
/// functions.
const START: Duration = Duration::from_secs(30 * 60);

/// Its emulator may take three seconds to end, of a processor that has nothing else to do.
const STOP: Duration = Duration::from_secs(120);

/// An application's folder, and what its commands have in their environment.
pub struct Place {
    /// Where `template.yaml` is.
    pub folder: PathBuf,
    /// By name.
    pub variables: Vec<(&'static str, PathBuf)>,
}

impl Place {
    /// Makes a command in the folder, without the variables that select a cloud.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.folder);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env_remove("EVENT_BUS_NAME");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running `surehand dev`; dropping it ends it.
pub struct Run {
    place: Place,
    name: &'static str,
    command: PathBuf,
    child: Child,
    watchdog: Child,
    /// What it has deployed.
    pub stack: Stack,
    /// Held until the process has ended, because another process may be testing the same checkout.
    _lock: File,
}

/// What it announces.
#[derive(Clone, Debug, Deserialize)]
pub struct Stack {
    /// The emulator's URL.
    pub endpoint: String,
    /// The access key of the account's owner, without which the emulator answers nobody.
    pub key: Key,
    /// The stack's outputs, by name.
    pub outputs: BTreeMap<String, String>,
}

/// An access key of AWS.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Stack {
    /// What a client of AWS reads of its environment, to be a client of this stack as the account's owner.
    pub fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ACCESS_KEY_ID", &self.key.id),
            ("AWS_SECRET_ACCESS_KEY", &self.key.secret),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", "us-east-1"),
        ]
    }
}

impl Run {
    /// Returns once it has deployed the application. Its state is in a folder of this name, so that
    /// the `surehand dev` of whoever develops goes on undisturbed.
    pub async fn start(place: Place, name: &'static str, arguments: &[&str]) -> Self {
        let command = surehand();
        let folder = place.folder.join(".surehand").join(name);
        let lock = lock(&folder);
        // A run that was killed has not removed the file.
        let _ = fs::remove_file(folder.join("stack.json"));
        let output = File::create(output(name)).unwrap();
        let child = place
            .command(command)
            .args(["dev", "--run", name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let watchdog = watch(&child);
        let stack = Stack {
            endpoint: String::new(),
            key: Key::default(),
            outputs: BTreeMap::new(),
        };
        let mut run = Self {
            place,
            name,
            command: command.to_owned(),
            child,
            watchdog,
            stack,
            _lock: lock,
        };
        let started = Instant::now();
        run.stack = loop {
            let ended = run.child.try_wait().unwrap();
            assert!(ended.is_none(), "`surehand dev` ended: {}", run.said());
            if let Some(stack) = run.announced() {
                break stack;
            }
            assert!(started.elapsed() < START, "not ready: {}", run.said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        run
    }

    /// Another command of `surehand` that finds this run by its name; `input` is its standard input.
    pub fn surehand(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .place
            .command(&self.command)
            .args(arguments)
            .args(["--run", self.name])
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

    /// The folder of its state.
    pub fn folder(&self) -> PathBuf {
        self.place.folder.join(".surehand").join(self.name)
    }

    /// The lines that functions have logged and that the emulator has passed on. What a process says
    /// in an invocation that kills it may be lost.
    pub fn log(&self) -> Vec<Value> {
        let text = self.emulator_log();
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Everything that the emulator and its functions have written so far.
    pub fn emulator_log(&self) -> String {
        let bytes = fs::read(self.folder().join("emulator.log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn announced(&self) -> Option<Stack> {
        let text = fs::read_to_string(self.folder().join("stack.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Ends it as Ctrl-C does, and checks that no process is left.
    pub fn end(&mut self) {
        self.signal(Signal::INT);
        let status = self.wait(STOP).expect("it does not end");
        assert!(status.success(), "{status}: {}", self.said());
        let farewell = "stopped: the queues, tables and events of this run are gone; ";
        assert!(self.said().contains(farewell), "{}", self.said());
        assert!(self.announced().is_none(), "it is still announced");
        assert!(!self.folder().join("tmp").exists(), "its files are left");
        let address = self.stack.endpoint.strip_prefix("http://").unwrap();
        assert!(std::net::TcpStream::connect(address).is_err());
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

    /// Returns what it has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(output(self.name)).unwrap_or_default()
    }

    /// Returns the last lines of its output.
    pub fn said(&self) -> String {
        let text = self.output();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Run {
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

/// Returns the command `surehand`, which is only built if `cargo test` did not run for the whole
/// workspace.
pub fn surehand() -> &'static Path {
    static COMMAND: OnceLock<PathBuf> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let mut build = cargo::cargo();
        build.args([
            "build",
            "--locked",
            "--bin=surehand",
            "--message-format=json-render-diagnostics",
        ]);
        let output = cargo::output_of(&mut build);
        let mut executables = output.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).unwrap();
            message["executable"].as_str().map(PathBuf::from)
        });
        executables.next().unwrap()
    })
}

/// Interrupts the child when this process has ended, in whatever way, and has thus closed the other
/// end of the pipe.
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

/// Waits until the lock is free.
fn lock(folder: &Path) -> File {
    fs::create_dir_all(folder).unwrap();
    let file = File::create(folder.join("test.lock")).unwrap();
    file.lock().unwrap();
    file
}

/// Where it writes what it says.
fn output(name: &str) -> PathBuf {
    cargo::scratch().join(format!("surehand-dev-{name}.log"))
}
