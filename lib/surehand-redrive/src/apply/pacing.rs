//! How many letters are sent at once, and how soon after each other.

use super::options::ApplyOptions;
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct Pacing {
    rate: Option<f64>,
    wave: usize,
    next: Instant,
}

impl Pacing {
    pub(super) fn new(options: &ApplyOptions) -> Self {
        Self {
            rate: options.rate,
            wave: options.wave.max(1),
            next: Instant::now(),
        }
    }

    /// How many letters the next wave has at most, of which a ramp may still take `quota`.
    pub(super) fn wave_size(&self, quota: Option<u64>) -> usize {
        let mut size = self.wave;
        if let Some(rate) = self.rate {
            // A few waves a second, and not one burst a minute.
            size = size.min((rate / 4.0).ceil().max(1.0) as usize);
        }
        match quota {
            Some(left) => size.min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => size,
        }
    }

    /// How long the next wave has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// A wave of so many letters begins.
    pub(super) fn begin(&mut self, letters: u32, now: Instant) {
        if let Some(rate) = self.rate {
            let spaced = Duration::from_secs_f64(f64::from(letters) / rate.max(1e-6));
            self.next = now.max(self.next) + spaced;
        }
    }
}
