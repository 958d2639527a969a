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

/// Turns Lambda's event into records, and their outcomes into the response that Lambda expects.
pub trait Source: Send + Sync + 'static {
    /// The event that Lambda delivers.
    type Event: DeserializeOwned + Send + 'static;
    /// The response that Lambda expects.
    type Response: Serialize + Send + 'static;

    /// Returns its name in a function's [description](crate::description): `sqs`, `eventbridge`,
    /// `dynamodb_stream`, `direct` or `custom`.
    fn kind(&self) -> &'static str {
        "custom"
    }

    /// Splits an event into its records.
    ///
    /// A record that cannot be read is [malformed](crate::Record::with_malformed) and does not
    /// affect the others.
    ///
    /// # Errors
    /// Only if the event as a whole cannot be answered, for example because a message has no id.
    /// The invocation fails, and Lambda delivers the event again.
    fn split(
        &self,
        event: Self::Event,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch>;

    /// Makes the response from the records' outcomes.
    ///
    /// # Errors
    /// If the source has no other way to report that a record failed; the invocation fails.
    fn join(&self, outcomes: Vec<Outcome>) -> Result<Self::Response>;
}
