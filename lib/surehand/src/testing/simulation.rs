//! A queue, a Lambda and their faults, in virtual time.
//!
//! A simulation runs a real [`Function`] the way SQS and Lambda do: messages are delivered in
//! batches to processes, come back when they were not acknowledged, and are moved to the
//! dead-letter queue in the end. A seed decides what happens in which order and what goes wrong:
//! processes die at any point where they wait, or stand still for longer than their leases; the
//! store does what it was asked and its answer is lost; clocks differ; see [`Fault`]. Nothing takes
//! real time, and the same seed makes the same run.
//!
//! ```
//! use std::time::Duration;
//! use serde::{Deserialize, Serialize};
//! use surehand::{Envelope, Event, Function, IdempotencyKey, Sqs, State};
//! use surehand::testing::simulation::{self, Faults, Process, Queue};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(source = "shop.orders", detail_type = "OrderPlaced", partition_key = "{customer}")]
//! struct OrderPlaced { customer: String }
//!
//! async fn notify(_: Envelope<OrderPlaced>, key: IdempotencyKey, State(process): State<Process>) -> surehand::Result<()> {
//!     process.work(Duration::from_secs(2)).await;
//!     process.effect(&key);
//!     Ok(())
//! }
//!
//! simulation::check(0..100, |simulation| {
//!     let report = simulation
//!         .queue(Queue::fifo("orders.fifo").max_receive_count(5))
//!         .faults(Faults::all())
//!         .send(&OrderPlaced { customer: "ada".into() })
//!         .send(&OrderPlaced { customer: "ada".into() })
//!         .send(&OrderPlaced { customer: "bob".into() })
//!         .run(|process| process.connect(Function::new(Sqs, notify, process.clone())));
//!     assert!(["e-1", "e-2", "e-3"].iter().all(|id| report.is_done(id)));
//!     report
//! });
//! ```
//!
//! A run that goes wrong is printed with its seed and everything that happened in it. With the seed
//! in the environment variable `SUREHAND_SEED`, [`check`] runs it alone.
//!
//! # What is checked in every run
//!
//! While it runs:
//!
//! 1. A response names messages of its batch alone, each once, and is given before Lambda ends the
//!    invocation. (Not if the process stood still, or its own clock says that there is time left.)
//! 2. What a response leaves out is done, or the dead-letter queue has it, at that moment.
//! 3. After a record that must come back nothing of its group (on a standard queue: of its partition
//!    key) is handled in the batch; nor after one that was parked, with
//!    [`OnPark::Halt`](crate::OnPark::Halt).
//! 4. A key has one owner: it is not taken while it is completed or while another's lease lasts.
//!    A fenced owner changes nothing.
//! 5. Every attempt has an owner of its own, and what is sent again in its name is the same to the
//!    byte.
//! 6. No record is parked for what its handler did not do: its attempts are used up, or its failure is final.
//!    None is parked because it was skipped, held, or met a store that did not answer.
//! 7. The redrive policy moves a message, without a reason, only if its last invocation died, stood
//!    still, or got no answer from the store or the dead-letter queue.
//!
//! When the queue is empty:
//!
//! 8. Nothing is lost: every message is done or dead.
//! 9. Every dead letter that was parked says why. What was malformed or rejected had no effect.
//! 10. In a FIFO queue's group, first effects come in the order of their messages. What died has left
//!     its place. In a batch, effects of one group or partition key come in its order.
//!
//! Then nothing fails any more, all leases have had their time, and all dead letters are put back but
//! those that were malformed, rejected, or had a used key. In the end:
//!
//! 11. All of these are done.
//! 12. What a transaction commits happened once. An effect outside the store happened once for each
//!     completed key; twice only if its process died or stood still between the effect and its
//!     completion, if the completion itself was lost, or if the second had stood still and outlived
//!     its lease. Under [`OnUnknown::Park`](crate::OnUnknown::Park) no such fault is an excuse: it
//!     happened once, and once more at most for each of its messages that was put back.
//!
//! That writes and events of one commit are both there or both not is for the test to check, which
//! knows how many there are to be: [`Report::events_caused_by`], and
//! [`MemoryStore::writes`](crate::MemoryStore::writes).
//!
//! [`Report::relay`] goes on with the table's stream, which delivers what was committed to the
//! function that publishes it, under the same faults, and with a sweep. It checks that
//!
//! 13. what Lambda's checkpoint passes is published at that moment, and responses name records of
//!     their batch alone, and are given in time;
//! 14. of one shard and partition key, events are first published in the order of their commits,
//!     unless the sweep was first, or Lambda had given a record up;
//! 15. in the end what was committed is published, each time as it was committed, and nothing else
//!     is; nothing is left in the outbox.
//!
//! The function keeps the default idempotency key and scope: by them effects are counted.

mod driver;
mod fault;
mod invariants;
mod process;
mod queue;
mod relay;
mod report;
mod store;
mod stream;
mod surroundings;
mod world;

