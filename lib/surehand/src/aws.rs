//! The environment's AWS configuration, loaded once.
//!
//! Clients of your own are made from it too, so that a cold start reads it once and all clients
//! share their connections: `aws_sdk_sesv2::Client::new(surehand::aws::config().await)`.

use crate::{Error, ErrorKind, Result};
use aws_config::{BehaviorVersion, SdkConfig};
use tokio::sync::OnceCell;

static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();

/// The configuration that every client of this process is made from.
pub async fn config() -> &'static SdkConfig {
    CONFIG
        .get_or_init(|| aws_config::load_defaults(BehaviorVersion::v2026_01_12()))
        .await
}

/// A client's error with everything that caused it, in one line. What the SDK itself would show adds
/// the whole response.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}

/// The value of an environment variable that the function cannot do without.
pub(crate) fn required_var(name: &str) -> Result<String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(Error::new(
            ErrorKind::Invocation,
            format!(
                "the environment variable {name} is not set; the function's template must declare it"
            ),
        )),
    }
}
