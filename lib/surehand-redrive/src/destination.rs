//! Where a dead letter is put back.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use surehand::{
    Error, Result,
    aws::{limits, queue_url},
};

/// Where a dead letter is put back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Destination {
    /// An SQS queue, by its URL.
    Queue(String),
    /// A Lambda function, invoked asynchronously, by its ARN or that of an alias.
    Function(String),
    /// An EventBridge bus, by its name or ARN. Every rule that matches gets the event, also those
    /// that had it before.
    Bus(String),
}

impl Destination {
    /// The destination that an ARN of a queue, a function or a bus names.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.split(':').skip(2);
        let (service, region) = (parts.next()?, parts.next()?);
        if !is_label(region) {
            return None;
        }
        match service {
            "sqs" => queue_url(arn).map(Self::Queue),
            "lambda" => function(arn).map(Self::Function),
            // Rules and API destinations are EventBridge's as well.
            "events" if arn.contains(":event-bus/") => Some(Self::Bus(arn.to_owned())),
            _ => None,
        }
    }

    /// Whether both are the same place. Queues have several URLs: the name of the host differs.
    pub fn is_same(&self, other: &Self) -> bool {
        let path = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.split_once('/').map(|(_, path)| path.to_owned())
        };
        match (self, other) {
            (Self::Queue(this), Self::Queue(other)) => {
                let regions = region(this).zip(region(other));
                path(this) == path(other) && regions.is_none_or(|(this, other)| this == other)
            }
            _ => self == other,
        }
    }

    /// The region that it names: that of its ARN, or of a queue's host at AWS.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Queue(url) => region(url),
            Self::Function(arn) | Self::Bus(arn) => arn.split(':').nth(3).filter(|it| is_label(it)),
        }
    }

    /// How many bytes the parcels of one call may have together.
    pub fn max_call_size(&self) -> usize {
        match self {
            Self::Queue(_) | Self::Function(_) => limits::MESSAGE_BYTES,
            Self::Bus(_) => limits::EVENT_BYTES,
        }
    }

    /// Whether it is a queue that keeps order within groups.
    pub fn is_fifo(&self) -> bool {
        matches!(self, Self::Queue(url) if url.ends_with(".fifo"))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(url) => write!(f, "queue {}", url.rsplit('/').next().unwrap_or(url)),
            Self::Function(arn) => {
                let name = arn.splitn(7, ':').nth(6);
                write!(f, "function {}", name.unwrap_or(arn))
            }
            Self::Bus(name) => write!(f, "bus {}", name.rsplit('/').next().unwrap_or(name)),
        }
    }
}

impl FromStr for Destination {
    type Err = Error;

    /// Reads a queue's URL, or the ARN of a queue, a function or a bus.
    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Queue(text.to_owned()));
        }
        Self::of_arn(text).ok_or_else(|| {
            Error::rejected(format!(
                "`{text}` is not a destination: give a queue's URL, or the ARN of a queue, a function or a bus"
            ))
        })
    }
}

/// The ARN of the queue with this URL, in the partition of another one; none where the URL does not name the region, as
/// at an emulator.
pub(crate) fn queue_arn(url: &str, like: &str) -> Option<String> {
    let partition = like.split(':').nth(1)?;
    let region = region(url)?;
    let mut path = url.splitn(4, '/').nth(3)?.split('/');
    match (path.next(), path.next(), path.next()) {
        (Some(account), Some(name), None) => {
            Some(format!("arn:{partition}:sqs:{region}:{account}:{name}"))
        }
        _ => None,
    }
}

/// The region in the URL of a queue at AWS, `https://sqs.REGION.amazonaws.com/…`.
fn region(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://")?.split('/').next()?;
    let parts: Vec<&str> = host.split('.').collect();
    let region = match parts[..] {
        ["queue", "amazonaws", ..] => "us-east-1",
        [region, "queue", "amazonaws", ..]
        | ["sqs" | "sqs-fips", region, "amazonaws" | "api", ..]
        | [_, "sqs", region, "vpce", ..] => region,
        _ => return None,
    };
    is_label(region).then_some(region)
}

/// Whether a region can be a part of a host's name, and nothing else of a URL.
fn is_label(region: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !region.is_empty() && region.chars().all(is_part)
}

/// The function that is to get again what it failed on: by its alias if there is one, since deployments
/// move that on, and a failure destination is configured for it. A version that failed would fail again.
fn function(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.split(':').collect();
    let function = parts.get(..7)?.join(":");
    let is_version = |name: &str| name == "$LATEST" || name.bytes().all(|b| b.is_ascii_digit());
    match parts.get(7).filter(|name| !is_version(name)) {
        Some(alias) => Some(format!("{function}:{alias}")),
        None => Some(function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_from_urls_and_arns() {
        let read = |text: &str| text.parse::<Destination>().unwrap();
        assert_eq!(
            read("http://localhost:1/1/q"),
            Destination::Queue("http://localhost:1/1/q".into())
        );
        let function = "arn:aws:lambda:r:1:function:reserve-stock";
        for version in ["", ":$LATEST", ":7"] {
            let read = read(&format!("{function}{version}"));
            assert_eq!(read, Destination::Function(function.into()));
        }
        assert_eq!(read(function).to_string(), "function reserve-stock");
        let alias = format!("{function}:live");
        assert_eq!(read(&alias), Destination::Function(alias.clone()));
        assert_eq!(read(&alias).to_string(), "function reserve-stock:live");
        let arn = read("arn:aws:sqs:eu-west-1:1:orders");
        let url = read("https://sqs.eu-west-1.amazonaws.com/1/orders");
        assert!(arn.is_same(&url) && arn.region() == Some("eu-west-1"));
        assert!(!url.is_same(&read("https://sqs.eu-west-2.amazonaws.com/1/orders")));
        assert!(!url.is_same(&read("https://sqs.eu-west-1.amazonaws.com/2/orders")));
        // SQS has more than one name for a queue, and a region has a queue of the same name.
        for host in [
            "eu-west-2.queue.amazonaws.com",
            "sqs-fips.eu-west-2.amazonaws.com",
            "sqs.eu-west-2.api.aws",
            "vpce-1-a.sqs.eu-west-2.vpce.amazonaws.com",
        ] {
            let there = read(&format!("https://{host}/1/orders"));
            assert_eq!(there.region(), Some("eu-west-2"), "{host}");
            assert!(!url.is_same(&there), "{host}");
        }
        let old = read("https://queue.amazonaws.com/1/orders");
        assert_eq!(old.region(), Some("us-east-1"));
        for region in ["eu-west-1.amazonaws.com@evil", "evil/1/orders#", ""] {
            let arn = format!("arn:aws:sqs:{region}:1:orders");
            assert!(arn.parse::<Destination>().is_err(), "{arn}");
            let bus = Destination::Bus(format!("arn:aws:events:{region}:1:event-bus/shop"));
            assert_eq!(bus.region(), None);
        }
        assert!("reserve-stock".parse::<Destination>().is_err());
        assert!("arn:aws:s3:::bucket".parse::<Destination>().is_err());
        let bus = "arn:aws:events:r:1:event-bus/shop";
        assert_eq!(read(bus), Destination::Bus(bus.into()));
        let rule = "arn:aws:events:r:1:rule/shop/placed";
        assert!(rule.parse::<Destination>().is_err());
    }
}
