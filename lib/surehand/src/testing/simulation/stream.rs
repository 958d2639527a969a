//! A table's stream with its event source mapping, and the schedule of a sweep.

mod processes;
mod promises;

use super::{
    process::Process,
    relay::{SimulatedTransport, image},
    world::{FAULTS_LAST, START_MS, World},
};
use crate::{
    Function, MemoryStore, Publisher, Result,
    idempotency::memory::Waiting,
    source::{Source, StreamEvent},
};
use aws_lambda_events::streams::DynamoDbEventResponse;
use futures_util::future::{BoxFuture, join, join_all};
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    future::poll_fn,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The number of the stream's shards.
const SHARDS: usize = 2;
/// How often the sweep runs, and the least age of what it publishes.
const SWEEP: Duration = Duration::from_secs(60);
/// How many sweeps run without faults at the end, after which no event is left.
const LAST_SWEEPS: usize = 3;

/// Publishes what the run committed; returns the number of invocations.
pub(super) fn run<So>(
    world: &World,
    memory: &MemoryStore,
    timeout: Duration,
    mut build: impl FnMut(&Process) -> Function<So>,
) -> usize
where
    So: Source<Event = StreamEvent, Response = DynamoDbEventResponse>,
{
    let start = world.now();
    {
        let mut state = world.state();
        fastrand::seed(state.rng.u64(..));
        state.is_calm = false;
        state.faults_end = start + FAULTS_LAST;
        state.note(start, "the stream of the table begins");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO can be built");
    runtime.block_on(tokio::task::unconstrained(async {
        let stream = Stream::new(world, memory, timeout, start, &mut build);
        let clock = stream.clock.clone();
        clock.keep(stream.run()).await
    }))
}

/// Passes the virtual time on to the world.
#[derive(Clone)]
struct Ticks {
    world: World,
    start: Duration,
    zero: Instant,
}

impl Ticks {
    /// Runs a future, and updates the world's time before each step.
    async fn keep<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| {
            self.world.set_now(self.start + self.zero.elapsed());
            future.as_mut().poll(cx)
        })
        .await
    }
}

/// The event source mapping of the stream.
#[derive(Debug)]
struct Mapping {
    batch_size: usize,
    bisects: bool,
    most_retries: usize,
    max_age: Duration,
}

impl Mapping {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            batch_size: rng.usize(1..=10),
            bisects: rng.bool(),
            most_retries: [1, 3, 10, 1_000][rng.usize(..4)],
            max_age: Duration::from_secs([60, 600, 24 * 60 * 60][rng.usize(..3)]),
        }
    }
}

struct Stream<'a, So> {
    world: &'a World,
    memory: &'a MemoryStore,
    timeout: Duration,
    start: Duration,
    clock: Ticks,
    mapping: Mapping,
    build: RefCell<&'a mut Build<'a, So>>,
    processes: Cell<usize>,
    invocations: Cell<usize>,
    /// The sequence numbers of records that Lambda has given up.
    given_up: RefCell<BTreeSet<usize>>,
    /// Invocations that stood still for too long, and go on although Lambda no longer waits for
    /// them.
    thawing: RefCell<Vec<tokio::task::JoinHandle<()>>>,
}

/// A process that can be invoked again.
struct Warm<So> {
    process: Process,
    function: Arc<Function<So>>,
}

/// Records to deliver together, and how often they were delivered.
struct Piece {
    records: Vec<usize>,
    retries: usize,
}

/// Makes the function of a process.
type Build<'a, So> = dyn FnMut(&Process) -> Function<So> + 'a;

/// An invocation, which may be cut off in the middle.
type Run = BoxFuture<'static, Result<Vec<String>>>;