pub use fault::{Fault, Faults};
pub use process::Process;
pub use queue::Queue;
pub use relay::SimulatedTransport;
pub use report::{MessageReport, Report};
pub use store::SimulatedStore;
pub use surroundings::{SimulatedDeadLetters, SimulatedRedelivery};

use crate::{
    Event, Function, IdempotencyKey, MemoryStore,
    envelope::Outgoing,
    source::{QueueEvent, Source},
};
use aws_lambda_events::sqs::SqsBatchResponse;
use driver::Driver;
use fault::Rates;
use queue::{Message, Messages};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use world::{FAULTS_LAST, FUNCTION, START_MS, State, World};

/// One run that has not begun yet.
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    queue: Queue,
    faults: Faults,
    timeout: Duration,
    messages: Vec<Sent>,
    events: usize,
    /// How much later than those before it the next message is sent.
    pause: Duration,
}

/// A message that is sent to the queue.
#[derive(Clone, Debug)]
struct Sent {
    pause: Duration,
    event_id: Option<String>,
    key: Option<IdempotencyKey>,
    body: String,
    group: String,
    partition: Option<String>,
}

impl Simulation {
    /// Makes a run of a standard queue without faults. The function has 30 seconds.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            queue: Queue::standard("queue"),
            faults: Faults::none(),
            timeout: Duration::from_secs(30),
            messages: Vec::new(),
            events: 0,
            pause: Duration::ZERO,
        }
    }

    /// Returns the run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sets the queue.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// Sets which faults can occur.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets the function's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends an event; the id of the n-th is `e-n`. All are sent within a few seconds.
    ///
    /// # Panics
    /// If the event does not serialize.
    pub fn send<E: Event>(mut self, event: &E) -> Self {
        self.events += 1;
        let id = format!("e-{}", self.events);
        self.send_as(id, event)
    }

    /// Sends all that is sent afterwards so much later.
    pub fn pause(mut self, time: Duration) -> Self {
        self.pause += time;
        self
    }

    /// Sends an event with the id of another one: its producer sends it again, or reuses the id.
    ///
    /// # Panics
    /// If the event does not serialize.
    pub fn send_as<E: Event>(mut self, event_id: impl Into<String>, event: &E) -> Self {
        let mut outgoing = Outgoing::new(event).expect("the event serializes");
        let event_id = event_id.into();
        let metadata = outgoing.metadata_mut();
        metadata.id = event_id.clone();
        metadata.time = Some(std::time::UNIX_EPOCH + Duration::from_millis(START_MS));
        let partition = metadata.partition_key.clone();
        self.messages.push(Sent {
            pause: std::mem::take(&mut self.pause),
            event_id: Some(event_id),
            key: Some(IdempotencyKey::of_event(FUNCTION, outgoing.metadata())),
            body: outgoing.body(),
            group: partition.clone().unwrap_or_else(|| "all".into()),
            partition,
        });
        self
    }

    /// Sends a body that is not an event.
    pub fn send_body(mut self, body: impl Into<String>, group: impl Into<String>) -> Self {
        self.messages.push(Sent {
            pause: std::mem::take(&mut self.pause),
            event_id: None,
            key: None,
            body: body.into(),
            group: group.into(),
            partition: None,
        });
        self
    }

    /// Runs the function that `build` makes, once for each process, until all messages are acked or
    /// dead. Then it redrives the dead letters without faults, until they are done.
    ///
    /// # Panics
    /// If no runtime can be built.
    pub fn run<So>(self, mut build: impl FnMut(&Process) -> Function<So>) -> Report
    where
        So: Source<Event = QueueEvent, Response = SqsBatchResponse>,
    {
        // The library draws its jitter from the thread's own generator.
        fastrand::seed(self.seed);
        let world = self.world();
        let memory = MemoryStore::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO can be built");
        // The driver polls many tasks in one of its own polls, which must not use up its budget.
        runtime.block_on(tokio::task::unconstrained(async {
            let mut driver = Driver::new(world.clone(), memory.clone(), self.timeout, &mut build);
            driver.run_until_quiet().await;
            put_back(&world, self.timeout * 2);
            driver.restart();
            driver.run_until_quiet().await;
        }));
        let now = world.now();
        let mut state = world.state();
        invariants::end(&mut state, now);
        let report = Report::new(self.seed, &state, memory, now);
        drop(state);
        report.in_world(world, self.timeout)
    }

    fn world(&self) -> World {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let rates = Rates::draw(&self.faults, &mut rng);
        let mut sent_at = Duration::ZERO;
        let mut all = Vec::new();
        let mut events = BTreeMap::new();
        for (number, sent) in self.messages.iter().enumerate() {
            sent_at += sent.pause + Duration::from_millis(rng.u64(0..1_000));
            if let (Some(key), Some(event_id)) = (&sent.key, &sent.event_id) {
                events.insert(key.clone(), event_id.clone());
            }
            all.push(Message {
                id: format!("m-{}", number + 1),
                event_id: sent.event_id.clone(),
                key: sent.key.clone(),
                body: sent.body.clone(),
                group: sent.group.clone(),
                partition: sent.partition.clone(),
                sent_at,
                visible_at: Duration::ZERO,
                receives: 0,
                is_gone: false,
                was_acked: false,
                last_invocation: None,
                is_redriven: false,
            });
        }
        let world = World::new(State {
            rng,
            is_calm: false,
            faults_end: FAULTS_LAST,
            met: BTreeMap::new(),
            trace: Vec::new(),
            violations: Vec::new(),
            messages: Messages {
                visibility: self.queue.visibility.unwrap_or(self.timeout * 6),
                queue: self.queue.clone(),
                all,
            },
            on_park: crate::OnPark::default(),
            parks_unknown: false,
            max_attempts: 1,
            begun: BTreeMap::new(),
            dying: BTreeSet::new(),
            dead: Vec::new(),
            invocations: Vec::new(),
            current: None,
            background: Vec::new(),
            keys: BTreeMap::new(),
            events,
            owners: BTreeMap::new(),
            effects: Vec::new(),
            published: Vec::new(),
            refused: BTreeMap::new(),
            parked: BTreeMap::new(),
            rates,
        });
        let faults = world.state().rates.describe();
        world.note(format_args!("seed {}: {faults}", self.seed));
        world
    }
}

