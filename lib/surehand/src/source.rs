//! What triggers functions. Only the modules below know the shapes of Lambda's events.

#[cfg(feature = "dynamodb")]
mod change;
mod direct;
mod dynamodb_stream;
mod eventbridge;
mod sqs;

#[cfg(feature = "dynamodb")]
pub use change::{Change, ChangeKind};
pub use direct::Direct;
pub use dynamodb_stream::{DynamoDbStream, StreamEvent};
pub use eventbridge::EventBridge;
pub use sqs::Sqs;

use crate::{Batch, Deadline, Outcome, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Turns what Lambda delivers into records, and what came of them into what Lambda expects.
pub trait Source: Send + Sync + 'static {
    /// What Lambda delivers.
    type Event: DeserializeOwned + Send + 'static;
    /// What Lambda expects.
    type Response: Serialize + Send + 'static;

    /// What it is called in a function's [description](crate::description): `sqs`, `eventbridge`,
    /// `dynamodb_stream`, `direct`, or `custom`.
    fn kind(&self) -> &'static str {
        "custom"
    }

    /// What [`Function::from_env`](crate::Function::from_env) puts around the handler: claims, unless the
    /// source says otherwise.
    fn needs(&self) -> Needs {
        Needs::Claims
    }

    /// Splits an event into its records.
    ///
    /// A record that cannot be read is [malformed](crate::Record::with_malformed) and concerns
    /// nobody else.
    ///
    /// # Errors
    /// Only if the event as a whole cannot be answered, such as a message without an id. The
    /// invocation fails, and Lambda delivers the event again.
    fn split(
        &self,
        event: Self::Event,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch>;

    /// Makes the response.
    ///
    /// # Errors
    /// If the source has no other way to say that a record failed; the invocation fails.
    fn join(&self, outcomes: Vec<Outcome>) -> Result<Self::Response>;
}

/// What a source needs around its records for the usual function of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// Nothing: its records can be handled again without harm, and it keeps its own dead letters.
    Nothing,
    /// Claims, so that a record that is delivered again is not handled again. Records that cannot be
    /// handled fail, and are left to the source: an on-failure destination, or the caller.
    Claims,
    /// Claims, a dead-letter queue and visibility timeouts, because its records are messages of an SQS
    /// queue.
    Queue,
}
