//! A process of the function.

use super::world::World;
use crate::{Clock, IdempotencyKey, MemoryStore};
use std::time::{Duration, SystemTime};

/// One process of the function: what is built with it is gone when the process is.
///
/// It is a handler's state as well, for what handlers do in a simulation.
#[derive(Clone, Debug)]
pub struct Process {
    pub(super) world: World,
    pub(super) id: usize,
    /// How far its clock is ahead, in milliseconds.
    pub(super) skew_ms: i64,
    pub(super) memory: MemoryStore,
}

impl Process {
    /// The process's clock, which may be ahead or behind.
    pub fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::from_fn(move || this.now())
    }

    fn now(&self) -> SystemTime {
        let now = self.world.wall_clock();
        let skew = Duration::from_millis(self.skew_ms.unsigned_abs());
        if self.skew_ms < 0 {
            now - skew
        } else {
            now + skew
        }
    }

    /// The claims and effects in memory that all processes share, without faults in between.
    pub fn memory(&self) -> MemoryStore {
        self.memory.clone().with_clock(self.clock())
    }

    /// Notes that the handler has had its effect for a key. For handlers with effects outside the
    /// store; what a [`Transaction`](crate::Transaction) commits is noted by the store.
    pub fn effect(&self, key: &IdempotencyKey) {
        let now = self.world.now();
        let mut state = self.world.state();
        let line = format!("process {}: EFFECT of {}", self.id, state.event_of(key));
        let at = state.note(now, line);
        let invocation = state.current;
        state.effects.push(super::world::Effect {
            key: key.clone(),
            invocation,
            at,
        });
    }

    /// Takes a while, as work does: up to `most`.
    pub async fn work(&self, most: Duration) {
        let takes = most.mul_f64(self.world.state().rng.f64());
        tokio::time::sleep(takes).await;
    }

    /// True with a probability, drawn by the seed; never once the faults are over. For what goes
    /// wrong in a handler.
    pub fn fails(&self, probability: f64) -> bool {
        let mut state = self.world.state();
        !state.is_calm && state.rng.f64() < probability
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: impl std::fmt::Display) {
        self.world.note(format_args!("process {}: {line}", self.id));
    }

    /// Runs `future` beside all processes: none of them takes it along when it dies.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.world.state().background.push(Box::pin(future));
    }
}

/// How long a call to something outside takes.
pub(super) fn latency(world: &World) -> Duration {
    let micros = world.state().rng.u64(500..15_000);
    Duration::from_micros(micros)
}
