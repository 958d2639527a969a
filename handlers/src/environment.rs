//! What the template gives to the functions.

use aws_config::{BehaviorVersion, SdkConfig};

/// The configuration that the function's clients are made from, so that they share connections.
pub async fn aws() -> SdkConfig {
    aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await
}

/// The value of a variable that the function cannot do without.
///
/// # Errors
/// If it is not set.
pub fn var(name: &str) -> Result<String, surehand::BoxError> {
    std::env::var(name).map_err(|_| format!("the environment variable {name} is not set").into())
}
