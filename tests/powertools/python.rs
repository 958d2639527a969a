//! A process of functions on Powertools for AWS Lambda, in Python.

use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use surehand_test_support::cargo;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The function's name in Lambda; Powertools' keys begin with it.
pub(crate) const FUNCTION_NAME: &str = "shop";

pub(crate) struct Python {
    calls: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// The state of a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// The function's body runs, and waits for [`Python::proceed`].
    Running,
    Returned(Value),
    /// The name of the exception.
    Raised(String),
}

impl Python {
    /// Starts `functions.py` on the DynamoDB at `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let python = tokio::task::spawn_blocking(cargo::tools).await.unwrap();
        let mut process = Command::new(python.join("bin/python"))
            // Python writes no compiled files beside the source.
            .args(["-B", "-c", "import functions; functions.serve()"])
            .current_dir(cargo::workspace().join("tests/powertools"))
            .env("AWS_ENDPOINT_URL", url)
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_LAMBDA_FUNCTION_NAME", FUNCTION_NAME)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            calls: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
        }
    }

    /// Calls a function that has 30 seconds.
    pub(crate) async fn call(&mut self, function: &str, event: &str) -> Answer {
        self.call_with(function, event, Some(Duration::from_secs(30)))
            .await
    }

    /// Calls a function with this much time, or without a known limit.
    pub(crate) async fn call_with(
        &mut self,
        function: &str,
        event: &str,
        remaining: Option<Duration>,
    ) -> Answer {
        let remaining = json!(remaining.map(|time| time.as_millis()));
        // The event is sent in its own spelling, which may make a difference.
        let call = format!(
            r#"{{"function": "{function}", "event": {event}, "remaining_ms": {remaining}}}"#
        );
        self.say(&call).await
    }

    /// Makes the running function do `{"return": …}` or `{"raise": …}`.
    pub(crate) async fn proceed(&mut self, step: Value) -> Answer {
        self.say(&step.to_string()).await
    }

    async fn say(&mut self, line: &str) -> Answer {
        let line = format!("{line}\n");
        self.calls.write_all(line.as_bytes()).await.unwrap();
        let answer = self.answers.next_line().await.unwrap();
        let answer = answer.expect("the reason is above, on standard error");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if let Some(exception) = answer["raised"].as_str() {
            return Answer::Raised(exception.to_owned());
        }
        match answer.get("returned") {
            Some(value) => Answer::Returned(value.clone()),
            None => Answer::Running,
        }
    }
}
