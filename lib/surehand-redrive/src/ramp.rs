//! A few letters first, and more once those were handled.

use crate::destination::Destination;
use futures_util::future::BoxFuture;
use std::time::Duration;
use surehand::{Metadata, Result};

/// Puts letters back in growing stages, and waits after each until they were handled.
///
/// A stage is 1 letter, then 5, 20 and 100, then five times as many each time. A letter is handled when
/// the [`Outcomes`] say so; it failed again when it is back in the dead-letter queue, or when the wait
/// is over. If more than the threshold of a stage fail, nothing more is put back.
pub struct Ramp<'a> {
    pub(crate) outcomes: &'a dyn Outcomes,
    pub(crate) stages: Vec<u64>,
    pub(crate) timeout: Duration,
    pub(crate) poll: Duration,
}

/// Knows what became of events.
pub trait Outcomes: Send + Sync {
    /// Whether each was handled, in their order: for example, whether the idempotency table has it as
    /// completed. A false may become true.
    fn completed<'a>(&'a self, redriven: &'a [Redriven]) -> BoxFuture<'a, Result<Vec<bool>>>;

    /// Asked before anything is sent to a destination. A letter whose outcome cannot be known is not
    /// sent, since it would be waited for in vain.
    ///
    /// # Errors
    /// Why nothing will be known of what goes there.
    fn check<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Result<()>> {
        let _ = to;
        Box::pin(async { Ok(()) })
    }
}

/// A letter that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redriven {
    /// Which event it is: its id, source and type. The id is the new message's where the event
    /// carries none.
    pub event: Metadata,
    /// The id that its destination gave it.
    pub message_id: String,
    /// The dead letter's id.
    pub letter_id: String,
    /// The handler that failed, where it is known.
    pub handler: Option<String>,
    /// Where it was sent: what is said of it elsewhere can have been written by its sender.
    pub to: Destination,
    /// The id of its [`Group`](crate::Group).
    pub group_id: String,
    /// The message group that the dead letter has.
    pub(crate) message_group: Option<String>,
    pub(crate) redrive_count: u32,
    /// Its key was completed for another payload, which says nothing of it.
    pub(crate) reuses_key: bool,
    pub(crate) sent_ms: u64,
}

impl<'a> Ramp<'a> {
    /// A ramp that asks `outcomes`, every two seconds, and waits for 15 minutes at most.
    pub fn new(outcomes: &'a dyn Outcomes) -> Self {
        Self {
            outcomes,
            stages: vec![1, 5, 20, 100],
            timeout: Duration::from_secs(15 * 60),
            poll: Duration::from_secs(2),
        }
    }

    /// Sets how many letters the stages have. After the last, they grow fivefold.
    pub fn stages(mut self, stages: impl IntoIterator<Item = u64>) -> Self {
        self.stages = stages.into_iter().filter(|stage| *stage > 0).collect();
        self
    }

    /// Sets how long to wait for a stage's letters. A letter that fails again comes back once its attempts are used
    /// up, which with the usual backoff is after 32 minutes at the earliest. One that has not come back by the end of
    /// the wait, and is not done either, counts as failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often to ask.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// How many letters the stage with this index has.
    pub(crate) fn stage(&self, index: usize) -> u64 {
        match self.stages.get(index) {
            Some(stage) => *stage,
            None => {
                let beyond = u32::try_from(index - self.stages.len() + 1).unwrap_or(u32::MAX);
                let last = self.stages.last().copied().unwrap_or(1);
                last.saturating_mul(5_u64.saturating_pow(beyond))
            }
        }
    }
}
