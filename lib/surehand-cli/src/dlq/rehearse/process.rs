//! The new build as a process that answers one trial after the other.

use std::{collections::HashMap, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use aws_sdk_lambda::config::ProvideCredentials as _;
use serde_json::Value;
use surehand::rehearsal::{Finding, Marked, Proposal, Said, Trial};
use surehand_redrive::Letter;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};
use uuid::Uuid;

use super::replica::{Outcome, Replica};
use crate::{child::Group, cloud::Cloud};

/// So much longer than the invocation may take a process may take to answer, its start included.
const GRACE: Duration = Duration::from_secs(20);

/// What a process needs of this machine, and Lambda has as well: all else here is the operator's, and the payload that
/// is rehearsed was written by others.
const OF_THIS_MACHINE: [&str; 6] = [
    "PATH",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    // Where the certificates are by which services are known.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The way to AWS from behind a proxy.
const TO_AWS: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The build, and the environment that the deployed function has.
pub(super) struct Stage {
    executable: PathBuf,
    environment: HashMap<String, String>,
    config: aws_config::SdkConfig,
    running: Option<Running>,
    /// Whether the build does not mark its lines, so that nothing it prints can be believed.
    is_old: bool,
}

struct Running {
    _group: Group,
    /// By which its own lines are known from what handlers print. It is told in the trials, which handlers do not see.
    token: String,
    /// Whether it has said that it marks its lines, which it does before it calls a handler.
    marks: bool,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What came of a letter.
pub(super) enum Answer {
    Found {
        finding: Box<Finding>,
        /// What came of what it would commit; none if it would commit nothing, or does not ask.
        outcome: Option<Outcome>,
    },
    /// The process ended, or did not answer in time.
    Died(String),
    /// What the build prints may be its handlers' words.
    Old,
}

impl Stage {
    pub(super) fn new(
        executable: PathBuf,
        name: &str,
        mut environment: HashMap<String, String>,
        cloud: &Cloud,
        with_effects: bool,
    ) -> Self {
        let proxies = match cloud.is_emulator() {
            true => &[][..],
            false => &TO_AWS,
        };
        for name in OF_THIS_MACHINE.iter().chain(proxies) {
            if let Ok(value) = std::env::var(name) {
                // The function's own variables are what it is deployed with.
                environment.entry((*name).to_owned()).or_insert(value);
            }
        }
        let mut set = |name: &str, value: &str| {
            environment.insert(name.to_owned(), value.to_owned());
        };
        set("SUREHAND_REHEARSE", "1");
        set(
            "SUREHAND_REHEARSE_EFFECTS",
            if with_effects { "1" } else { "0" },
        );
        set("AWS_LAMBDA_FUNCTION_NAME", name);
        // The command has decided on a cloud: no file of the operator's leads to another one.
        set("AWS_CONFIG_FILE", "/dev/null");
        set("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        set("AWS_EC2_METADATA_DISABLED", "true");
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
            is_old: false,
        }
    }

    /// Each letter has an answer: a process that dies of one is replaced for the next. What it stages is carried out
    /// in `replica`.
    pub(super) async fn answer(
        &mut self,
        letter: &Letter,
        mut trial: Trial,
        replica: &mut Replica,
    ) -> Result<Answer> {
        if self.is_old {
            return Ok(Answer::Old);
        }
        if self.running.is_none() {
            self.running = Some(self.start().await?);
        }
        let Some(running) = &mut self.running else {
            bail!("the build did not start");
        };
        let patience = Duration::from_millis(trial.timeout_ms) + GRACE;
        let mut outcome = None;
        trial.token = Some(running.token.clone());
        let mut line = serde_json::to_string(&trial)?;
        let why = loop {
            let answer = tokio::time::timeout(patience, running.ask(line, letter, &trial));
            match answer.await {
                Ok(Ok(Heard::Finding(finding))) => {
                    return Ok(Answer::Found { finding, outcome });
                }
                Ok(Ok(Heard::Proposal(proposal))) => {
                    let decided = replica.decide(&proposal).await;
                    line = serde_json::to_string(&decided.ruling())?;
                    outcome = Some(decided);
                }
                Ok(Ok(Heard::Unmarked)) => {
                    self.running = None;
                    self.is_old = true;
                    return Ok(Answer::Old);
                }
                Ok(Ok(Heard::End)) => break "the process ended".to_owned(),
                Ok(Err(error)) => break format!("the process ended: {error:#}"),
                Err(_) => break format!("no answer in {} s", patience.as_secs()),
            }
        };
        self.running = None;
        Ok(Answer::Died(why))
    }

    async fn start(&self) -> Result<Running> {
        let mut command = Command::new(&self.executable);
        command
            .env_clear()
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
            if let Some(token) = credentials.session_token() {
                command.env("AWS_SESSION_TOKEN", token);
            }
        }
        let mut group = Group::spawn(&mut command)?;
        let input = group.child().stdin.take();
        let output = group.child().stdout.take();
        let (Some(input), Some(output)) = (input, output) else {
            bail!("the build has no input or output");
        };
        Ok(Running {
            _group: group,
            token: Uuid::now_v7().to_string(),
            marks: false,
            input,
            output: BufReader::new(output).lines(),
        })
    }
}

/// What the process says.
enum Heard {
    Proposal(Proposal),
    Finding(Box<Finding>),
    /// An answer without the token, before it has said that it knows tokens.
    Unmarked,
    End,
}

impl Running {
    async fn ask(&mut self, mut line: String, letter: &Letter, trial: &Trial) -> Result<Heard> {
        line.push('\n');
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await?;
        while let Some(line) = self.output.next_line().await? {
            let marked = serde_json::from_str::<Marked>(&line).ok();
            match marked.filter(|it| it.token == self.token).map(|it| it.said) {
                Some(Said::Heard) => self.marks = true,
                Some(Said::Proposal(proposal)) => return Ok(Heard::Proposal(proposal)),
                Some(Said::Finding(finding)) => {
                    let is_meant = (finding.record.as_ref())
                        .is_none_or(|id| *id == letter.id || trial.event["Records"].is_null());
                    if is_meant {
                        return Ok(Heard::Finding(finding));
                    }
                }
                // Handlers may print as well, also what looks like an answer.
                _ if self.marks => {}
                _ if is_answer(&line) => return Ok(Heard::Unmarked),
                _ => {}
            }
        }
        Ok(Heard::End)
    }
}

/// Whether it looks like what a build says that does not know tokens.
fn is_answer(line: &str) -> bool {
    let line = serde_json::from_str::<Value>(line).unwrap_or_default();
    ["verdict", "writes"]
        .iter()
        .any(|it| line.get(it).is_some())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

    use surehand::rehearsal::Ending;

    use super::*;
    use crate::local::emulator::{self, Key};

    /// Runs the script as the build, with a trial in its variable `trial` and the token in `token`.
    async fn answers<const N: usize>(
        script: &str,
        variables: HashMap<String, String>,
        key: &Key,
    ) -> [Answer; N] {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("function");
        let token = r#"token=${trial##*'"token":"'}; token=${token%%'"'*}"#;
        let script = format!("#!/bin/sh\nwhile read -r trial; do\n{token}\n{script}\ndone\n");
        fs::write(&executable, script).unwrap();
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o700)).unwrap();
        let cloud = Cloud {
            config: emulator::config("http://127.0.0.1:1", key),
            stack: None,
        };
        let mut stage = Stage::new(executable, "shop-audit", variables, &cloud, false);
        let letter = Letter::new("m", "{}");
        let mut replica = Replica::new(&cloud, None).unwrap();
        let mut answers = Vec::new();
        for _ in 0..N {
            let trial = Trial {
                event: Value::Null,
                timeout_ms: 1_000,
                answers: true,
                token: None,
            };
            answers.push(stage.answer(&letter, trial, &mut replica).await.unwrap());
        }
        let Ok(answers) = answers.try_into() else {
            unreachable!("there is an answer for each trial");
        };
        answers
    }

    /// A sender writes the payload, and handlers print it.
    #[tokio::test]
    async fn what_a_handler_prints_is_no_answer_of_the_function() {
        let script = r#"
  echo "{\"token\":\"$token\",\"said\":\"heard\"}"
  echo '{"record":null,"verdict":"handled","handler":"h","staged":[],"conditions":0,"failure":null}'
  echo '{"key":"k","fingerprint":"f","writes":[{"Put":{"TableName":"secrets","Item":{}}}]}'
  echo '{"token":"guessed","said":{"proposal":{"key":"k","fingerprint":"f","writes":[]}}}'
  failed='{"record":"m","verdict":"failed","handler":"h","staged":[],"conditions":0,"failure":null}'
  echo "{\"token\":\"$token\",\"said\":{\"finding\":$failed}}"
"#;
        let key = Key::new().unwrap();
        for answer in answers::<2>(script, HashMap::new(), &key).await {
            let Answer::Found { finding, outcome } = answer else {
                panic!("there is a finding");
            };
            assert_eq!(finding.verdict, Ending::Failed);
            assert!(outcome.is_none(), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_build_that_does_not_mark_its_lines_is_not_believed() {
        for line in [
            r#"{"record":"m","verdict":"handled","handler":"h","staged":[],"failure":null}"#,
            r#"{"key":"k","writes":[]}"#,
        ] {
            let script = format!("echo text; echo '{line}'");
            let key = Key::new().unwrap();
            let answers = answers::<2>(&script, HashMap::new(), &key).await;
            assert!(answers.iter().all(|it| matches!(it, Answer::Old)), "{line}");
        }
    }

    /// What it handles was written by others, and its code may be new: the operator's own secrets are not for it.
    #[tokio::test]
    async fn a_rehearsed_build_has_the_functions_environment_and_not_the_operators() {
        let script = r#"
  env > "$SAW"
  handled='{"record":"m","verdict":"handled","handler":"h","staged":[],"conditions":0,"failure":null}'
  echo "{\"token\":\"$token\",\"said\":{\"finding\":$handled}}"
"#;
        let folder = tempfile::tempdir().unwrap();
        let saw = folder.path().join("saw");
        let variables = HashMap::from([
            ("SAW".to_owned(), saw.display().to_string()),
            ("ORDERS_TABLE".to_owned(), "orders".to_owned()),
            ("LANG".to_owned(), "xx".to_owned()),
        ]);
        let key = Key::new().unwrap();
        let [answer] = answers(script, variables, &key).await;
        assert!(matches!(answer, Answer::Found { outcome: None, .. }));

        let text = fs::read_to_string(saw).unwrap();
        let mut saw: BTreeMap<&str, &str> =
            text.lines().filter_map(|it| it.split_once('=')).collect();
        for (name, value) in [
            ("ORDERS_TABLE", "orders"),
            ("LANG", "xx"),
            ("AWS_LAMBDA_FUNCTION_NAME", "shop-audit"),
            ("AWS_REGION", emulator::REGION),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ACCESS_KEY_ID", &key.id),
            ("AWS_SECRET_ACCESS_KEY", &key.secret),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("SUREHAND_REHEARSE", "1"),
            ("SUREHAND_REHEARSE_EFFECTS", "0"),
        ] {
            assert_eq!(saw.remove(name), Some(value), "{name}");
        }
        // Of the shell that runs the script.
        let others = ["SAW", "PWD", "OLDPWD", "SHLVL", "_"];
        saw.retain(|name, _| !OF_THIS_MACHINE.contains(name) && !others.contains(name));
        assert!(saw.is_empty(), "{saw:?}");
        // Cargo gives its tests some variables, as a shell gives its commands.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    }
}
