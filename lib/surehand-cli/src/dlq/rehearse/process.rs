//! The new build as a process that answers one trial after the other.

use std::{collections::HashMap, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use aws_sdk_lambda::config::ProvideCredentials as _;
use surehand::rehearsal::{Finding, Trial};
use surehand_redrive::Letter;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};

use crate::{child::Group, cloud::Cloud};

/// So much longer than the invocation may take a process may take to answer, its start included.
const GRACE: Duration = Duration::from_secs(20);

/// The build, and the environment that the deployed function has.
pub(super) struct Stage {
    executable: PathBuf,
    environment: HashMap<String, String>,
    config: aws_config::SdkConfig,
    running: Option<Running>,
}

struct Running {
    _group: Group,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What came of a letter.
pub(super) enum Answer {
    Found(Box<Finding>),
    /// The process ended, or did not answer in time.
    Died(String),
}

impl Stage {
    pub(super) fn new(
        executable: PathBuf,
        name: &str,
        mut environment: HashMap<String, String>,
        cloud: &Cloud,
        with_effects: bool,
    ) -> Self {
        let mut set = |name: &str, value: &str| {
            environment.insert(name.to_owned(), value.to_owned());
        };
        set("SUREHAND_REHEARSE", "1");
        set(
            "SUREHAND_REHEARSE_EFFECTS",
            if with_effects { "1" } else { "0" },
        );
        set("AWS_LAMBDA_FUNCTION_NAME", name);
        if let Some(region) = cloud.config.region() {
            set("AWS_REGION", region.as_ref());
        }
        if let Some(endpoint) = cloud.config.endpoint_url() {
            set("AWS_ENDPOINT_URL", endpoint);
        }
        Self {
            executable,
            environment,
            config: cloud.config.clone(),
            running: None,
        }
    }

    /// Each letter has an answer: a process that dies of one is replaced for the next.
    pub(super) async fn answer(&mut self, letter: &Letter, trial: &Trial) -> Result<Answer> {
        if self.running.is_none() {
            self.running = Some(self.start().await?);
        }
        let Some(running) = &mut self.running else {
            bail!("the build did not start");
        };
        let patience = Duration::from_millis(trial.timeout_ms) + GRACE;
        let why = match tokio::time::timeout(patience, running.ask(letter, trial)).await {
            Ok(Ok(Some(finding))) => return Ok(Answer::Found(Box::new(finding))),
            Ok(Ok(None)) => "the process ended".to_owned(),
            Ok(Err(error)) => format!("the process ended: {error:#}"),
            Err(_) => format!("no answer in {} s", patience.as_secs()),
        };
        self.running = None;
        Ok(Answer::Died(why))
    }

    async fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.executable);
        command
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The function's own log would drown the report.
            .stderr(Stdio::null());
        // It reads with the rights of the person who rehearses.
        if let Some(provider) = self.config.credentials_provider() {
            let credentials = provider
                .provide_credentials()
                .await
                .context("no credentials for the function to read with")?;
            command
                .env("AWS_ACCESS_KEY_ID", credentials.access_key_id())
                .env("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key());
            match credentials.session_token() {
                Some(token) => command.env("AWS_SESSION_TOKEN", token),
                None => command.env_remove("AWS_SESSION_TOKEN"),
            };
        }
        let mut group = Group::spawn(&mut command)?;
        let input = group.child().stdin.take();
        let output = group.child().stdout.take();
        let (Some(input), Some(output)) = (input, output) else {
            bail!("the build has no input or output");
        };
        Ok(Running {
            _group: group,
            input,
            output: BufReader::new(output).lines(),
        })
    }
}

impl Running {
    async fn ask(&mut self, letter: &Letter, trial: &Trial) -> Result<Option<Finding>> {
        let mut line = serde_json::to_string(trial)?;
        line.push('\n');
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await?;
        while let Some(line) = self.output.next_line().await? {
            // Handlers may print as well.
            if let Ok(finding) = serde_json::from_str::<Finding>(&line)
                && finding
                    .record
                    .as_ref()
                    .is_none_or(|id| *id == letter.id || trial.event["Records"].is_null())
            {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }
}
