//! What all parts of a run share: virtual time, the random numbers, the log.

use super::{
    fault::{Fault, Rates},
    queue::{Message, Messages},
};
use crate::{IdempotencyKey, OnPark, dead_letter::FailureNote};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The simulated function's name, which is the scope of its keys.
pub(super) const FUNCTION: &str = "test-function";

/// The start of every run, in milliseconds since the epoch.
pub(super) const START_MS: u64 = 1_795_255_200_000;

/// How long faults last; they end, so that the run ends.
pub(super) const FAULTS_LAST: Duration = Duration::from_secs(3 * 60 * 60);

/// The state of a run, which all its parts share. Clones are the same run.
#[derive(Clone, Debug)]
pub(super) struct World(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Nanoseconds since the start. It is separate from the state, because clocks are read
    /// everywhere.
    now: AtomicU64,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) rates: Rates,
    /// True once the faults are over.
    pub(super) is_calm: bool,
    /// When faults end.
    pub(super) faults_end: Duration,
    pub(super) met: BTreeMap<Fault, usize>,
    pub(super) trace: Vec<String>,
    pub(super) violations: Vec<String>,
    pub(super) messages: Messages,
    /// What the function does with a lane after one of its records was parked.
    pub(super) on_park: OnPark,
    /// Whether it parks what ended without its end being known.
    pub(super) parks_unknown: bool,
    /// After how many attempts it parks a record.
    pub(super) max_attempts: u32,
    /// How many attempts at each key the store has seen begin that count, since it was last put back.
    pub(super) begun: BTreeMap<IdempotencyKey, u32>,
    /// The processes that die of what they handle.
    pub(super) dying: BTreeSet<usize>,
    pub(super) dead: Vec<Dead>,
    pub(super) invocations: Vec<Invocation>,
    /// The invocation that is being polled.
    pub(super) current: Option<usize>,
    /// The tasks that run without an invocation: writes on their way to the store.
    pub(super) background: Vec<BoxFuture<'static, ()>>,
    pub(super) keys: BTreeMap<IdempotencyKey, KeyLog>,
    /// The event of each key.
    pub(super) events: BTreeMap<IdempotencyKey, String>,
    /// What each owner was first used for, and its name in the trace.
    pub(super) owners: BTreeMap<String, (usize, String)>,
    pub(super) effects: Vec<Effect>,
    /// The events that transports accepted, as often as they did.
    pub(super) published: Vec<Published>,
    /// Whether the bus refuses an event for good, by its id.
    pub(super) refused: BTreeMap<String, bool>,
    /// The bodies of the events that an outbox has parked, by their ids.
    pub(super) parked: BTreeMap<String, String>,
}

/// An event that a transport accepted.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) event: crate::envelope::Outgoing,
    /// Whether a sweep published it, not the stream.
    pub(super) is_swept: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

/// A dead letter.
#[derive(Clone, Debug)]
pub(super) struct Dead {
    /// The message's place.
    pub(super) message: usize,
    /// None if the redrive policy moved it.
    pub(super) note: Option<FailureNote>,
    /// The invocation that parked it.
    pub(super) invocation: Option<usize>,
}

/// What the store's answers tell about a key.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyLog {
    pub(super) owner: Option<String>,
    /// When its lease ends, in milliseconds since the epoch; none if it was released.
    pub(super) until: Option<u64>,
    pub(super) is_completed: bool,
    /// Whether a lease holds it, not a commit.
    pub(super) by_lease: bool,
    pub(super) commits: Vec<Effect>,
}

/// A commit, or an effect that a handler reported.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) key: IdempotencyKey,
    pub(super) invocation: Option<usize>,
    /// Its time, as a place in the trace.
    pub(super) at: usize,
}

/// One call of the function.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub(super) process: usize,
    /// The places of its messages, with their receipt handles.
    pub(super) batch: Vec<(usize, String)>,
    pub(super) ends_at: Duration,
    pub(super) polls: u32,
    pub(super) plan: Plan,
    pub(super) state: InvocationState,
    /// When its process first stood still, as a place in the trace.
    pub(super) frozen_at: Option<usize>,
    /// When it died or was given up, as a place in the trace.
    pub(super) ended_at: Option<usize>,
    /// The keys whose completion failed or was given up, with its time.
    pub(super) incomplete: Vec<(IdempotencyKey, usize)>,
    /// Whether any call to the store failed or was given up.
    pub(super) store_failed: bool,
    /// The messages whose parking failed or was given up.
    pub(super) park_failed: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvocationState {
    Running,
    Answered,
    /// Its process died.
    Killed,
    /// Lambda has given it up, but its process stands still and may yet go on.
    Forgotten,
}

