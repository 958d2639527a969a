//! Queues with letters, and the command at a shell.

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use surehand_test_support::sqs::{KEY, Queues, REGION, Sqs};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub(crate) const SUREHAND: &str = env!("CARGO_BIN_EXE_surehand");

/// So long a command may take; most take a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder to work in, and two queues of its own.
pub(crate) struct World {
    pub(crate) sqs: &'static Sqs,
    pub(crate) client: aws_sdk_sqs::Client,
    pub(crate) queues: Queues,
    folder: TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    /// None after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    /// Without the line about what is changed.
    pub(crate) err: String,
    /// The line that says what is about to be changed, and where; empty if nothing was.
    pub(crate) changing: String,
}

impl World {
    /// `name` is nobody else's in this binary.
    pub(crate) async fn new(name: &str) -> Self {
        let sqs = tokio::task::spawn_blocking(|| Sqs::shared(Path::new(SUREHAND)));
        let sqs = sqs.await.unwrap();
        Self {
            sqs,
            client: sqs.client(),
            queues: sqs.queues(name).await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// With so many letters, of the events `event-0` and so on, and a plan `p` that puts them back.
    pub(crate) async fn planned(name: &str, count: usize) -> Self {
        let world = Self::new(name).await;
        let ids: Vec<String> = (0..count).map(|n| format!("event-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        world.park("no such sku", &ids).await;
        let queue = &world.queues.letters;
        world
            .ends(0, &["plan", "--queue", queue, "--out", "p"])
            .await;
        world
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// The command, at a shell that knows the service.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(self.folder.path(), &self.sqs.endpoint, arguments)
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).spawn().unwrap()).await
    }

    /// Runs it, and checks its exit code and that it says nothing but its result.
    pub(crate) async fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert_eq!(said.err, "", "{arguments:?}: {said:?}");
        if !arguments.contains(&"--yes") {
            assert_eq!(said.changing, "", "{arguments:?}: {said:?}");
        }
        said.out
    }

    /// The line of a command that changes this world's dead letters.
    pub(crate) fn changing(&self) -> String {
        let (_, name) = self.queues.letters.rsplit_once('/').unwrap();
        let endpoint = &self.sqs.endpoint;
        format!("changing {name} in account 000000000000, region {REGION}, at {endpoint}\n")
    }

    /// As [`World::ends`], with `--json`: each line is an object.
    pub(crate) async fn json(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let out = self.ends(code, &[arguments, &["--json"]].concat()).await;
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Letters as a function parks them, one for each of `events`, for `message`.
    pub(crate) async fn park(&self, message: &str, events: &[&str]) {
        let note = json!({
            "kind": "rejected", "message": message, "chain": [], "at": "src/stock.rs:33:20",
            "handler": "reserve_stock",
            "function": "shop-reserve-stock", "request_id": "r", "attempts": 1,
            "last_failure": "2026-11-21T10:00:00Z", "source_queue": self.queues.arn,
            "redrive_count": 0,
        });
        let letters: Vec<(String, Option<Value>)> = events
            .iter()
            .map(|id| (body(id), Some(note.clone())))
            .collect();
        self.send(&self.queues.letters, &letters).await;
    }

    /// Messages, with their failure note if they have one.
    pub(crate) async fn send(&self, url: &str, messages: &[(String, Option<Value>)]) {
        for (number, chunk) in messages.chunks(10).enumerate() {
            let entries = chunk.iter().enumerate().map(|(index, (body, note))| {
                let is_fifo = url.ends_with(".fifo");
                let note = note.as_ref().map(|note| {
                    let value = MessageAttributeValue::builder().data_type("String");
                    let value = value.string_value(note.to_string()).build().unwrap();
                    ("SurehandFailure".to_owned(), value)
                });
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body)
                    .set_message_attributes(note.map(|note| [note].into()))
                    .set_message_group_id(is_fifo.then(|| format!("group-{}", index % 2)))
                    .set_message_deduplication_id(is_fifo.then(|| format!("{number}-{index}")))
                    .build()
                    .unwrap()
            });
            let request = self.client.send_message_batch().queue_url(url);
            let sent = request.set_entries(Some(entries.collect())).send();
            let sent = sent.await.unwrap();
            assert!(sent.failed.is_empty(), "{sent:?}");
        }
    }

    /// How many messages are in a queue, hidden ones included.
    pub(crate) async fn depth(&self, url: &str) -> usize {
        let request = self.client.get_queue_attributes().queue_url(url);
        let answer = request.attribute_names(QueueAttributeName::All);
        let attributes = answer.send().await.unwrap().attributes.unwrap();
        let count = |name| attributes[&name].parse::<usize>().unwrap();
        count(QueueAttributeName::ApproximateNumberOfMessages)
            + count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
    }

    /// (letters that wait, messages in the queue)
    pub(crate) async fn depths(&self) -> (usize, usize) {
        (
            self.depth(&self.queues.letters).await,
            self.depth(&self.queues.queue).await,
        )
    }

    /// Takes everything out of a queue; how often each body was there, by its event's id.
    pub(crate) async fn take(&self, url: &str) -> BTreeMap<String, Vec<String>> {
        let mut taken = BTreeMap::<String, Vec<String>>::new();
        loop {
            let request = self.client.receive_message().queue_url(url);
            let request = request.max_number_of_messages(10).wait_time_seconds(0);
            let answer = request.send().await.unwrap();
            if answer.messages().is_empty() {
                return taken;
            }
            for message in answer.messages() {
                let body = message.body().unwrap();
                let event: Value = serde_json::from_str(body).unwrap();
                let id = event["detail"]["metadata"]["id"].as_str().unwrap();
                taken
                    .entry(id.to_owned())
                    .or_default()
                    .push(body.to_owned());
                let delete = self.client.delete_message().queue_url(url);
                let delete = delete.receipt_handle(message.receipt_handle().unwrap());
                delete.send().await.unwrap();
            }
        }
    }
}

/// The command at a shell in a folder, for the services at an endpoint.
pub(crate) fn command(folder: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(SUREHAND);
    let kept = [
        "PATH",
        "HOME",
        "LANG",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "LLVM_PROFILE_FILE",
    ];
    let kept = kept
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    command
        .arg("dlq")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(kept)
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// An event as a rule of EventBridge writes it.
pub(crate) fn body(id: &str) -> String {
    json!({
        "id": format!("bus-{id}"), "source": "shop.orders", "detail-type": "OrderPlaced",
        "detail": {"metadata": {"id": id}, "data": {"order_id": id}},
    })
    .to_string()
}

/// Waits for a process's end.
pub(crate) async fn said(child: Child) -> Said {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output());
    let output = output.await.expect("it ends").unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let lines = err.split_inclusive('\n');
    let (changing, err): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("changing "));
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: err.concat(),
        changing: changing.concat(),
    }
}
