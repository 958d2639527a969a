//! What stands around a process: store, queues, outbox and bus.

use super::{
    fault::Fault,
    process::{Process, latency},
    relay::{SimulatedTable, SimulatedTransport},
    store::SimulatedStore,
    world::{Dead, World},
};
use crate::{
    Delivery, Error, Function, Idempotency, MemoryStore, Publisher, Record, Result,
    dead_letter::{DeadLetters, FailureNote},
    idempotency::{CommitStore, Store},
    outbox::Outbox,
    redelivery::Redelivery,
    source::Source,
};
use futures_util::future::BoxFuture;
use std::time::Duration;

impl Process {
    /// Returns the store that all processes share, with a network in front of it.
    pub fn store(&self) -> SimulatedStore<MemoryStore> {
        self.over(self.memory())
    }

    /// Puts the same network and faults in front of another store. It must answer without waiting
    /// for virtual time, and share its contents with that of the other processes.
    pub fn over<St: CommitStore>(&self, inner: St) -> SimulatedStore<St> {
        SimulatedStore::new(inner, self.clone())
    }

    /// Returns the queue's dead-letter queue.
    pub fn dead_letters(&self) -> SimulatedDeadLetters {
        SimulatedDeadLetters(self.clone())
    }

    /// Returns the queue's visibility timeouts.
    pub fn redelivery(&self) -> SimulatedRedelivery {
        SimulatedRedelivery(self.clone())
    }

    /// Returns the outbox of what was committed, which publishes by [`transport`](Self::transport).
    pub fn outbox(&self) -> Outbox {
        self.outbox_to(Publisher::new(self.transport()))
    }

    /// Returns the same outbox with a publisher of your own.
    pub fn outbox_to(&self, publisher: Publisher) -> Outbox {
        let table = SimulatedTable::new(self.clone());
        Outbox::over(table, publisher)
            .with_clock(self.clock())
            .dead_letters(self.dead_letters())
    }

    /// Returns a bus with a network in front of it.
    pub fn transport(&self) -> SimulatedTransport {
        SimulatedTransport::new(self.clone(), false)
    }

    /// Connects the function to the clock, the store, the dead letters and the redelivery.
    pub fn connect<So: Source>(&self, function: Function<So>) -> Function<So> {
        self.connect_to(self.store(), function)
    }

    /// Connects the function as [`connect`](Self::connect), but to a store of your own, which need
    /// not be a [`SimulatedStore`].
    pub fn connect_to<So: Source, St: Store>(
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
}

/// The dead-letter queue as a process sees it.
#[derive(Clone, Debug)]
pub struct SimulatedDeadLetters(Process);

impl DeadLetters for SimulatedDeadLetters {
    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.send(record, note))
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
            return Err(Error::transient(
                "the dead-letter queue refused the message",
            ));
        }
        {
            let now = world.now();
            let mut state = world.state();
            let line = format!(
                "process {process}: {id} PARKED, {}: {}",
                note.kind, note.message
            );
            state.note(now, line);
            super::invariants::parked(&mut state, id, note, now);
            let all = &state.messages.all;
            match all.iter().position(|message| message.id == id) {
                Some(message) => state.dead.push(Dead {
                    message,
                    note: Some(note.clone()),
                    invocation: attempt.invocation,
                }),
                None if state.refused.get(id) == Some(&true) => {
                    state.parked.insert(id.to_owned(), record.body().to_owned());
                }
                None => state.violation(
                    now,
                    format!("{id} was parked, but is neither a message of the queue nor an event that is refused for good"),
                ),
            }
        }
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::ParkAnswerLost) {
            world.note(format_args!("process {process}: but gets no answer"));
            return Err(Error::transient("the dead-letter queue's answer was lost"));
        }
        attempt.is_answered = true;
        Ok(())
    }
}

/// Records the outcome on drop, and so also when the call is given up.
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

/// The queue's visibility timeouts as a process sees them.
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
                    "process {process}: {} is to be redelivered in {delay:.1?}",
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