/// What happens to an invocation, and after how many polls.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) kill: Option<u32>,
    pub(super) timeout: Option<u32>,
    pub(super) freeze: Option<(u32, Duration)>,
}

impl World {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(Inner {
            now: AtomicU64::new(0),
            state: Mutex::new(state),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the start of the run.
    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.0.now.load(Ordering::Relaxed))
    }

    pub(super) fn set_now(&self, now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.0.now.store(now, Ordering::Relaxed);
    }

    /// Returns the wall-clock time.
    pub(super) fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(START_MS) + self.now()
    }

    /// Adds a line to the trace, and returns its place.
    pub(super) fn note(&self, line: impl std::fmt::Display) -> usize {
        let now = self.now();
        self.state().note(now, line)
    }

    pub(super) fn violation(&self, problem: impl Into<String>) {
        let now = self.now();
        self.state().violation(now, problem);
    }

    /// Draws whether the fault occurs now.
    pub(super) fn meets(&self, fault: Fault) -> bool {
        let now = self.now();
        self.state().meets(fault, now)
    }
}

impl State {
    pub(super) fn note(&mut self, now: Duration, line: impl std::fmt::Display) -> usize {
        self.trace
            .push(format!("{:>11.3} s  {line}", now.as_secs_f64()));
        self.trace.len()
    }

    pub(super) fn violation(&mut self, now: Duration, problem: impl Into<String>) {
        let problem = problem.into();
        self.note(now, format_args!("VIOLATION: {problem}"));
        self.violations.push(problem);
    }

    pub(super) fn meets(&mut self, fault: Fault, now: Duration) -> bool {
        if self.is_calm || now > self.faults_end {
            return false;
        }
        let rate = self.rates.of(fault);
        let is_met = rate > 0.0 && self.rng.f64() < rate;
        if is_met {
            *self.met.entry(fault).or_default() += 1;
        }
        is_met
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Invocation> {
        let all = self.invocations.iter();
        all.filter(|it| it.state == InvocationState::Running)
    }

    pub(super) fn of_process(&mut self, process: usize) -> impl Iterator<Item = &mut Invocation> {
        let all = self.invocations.iter_mut();
        all.filter(move |it| it.process == process)
    }

    /// Returns the event of a key, or the key itself.
    pub(super) fn event_of<'a>(&'a self, key: &'a IdempotencyKey) -> &'a str {
        self.events.get(key).map_or(key.as_str(), String::as_str)
    }

    /// Returns an owner's name in the trace. Its own name differs from run to run.
    pub(super) fn owner(&self, owner: &str) -> String {
        match self.owners.get(owner) {
            Some((number, _)) => format!("owner {number}"),
            None => "nobody known".into(),
        }
    }

    /// Checks that every attempt has an owner of its own: repeated calls of an owner are the same
    /// to the byte.
    pub(super) fn use_owner(&mut self, now: Duration, owner: &str, what: String) {
        let number = self.owners.len() + 1;
        match self.owners.get(owner) {
            None => {
                self.owners.insert(owner.to_owned(), (number, what));
            }
            Some((_, first)) if *first == what => {}
            Some((number, _)) => {
                let number = *number;
                self.violation(
                    now,
                    format!("owner {number} was used a second time, for other bytes"),
                );
            }
        }
    }

    /// Returns true if the event's effects are final, or will never be wanted.
    pub(super) fn is_settled(&self, place: usize) -> bool {
        let message = &self.messages.all[place];
        self.is_done(message) || self.dead.iter().any(|dead| dead.message == place)
    }

    pub(super) fn is_done(&self, message: &Message) -> bool {
        let log = message.key.as_ref().and_then(|key| self.keys.get(key));
        log.is_some_and(|log| log.is_completed)
    }
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    crate::clock::epoch_ms(time)
}
