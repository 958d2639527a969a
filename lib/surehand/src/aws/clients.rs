//! What clients are made from.

use crate::environment;
use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a client that Surehand makes waits for the answer to one attempt: 2 s.
///
/// The services answer in milliseconds. Without a limit, a call whose connection died would wait
/// until the end of the invocation, and its record's effect would be repeated.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client that Surehand makes waits for a connection: 1 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
static LIMITED: OnceCell<SdkConfig> = OnceCell::const_new();

/// Returns the environment's configuration, from which every client of this process is made. It has
/// the SDK's own time limits: 3.1 s for a connection, none for an answer.
///
/// While the function is [described](crate::description) it has no credentials, so that its clients
/// cannot call any service.
pub async fn config() -> &'static SdkConfig {
    CONFIG.get_or_init(load).await
}

/// Returns [`config`] with the time limits of [`with_time_limits`]. Each `from_env` of this crate
/// makes its clients from it.
pub async fn limited_config() -> &'static SdkConfig {
    let limited = || async { with_time_limits(config().await) };
    LIMITED.get_or_init(limited).await
}

/// Returns the same configuration for clients that give up a connection after 1 s
/// ([`CONNECT_TIMEOUT`]) and one attempt at a call after 2 s ([`ATTEMPT_TIMEOUT`]).
///
/// The client then tries again, as often as its retries allow: three attempts unless the
/// configuration says otherwise. A call to a service that never answers thus takes 6 s plus the
/// pauses between the attempts, which are at most 3 s.
///
/// It is for calls that the service answers immediately. A call that may take longer, such as a
/// long poll or an upload, needs a limit of its own.
pub fn with_time_limits(config: &SdkConfig) -> SdkConfig {
    let limits = config.timeout_config();
    let limits = limits.map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    let limits = limits
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT);
    let mut limited = config.to_builder();
    limited.set_timeout_config(Some(limits.build()));
    limited.build()
}

async fn load() -> SdkConfig {
    let version = BehaviorVersion::v2026_01_12();
    if environment::describing() {
        // The SDK would look for settings that are missing here in files and on the network.
        return SdkConfig::builder()
            .behavior_version(version)
            .region(Region::from_static("us-east-1"))
            .build();
    }
    aws_config::load_defaults(version).await
}
