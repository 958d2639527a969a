//! A process of the function.

use super::{fault::Fault, world::World};
use crate::{Clock, IdempotencyKey, MemoryStore};
use std::time::{Duration, SystemTime};

/// One process of the function. What is built with it is lost when the process dies.
///
/// A handler can take it as its state, to have effects in the simulation.
#[derive(Clone, Debug)]
pub struct Process {
    pub(super) world: World,
    pub(super) id: usize,
    /// How far its clock is ahead, in milliseconds.
    pub(super) skew_ms: i64,
    pub(super) memory: MemoryStore,
}

impl Process {
    /// Starts a process, whose clock may be ahead or behind.
    pub(super) fn start(world: &World, id: usize, memory: &MemoryStore) -> Self {
        let skew_ms = if world.meets(Fault::ClockSkew) {
            world.state().rng.i64(-900..=900)
        } else {
            0
        };
        world.note(format_args!(
            "process {id} starts, its clock {skew_ms:+} ms ahead"
        ));
        Self {
            world: world.clone(),
            id,
            skew_ms,
            memory: memory.clone(),
        }
    }

    /// Returns the process's clock, which may be ahead or behind.
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

    /// Returns the store in memory that all processes share, without faults in front of it.
    pub fn memory(&self) -> MemoryStore {
        self.memory.clone().with_clock(self.clock())
    }

    /// Records that the handler had its effect for a key. It is for handlers with effects outside
    /// the store: the store itself records what a [`Transaction`](crate::Transaction) commits.
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

    /// Waits for a random time of up to `most`, in the place of work.
    pub async fn work(&self, most: Duration) {
        let takes = most.mul_f64(self.world.state().rng.f64());
        tokio::time::sleep(takes).await;
    }

    /// Kills the process, with all that it is handling, unless the faults are over. It is for what a handler does
    /// to its process, such as to use up its memory.
    pub async fn die(&self) {
        {
            let mut state = self.world.state();
            if state.is_calm {
                return;
            }
            state.dying.insert(self.id);
        }
        std::future::pending().await
    }

    /// Returns true with a probability, drawn by the seed, and always false once the faults are
    /// over. It is for failures inside a handler.
    pub fn fails(&self, probability: f64) -> bool {
        let mut state = self.world.state();
        !state.is_calm && state.rng.f64() < probability
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: impl std::fmt::Display) {
        self.world.note(format_args!("process {}: {line}", self.id));
    }

    /// Runs `future` outside of the processes, so that it survives their deaths.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.world.state().background.push(Box::pin(future));
    }
}

/// Draws how long a call to a service takes.
pub(super) fn latency(world: &World) -> Duration {
    let micros = world.state().rng.u64(500..15_000);
    Duration::from_micros(micros)
}
