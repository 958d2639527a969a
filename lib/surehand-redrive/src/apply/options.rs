//! How a plan is applied.

use crate::reader::ReadOptions;
use std::time::Duration;
use surehand::Clock;

/// How a plan is applied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Letters a second at most; unlimited unless set.
    pub rate: Option<f64>,
    /// Stops when more than so many per cent of the letters fail; 20 unless set.
    pub threshold_percent: u32,
    /// How many letters are sent at once at most, and between two syncs of the journal; 4 MiB of them
    /// in any case. 100 unless set.
    pub wave: usize,
    /// How the queue is read. The visibility timeout, 2 minutes unless set, is also how long a
    /// resume waits for what a process that died had received.
    pub read: ReadOptions,
    /// How long to wait before a dead letter that was sent earlier, and is not seen, is taken for
    /// deleted. It may be hidden by the process that sent it: the visibility timeout unless set.
    pub settle: Option<Duration>,
    /// Tells the time.
    pub clock: Clock,
}

impl ApplyOptions {
    pub(super) fn settle(&self) -> Duration {
        self.settle.unwrap_or(self.read.visibility)
    }
}

impl Default for ApplyOptions {
    fn default() -> Self {
        let visibility = Duration::from_secs(120);
        Self {
            rate: None,
            threshold_percent: 20,
            wave: 100,
            read: ReadOptions {
                visibility,
                patience: visibility + Duration::from_secs(30),
                // As many as a wave needs.
                receivers: 10,
                ..ReadOptions::default()
            },
            settle: None,
            clock: Clock::system(),
        }
    }
}
