//! Which cloud a command talks to: the emulator of a running `surehand dev`, what `AWS_ENDPOINT_URL` says, or AWS.

mod names;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_config::{BehaviorVersion, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_lambda::{
    Client, Config,
    config::{ProvideCredentials as _, retry::RetryConfig},
    error::ErrorMetadata,
    operation::{
        get_function_configuration::{
            GetFunctionConfigurationError, GetFunctionConfigurationOutput,
        },
        invoke::InvokeOutput,
    },
    primitives::Blob,
    types::{InvocationType, LogType},
};
use aws_types::service_config::ServiceConfigKey;
use clap::Args;

use crate::local::{emulator::direct, stack::Stack};

/// How long a connection, an attempt at a call and all attempts at it may take. The longest calls are those with a
/// megabyte. Without limits, a command whose connection died would never end.
const CONNECT: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(15);
const CALL: Duration = Duration::from_secs(20);

/// A function runs for 15 minutes at most, and its reply takes a moment.
const LONGEST: Duration = Duration::from_secs(15 * 60 + 20);

/// Which cloud is meant. AWS is never what is left when nothing else answers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Wanted {
    /// Work on AWS with the credentials of the environment; setting AWS_PROFILE means the same where no `surehand dev`
    /// runs
    #[arg(long, global = true)]
    pub(crate) aws: bool,
    /// The run that was named.
    #[arg(skip)]
    pub(crate) run: Option<String>,
}

/// AWS or an emulator, and what is known about the stack in it.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) config: SdkConfig,
    /// The stack of a running `surehand dev`, if requests go to it.
    pub(crate) stack: Option<Stack>,
}

/// The services that commands call, as the SDK's variables and the `services` section of a profile name them.
const SERVICES: [&str; 6] = [
    "SQS",
    "Lambda",
    "DynamoDB",
    "EventBridge",
    "CloudFormation",
    "CloudWatch Logs",
];

/// What the environment and the project say.
struct Found<'a> {
    wanted: &'a Wanted,
    endpoint: Option<String>,
    has_profile: bool,
    /// What a run has announced, and whether it answers.
    announced: Option<(Stack, bool)>,
}

/// Where requests go.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Stack(Stack),
    /// Where the usual variables say: `AWS_ENDPOINT_URL`, else AWS.
    Environment,
}

impl Found<'_> {
    fn place(self) -> Result<Place> {
        let named = self.wanted.run.as_deref();
        match (self.endpoint, self.announced) {
            (Some(endpoint), _) if self.wanted.aws => bail!(
                "AWS_ENDPOINT_URL is {endpoint}, and --aws means AWS itself: unset the variable, or leave out --aws"
            ),
            (None, _) if self.wanted.aws && named.is_some() => bail!(
                "--run names a run on this machine, and --aws means AWS: leave one of them out"
            ),
            (_, None) if named.is_some() => bail!(
                "no `surehand dev --run {run}` runs here: start it, or leave out --run",
                run = named.unwrap_or_default()
            ),
            (Some(endpoint), Some((stack, answers))) => {
                let is_same =
                    stack.endpoint.trim_end_matches('/') == endpoint.trim_end_matches('/');
                match named {
                    Some(run) if !is_same => bail!(
                        "AWS_ENDPOINT_URL is {endpoint}, and the run {run} is at {}: unset the variable, or leave out \
                         --run",
                        stack.endpoint
                    ),
                    _ if is_same && answers => Ok(Place::Stack(stack)),
                    Some(run) => bail!(
                        "the run {run} at {} does not answer: start it again",
                        stack.endpoint
                    ),
                    _ => Ok(Place::Environment),
                }
            }
            (Some(_), None) => Ok(Place::Environment),
            (None, _) if self.wanted.aws => Ok(Place::Environment),
            (None, Some((stack, true))) => Ok(Place::Stack(stack)),
            (None, Some((stack, false))) => bail!(
                "the `surehand dev` at {} does not answer: start it again, or pass --aws to work on AWS",
                stack.endpoint
            ),
            (None, None) if self.has_profile => Ok(Place::Environment),
            (None, None) => bail!(
                "no `surehand dev` runs here: start it, or pass --aws or set AWS_PROFILE to work on AWS"
            ),
        }
    }
}

impl Cloud {
    /// Finds where requests go, once for a command, and [checks](Self::check) it.
    pub(crate) async fn connect(wanted: &Wanted) -> Result<Self> {
        let cloud = Self::find(wanted).await?;
        cloud.check().await?;
        Ok(cloud)
    }

