//! Which cloud a command talks to: the emulator of a running `surehand dev`, or what `AWS_ENDPOINT_URL` and the
//! usual AWS variables say.

use anyhow::Result;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_lambda::config::{Credentials, SharedCredentialsProvider};

use crate::{
    emulator::{KEY, REGION},
    stack::Stack,
};

/// The emulator's clients, with the credentials of its owner.
pub(crate) fn emulator(endpoint: &str) -> SdkConfig {
    let owner = Credentials::new(KEY, KEY, None, None, "surehand");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(owner))
        .build()
}

/// A cloud, and what is known of the stack in it.
pub(crate) struct Cloud {
    pub(crate) config: SdkConfig,
    /// The stack of a running `surehand dev`, when that is where the command goes.
    pub(crate) stack: Option<Stack>,
}

impl Cloud {
    /// `AWS_ENDPOINT_URL` decides; without it the `surehand dev` of this run is used, and else AWS.
    pub(crate) async fn find(run: &str) -> Result<Self> {
        let running = Stack::running(run).await;
        let wanted = std::env::var("AWS_ENDPOINT_URL")
            .ok()
            .filter(|url| !url.is_empty());
        let same = |stack: &Stack| {
            wanted
                .as_ref()
                .is_none_or(|url| url.trim_end_matches('/') == stack.endpoint.trim_end_matches('/'))
        };
        if let Some(stack) = running.filter(same) {
            return Ok(Self {
                config: emulator(&stack.endpoint),
                stack: Some(stack),
            });
        }
        Ok(Self {
            config: aws_config::load_defaults(BehaviorVersion::latest()).await,
            stack: None,
        })
    }

    /// Where requests go, for messages.
    pub(crate) fn name(&self) -> String {
        match (self.config.endpoint_url(), self.config.region()) {
            (Some(endpoint), _) => endpoint.to_owned(),
            // Whoever did not mean AWS has forgotten to start the application.
            (None, Some(region)) => format!("AWS {region}, since no `surehand dev` runs here"),
            (None, None) => "AWS, since no `surehand dev` runs here".to_owned(),
        }
    }
}
