//! The environment's AWS configuration, loaded once.
//!
//! Clients of your own are made from it too, so that a cold start reads it once and all clients
//! share their connections: `aws_sdk_sesv2::Client::new(surehand::aws::config().await)`.

use crate::environment;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use tokio::sync::OnceCell;

static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();

/// The configuration that every client of this process is made from.
///
/// While the function is [described](crate::description) it has no credentials, so that nobody can
/// be called with it.
pub async fn config() -> &'static SdkConfig {
    CONFIG.get_or_init(load).await
}

async fn load() -> SdkConfig {
    let version = BehaviorVersion::v2026_01_12();
    if environment::describing() {
        // What is missing here would otherwise be looked for in files and in the network.
        return SdkConfig::builder()
            .behavior_version(version)
            .region(Region::from_static("us-east-1"))
            .build();
    }
    aws_config::load_defaults(version).await
}

/// A client's error with everything that caused it, in one line. What the SDK itself would show adds
/// the whole response.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}
