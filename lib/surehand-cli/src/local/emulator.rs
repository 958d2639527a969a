//! The local cloud: one emulator process, with the functions as its children.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_lambda::config::{Credentials, SharedCredentialsProvider};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::{ChildStdin, Command};

use crate::{
    child::{Group, tail},
    local::tools::Tools,
    progress::Step,
};

/// Where the emulator's resources live; it takes any region, and the command needs one.
pub(crate) const REGION: &str = "us-east-1";

/// The access key and secret that the emulator takes as the owner of the account.
pub(crate) const KEY: &str = "test";

/// How long the emulator may take to answer; it takes 0.3 s on a machine that is not busy.
const START: Duration = Duration::from_secs(60);

/// How long the emulator may take to end before it is killed.
const STOP: Duration = Duration::from_secs(3);

/// A running emulator. Dropping it ends the emulator and every function that it started.
#[derive(Debug)]
pub(crate) struct Emulator {
    group: Group,
    /// When this end is closed, the launcher learns that the command has ended.
    _lifeline: Option<ChildStdin>,
    host: IpAddr,
    endpoint: String,
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
        fs::create_dir_all(&temporary)
            .with_context(|| format!("cannot create {}", temporary.display()))?;
        let launch = folder.join("launch.py");
        fs::write(&launch, include_str!("emulator/launch.py"))
            .with_context(|| format!("cannot write {}", launch.display()))?;
        let log = folder.join("emulator.log");
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;

        let mut python = Command::new(tools.bin("python"));
        python
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
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut group = Group::spawn(&mut python)?;
        let mut emulator = Self {
            _lifeline: group.child().stdin.take(),
            group,
            host,
            endpoint,
            temporary,
        };
        step.say(emulator.endpoint.clone());
        emulator.until_healthy(&log).await?;
        Ok(emulator)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn host(&self) -> IpAddr {
        self.host
    }

    /// Returns when the emulator has ended, which it does not do by itself.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        let status = self.group.child().wait().await?;
        bail!("the emulator stopped unexpectedly ({status})")
    }

    async fn until_healthy(&mut self, log: &Path) -> Result<()> {
        let started = Instant::now();
        while !is_healthy(&self.endpoint).await {
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
pub(crate) fn config(endpoint: &str) -> SdkConfig {
    let owner = Credentials::new(KEY, KEY, None, None, "surehand");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(owner))
        .build()
}

/// Whether an emulator answers there.
pub(crate) async fn is_healthy(endpoint: &str) -> bool {
    let answer = get(endpoint, "/_ministack/health");
    matches!(
        tokio::time::timeout(Duration::from_secs(2), answer).await,
        Ok(Ok(_))
    )
}

/// Reads one of the emulator's own inspection pages, which are plain JSON without a signature.
pub(crate) async fn get(endpoint: &str, path: &str) -> Result<Value> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(format!("{endpoint}{path}").parse()?).await?;
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
