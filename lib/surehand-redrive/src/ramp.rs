//! A few letters first, and more once those were handled.

use futures_util::future::BoxFuture;
use std::time::Duration;
use surehand::Result;

/// Puts letters back in growing steps, and waits after each until they were handled.
///
/// A step is 1 letter, then 5, 20 and 100, then five times as many each time. A letter is handled when
/// the [`Outcomes`] say so; it failed again when it is back in the dead-letter queue, or when the wait
/// is over. If more than the threshold of a step fail, nothing more is put back.
pub struct Ramp<'a> {
    pub(crate) outcomes: &'a dyn Outcomes,
    pub(crate) steps: Vec<u64>,
    pub(crate) timeout: Duration,
    pub(crate) poll: Duration,
}

/// Knows what became of events.
pub trait Outcomes: Send + Sync {
    /// Whether each was handled, in their order: for example, whether the idempotency table has it as
    /// completed. A false may become true.
    fn completed<'a>(&'a self, redriven: &'a [Redriven]) -> BoxFuture<'a, Result<Vec<bool>>>;
}

/// A letter that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redriven {
    /// The event's id; the new message's where the event carries none.
    pub event_id: String,
    /// The id that its destination gave it.
    pub message_id: String,
    /// The dead letter's id.
    pub letter_id: String,
    /// The handler that failed, where it is known.
    pub handler: Option<String>,
    /// The function that failed, where it is known.
    pub function: Option<String>,
    /// The id of its [`Group`](crate::Group).
    pub group_id: String,
    pub(crate) redrive_count: u32,
    pub(crate) sent_ms: u64,
}

impl<'a> Ramp<'a> {
    /// A ramp that asks `outcomes`, every two seconds, and waits for 15 minutes at most.
    pub fn new(outcomes: &'a dyn Outcomes) -> Self {
        Self {
            outcomes,
            steps: vec![1, 5, 20, 100],
            timeout: Duration::from_secs(15 * 60),
            poll: Duration::from_secs(2),
        }
    }

    /// Sets the steps. After the last, steps grow fivefold.
    pub fn steps(mut self, steps: impl IntoIterator<Item = u64>) -> Self {
        self.steps = steps.into_iter().filter(|step| *step > 0).collect();
        self
    }

    /// Sets how long to wait for a step's letters. A letter that fails again comes back after as many
    /// receives as its queue allows.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often to ask.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// How many letters the step with this index has.
    pub(crate) fn step(&self, index: usize) -> u64 {
        match self.steps.get(index) {
            Some(step) => *step,
            None => {
                let beyond = u32::try_from(index - self.steps.len() + 1).unwrap_or(u32::MAX);
                let last = self.steps.last().copied().unwrap_or(1);
                last.saturating_mul(5_u64.saturating_pow(beyond))
            }
        }
    }
}
