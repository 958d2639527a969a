//! What came of a run.

use super::{
    fault::Fault,
    world::{State, World},
};
use crate::MemoryStore;
use crate::{
    Function,
    envelope::Outgoing,
    source::{Source, StreamEvent},
};
use aws_lambda_events::streams::DynamoDbEventResponse;
use std::{collections::BTreeMap, fmt, time::Duration};

/// The result of a run. It prints as the seed, the violations, and everything that happened.
#[derive(Clone, Debug)]
pub struct Report {
    seed: u64,
    violations: Vec<String>,
    trace: Vec<String>,
    met: BTreeMap<Fault, usize>,
    messages: Vec<MessageReport>,
    store: MemoryStore,
    time: Duration,
    invocations: usize,
    /// The run's world, and the function's timeout.
    scene: Option<(World, Duration)>,
    published: Vec<Outgoing>,
}

/// The result of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageReport {
    /// `m-1`, `m-2`, … in the order in which they were sent.
    pub message_id: String,
    /// `e-1`, `e-2`, … in the order in which they were made; none for a body that is not an event.
    pub event_id: Option<String>,
    /// Whether an invocation reported it as handled.
    pub was_acked: bool,
    /// Whether its key is completed.
    pub is_done: bool,
    /// The reasons of its dead letters: the kind of failure, or none if the redrive policy moved it.
    pub dead: Vec<Option<String>>,
    /// How often its handler reported its effect, see [`Process::effect`](super::Process::effect).
    pub effects: usize,
    /// Whether it is a dead letter that was redriven after the faults had ended.
    pub is_redriven: bool,
}

impl Report {
    pub(super) fn new(seed: u64, state: &State, store: MemoryStore, time: Duration) -> Self {
        let messages = state.messages.all.iter().enumerate();
        let messages = messages.map(|(place, message)| {
            let key = message.key.as_ref();
            let effects = state.effects.iter();
            let dead = state.dead.iter().filter(|dead| dead.message == place);
            MessageReport {
                message_id: message.id.clone(),
                event_id: message.event_id.clone(),
                was_acked: message.was_acked,
                is_done: state.is_done(message),
                dead: dead
                    .map(|dead| dead.note.as_ref().map(|note| note.kind.clone()))
                    .collect(),
                effects: effects.filter(|e| Some(&e.key) == key).count(),
                is_redriven: message.is_redriven,
            }
        });
        Self {
            seed,
            violations: state.violations.clone(),
            trace: state.trace.clone(),
            met: state.met.clone(),
            messages: messages.collect(),
            store,
            time,
            invocations: state.invocations.len(),
            scene: None,
            published: Vec::new(),
        }
    }

    pub(super) fn in_world(mut self, world: World, timeout: Duration) -> Self {
        self.scene = Some((world, timeout));
        self
    }

    /// Publishes what the run committed, by the function that `build` makes, once for each process.
    /// The function is one on the table's stream, such as an [`OutboxStream`](crate::outbox::OutboxStream),
    /// whose outbox is [`Process::outbox`](super::Process::outbox).
    ///
    /// # Panics
    /// If no runtime can be built.
    pub fn relay<So>(mut self, build: impl FnMut(&super::Process) -> Function<So>) -> Self
    where
        So: Source<Event = StreamEvent, Response = DynamoDbEventResponse>,
    {
        let Some((world, timeout)) = self.scene.clone() else {
            return self;
        };
        let before = world.state().violations.len();
        let invocations = world.state().invocations.len();
        let relayed = super::stream::run(&world, &self.store, timeout, build);
        let state = world.state();
        self.violations
            .extend_from_slice(&state.violations[before..]);
        self.trace.clone_from(&state.trace);
        self.met.clone_from(&state.met);
        self.invocations = invocations + relayed;
        self.time = world.now();
        self.published = state.published.iter().map(|it| it.event.clone()).collect();
        drop(state);
        self
    }

    /// Returns what was published, in order and as often as it was published.
    pub fn published(&self) -> &[Outgoing] {
        &self.published
    }

    /// Returns the run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the violations; empty if there are none.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds a violation unless `holds`, for invariants that only the test knows.
    pub fn expect(&mut self, holds: bool, problem: impl Into<String>) {
        if !holds {
            self.violations.push(problem.into());
        }
    }

    /// Returns everything that happened, in order.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// Returns how often each fault occurred.
    pub fn faults(&self) -> &BTreeMap<Fault, usize> {
        &self.met
    }

    /// Returns the messages in the order in which they were sent, redriven ones last.
    pub fn messages(&self) -> &[MessageReport] {
        &self.messages
    }

    /// Returns how many invocations there were.
    pub fn invocations(&self) -> usize {
        self.invocations
    }

    /// Returns how long the run took, in virtual time.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Returns the store in memory, with what transactions committed.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// Returns how many committed events were caused by the event with this id.
    pub fn events_caused_by(&self, event_id: &str) -> usize {
        let caused = |event: &Outgoing| event.metadata().causation_id.as_deref() == Some(event_id);
        self.store.events().iter().filter(|e| caused(e)).count()
    }

    /// Returns true if the key of the event with this id is completed.
    pub fn is_done(&self, event_id: &str) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|m| m.event_id.as_deref() == Some(event_id) && m.is_done)
    }

    /// Panics with the whole report if there are violations.
    ///
    /// # Panics
    /// If there are violations.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "simulation with seed {}:", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "- {violation}")?;
        }
        if self.violations.is_empty() {
            writeln!(f, "no violations")?;
        }
        write!(f, "set SUREHAND_SEED={} to run it again", self.seed)
    }
}
