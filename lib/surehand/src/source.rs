//! What triggers functions.
//!
//! | Source | Delivers | A failure |
//! |---|---|---|
//! | [`Sqs`] | messages of a queue, standard or FIFO | is reported for its message alone |
//! | [`DynamoDbStream`] | changes of a table | is reported, and the stream is read again from there |
//! | [`EventBridge`] | one event, asynchronously | fails the invocation |
//! | [`Direct`] | one request, whose caller waits for the reply | is the error that the caller gets |
//!
//! A source of your own implements [`Source`]. It is all that knows the shapes of Lambda's event and response:
//!
//! - [`split`](Source::split) makes one record of each part that can be handled on its own, each with an id of its own
//!   within the batch. A part that cannot be read is a malformed record, not an error. It fails only where an
//!   answer would be impossible, and before anything was handled.
//! - Records that must be handled in order have the same [lane](crate::Record::lane).
//! - [`join`](Source::join) gets one outcome for each record, in the batch's order, and answers so that each record
//!   whose outcome is an error comes back, and no other that the service lets it tell apart.

#[cfg(feature = "dynamodb")]
mod change;
mod direct;
mod dynamodb_stream;
mod eventbridge;
mod parts;
mod sqs;

#[cfg(feature = "dynamodb")]
pub use change::{Change, ChangeKind};
pub use direct::Direct;
pub use dynamodb_stream::{DynamoDbStream, StreamEvent};
pub use eventbridge::EventBridge;
pub use sqs::{QueueEvent, Sqs};

use crate::{
    Deadline, Result,
    record::{Batch, Outcome},
};
use serde::{Serialize, de::DeserializeOwned};

/// Turns what Lambda delivers into records, and what came of them into what Lambda expects.
///
/// It may rely on one outcome for each record that it split, in the same order; on `split` being called once
/// an invocation, and `join` after it unless `split` failed; and on `Ok` meaning that the record is done or
/// parked. What it must keep to is on the [module's page](self).
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// use surehand::{
///     Deadline, Delivery, Error, Function, Json, Record, Result,
///     record::{Batch, Outcome},
///     source::Source,
///     testing,
/// };
///
/// /// A list of names, of which those are returned that were not greeted.
/// struct Names;
///
/// impl Source for Names {
///     type Event = Vec<String>;
///     type Response = Vec<String>;
///
///     fn split(
///         &self,
///         names: Vec<String>,
///         context: lambda_runtime::Context,
///         deadline: Deadline,
///     ) -> Result<Batch> {
///         let record = |name: String| {
///             let mut delivery = Delivery::default();
///             delivery.message_id = name.clone();
///             Record::new(delivery, format!("{name:?}"), context.clone(), deadline.clone())
///         };
///         Ok(Batch { records: names.into_iter().map(record).collect() })
///     }
///
///     fn join(&self, outcomes: Vec<Outcome>) -> Result<Vec<String>> {
///         let failed = outcomes.into_iter().filter(|outcome| outcome.result.is_err());
///         Ok(failed.map(|outcome| outcome.id).collect())
///     }
/// }
///
/// async fn greet(Json(name): Json<String>) -> Result<()> {
///     if name == "Bob" {
///         return Err(Error::transient("Bob is not at home"));
///     }
///     Ok(())
/// }
///
/// let function = Function::new(Names, greet, ());
/// let names = ["Ada", "Bob"].map(str::to_owned).to_vec();
/// assert_eq!(function.invoke(names, testing::context()).await?, ["Bob"]);
/// # Ok(()) }
/// ```
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

    /// Returns what [`Function::from_env`](crate::Function::from_env) puts around the handler:
    /// claims, unless the source overrides it.
    fn needs(&self) -> Needs {
        Needs::Claims
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
