//! An SQS on this machine that answers as AWS's does, move tasks included.

use aws_sdk_sqs::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::QueueAttributeName,
};
use serde_json::json;
use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::cargo;

/// An SQS that ends with the process that started it.
pub struct Sqs {
    /// Its URL.
    pub endpoint: String,
    child: Child,
    log: std::path::PathBuf,
    /// When this end is closed, the launcher stops.
    _lifeline: Option<ChildStdin>,
}

/// A queue and the one for its dead letters.
#[derive(Clone, Debug)]
pub struct Queues {
    /// The queue's URL.
    pub queue: String,
    /// The URL of the one for its dead letters.
    pub letters: String,
    /// The queue's ARN.
    pub arn: String,
}

/// The key that signs requests; the service takes any.
pub const KEY: &str = "test";
/// The region that requests are signed for.
pub const REGION: &str = "us-east-1";

/// How long it may take to answer; it takes three seconds on a machine that is not busy.
const START: Duration = Duration::from_secs(120);

/// Runs the service, and ends it when the pipe's other end is closed. It keeps no state, so that
/// only its files must be removed.
const LAUNCHER: &str = r#"
import os, runpy, shutil, signal, sys, threading

def end_with_parent():
    sys.stdin.buffer.read()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)

threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv = ["localstack"]
runpy.run_module("localstack.runtime.main", run_name="__main__")
"#;

impl Sqs {
    /// The one of this process; the first call installs it, by the command `surehand`, and starts it.
    pub fn shared(surehand: &Path) -> &'static Self {
        static SQS: OnceLock<Sqs> = OnceLock::new();
        SQS.get_or_init(|| Self::start(surehand))
    }

    fn start(surehand: &Path) -> Self {
        let tools = Command::new(surehand)
            .args(["tools", "--sqs"])
            .current_dir(cargo::workspace())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(tools.status.success(), "surehand tools: {}", tools.status);
        let tools = String::from_utf8(tools.stdout).unwrap();
        let python = Path::new(tools.lines().next().unwrap()).join("bin/python");

        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let folder = cargo::scratch().join(format!("sqs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let log = folder.with_file_name(format!("sqs-{}.log", cargo::target()));
        let output = File::create(&log).unwrap();
        let kept = ["PATH", "HOME", "LANG"].into_iter();
        let mut child = Command::new(python)
            .args(["-c", LAUNCHER])
            .current_dir(&folder)
            .env_clear()
            .envs(kept.filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("SERVICES", "sqs")
            .env("GATEWAY_LISTEN", address.to_string())
            .env("EAGER_SERVICE_LOADING", "0")
            .env("DISABLE_EVENTS", "1")
            .env("SKIP_SSL_CERT_DOWNLOAD", "1")
            .env("FILESYSTEM_ROOT", &folder)
            .env("TMPDIR", &folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut sqs = Self {
            endpoint: format!("http://{address}"),
            _lifeline: child.stdin.take(),
            child,
            log,
        };
        let started = Instant::now();
        while !answers(&address.to_string()) {
            let ended = sqs.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(&sqs.log).unwrap_or_default();
            assert!(ended.is_none(), "it ended: {}", log());
            assert!(started.elapsed() < START, "it does not start: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        sqs
    }

    /// Returns a client. Each runtime has its own, since connections belong to a runtime.
    pub fn client(&self) -> Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.endpoint)
            .credentials_provider(Credentials::new(KEY, KEY, None, None, "test"))
            .build();
        Client::from_conf(config)
    }

    /// New queues, of which the second has the first one's dead letters; a `name` that ends in
    /// `.fifo` makes both keep order.
    pub async fn queues(&self, name: &str) -> Queues {
        let client = self.client();
        let (stem, suffix) = match name.strip_suffix(".fifo") {
            Some(stem) => (stem, ".fifo"),
            None => (name, ""),
        };
        let create = |name: String| {
            let request = client.create_queue().queue_name(name);
            match suffix {
                "" => request,
                _ => request.attributes(QueueAttributeName::FifoQueue, "true"),
            }
        };
        let letters = create(format!("{stem}-dlq{suffix}")).send().await.unwrap();
        let letters = letters.queue_url.unwrap();
        let policy = json!({
            "deadLetterTargetArn": arn(&client, &letters).await, "maxReceiveCount": 5,
        });
        let queue = create(name.to_owned())
            .attributes(QueueAttributeName::RedrivePolicy, policy.to_string())
            .send()
            .await
            .unwrap();
        let queue = queue.queue_url.unwrap();
        Queues {
            arn: arn(&client, &queue).await,
            queue,
            letters,
        }
    }
}

async fn arn(client: &Client, url: &str) -> String {
    let request = client.get_queue_attributes().queue_url(url);
    let request = request.attribute_names(QueueAttributeName::QueueArn);
    let answer = request.send().await.unwrap();
    answer.attributes.unwrap()[&QueueAttributeName::QueueArn].clone()
}

/// Returns true if an HTTP server answers there.
fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!("GET /_localstack/health HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}
