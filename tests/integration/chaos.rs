//! A queue, two processes and a store on bad days, many times over: what must hold whatever happens.
//!
//! Every run is made from its seed. `SEED=17 cargo test -p surehand-tests chaos` runs one again.

use super::{
    check::{context_at, failures, respond, virtual_clock},
    remote_store::{Fault, RemoteStore},
};
use fastrand::Rng;
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use surehand::{
    Clock, Delivery, Envelope, Error, Function, Idempotency, IdempotencyKey, MemoryStore, OnPark,
    Record, Result, Sqs, State,
    dead_letter::{DeadLetters, FailureNote},
    redelivery::Redelivery,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

const SEEDS: u64 = 400;
const MAX_ATTEMPTS: u32 = 6;
/// SQS's own limit.
const MAX_RECEIVE_COUNT: u32 = 60;
/// From here on only the handlers fail.
const STORMY_ROUNDS: u32 = 25;
const MAX_ROUNDS: u32 = 400;

#[test]
fn chaos() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let _said = SaidOnPanic(seed);
        // The jitter of the backoff is drawn here.
        fastrand::seed(seed);
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(run(seed));
    }
}

struct SaidOnPanic(u64);

impl Drop for SaidOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was SEED={}", self.0);
        }
    }
}

async fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let clock = virtual_clock();
    let is_fifo = rng.bool();
    let on_park = if rng.bool() {
        OnPark::Proceed
    } else {
        OnPark::Halt
    };
    let world = World::new(rng.fork(), is_fifo);
    let store = RemoteStore::new(MemoryStore::new(), Duration::from_millis(rng.u64(0..200)))
        .faults({
            let world = world.clone();
            move |_| world.lock().fault()
        });
    let processes: Vec<Process> = (0..2)
        .map(|_| {
            // Clocks differ, by less than what leases allow for.
            let ahead = Duration::from_millis(rng.u64(0..900));
            let clock = {
                let clock = clock.clone();
                Clock::from_fn(move || clock.now() + ahead)
            };
            Process::new(&world, &store, clock, rng.usize(1..12), on_park)
        })
        .collect();

    let mut round = 0;
    while world.lock().messages.iter().any(|m| m.gone.is_none()) {
        round += 1;
        assert!(round < MAX_ROUNDS, "the queue never runs empty");
        world.lock().is_stormy = round < STORMY_ROUNDS;
        let now = Instant::now();
        let batches: Vec<_> = (0..rng.usize(1..4))
            .map(|_| world.lock().receive(now))
            .filter(|batch| !batch.is_empty())
            .collect();
        if batches.is_empty() {
            let next = world.lock().next_visible(now);
            sleep_until(next.unwrap_or(now)).await;
            continue;
        }
        let invocations = batches.into_iter().map(|batch| {
            let process = &processes[rng.usize(0..processes.len())];
            let seconds = rng.u64(2..30);
            // The process is killed, at any time.
            let killed = (world.lock().is_stormy && rng.u8(0..20) == 0)
                .then(|| Duration::from_millis(rng.u64(0..seconds * 1_000)));
            process.invoke(&world, batch, Duration::from_secs(seconds), killed)
        });
        join_all(invocations).await;
    }
    world.lock().check_end(&store.unwritten());
}

#[derive(Clone)]
struct World(Arc<Mutex<Facts>>);

struct Facts {
    rng: Rng,
    is_fifo: bool,
    is_stormy: bool,
    /// How often a fault outside the handlers occurred.
    faults: usize,
    messages: Vec<Message>,
    temper: Vec<Temper>,
    /// Events whose handlers are running.
    running: HashSet<usize>,
    /// By event: how often it took effect, and its key.
    effects: HashMap<usize, (usize, IdempotencyKey)>,
    /// The events of a group, in the order in which they took effect.
    order: HashMap<usize, Vec<usize>>,
    parked: HashMap<String, String>,
    /// Requests and the messages whose handlers they began.
    begun: HashSet<(String, String)>,
    /// A violation that a handler saw; its own panic would be caught.
    broken: Option<String>,
}

