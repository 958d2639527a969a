//! What reading and redriving ask of the services, so that it can be tested without them.

use super::{Letter, Parcel};
use crate::{
    Result,
    aws::{Entries, limits, queue_url},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A dead-letter queue.
///
/// `Err` means that the call as a whole failed, and that nobody knows whether it had an effect. Where
/// a call has entries, each has its own result, in the request's order.
pub trait Queue: Send + Sync {
    /// What the queue is, and how much is in it.
    fn info(&self) -> BoxFuture<'_, Result<QueueInfo>>;

    /// Receives up to `max` (1 to 10) messages and hides them for `visibility`; waits up to `wait` for
    /// the first.
    fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Received>>>;

    /// Deletes up to ten messages by their receipts.
    fn delete<'a>(&'a self, receipts: &'a [String]) -> BoxFuture<'a, Result<Entries<()>>>;

    /// Hides up to ten messages for `visibility` from now; 0 gives them back.
    fn change_visibility<'a>(
        &'a self,
        receipts: &'a [String],
        visibility: Duration,
    ) -> BoxFuture<'a, Result<Entries<()>>>;
}

/// Where dead letters are put back.
pub trait Post: Send + Sync {
    /// Sends up to ten parcels, which have no more than
    /// [`Destination::max_call_size`] bytes together unless there is only one. `Err` means that nobody
    /// knows what was sent.
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, Result<Entries<Accepted>>>;
}

/// A letter and the right to delete it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The letter.
    pub letter: Letter,
    /// The receipt handle of this receive.
    pub receipt: String,
}

/// What a queue is, and how much is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its URL.
    pub url: String,
    /// Its ARN.
    pub arn: String,
    /// Whether it keeps order within groups.
    pub fifo: bool,
    /// How many messages can be received, about.
    pub visible: u64,
    /// How many messages somebody has received and not deleted, about.
    pub in_flight: u64,
    /// How many messages cannot be received yet, about.
    pub delayed: u64,
    /// The redrive policy, in JSON, of a queue that moves messages itself after some receives.
    pub redrive_policy: Option<String>,
}

/// A parcel that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The service's id of it.
    pub message_id: String,
    /// The MD5 of the body, in hex, as the service got it. A queue must give it.
    pub body_md5: Option<String>,
    /// The MD5 of the attributes, in hex, as the service got them. A queue must give it for a parcel
    /// that has some.
    pub attributes_md5: Option<String>,
}

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
        match arn.split(':').nth(2)? {
            "sqs" => queue_url(arn).map(Self::Queue),
            "lambda" => function(arn).map(Self::Function),
            // Rules and API destinations are EventBridge's as well.
            "events" if arn.contains(":event-bus/") => Some(Self::Bus(arn.to_owned())),
            _ => None,
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
    type Err = crate::Error;

    /// Reads a queue's URL, or the ARN of a queue, a function or a bus.
    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Queue(text.to_owned()));
        }
        Self::of_arn(text).ok_or_else(|| {
            crate::Error::rejected(format!(
                "`{text}` is no destination: give a queue's URL, or the ARN of a queue, a function or a bus"
            ))
        })
    }
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
        assert!("reserve-stock".parse::<Destination>().is_err());
        assert!("arn:aws:s3:::bucket".parse::<Destination>().is_err());
        let bus = "arn:aws:events:r:1:event-bus/shop";
        assert_eq!(read(bus), Destination::Bus(bus.into()));
        let rule = "arn:aws:events:r:1:rule/shop/placed";
        assert!(rule.parse::<Destination>().is_err());
    }
}