impl<'a, So> Stream<'a, So>
where
    So: Source<Event = StreamEvent, Response = DynamoDbEventResponse>,
{
    fn new(
        world: &'a World,
        memory: &'a MemoryStore,
        timeout: Duration,
        start: Duration,
        build: &'a mut Build<'a, So>,
    ) -> Self {
        let mapping = Mapping::draw(&mut world.state().rng);
        Self {
            world,
            memory,
            timeout,
            start,
            clock: Ticks {
                world: world.clone(),
                start,
                zero: Instant::now(),
            },
            mapping,
            build: RefCell::new(build),
            processes: Cell::new(started_before(world)),
            invocations: Cell::new(0),
            given_up: RefCell::default(),
            thawing: RefCell::default(),
        }
    }

    async fn run(&self) -> usize {
        self.world.note(format_args!("{:?}", self.mapping));
        let committed = self.memory.outbox();
        let shards = (0..SHARDS).map(|shard| {
            let records = committed.iter().enumerate();
            let of_shard = records.filter(|(_, it)| shard_of(it) == shard);
            let numbers = of_shard.map(|(number, _)| number).collect();
            self.shard(numbers, &committed)
        });
        let is_drained = Cell::new(false);
        let draining = async {
            join_all(shards).await;
            is_drained.set(true);
        };
        join(draining, self.sweep_until(|| is_drained.get())).await;
        for thawed in self.thawing.take() {
            // A call without an answer ends with the invocation's deadline, which is long past.
            drop(tokio::time::timeout(self.timeout, thawed).await);
        }
        self.world.state().is_calm = true;
        self.world.note("the faults are over");
        for _ in 0..LAST_SWEEPS {
            tokio::time::sleep(SWEEP).await;
            self.sweep().await;
        }
        self.check(&committed);
        self.invocations.get()
    }

    /// Delivers a shard's records in order: each batch until it is done, or given up.
    async fn shard(&self, records: Vec<usize>, committed: &[Waiting]) {
        let mut left: VecDeque<Piece> = VecDeque::new();
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let size = self.draw(|rng| rng.usize(1..=self.mapping.batch_size));
            let (records, behind) = rest.split_at(size.min(rest.len()));
            left.push_back(Piece {
                records: records.to_vec(),
                retries: 0,
            });
            rest = behind;
        }
        let mut warm = None;
        while let Some(mut piece) = left.pop_front() {
            let is_old = self.world.now() - self.start > self.mapping.max_age;
            if piece.retries > self.mapping.most_retries || is_old {
                self.world
                    .note(format_args!("Lambda gives up {:?}", piece.records));
                self.given_up.borrow_mut().extend(piece.records);
                continue;
            }
            if piece.retries > 0 {
                let pause = Duration::from_secs(1) * u32::try_from(piece.retries).unwrap_or(60);
                tokio::time::sleep(pause.min(Duration::from_secs(60))).await;
            }
            piece.retries += 1;
            match self.deliver(&piece.records, committed, &mut warm).await {
                Some(failed) => {
                    let rest = self.checkpoint(&piece.records, &failed, committed);
                    if !rest.is_empty() {
                        piece.records = rest;
                        left.push_front(piece);
                    }
                }
                None if self.mapping.bisects && piece.records.len() > 1 => {
                    let behind = piece.records.split_off(piece.records.len() / 2);
                    left.push_front(Piece {
                        records: behind,
                        retries: piece.retries,
                    });
                    left.push_front(piece);
                }
                None => left.push_front(piece),
            }
        }
    }

    /// Moves the checkpoint to the earliest record that failed, and returns the records to deliver
    /// again.
    fn checkpoint(
        &self,
        records: &[usize],
        failed: &[String],
        committed: &[Waiting],
    ) -> Vec<usize> {
        let place_of = |number: &String| {
            let place = records
                .iter()
                .position(|it| sequence_number(*it) == *number);
            if place.is_none() {
                let problem = format!("a response names {number}, but its batch was {records:?}");
                self.world.violation(problem);
            }
            place
        };
        let lowest = failed.iter().filter_map(place_of).min();
        let (passed, rest) = records.split_at(lowest.unwrap_or(records.len()));
        for number in passed {
            if !self.is_done(&committed[*number]) {
                let problem = format!(
                    "the checkpoint passes record {number}, which is neither published nor parked"
                );
                self.world.violation(problem);
            }
        }
        rest.to_vec()
    }

    /// Invokes the function; none if there is no response.
    async fn deliver(
        &self,
        records: &[usize],
        committed: &[Waiting],
        warm: &mut Option<Warm<So>>,
    ) -> Option<Vec<String>> {
        let is_cold = self.draw(|rng| rng.u8(..5) == 0);
        let current = match warm.take().filter(|_| !is_cold) {
            Some(current) => current,
            None => self.start(),
        };
        let id = current.process.id;
        self.world.note(format_args!(
            "process {id} is invoked with records {records:?}"
        ));
        let ends_at = self.world.now() + self.timeout;
        let mut context = crate::testing::context();
        context.deadline = START_MS + u64::try_from(ends_at.as_millis()).unwrap_or(u64::MAX);
        let all = records.iter();
        let all: Vec<Value> = all.map(|it| change(*it, &committed[*it])).collect();
        let function = Arc::clone(&current.function);
        let run: Run = Box::pin(async move {
            let event = serde_json::from_value(json!({ "Records": all }))?;
            let response = function.invoke(event, context).await?;
            let failures = response.batch_item_failures.into_iter();
            Ok(failures.filter_map(|it| it.item_identifier).collect())
        });
        let answer = self.run_on(&current.process, run, true).await?;
        *warm = Some(current);
        match answer {
            Ok(failed) => {
                self.world
                    .note(format_args!("process {id} answers, failed: {failed:?}"));
                Some(failed)
            }
            Err(error) => {
                self.world
                    .violation(format!("an invocation failed as a whole: {error:#}"));
                None
            }
        }
    }

    async fn sweep_until(&self, is_over: impl Fn() -> bool) {
        while !is_over() {
            tokio::time::sleep(SWEEP).await;
            self.sweep().await;
        }
    }

    async fn sweep(&self) {
        let process = self.process();
        let transport = SimulatedTransport::new(process.clone(), true);
        let outbox = process.outbox_to(Publisher::new(transport));
        let run: Run = Box::pin(async move {
            outbox.sweep(SWEEP, || false).await?;
            Ok(Vec::new())
        });
        self.world
            .note(format_args!("process {} sweeps", process.id));
        if let Some(Err(error)) = self.run_on(&process, run, false).await {
            self.world.note(format_args!("the sweep fails: {error:#}"));
        }
    }
}

/// Returns the shard of an item.
fn shard_of(waiting: &Waiting) -> usize {
    let sum: usize = waiting.key.as_str().bytes().map(usize::from).sum();
    sum % SHARDS
}

fn sequence_number(number: usize) -> String {
    format!("{:021}", number + 1)
}

/// Writes the commit as a change to its item.
fn change(number: usize, waiting: &Waiting) -> Value {
    let id = waiting.key.as_str();
    json!({
        "eventID": format!("change-{number}"),
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": {
            "ApproximateCreationDateTime": waiting.since / 1_000,
            "Keys": { "id": { "S": id } },
            "NewImage": serde_dynamo::Item::from(image(waiting)),
            "SequenceNumber": sequence_number(number),
            "StreamViewType": "NEW_IMAGE",
        },
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/idempotency/stream/1",
    })
}

/// Returns how many processes there have been.
fn started_before(world: &World) -> usize {
    let state = world.state();
    let processes = state.invocations.iter().map(|it| it.process + 1);
    processes.max().unwrap_or_default()
}
