//! The edge to AWS: the configuration of clients, and the requests that several crates make.
//!
//! In a handler's `main` you need [`config`], which is the environment's configuration, loaded once: make your own
//! clients from it too, so that a cold start reads it once, as in
//! `aws_sdk_sesv2::Client::new(surehand::aws::config().await)`. [`with_time_limits`] gives a configuration the time
//! limits of the clients that Surehand makes itself, in each `from_env`: those give up a dead connection soon
//! ([`limited_config`] is the environment's configuration with them). A client that you hand to a `new` keeps its own
//! settings.
//!
//! The rest is for a destination or a transport of your own over SQS or EventBridge. [`sqs`] and [`events`] send
//! requests and say what became of each entry; a [`Refusal`] is an entry, or a call, that the service did not take.

mod arn;
#[cfg(feature = "eventbridge")]
pub mod events;
pub mod limits;
mod refusal;
#[cfg(feature = "sqs")]
pub mod sqs;

pub use arn::queue_url;
pub use refusal::{Entries, Refusal};
#[cfg(feature = "dynamodb")]
pub(crate) use refusal::{Fault, lasting_fault};

#[cfg(any(feature = "dynamodb", feature = "sqs", feature = "eventbridge"))]
pub use clients::{ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, config, limited_config, with_time_limits};
#[cfg(any(feature = "dynamodb", feature = "sqs", feature = "eventbridge"))]
mod clients;

/// Describes a client's error and its causes in one line. The SDK's own text would include the
/// whole response.
#[cfg(any(feature = "dynamodb", feature = "sqs", feature = "eventbridge"))]
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}
