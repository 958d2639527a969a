//! What reading and redriving ask of the services, so that it can be tested without them.

use crate::{
    destination::Destination,
    letter::Letter,
    parcel::{Accepted, Parcel},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use surehand::{Result, aws::Entries};

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
    /// [`Destination::max_call_size`] bytes together unless there is only one. `Err` means that it is
    /// not known what was sent.
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
    /// How long it keeps a message after it was sent; then the message is gone.
    pub retention: Option<Duration>,
}
