//! How the time of one invocation is spent.

use crate::reader::ReadOptions;
use std::time::Duration;
use surehand::Deadline;

/// How the time of one invocation is spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// With so much left nothing more is begun: giving back what is held, and saying how to go on.
    pub(super) reserve: Duration,
    /// How long one receive waits.
    wait: Duration,
    /// How long to look for what the queue says is there.
    patience: Duration,
    /// How long letters stay hidden if this invocation dies.
    pub(super) visibility: Duration,
}

impl Pace {
    pub(super) fn of(deadline: &Deadline) -> Self {
        let left = deadline.remaining();
        Self {
            reserve: left / 4,
            wait: (left / 20).clamp(Duration::from_millis(50), Duration::from_secs(2)),
            // With a receive or two it is within the reserve.
            patience: left / 8,
            visibility: left + Duration::from_secs(30),
        }
    }

    pub(super) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            wait: self.wait,
            patience: self.patience,
            visibility: self.visibility,
            ..ReadOptions::default()
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            reserve: second,
            wait: second,
            patience: second,
            visibility: 30 * second,
        }
    }
}