    async fn find(wanted: &Wanted) -> Result<Self> {
        let run = wanted.run.as_deref().unwrap_or(Stack::DEFAULT_RUN);
        let announced = match Stack::announced(run) {
            Some(stack) => {
                let answers = stack.answers(run).await;
                Some((stack, answers))
            }
            None => None,
        };
        let found = Found {
            wanted,
            endpoint: endpoint(),
            has_profile: std::env::var_os("AWS_PROFILE").is_some_and(|it| !it.is_empty()),
            announced,
        };
        match found.place()? {
            Place::Stack(stack) => Ok(Self {
                config: limited(&stack.config()),
                stack: Some(stack),
            }),
            Place::Environment => {
                let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
                match config.endpoint_url() {
                    Some(url) if wanted.aws => bail!(
                        "--aws means AWS itself, and the configuration has the endpoint {url}: choose another profile, or \
                         leave out --aws"
                    ),
                    Some(url) if is_here(url) => Ok(Self {
                        config: limited(&config.to_builder().http_client(direct()).build()),
                        stack: None,
                    }),
                    _ => Ok(Self {
                        config: limited(&config),
                        stack: None,
                    }),
                }
            }
        }
    }

    /// Checks what the first request would fail for, which each service would report in other words.
    async fn check(&self) -> Result<()> {
        if let Some(endpoint) = endpoint().filter(|endpoint| !is_url(endpoint)) {
            bail!(
                "AWS_ENDPOINT_URL is `{endpoint}`, which is not a URL: set it to one such as http://127.0.0.1:4566"
            );
        }
        self.check_endpoints()?;
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

    /// Checks that all requests go where this command says: the SDK can be told to ignore `AWS_ENDPOINT_URL`, and what
    /// is for one service can have an endpoint of its own.
    fn check_endpoints(&self) -> Result<()> {
        if self.stack.is_some() {
            return Ok(());
        }
        if let Some(endpoint) = endpoint().filter(|_| self.config.endpoint_url().is_none()) {
            bail!(
                "AWS_ENDPOINT_URL is {endpoint}, and the SDK is told to ignore it: unset \
                 AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, or unset AWS_ENDPOINT_URL and pass --aws"
            );
        }
        for service in SERVICES {
            let Some(url) = self.endpoint_of(service) else {
                continue;
            };
            let is_here_too = match self.config.endpoint_url() {
                // A VPC's own endpoint for a service is AWS as well.
                None => is_aws(&url),
                Some(endpoint) => is_here(&url) == is_here(endpoint),
            };
            if is_here_too {
                continue;
            }
            let variable = format!(
                "AWS_ENDPOINT_URL_{}",
                service.to_uppercase().replace(' ', "_")
            );
            let rest = format!("{url}, and all else of this command is for {}", self.name());
            match std::env::var(&variable).is_ok_and(|it| !it.is_empty()) {
                true => bail!("{variable} is {rest}: unset the variable"),
                false => bail!(
                    "the AWS profile sends what is for {service} to {rest}: choose another profile, or take the endpoint \
                     out of its `services`"
                ),
            }
        }
        Ok(())
    }

    /// The endpoint that the environment or the profile has for one service.
    fn endpoint_of(&self, service: &str) -> Option<String> {
        let key = ServiceConfigKey::builder()
            .service_id(service)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .ok()?;
        let url = self.config.service_config()?.load_config(key)?;
        (!url.is_empty()).then_some(url)
    }

    /// Returns true if this is not AWS but the stack of a `surehand dev`, or an endpoint on this
    /// machine.
    pub(crate) fn is_emulator(&self) -> bool {
        self.stack.is_some() || self.config.endpoint_url().is_some_and(is_here)
    }

    /// Returns the same cloud in the region of what is worked on, whatever the environment says.
    pub(crate) fn in_region(mut self, region: Option<String>) -> Self {
        if let Some(region) = region {
            let mut config = self.config.to_builder();
            config.set_region(Some(aws_config::Region::new(region)));
            self.config = config.build();
        }
        self
    }

    /// Returns a function's name in Lambda, from any of its names.
    pub(crate) fn full_name(&self, function: &str) -> Result<String> {
        let Some(stack) = &self.stack else {
            return Ok(function.to_owned());
        };
        let Some(known) = stack.function(function) else {
            let known: Vec<&str> = stack.functions.iter().map(|it| &*it.binary).collect();
            bail!(
                "no function `{function}` at {}{}; the functions are {}",
                self.name(),
                names::did_you_mean(function, &known),
                known.join(", ")
            );
        };
        Ok(known.name.clone())
    }

    /// Returns how a function is deployed, from any of its names.
    pub(crate) async fn function(&self, function: &str) -> Result<GetFunctionConfigurationOutput> {
        self.configuration(&self.full_name(function)?).await
    }

    /// Returns how a function is deployed, from its name or ARN in Lambda.
    pub(crate) async fn configuration(&self, name: &str) -> Result<GetFunctionConfigurationOutput> {
        let client = Client::new(&self.config);
        let request = client.get_function_configuration().function_name(name);
        let error = match request.send().await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let is_unknown = error
            .as_service_error()
            .is_some_and(GetFunctionConfigurationError::is_resource_not_found_exception);
        if !is_unknown {
            return Err(reason(error))
                .with_context(|| format!("cannot describe {name} at {}", self.name()));
        }
        let mut known = Vec::new();
        let mut functions = client.list_functions().into_paginator().items().send();
        // Who may not list them is told no names.
        while let Some(Ok(function)) = functions.next().await {
            known.extend(function.function_name);
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        bail!(
            "no function `{name}` at {}{}",
            self.name(),
            names::did_you_mean(name, &known)
        );
    }

    /// Returns what tells the user what is about to be changed, by its ARN, and where. A running `surehand dev` has
    /// neither account nor region.
    pub(crate) fn changing(&self, arn: &str) -> Option<String> {
        if self.stack.is_some() {
            return None;
        }
        let mut parts = arn.splitn(6, ':').skip(3);
        let mut part = || parts.next().unwrap_or("?");
        let (region, account, resource) = (part(), part(), part());
        let name = resource.rsplit(['/', ':']).next().unwrap_or(resource);
        let at = self.config.endpoint_url().unwrap_or("AWS");
        Some(format!(
            "changing {name} in account {account}, region {region}, at {at}"
        ))
    }

    /// Invokes a function, once: one whose answer was lost has run, and another attempt would run it again.
    pub(crate) async fn invoke(&self, name: &str, payload: String) -> Result<InvokeOutput> {
        self.call(name, payload, InvocationType::RequestResponse)
            .await
    }

    /// Invokes a function as [`Cloud::invoke`] does, in one of Lambda's ways. What waits for the reply is told the end of
    /// the log as well.
    pub(crate) async fn call(
        &self,
        name: &str,
        payload: String,
        kind: InvocationType,
    ) -> Result<InvokeOutput> {
        let log = match kind {
            InvocationType::RequestResponse => LogType::Tail,
            _ => LogType::None,
        };
        let limits = TimeoutConfig::builder()
            .operation_attempt_timeout(LONGEST)
            .operation_timeout(LONGEST);
        let once = Config::builder()
            .timeout_config(limits.build())
            .retry_config(RetryConfig::disabled());
        Client::new(&self.config)
            .invoke()
            .function_name(name)
            .invocation_type(kind)
            .log_type(log)
            .payload(Blob::new(payload))
            .customize()
            .config_override(once)
            .send()
            .await
            .map_err(reason)
            .with_context(|| format!("cannot invoke {name} at {}", self.name()))
    }

    /// Returns where requests go, for messages.
    pub(crate) fn name(&self) -> String {
        match (self.config.endpoint_url(), self.config.region()) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(region)) => format!("AWS {region}"),
            (None, None) => "AWS".to_owned(),
        }
    }
}

