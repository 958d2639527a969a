//! Processes that die, and calls that fail, anywhere.

use super::world::{DEAD, DEAD_FIFO, Mutation, SOURCE, SOURCE_FIFO, World};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use surehand_redrive::{
    Action, Apply, ApplyOptions, Destination, Entry, Letter, Plan, Progress, Report, edited,
};
use tokio::time::timeout;

const RUNS: u64 = 600;

/// A run, and its expected results.
struct Scenario {
    fifo: bool,
    letters: Vec<Letter>,
    plan: Plan,
    sent: BTreeSet<String>,
    left: BTreeSet<String>,
}

impl Scenario {
    fn new(rng: &mut fastrand::Rng, fifo: bool) -> Self {
        let mut letters = Vec::new();
        for index in 0..rng.usize(1..25) {
            let body = format!(r#"{{"metadata":{{"id":"e-{index}"}},"data":{{"n":{index}}}}}"#);
            let mut letter = Letter::new(format!("m-{index}"), body);
            letter.deduplication_id = Some(format!("own-{index}"));
            letter.group = fifo.then(|| format!("g-{}", rng.u8(..4)));
            letters.push(letter);
        }
        let queue = if fifo { DEAD_FIFO } else { DEAD };
        let source = if fifo { SOURCE_FIFO } else { SOURCE };
        let mut plan = Plan::new(queue).to(Destination::Queue(source.into()));
        let (mut sent, mut left, mut halted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for letter in &letters {
            let action = match rng.u8(..10) {
                0 => Action::Hold,
                1 => Action::Drop,
                2 => {
                    let body = edited(letter, &letter.body).unwrap();
                    Action::Edit { body }
                }
                _ => Action::Redrive,
            };
            plan.add(letter, action.clone());
            let group = letter.group.clone();
            let is_halted = group.as_ref().is_some_and(|group| halted.contains(group));
            if action == Action::Hold || is_halted {
                left.insert(letter.id.clone());
                halted.extend(group);
            } else if action != Action::Drop {
                sent.insert(letter.id.clone());
            }
        }
        Self {
            fifo,
            letters,
            plan,
            sent,
            left,
        }
    }

    fn world(&self, seed: u64) -> World {
        let world = World::new(seed, self.fifo, self.letters.clone());
        for letter in &self.letters {
            let id = letter.deduplication_id.as_ref().unwrap();
            world.state().remember(id);
        }
        world
    }

    /// One process; it dies after `life`.
    async fn process(&self, world: &World, life: Duration) -> Option<Report> {
        let mut journal = world.clone();
        let mut ledger = world.ledger();
        let mut options = ApplyOptions::default();
        options.wave = 7;
        let apply = Apply::new(world, world, &self.plan).options(options);
        let mut progress = |_: &_| {};
        let run = apply.run(&mut journal, &mut ledger, &mut progress);
        timeout(life, run).await.ok()?.ok()
    }

    /// Processes without faults, until there is nothing more to do.
    async fn finish(&self, world: &World) {
        world.heal();
        for _ in 0..4 {
            let report = self.process(world, Duration::MAX).await.unwrap();
            assert!(report.failed.is_empty(), "{report:?}");
            assert_eq!(report.stopped, None);
            assert_eq!(report.not_deleted, 0, "{report:?}");
        }
    }

    fn check(&self, world: &World) {
        let delivered = world.delivered_ids();
        let delivered: BTreeSet<_> = delivered.into_keys().collect();
        assert_eq!(delivered, self.sent);
        assert_eq!(world.left(), self.left);
        let ledger = world.ledger();
        for letter in &self.letters {
            let end = (!self.left.contains(&letter.id)).then_some(Progress::Done);
            assert_eq!(ledger.progress(&letter.id), end, "{}", letter.id);
        }
        let state = world.state();
        let mut bodies = BTreeMap::new();
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for parcel in &state.delivered {
            // An idempotent consumer acts on the first of equal copies.
            let first = bodies.insert(&parcel.letter_id, &parcel.body);
            assert!(first.is_none_or(|body| *body == parcel.body));
            if let Some(group) = parcel.group.as_deref().filter(|_| first.is_none()) {
                let index: usize = parcel.letter_id[2..].parse().unwrap();
                let before = last.insert(group, index);
                assert!(
                    before.is_none_or(|before| before < index),
                    "{group} is out of order"
                );
            }
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// How many processes died, and how many copies were sent.
pub(crate) fn run(seed: u64, mutation: Option<Mutation>) -> (u32, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let fifo = rng.bool();
    let scenario = Scenario::new(&mut rng, fifo);
    block_on(async {
        let rate = [0.0, 0.05, 0.3][rng.usize(..3)];
        let world = scenario.world(seed).with_faults(rate).mutated(mutation);
        let mut deaths = 0;
        for _ in 0..rng.u8(1..8) {
            let longest = if rng.bool() { 600 } else { 60_000 };
            let life = Duration::from_millis(rng.u64(1..longest));
            let report = scenario.process(&world, life).await;
            deaths += u32::from(report.is_none());
            // Messages that it held usually become visible again.
            tokio::time::sleep(Duration::from_secs(rng.u64(..200))).await;
        }
        scenario.finish(&world).await;
        scenario.check(&world);
        let copies = world.state().delivered.len() - scenario.sent.len();
        (deaths, copies)
    })
}

#[test]
fn a_redrive_that_dies_anywhere_loses_nothing() {
    let (mut deaths, mut copies) = (0, 0);
    for seed in 0..RUNS {
        let run = std::panic::catch_unwind(|| run(seed, None));
        let (died, sent_again) = run.unwrap_or_else(|_| panic!("seed {seed}"));
        deaths += died;
        copies += sent_again;
    }
    println!("{RUNS} runs, {deaths} processes died, {copies} copies were sent");
    assert!(
        deaths > 500 && copies > 20,
        "{deaths} deaths, {copies} copies"
    );
}

/// The process dies after every millisecond that a run takes: before and after each call's effect,
/// and between any two lines of the journal.
#[test]
fn a_redrive_can_die_at_each_of_its_steps() {
    for fifo in [false, true] {
        let scenario = Scenario::new(&mut fastrand::Rng::with_seed(7), fifo);
        for life in 0..400 {
            block_on(async {
                let world = scenario.world(life);
                scenario.process(&world, Duration::from_millis(life)).await;
                scenario.finish(&world).await;
                scenario.check(&world);
            });
        }
    }
}

/// Each call fails as a whole without effect, as a whole with its effect, in single entries, and
/// too late for the visibility timeout.
#[test]
fn each_call_may_fail_in_each_way() {
    for fifo in [false, true] {
        let scenario = Scenario::new(&mut fastrand::Rng::with_seed(3), fifo);
        let calls = block_on(async {
            let world = scenario.world(0);
            scenario.finish(&world).await;
            scenario.check(&world);
            world.state().calls
        });
        for (call, how) in (0..calls.min(40)).flat_map(|call| (0..4).map(move |how| (call, how))) {
            block_on(async {
                let world = scenario.world(call).failing_once(call, how);
                scenario.process(&world, Duration::MAX).await;
                scenario.finish(&world).await;
                scenario.check(&world);
            });
        }
    }
}

/// A process dies after a deletion, before it has written the line about it.
#[test]
fn what_is_gone_is_finished() {
    let mut finished = 0;
    for (seed, fifo) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let scenario = Scenario::new(&mut fastrand::Rng::with_seed(seed), fifo);
        block_on(async {
            let world = scenario.world(0);
            scenario.process(&world, Duration::MAX).await.unwrap();
            let is_open = |line: &String| {
                let entry = serde_json::from_str(line).unwrap();
                !matches!(entry, Entry::Done { .. })
            };
            let mut journal = std::mem::take(&mut world.state().journal);
            let lines = journal.len();
            journal.retain(is_open);
            let gone = (lines - journal.len()) as u64;
            world.state().journal = journal;
            let report = scenario.process(&world, Duration::MAX).await.unwrap();
            assert_eq!((report.finished, report.not_deleted), (gone, 0));
            finished += gone;
            assert_eq!((report.redriven, report.dropped), (0, 0), "{report:?}");
            scenario.check(&world);
        });
    }
    assert!(finished > 100, "{finished} letters");
}
