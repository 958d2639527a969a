//! Which cloud a command talks to: the emulator of a running `surehand dev`, or what `AWS_ENDPOINT_URL` and the
//! usual AWS variables say.

use std::time::Duration;

use anyhow::{Result, bail};
use aws_config::{BehaviorVersion, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_lambda::{config::ProvideCredentials as _, error::ErrorMetadata};

use crate::local::stack::Stack;

/// How long a command waits for the answer to one attempt at a call, over the connection that a person
/// may have. Without a limit, a command whose connection died would never end.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// AWS or an emulator, and what is known about the stack in it.
pub(crate) struct Cloud {
    pub(crate) config: SdkConfig,
    /// The stack of a running `surehand dev`, if requests go to it.
    pub(crate) stack: Option<Stack>,
}

impl Cloud {
    /// Finds where requests go: to `AWS_ENDPOINT_URL` if it is set, else to the `surehand dev` of
    /// this run, else to AWS.
    pub(crate) async fn find(run: &str) -> Result<Self> {
        let running = Stack::running(run).await;
        let wanted = endpoint();
        let same = |stack: &Stack| {
            wanted
                .as_ref()
                .is_none_or(|url| url.trim_end_matches('/') == stack.endpoint.trim_end_matches('/'))
        };
        if let Some(stack) = running.filter(same) {
            return Ok(Self {
                config: limited(&stack.config()),
                stack: Some(stack),
            });
        }
        Ok(Self {
            config: limited(&aws_config::load_defaults(BehaviorVersion::latest()).await),
            stack: None,
        })
    }

    /// Finds the cloud as [`Cloud::find`], and [checks](Self::check) it.
    pub(crate) async fn connect(run: &str) -> Result<Self> {
        let cloud = Self::find(run).await?;
        cloud.check().await?;
        Ok(cloud)
    }

    /// Checks what the first request would fail for, which each service would report in other words.
    pub(crate) async fn check(&self) -> Result<()> {
        if let Some(endpoint) = endpoint().filter(|endpoint| !is_url(endpoint)) {
            bail!(
                "AWS_ENDPOINT_URL is `{endpoint}`, which is not a URL: set it to one such as http://127.0.0.1:4566"
            );
        }
        let region = self.config.region();
        if region.is_none_or(|region| region.as_ref().is_empty()) {
            bail!("no region: set AWS_REGION, or start `surehand dev` here");
        }
        let has_credentials = match self.config.credentials_provider() {
            Some(provider) => provider.provide_credentials().await.is_ok(),
            None => false,
        };
        if !has_credentials {
            bail!(
                "no credentials for {}: log in, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                self.name()
            );
        }
        Ok(())
    }

    /// Returns true if this is not AWS but the stack of a `surehand dev`, or an endpoint on this
    /// machine.
    pub(crate) fn is_emulator(&self) -> bool {
        let is_here = |endpoint: &str| {
            let host = endpoint
                .split_once("://")
                .map_or(endpoint, |(_, rest)| rest);
            ["127.0.0.1", "localhost", "[::1]"]
                .iter()
                .any(|here| host.starts_with(here))
        };
        self.stack.is_some() || self.config.endpoint_url().is_some_and(is_here)
    }

    /// Returns a function's name in Lambda, from any of its names.
    pub(crate) fn full_name(&self, function: &str) -> Result<String> {
        let Some(stack) = &self.stack else {
            return Ok(function.to_owned());
        };
        let Some(known) = stack.function(function) else {
            let known: Vec<&str> = stack.functions.iter().map(|it| &*it.binary).collect();
            bail!(
                "no function `{function}` at {}; the functions are {}",
                self.name(),
                known.join(", ")
            );
        };
        Ok(known.name.clone())
    }

    /// Returns where requests go, for messages.
    pub(crate) fn name(&self) -> String {
        match (self.config.endpoint_url(), self.config.region()) {
            (Some(endpoint), _) => endpoint.to_owned(),
            // A user who did not mean AWS probably forgot to start the application.
            (None, Some(region)) => format!("AWS {region}, since no `surehand dev` runs here"),
            (None, None) => "AWS, since no `surehand dev` runs here".to_owned(),
        }
    }
}

/// Returns the configuration for clients that give up an attempt after [`ATTEMPT_TIMEOUT`].
fn limited(config: &SdkConfig) -> SdkConfig {
    let limits = config.timeout_config();
    let limits = limits.map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    let limits = limits.operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    config.to_builder().timeout_config(limits).build()
}

/// Returns the endpoint that the environment names instead of AWS.
fn endpoint() -> Option<String> {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").ok();
    endpoint.filter(|url| !url.is_empty())
}

/// Returns true if the text names a host.
fn is_url(text: &str) -> bool {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
}

/// Returns why a call failed, in one line: the service's answer, or what prevented an answer. The
/// SDK's own text would include the whole response.
pub(crate) fn reason(error: impl std::error::Error + 'static) -> anyhow::Error {
    let first: &(dyn std::error::Error + 'static) = &error;
    let causes = || std::iter::successors(Some(first), |error| error.source());
    let answer = causes().find_map(|error| {
        let answer = error.downcast_ref::<ErrorMetadata>()?;
        Some(match (answer.code(), answer.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (code, message) => code.or(message)?.to_owned(),
        })
    });
    let text = answer.or_else(|| causes().last().map(ToString::to_string));
    let text = text.unwrap_or_default();
    anyhow::Error::msg(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::emulator::{self, Key};

    #[test]
    fn an_endpoint_on_this_machine_is_an_emulator() {
        let at = |endpoint: &str| Cloud {
            config: emulator::config(endpoint, &Key::new().unwrap()),
            stack: None,
        };
        assert!(at("http://127.0.0.1:4566").is_emulator());
        assert!(at("http://localhost").is_emulator());
        assert!(!at("https://sqs.eu-west-1.amazonaws.com").is_emulator());
    }

    #[test]
    fn an_attempt_has_a_limit_and_keeps_the_others() {
        let one = Duration::from_secs(1);
        let limits = TimeoutConfig::builder().connect_timeout(one).build();
        let config = emulator::config("http://127.0.0.1:4566", &Key::new().unwrap());
        let connecting = config.to_builder().timeout_config(limits).build();
        for (config, connect) in [(connecting, Some(one)), (config, None)] {
            let limited = limited(&config);
            let limits = limited.timeout_config().unwrap();
            assert_eq!(limits.operation_attempt_timeout(), Some(ATTEMPT_TIMEOUT));
            assert_eq!(limits.connect_timeout(), connect);
        }
    }

    #[test]
    fn a_url_names_a_host() {
        assert!(is_url("http://127.0.0.1:1"));
        for wrong in ["127.0.0.1:4566", "http://", "http:///x", "ftp://x"] {
            assert!(!is_url(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_reason_is_the_services_message() {
        let answer = ErrorMetadata::builder()
            .code("AccessDenied")
            .message("not\nyou");
        assert_eq!(reason(answer.build()).to_string(), "AccessDenied: not");
        let refused = std::io::Error::other(std::io::Error::other("connection refused"));
        assert_eq!(reason(refused).to_string(), "connection refused");
    }
}
