//! A process of the function, and what stands around it.

use super::{Fault, SimulatedStore, world::World};
use crate::{
    Clock, DeadLetters, Delivery, Error, FailureNote, Function, Idempotency, IdempotencyKey,
    MemoryStore, Record, Redelivery, Result, Source,
};
use futures_util::future::BoxFuture;
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

    /// The store: shared by all processes, and as far away as a table is.
    pub fn store(&self) -> SimulatedStore<MemoryStore> {
        self.over(self.memory())
    }

    /// Another store, with the same faults before it. It must answer without waiting for virtual
    /// time, and share what it keeps with that of the other processes.
    pub fn over<St: crate::Store>(&self, inner: St) -> SimulatedStore<St> {
        SimulatedStore::new(inner, self.clone())
    }

    /// The queue's dead-letter queue.
    pub fn dead_letters(&self) -> SimulatedDeadLetters {
        SimulatedDeadLetters(self.clone())
    }

    /// The queue's visibility timeouts.
    pub fn redelivery(&self) -> SimulatedRedelivery {
        SimulatedRedelivery(self.clone())
    }

    /// The outbox of what was committed, which publishes by [`transport`](Self::transport).
    #[cfg(feature = "dynamodb")]
    pub fn outbox(&self) -> crate::Outbox {
        self.outbox_to(crate::Publisher::new(self.transport()))
    }

    /// The same with a publisher of your own.
    #[cfg(feature = "dynamodb")]
    pub fn outbox_to(&self, publisher: crate::Publisher) -> crate::Outbox {
        let table = super::relay::SimulatedTable::new(self.clone());
        crate::Outbox::over(table, publisher).with_clock(self.clock())
    }

    /// A bus, as it is over a network.
    #[cfg(feature = "dynamodb")]
    pub fn transport(&self) -> super::SimulatedTransport {
        super::SimulatedTransport::new(self.clone(), false)
    }

    /// Gives the function all of it: clock, store, dead letters, redelivery.
    pub fn connect<So: Source>(&self, function: Function<So>) -> Function<So> {
        self.connect_to(self.store(), function)
    }

    /// The same with a store of your own, which need not be a [`SimulatedStore`].
    pub fn connect_to<So: Source, St: crate::Store>(
        &self,
        store: St,
        function: Function<So>,
    ) -> Function<So> {
        function
            .clock(self.clock())
            .dead_letters(self.dead_letters())
            .redelivery(self.redelivery())
            .idempotent(Idempotency::new(store).clock(self.clock()))
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

/// The dead-letter queue, from a process's side.
#[derive(Clone, Debug)]
pub struct SimulatedDeadLetters(Process);

impl DeadLetters for SimulatedDeadLetters {
    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.send(record, note))
    }

    fn max_receive_count(&self) -> Option<u32> {
        Some(self.0.world.state().messages.queue.max_receive_count)
    }
}

impl SimulatedDeadLetters {
    async fn send(&self, record: &Record, note: &FailureNote) -> Result<()> {
        let (world, process) = (&self.0.world, self.0.id);
        let id = record.id();
        let mut attempt = Parking {
            world,
            invocation: world.state().current,
            message: id,
            is_answered: false,
        };
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::ParkHangs) {
            world.note(format_args!("process {process}: parking {id} hangs"));
            std::future::pending::<()>().await;
        }
        if world.meets(Fault::ParkRefused) {
            world.note(format_args!("process {process}: parking {id} is refused"));
            return Err(Error::transient("the dead-letter queue refused"));
        }
        {
            let now = world.now();
            let mut state = world.state();
            let line = format!(
                "process {process}: {id} PARKED, {}: {}",
                note.kind, note.message
            );
            state.note(now, line);
            let all = &state.messages.all;
            match all.iter().position(|message| message.id == id) {
                Some(message) => state.dead.push(super::world::Dead {
                    message,
                    note: Some(note.clone()),
                    invocation: attempt.invocation,
                }),
                None => state.violation(now, format!("{id} was parked, which no queue holds")),
            }
        }
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::ParkAnswerLost) {
            world.note(format_args!("process {process}: and learns nothing of it"));
            return Err(Error::transient("the dead-letter queue's answer was lost"));
        }
        attempt.is_answered = true;
        Ok(())
    }
}

/// Notes on drop, so also when the call is given up.
struct Parking<'a> {
    world: &'a World,
    invocation: Option<usize>,
    message: &'a str,
    is_answered: bool,
}

impl Drop for Parking<'_> {
    fn drop(&mut self) {
        if !self.is_answered
            && let Some(invocation) = self.invocation
        {
            let mut state = self.world.state();
            let failed = &mut state.invocations[invocation].park_failed;
            failed.insert(self.message.to_owned());
        }
    }
}

/// The queue's visibility timeouts, from a process's side.
#[derive(Clone, Debug)]
pub struct SimulatedRedelivery(Process);

impl Redelivery for SimulatedRedelivery {
    fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.hide(records))
    }
}

impl SimulatedRedelivery {
    async fn hide(&self, records: &[(Delivery, Duration)]) -> Result<()> {
        let (world, process) = (&self.0.world, self.0.id);
        tokio::time::sleep(latency(world)).await;
        let is_refused = world.meets(Fault::DelayRefused);
        let now = world.now();
        let mut state = world.state();
        for (delivery, delay) in records {
            if is_refused && state.rng.bool() {
                continue;
            }
            if let Some(receipt) = &delivery.receipt_handle {
                state.messages.hide(receipt, now, *delay);
                let line = format!(
                    "process {process}: {} is to come back in {delay:.1?}",
                    delivery.message_id
                );
                state.note(now, line);
            }
        }
        if is_refused {
            state.note(
                now,
                format_args!("process {process}: other delays are refused"),
            );
            return Err(Error::transient("some delays were refused"));
        }
        Ok(())
    }
}
