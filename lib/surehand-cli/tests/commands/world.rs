//! Services that answer what was written down, and the command at a shell that knows no others.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use surehand_test_support::{
    proxy::{self, Call, Fate},
    sqs::{KEY, REGION, Sqs},
};
use tempfile::TempDir;

pub(crate) const SUREHAND: &str = env!("CARGO_BIN_EXE_surehand");

/// The function that the answers are about.
pub(crate) const FUNCTION: &str = "shop-stock";
pub(crate) const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:shop-stock";

/// What a call is answered: by its name, in turn; the last answer is given again.
pub(crate) type Answers = BTreeMap<String, Vec<(u16, Value)>>;

pub(crate) struct World {
    pub(crate) endpoint: String,
    pub(crate) folder: TempDir,
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl World {
    /// With SQS, if one is given. A call without an answer there gets an error, which names it.
    pub(crate) fn new(sqs: Option<&Sqs>, answers: Answers) -> Self {
        // What nothing is passed on to: a connection is taken, and not more.
        let nothing = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = match sqs {
            Some(sqs) => sqs.endpoint.clone(),
            None => format!("http://{}", nothing.local_addr().unwrap()),
        };
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (seen, has_sqs) = (Arc::clone(&calls), sqs.is_some());
        let endpoint = proxy::start(&upstream, move |call: &Call| {
            let _ = &nothing;
            let action = decoded(&call.action);
            let known = answers.get(&action);
            if known.is_none() && has_sqs && !action.contains('/') {
                return Fate::Pass;
            }
            seen.lock()
                .unwrap()
                .push((action.clone(), call.body.clone()));
            match known {
                Some(known) => {
                    let (status, body) = &known[(call.number - 1).min(known.len() - 1)];
                    let body = match body {
                        Value::Null => String::new(),
                        Value::String(text) => text.clone(),
                        body => body.to_string(),
                    };
                    Fate::Answer(*status, body)
                }
                None => {
                    let error = json!({"__type": "AccessDeniedException", "message": action});
                    Fate::Answer(403, error.to_string())
                }
            }
        });
        Self {
            endpoint,
            folder: tempfile::tempdir().unwrap(),
            calls,
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// The calls that were answered, in order; with what they were called with.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.calls.lock().unwrap().clone()
    }

    /// The names of the calls that change something.
    pub(crate) fn changes(&self) -> Vec<String> {
        let reads = ["GET ", "List", "Describe", "Filter"];
        let names = self.calls().into_iter().map(|(name, _)| name);
        names
            .filter(|name| !reads.iter().any(|read| name.starts_with(read)))
            .collect()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SUREHAND);
        let kept = ["PATH", "HOME", "LANG", "LLVM_PROFILE_FILE"].into_iter();
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(kept.filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    /// With a standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads none may have ended.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        said(child.wait_with_output().unwrap())
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The SQS of this process.
pub(crate) async fn sqs() -> &'static Sqs {
    let sqs = tokio::task::spawn_blocking(|| Sqs::shared(Path::new(SUREHAND)));
    sqs.await.unwrap()
}

/// What Lambda answers about [`FUNCTION`] with these event sources, and an alias `live`.
pub(crate) fn answers(mappings: &[Value]) -> Answers {
    let function = format!("GET /2015-03-31/functions/{FUNCTION}");
    Answers::from([
        (
            format!("{function}/configuration"),
            vec![(
                200,
                json!({
                    "FunctionName": FUNCTION, "FunctionArn": ARN, "State": "Active", "LastUpdateStatus": "Successful",
                    "LastModified": "2026-11-21T10:00:00.000+0000",
                }),
            )],
        ),
        (
            format!("{function}/aliases"),
            vec![(
                200,
                json!({"Aliases": [{"Name": "live", "FunctionVersion": "7", "AliasArn": format!("{ARN}:live")}]}),
            )],
        ),
        (
            "GET /2015-03-31/event-source-mappings".to_owned(),
            vec![(200, json!({"EventSourceMappings": mappings}))],
        ),
        (
            "ListEventBuses".to_owned(),
            vec![(200, json!({"EventBuses": [{"Name": "default"}]}))],
        ),
        (
            "ListRuleNamesByTarget".to_owned(),
            vec![(200, json!({"RuleNames": []}))],
        ),
    ])
}

/// An event source of the alias.
pub(crate) fn mapping(id: &str, source: &str, state: &str) -> Value {
    json!({
        "UUID": id, "EventSourceArn": source, "State": state, "BatchSize": 10,
        "FunctionArn": format!("{ARN}:live"), "EventSourceMappingArn": mapping_arn(id),
    })
}

pub(crate) fn mapping_arn(id: &str) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{id}")
}

/// Paths have ARNs in them.
fn decoded(action: &str) -> String {
    let action = action.replace("%3A", ":").replace("%2F", "/");
    action.trim_end_matches(['/', ' ']).to_owned()
}