/// Ends the faults and, once all leases must have ended, redrives the dead letters that may succeed
/// now.
fn put_back(world: &World, pause: Duration) {
    let now = world.now();
    let mut guard = world.state();
    let state = &mut *guard;
    invariants::quiet(state, now);
    state.is_calm = true;
    state.begun.clear();
    state.note(
        now,
        "the faults are over, and the dead letters are redriven",
    );
    let mut places: Vec<usize> = Vec::new();
    for dead in &state.dead {
        let is_final = dead
            .note
            .as_ref()
            .is_some_and(|n| invariants::is_final(&n.kind));
        if !is_final && !places.contains(&dead.message) {
            places.push(dead.message);
        }
    }
    places.sort_unstable();
    for place in places {
        let old = &state.messages.all[place];
        let redriven = Message {
            id: format!("m-{}", state.messages.all.len() + 1),
            sent_at: now + pause,
            visible_at: Duration::ZERO,
            receives: 0,
            is_gone: false,
            was_acked: false,
            last_invocation: None,
            is_redriven: true,
            ..old.clone()
        };
        let line = format!("{} is redriven as {}", old.id, redriven.id);
        state.messages.all.push(redriven);
        state.note(now, line);
    }
}

/// The result of many runs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// How many runs there were.
    pub runs: u64,
    /// How many invocations there were.
    pub invocations: usize,
    /// How many messages there were, including redriven ones.
    pub messages: usize,
    /// How many dead letters there were.
    pub dead: usize,
    /// How often each fault occurred.
    pub faults: BTreeMap<Fault, usize>,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.invocations += report.invocations();
        self.messages += report.messages().len();
        self.dead += report
            .messages()
            .iter()
            .map(|m| m.dead.len())
            .sum::<usize>();
        for (fault, count) in report.faults() {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

/// Runs each seed, on all cores, and panics at the first run that has violations.
///
/// If the environment variable `SUREHAND_SEED` is set, only that seed is run, and its trace is
/// printed.
///
/// # Panics
/// If a run has violations, with the run's report.
pub fn check(seeds: Range<u64>, run: impl Fn(Simulation) -> Report + Sync) -> Summary {
    if let Some(seed) = std::env::var("SUREHAND_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        let report = run(Simulation::new(seed));
        println!("{report}");
        report.assert();
        let mut summary = Summary::default();
        summary.add(&report);
        return summary;
    }
    let (summary, wrong) = search(seeds, run);
    if let Some(report) = wrong {
        report.assert();
    }
    summary
}

/// Runs each seed, on all cores, until a run has violations, and returns the report of the lowest
/// such seed.
///
/// # Panics
/// If a run panics.
pub fn search(
    seeds: Range<u64>,
    run: impl Fn(Simulation) -> Report + Sync,
) -> (Summary, Option<Report>) {
    let next = AtomicU64::new(seeds.start);
    let first_wrong = AtomicU64::new(seeds.end);
    let found = Mutex::new((Summary::default(), None::<Report>));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            // Seeds above one that went wrong need not be run; seeds below it must be.
            if seed >= first_wrong.load(Ordering::Relaxed) {
                return;
            }
            let report = run(Simulation::new(seed));
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.0.add(&report);
            if !report.violations().is_empty() {
                first_wrong.fetch_min(seed, Ordering::Relaxed);
                if found.1.as_ref().is_none_or(|other| other.seed() > seed) {
                    found.1 = Some(report);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
