//! A function's process.

use super::{
    service::Lambda,
    variant::{HERE, Variant},
};
use std::{
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A function's process, which ends when this is dropped.
pub(crate) struct Function(Child);

impl Function {
    pub(crate) fn start(variant: &Variant, lambda: &Lambda) -> Self {
        Self::spawn(Command::new(&variant.path), variant, lambda)
    }

    /// Starts it under valgrind, which counts its instructions; none without valgrind.
    pub(crate) fn counted(variant: &Variant, lambda: &Lambda) -> Option<Self> {
        let mut probe = Command::new("valgrind");
        let found = probe.arg("--version").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return None;
        }
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&variant.path)
            .stderr(Stdio::piped());
        Some(Self::spawn(command, variant, lambda))
    }

    fn spawn(mut command: Command, variant: &Variant, lambda: &Lambda) -> Self {
        let address = format!("http://{}", lambda.address());
        let variables = variant.variables.iter().map(|(name, value)| match *value {
            HERE => (*name, address.as_str()),
            value => (*name, value),
        });
        let child = command
            .env("AWS_LAMBDA_RUNTIME_API", lambda.address())
            .env("AWS_ENDPOINT_URL", &address)
            .envs(LAMBDA)
            .envs(SHOP)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Returns the processor time of the process so far, in all its threads.
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let times = tasks.map(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            let nanoseconds = stat.split(' ').next().unwrap();
            Duration::from_nanos(nanoseconds.parse().unwrap())
        });
        times.sum()
    }

    /// Ends a counted one.
    pub(crate) fn instructions(mut self) -> u64 {
        // Valgrind reports nothing about a process that is killed.
        let id = self.0.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status();
        assert!(kill.unwrap().success());
        let mut said = String::new();
        let errors = self.0.stderr.as_mut().unwrap();
        errors.read_to_string(&mut said).unwrap();
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        collected.expect(&said).1.trim().parse().unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// The variables that Lambda sets.
const LAMBDA: [(&str, &str); 8] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
];

/// The variables that the shop's functions read when they start.
const SHOP: [(&str, &str); 7] = [
    ("IDEMPOTENCY_TABLE", "idempotency"),
    ("SHOP_TABLE", "shop"),
    ("EVENT_BUS_NAME", "shop"),
    ("EVENT_QUEUE_URL", "http://127.0.0.1:1/1/events"),
    ("LEDGER_QUEUE_URL", "http://127.0.0.1:1/1/ledger.fifo"),
    ("EMAIL_FROM", "shop@example.com"),
    ("DEAD_LETTER_QUEUE_URL", "http://127.0.0.1:1/1/dead-letters"),
];