/// A message in the queue.
#[derive(Clone)]
struct Message {
    id: String,
    event: usize,
    receives: u32,
    visible_at: Instant,
    gone: Option<Gone>,
    was_in_trouble: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Acked,
    /// Moved by the queue's redrive policy, without a reason.
    Moved,
}

/// How an event's handler behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Temper {
    Good,
    Moody,
    AlwaysFails,
    Rejects,
}

const GROUPS: usize = 4;

impl World {
    fn new(mut rng: Rng, is_fifo: bool) -> Self {
        let now = Instant::now();
        let events = rng.usize(1..30);
        let mut messages: Vec<Message> = Vec::new();
        for event in 0..events {
            // A standard queue may have an event twice.
            let copies = if !is_fifo && rng.u8(0..5) == 0 { 2 } else { 1 };
            for copy in 0..copies {
                messages.push(Message {
                    id: format!("m-{event}-{copy}"),
                    event,
                    receives: 0,
                    visible_at: now,
                    gone: None,
                    was_in_trouble: false,
                });
            }
        }
        let temper = (0..events)
            .map(|_| match rng.u8(0..10) {
                0 => Temper::AlwaysFails,
                1 => Temper::Rejects,
                2..=5 => Temper::Moody,
                _ => Temper::Good,
            })
            .collect();
        Self(Arc::new(Mutex::new(Facts {
            rng,
            is_fifo,
            is_stormy: true,
            faults: 0,
            messages,
            temper,
            running: HashSet::new(),
            effects: HashMap::new(),
            order: HashMap::new(),
            parked: HashMap::new(),
            begun: HashSet::new(),
            broken: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap()
    }
}

impl Facts {
    fn fault(&mut self) -> Option<Fault> {
        if !self.is_stormy {
            return None;
        }
        let fault = match self.rng.u8(0..40) {
            0 | 1 => Fault::Refused,
            2 | 3 => Fault::AnswerLost,
            4 => Fault::Hangs,
            _ => return None,
        };
        self.faults += 1;
        Some(fault)
    }

    /// Returns messages as ReceiveMessage does: up to ten, and none of a FIFO group that has an
    /// earlier one in flight.
    fn receive(&mut self, now: Instant) -> Vec<Message> {
        let mut order: Vec<usize> = (0..self.messages.len()).collect();
        if !self.is_fifo {
            self.rng.shuffle(&mut order);
        }
        let is_fifo = self.is_fifo;
        let mut blocked = HashSet::new();
        let mut batch = Vec::new();
        let most = self.rng.usize(1..=10);
        for index in order {
            let message = &mut self.messages[index];
            if message.gone.is_some() || batch.len() == most {
                continue;
            }
            let group = message.event % GROUPS;
            if message.visible_at > now || blocked.contains(&group) {
                if is_fifo {
                    blocked.insert(group);
                }
                continue;
            }
            if message.receives >= MAX_RECEIVE_COUNT {
                message.gone = Some(Gone::Moved);
                assert!(
                    message.was_in_trouble,
                    "{} left the queue without a reason, although it could have been parked",
                    message.id
                );
                continue;
            }
            message.receives += 1;
            message.visible_at = now + Duration::from_secs(180);
            batch.push(message.clone());
        }
        batch
    }

    /// When a message that cannot be received now becomes visible.
    fn next_visible(&self, now: Instant) -> Option<Instant> {
        let waiting = self.messages.iter().filter(|m| m.gone.is_none());
        waiting.map(|m| m.visible_at).filter(|at| *at > now).min()
    }

    fn message(&mut self, id: &str) -> &mut Message {
        self.messages.iter_mut().find(|m| m.id == id).unwrap()
    }

    fn check_end(&self, unwritten: &[IdempotencyKey]) {
        assert_eq!(self.broken, None);
        for message in &self.messages {
            let temper = self.temper[message.event];
            let effects = self.effects.get(&message.event);
            match message.gone {
                Some(Gone::Acked) => assert!(
                    effects.is_some() || self.parked.contains_key(&message.id),
                    "{} was acked without effect or reason",
                    message.id
                ),
                Some(Gone::Moved) => {}
                None => panic!("{} is still there", message.id),
            }
            if temper == Temper::Rejects {
                assert!(effects.is_none());
            }
        }
        for (event, (count, key)) in &self.effects {
            // The price of effects outside the store: one more for each completion that could not
            // be written.
            let excuses = unwritten.iter().filter(|k| *k == key).count();
            assert!(
                *count <= 1 + excuses,
                "event {event} took effect {count} times, with {excuses} lost completions"
            );
        }
        for (group, events) in &self.order {
            assert!(
                events.is_sorted(),
                "group {group} took effect as {events:?}"
            );
        }
    }
}

/// How long a park takes.
const PARKING: Duration = Duration::from_millis(10);

struct Process {
    function: Function<Sqs>,
    clock: Clock,
    /// How long a call to the store takes.
    latency: Duration,
}

impl Process {
    fn new(
        world: &World,
        store: &RemoteStore,
        clock: Clock,
        concurrency: usize,
        on_park: OnPark,
    ) -> Self {
        let store = store.with_inner(|inner| inner.with_clock(clock.clone()));
        let latency = store.latency();
        let function = Function::new(Sqs, handle, world.clone())
            .clock(clock.clone())
            .concurrency(concurrency)
            .on_park(on_park)
            .max_attempts(MAX_ATTEMPTS)
            .dead_letters(world.clone())
            .redelivery(world.clone())
            .idempotent(Idempotency::new(store).clock(clock.clone()));
        Self {
            function,
            clock,
            latency,
        }
    }

    async fn invoke(
        &self,
        world: &World,
        batch: Vec<Message>,
        time: Duration,
        killed: Option<Duration>,
    ) {
        let (start, faults) = (Instant::now(), world.lock().faults);
        let mut context = context_at(&self.clock, time);
        context.request_id = format!("{start:?}-{}", batch[0].id);
        let request = context.request_id.clone();
        let event = lambda_event(&batch, world.lock().is_fifo).to_string();
        let response = respond(&self.function, &event, context);
        let response = match killed {
            Some(after) => timeout(after, response).await.ok(),
            None => Some(response.await),
        };
        let took = start.elapsed();
        assert!(took < time, "an invocation of {time:?} took {took:?}");

        let mut world = world.lock();
        // Handlers are stopped a margin before the end, and the last call is half of it later. What is
        // under way then is given up; but only if its calls take longer than that: the rest of a claim,
        // a release, and the park of each record.
        let left = (time / 20).max(Duration::from_millis(500)) / 2;
        let parks = PARKING * u32::try_from(batch.len()).unwrap();
        let is_given_up = took + left >= time && 2 * self.latency + parks > left;
        let in_trouble = response.is_none() || world.faults > faults || is_given_up;
        for message in &batch {
            world.message(&message.id).was_in_trouble = in_trouble;
        }
        let Some(response) = response else { return };
        let failed = failures(&response.unwrap());
        for id in &failed {
            assert!(
                batch.iter().any(|m| m.id == *id),
                "{id} was not in the batch"
            );
        }
        check_lanes(&world, &batch, &failed, &request);
        for message in &batch {
            if !failed.contains(&message.id) {
                let is_done = world.effects.contains_key(&message.event)
                    || world.parked.contains_key(&message.id);
                assert!(is_done, "{} was acked without effect or reason", message.id);
                world.message(&message.id).gone = Some(Gone::Acked);
            }
        }
    }
}

/// Checks that after a returned record no record of its lane ran in this invocation.
fn check_lanes(world: &Facts, batch: &[Message], failed: &[String], request: &str) {
    let mut returned = HashMap::new();
    for message in batch {
        let lane = message.event % GROUPS;
        let began = world
            .begun
            .contains(&(request.to_owned(), message.id.clone()));
        if let Some(first) = returned.get(&lane) {
            assert!(!began, "{} ran after {first} was returned", message.id);
        }
        if failed.contains(&message.id) {
            returned.entry(lane).or_insert(message.id.clone());
        }
    }
}

fn lambda_event(batch: &[Message], is_fifo: bool) -> Value {
    let records = batch.iter().map(|message| {
        let group = format!("group-{}", message.event % GROUPS);
        let metadata = json!({"id": format!("e-{}", message.event), "partitionkey": group});
        let mut record = json!({
            "messageId": message.id,
            "receiptHandle": message.id,
            "body": json!({"metadata": metadata, "data": message.event}).to_string(),
            "attributes": {
                "ApproximateReceiveCount": message.receives.to_string(),
                "SentTimestamp": "0",
            },
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:chaos",
        });
        if is_fifo {
            record["eventSourceARN"] = "arn:aws:sqs:eu-central-1:123456789012:chaos.fifo".into();
            record["attributes"]["MessageGroupId"] = group.into();
        }
        record
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

/// While it lives, its event's handler runs.
struct Running(World, usize);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running.remove(&self.1);
    }
}

async fn handle(
    event: Envelope<Value>,
    delivery: Delivery,
    context: lambda_runtime::Context,
    key: IdempotencyKey,
    State(world): State<World>,
) -> Result<()> {
    let event = usize::try_from(event.data.as_u64().unwrap()).unwrap();
    let _running = Running(world.clone(), event);
    let (temper, mood, pause) = {
        let mut world = world.lock();
        if !world.running.insert(event) {
            world.broken = Some(format!("event {event} is handled twice at the same time"));
        }
        let first = (context.request_id, delivery.message_id);
        world.begun.insert(first);
        let (mood, pause) = (world.rng.u8(0..8), world.rng.u64(0..1_500));
        (world.temper[event], mood, Duration::from_millis(pause))
    };
    match (temper, mood) {
        (Temper::AlwaysFails, _) => Err(Error::transient("never works")),
        (Temper::Rejects, _) => Err(Error::rejected("no")),
        (Temper::Moody, 0) => Err(Error::transient("not now")),
        (Temper::Moody, 1) => Err(Error::retry_after(pause * 20, "later")),
        // Without the hook that would print it.
        (Temper::Moody, 2) => std::panic::resume_unwind(Box::new("a bug")),
        (Temper::Moody, 3) => std::future::pending().await,
        _ => {
            sleep(pause).await;
            let mut world = world.lock();
            world.effects.entry(event).or_insert((0, key)).0 += 1;
            if world.is_fifo {
                world.order.entry(event % GROUPS).or_default().push(event);
            }
            Ok(())
        }
    }
}

impl DeadLetters for World {
    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let fault = self.lock().fault();
            sleep(PARKING).await;
            match fault {
                Some(Fault::Refused) => return Err(Error::transient("refused")),
                Some(Fault::Hangs) => return std::future::pending().await,
                Some(Fault::AnswerLost) | None => {}
            }
            assert!(!note.message.is_empty());
            let mut world = self.lock();
            world
                .parked
                .insert(record.id().to_owned(), note.kind.clone());
            match fault {
                Some(_) => Err(Error::transient("the answer was lost")),
                None => Ok(()),
            }
        })
    }
}

impl Redelivery for World {
    fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let fault = self.lock().fault();
            if fault == Some(Fault::Hangs) {
                return std::future::pending().await;
            }
            let mut world = self.lock();
            for (delivery, delay) in records {
                // SQS counts in whole seconds.
                let seconds = delay.as_secs_f64().ceil();
                world.message(&delivery.message_id).visible_at =
                    Instant::now() + Duration::from_secs_f64(seconds);
            }
            Ok(())
        })
    }
}
