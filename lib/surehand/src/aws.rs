//! The environment's AWS configuration, loaded once.
//!
//! Clients of your own are made from it too, so that a cold start reads it once and all clients
//! share their connections: `aws_sdk_sesv2::Client::new(surehand::aws::config().await)`.

#[cfg(feature = "eventbridge")]
pub use crate::publish::{MAX_PUT_EVENTS, is_refused_for_good};

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

/// Says a client's error with everything that caused it, in one line. What the SDK itself would show adds
/// the whole response.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}

/// Makes a queue's URL of its ARN: of `arn:aws:sqs:eu-west-1:123456789012:orders`
/// `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`. None if it is not the ARN of a queue.
///
/// The client sends the URL in the body and connects to its own endpoint, so that an emulator's host
/// need not be in it.
pub fn queue_url(arn: &str) -> Option<String> {
    let mut parts = arn.splitn(6, ':');
    let (_arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    let suffix = if partition == "aws-cn" { ".cn" } else { "" };
    (service == "sqs")
        .then(|| format!("https://sqs.{region}.amazonaws.com{suffix}/{account}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_urls_come_from_arns() {
        assert_eq!(
            queue_url("arn:aws:sqs:eu-west-1:1:orders.fifo").as_deref(),
            Some("https://sqs.eu-west-1.amazonaws.com/1/orders.fifo")
        );
        assert_eq!(
            queue_url("arn:aws-cn:sqs:cn-north-1:1:q").as_deref(),
            Some("https://sqs.cn-north-1.amazonaws.com.cn/1/q")
        );
        assert_eq!(queue_url("arn:aws:dynamodb:eu-west-1:1:table/t"), None);
        assert_eq!(queue_url("orders"), None);
    }
}
