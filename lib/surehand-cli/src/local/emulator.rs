//! The local cloud: one emulator process, with the functions as its children.

use std::{
    fmt,
    fs::{self, File},
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_lambda::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use bytes::Bytes;
use http::{Request, header::AUTHORIZATION};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::{ChildStdin, Command};

use crate::{
    child::{Group, tail},
    local::tools::Tools,
    private,
    progress::Step,
};

/// Where the emulator's resources live; it takes any region, and the command needs one.
pub(crate) const REGION: &str = "us-east-1";

/// How long the emulator may take to answer; it takes 0.3 s on a machine that is not busy.
const START: Duration = Duration::from_secs(60);

/// How long the emulator may take to end before it is killed.
const STOP: Duration = Duration::from_secs(3);

/// The access key of the account's owner, which is another one for each run. The emulator answers nobody who does not
/// know its id or that of a function.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Key {
    pub(crate) fn new() -> Result<Self> {
        let mut random = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut random))
            .context("cannot read /dev/urandom")?;
        let (id, secret) = random.split_at(16);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let id: String = hex(id);
        Ok(Self {
            id: format!("LOCAL{id}"),
            secret: hex(secret),
        })
    }

    /// What a request that is not signed must carry.
    fn authorization(&self) -> String {
        let id = &self.id;
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/-/{REGION}/-/aws4_request, SignedHeaders=, Signature="
        )
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

/// A running emulator. Dropping it ends the emulator and every function that it started.
#[derive(Debug)]
pub(crate) struct Emulator {
    group: Group,
    /// When this end is closed, the launcher learns that the command has ended.
    _lifeline: Option<ChildStdin>,
    endpoint: String,
    key: Key,
    temporary: PathBuf,
}

impl Emulator {
    /// Starts with empty state; files and the log go to `folder`.
    pub(crate) async fn start(
        tools: &Tools,
        folder: &Path,
        (host, port): (IpAddr, Option<u16>),
        step: &Step,
    ) -> Result<Self> {
        let port = free_port(host, port)?;
        let endpoint = format!("http://{}", SocketAddr::from((host, port)));
        let temporary = folder.join("tmp");
        // The files that a killed run left would only accumulate.
        drop(fs::remove_dir_all(&temporary));
        private::folder(&temporary)?;
        let launch = folder.join("launch.py");
        private::write(&launch, include_str!("emulator/launch.py"))?;
        let log = folder.join("emulator.log");
        let output = private::create(&log)?;
        let key = Key::new()?;

        let mut python = Command::new(tools.bin("python"));
        python
            // Isolated: no module is taken from the folder. Unbuffered: the log is written at once.
            .args(["-I", "-u"])
            .arg(&launch)
            .current_dir(folder)
            // Functions inherit this environment: without the caller's variables they cannot reach
            // a real account.
            .env_clear()
            .envs(["PATH", "HOME", "LANG"].iter().filter_map(|name| {
                let value = std::env::var_os(name)?;
                Some((name, value))
            }))
            .env("TMPDIR", &temporary)
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", host.to_string())
            .env("AUTH", "true")
            .env("IOT_MTLS_ENABLED", "0")
            .env("MINISTACK_REGION", REGION)
            // By default these folders are where anybody could have put one of the same name.
            .env("STATE_DIR", temporary.join("state"))
            .env("S3_DATA_DIR", temporary.join("s3"))
            // It would listen without a key.
            .env("SFTP_ENABLED", "0")
            // Other users see a process's arguments, but not its environment.
            .env("AWS_ACCESS_KEY_ID", &key.id)
            .env("AWS_SECRET_ACCESS_KEY", &key.secret)
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut group = Group::spawn(&mut python)?;
        let mut emulator = Self {
            _lifeline: group.child().stdin.take(),
            group,
            endpoint,
            key,
            temporary,
        };
        step.say(emulator.endpoint.clone());
        emulator.until_healthy(&log).await?;
        Ok(emulator)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn config(&self) -> SdkConfig {
        config(&self.endpoint, &self.key)
    }

    /// Returns when the emulator has ended, which it does not do by itself.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        let status = self.group.child().wait().await?;
        bail!("the emulator stopped unexpectedly ({status})")
    }

    async fn until_healthy(&mut self, log: &Path) -> Result<()> {
        let started = Instant::now();
        while !is_healthy(&self.endpoint, &self.key).await {
            let ended = self.group.child().try_wait()?;
            if ended.is_some() || started.elapsed() > START {
                let lines: Vec<String> = fs::read_to_string(log)
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect();
                bail!("the emulator did not start:\n{}", tail(&lines));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.group.signal(Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < STOP && matches!(self.group.child().try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Processes that it did not end itself must have ended before its files are removed.
        self.group.signal(Signal::KILL);
        drop(fs::remove_dir_all(&self.temporary));
    }
}

/// The configuration of clients of an emulator, with the credentials of the account's owner.
pub(crate) fn config(endpoint: &str, key: &Key) -> SdkConfig {
    let owner = Credentials::new(&key.id, &key.secret, None, None, "surehand");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(owner))
        .http_client(direct())
        .build()
}

/// A client for calls that stay on this machine: a proxy would see the key of the run, and a `NO_PROXY` that does not
/// name this machine is common.
pub(crate) fn direct() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

/// Whether the emulator with this key answers there.
pub(crate) async fn is_healthy(endpoint: &str, key: &Key) -> bool {
    let answer = get(endpoint, key, "/_ministack/health");
    matches!(
        tokio::time::timeout(Duration::from_secs(2), answer).await,
        Ok(Ok(_))
    )
}

/// Reads one of the emulator's own inspection pages, which are plain JSON.
pub(crate) async fn get(endpoint: &str, key: &Key, path: &str) -> Result<Value> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request = Request::get(format!("{endpoint}{path}"))
        .header(AUTHORIZATION, key.authorization())
        .body(Empty::new())?;
    let response = client.request(request).await?;
    if !response.status().is_success() {
        bail!("{path} answered {}", response.status());
    }
    let body = response.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

/// Returns the wanted port, or an unused one; it is free at this moment.
fn free_port(host: IpAddr, wanted: Option<u16>) -> Result<u16> {
    let address = SocketAddr::from((host, wanted.unwrap_or(0)));
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused() {
        let host = IpAddr::from(std::net::Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = free_port(host, Some(port)).unwrap_err();
        let expected = format!("cannot listen on 127.0.0.1:{port}");
        assert_eq!(error.to_string(), expected);
    }
}