/// Returns the configuration for clients that give up a service that is silent.
fn limited(config: &SdkConfig) -> SdkConfig {
    let limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL);
    config.to_builder().timeout_config(limits.build()).build()
}

/// Returns the endpoint that the environment names instead of AWS.
fn endpoint() -> Option<String> {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").ok();
    endpoint.filter(|url| !url.is_empty())
}

/// Returns true if the endpoint is on this machine.
fn is_here(endpoint: &str) -> bool {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

/// Returns true if the endpoint is AWS's, over an encrypted connection.
fn is_aws(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("https://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let is_plain = !host.contains(['@', ':']);
    let ends = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    is_plain && ends.iter().any(|end| host.ends_with(end))
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
        assert!(at("http://[::1]:1/").is_emulator());
        for elsewhere in [
            "https://sqs.eu-west-1.amazonaws.com",
            "http://localhost.example.com",
            "http://127.0.0.1:80@example.com",
        ] {
            assert!(!at(elsewhere).is_emulator(), "{elsewhere}");
        }
    }

    /// What is meant is decided from everything that says something, and never by what does not answer.
    #[test]
    fn aws_is_only_what_was_asked_for() {
        let key = Key::new().unwrap();
        let stack = |endpoint: &str| Stack {
            name: "shop".to_owned(),
            endpoint: endpoint.to_owned(),
            key: key.clone(),
            outputs: Default::default(),
            functions: Vec::new(),
        };
        let (here, there) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
        // --aws, --run, AWS_ENDPOINT_URL, AWS_PROFILE, what is announced and answers
        type Case<'a> = (bool, bool, Option<&'a str>, bool, Option<(&'a str, bool)>);
        let place = |(aws, run, endpoint, has_profile, announced): Case<'_>| {
            let wanted = Wanted {
                aws,
                run: run.then(|| "foo".to_owned()),
            };
            let found = Found {
                wanted: &wanted,
                endpoint: endpoint.map(str::to_owned),
                has_profile,
                announced: announced.map(|(at, answers)| (stack(at), answers)),
            };
            found.place().map_err(|error| error.to_string())
        };
        let dev = Ok(Place::Stack(stack(here)));
        for case in [
            (false, false, None, false, Some((here, true))),
            (false, true, None, false, Some((here, true))),
            (false, false, None, true, Some((here, true))),
            (
                false,
                false,
                Some("http://127.0.0.1:1/"),
                false,
                Some((here, true)),
            ),
        ] {
            assert_eq!(place(case), dev, "{case:?}");
        }
        for case in [
            (true, false, None, false, None),
            (true, false, None, false, Some((here, true))),
            (true, false, None, false, Some((here, false))),
            (false, false, None, true, None),
            (false, false, Some(there), false, None),
            (false, false, Some(there), false, Some((here, true))),
            (false, false, Some(here), false, Some((here, false))),
        ] {
            assert_eq!(place(case), Ok(Place::Environment), "{case:?}");
        }
        for (case, says) in [
            (
                (false, false, None, false, None),
                "no `surehand dev` runs here",
            ),
            (
                (false, false, None, false, Some((here, false))),
                "does not answer",
            ),
            (
                (false, false, None, true, Some((here, false))),
                "does not answer",
            ),
            (
                (false, true, None, false, None),
                "no `surehand dev --run foo` runs here",
            ),
            (
                (false, true, None, true, None),
                "no `surehand dev --run foo` runs here",
            ),
            (
                (false, true, Some(there), false, None),
                "no `surehand dev --run foo` runs here",
            ),
            (
                (true, false, Some(there), false, None),
                "unset the variable",
            ),
            ((true, true, None, false, None), "leave one of them out"),
            (
                (false, true, Some(here), false, Some((here, false))),
                "does not answer",
            ),
            (
                (true, true, None, true, Some((here, true))),
                "leave one of them out",
            ),
            (
                (false, true, Some(there), false, Some((here, true))),
                "unset the variable",
            ),
        ] {
            let error = place(case).unwrap_err();
            assert!(error.contains(says), "{case:?}: {error}");
        }
    }

    #[test]
    fn an_endpoint_of_aws_is_encrypted_and_amazons() {
        for endpoint in [
            "https://sqs.eu-west-1.amazonaws.com",
            "https://vpce-1-a.sqs.eu-west-1.vpce.amazonaws.com:443/",
            "https://sqs.cn-north-1.amazonaws.com.cn",
            "https://sqs.eu-west-1.api.aws",
        ] {
            assert!(is_aws(endpoint), "{endpoint}");
        }
        for elsewhere in [
            "http://sqs.eu-west-1.amazonaws.com",
            "https://sqs.eu-west-1.amazonaws.com.example.com",
            "https://amazonaws.com@example.com",
            "https://example.com/.amazonaws.com",
            "https://10.0.0.5:4566",
        ] {
            assert!(!is_aws(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_call_has_a_limit() {
        let limited = limited(&emulator::config(
            "http://127.0.0.1:4566",
            &Key::new().unwrap(),
        ));
        let limits = limited.timeout_config().unwrap();
        assert_eq!(limits.connect_timeout(), Some(CONNECT));
        assert_eq!(limits.operation_attempt_timeout(), Some(ATTEMPT));
        assert_eq!(limits.operation_timeout(), Some(CALL));
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
