//! What came of a run.

use super::{
    fault::Fault,
    world::{State, World, key_of},
};
use crate::MemoryStore;
use crate::{
    Function,
    envelope::Outgoing,
    source::{Source, StreamEvent},
};
use aws_lambda_events::streams::DynamoDbEventResponse;
use std::{collections::BTreeMap, fmt, time::Duration};

/// What came of a run. Printed, it is the seed, what is wrong, and everything that happened.
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
    /// Where it took place, and the function's timeout.
    scene: Option<(World, Duration)>,
    published: Vec<Outgoing>,
}

/// What came of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageReport {
    /// `m-1`, `m-2`, … in the order in which they were sent.
    pub message_id: String,
    /// `e-1`, `e-2`, … in the order in which they were made; none of a body that is no event.
    pub event_id: Option<String>,
    /// Whether an invocation left it out of its failures.
    pub was_acked: bool,
    /// Whether its key is completed.
    pub is_done: bool,
    /// The reasons of its dead letters: the kind of failure, or none if the redrive policy moved it.
    pub dead: Vec<Option<String>>,
    /// How often its handler said that it had its effect, see
    /// [`Process::effect`](super::Process::effect).
    pub effects: usize,
    /// True for a dead letter that was put back after the faults had ended.
    pub is_redriven: bool,
}

impl Report {
    pub(super) fn new(seed: u64, state: &State, store: MemoryStore, time: Duration) -> Self {
        let messages = state.messages.all.iter().enumerate();
        let messages = messages.map(|(place, message)| {
            let key = message.event_id.as_deref().map(key_of);
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
                effects: effects.filter(|e| Some(&e.key) == key.as_ref()).count(),
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

    /// Has what the run committed published by the function that `build` makes, once for each
    /// process: one on the table's stream, such as an [`OutboxStream`](crate::outbox::OutboxStream), whose
    /// outbox is [`Process::outbox`](super::Process::outbox).
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

    /// What was published, as often as it was, in order.
    pub fn published(&self) -> &[Outgoing] {
        &self.published
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is wrong; empty if nothing is.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds a violation unless `holds`: for what only the test knows.
    pub fn expect(&mut self, holds: bool, problem: impl Into<String>) {
        if !holds {
            self.violations.push(problem.into());
        }
    }

    /// All that happened, in order.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// How often each fault was met.
    pub fn faults(&self) -> &BTreeMap<Fault, usize> {
        &self.met
    }

    /// The messages, in the order in which they were sent, those that were put back last.
    pub fn messages(&self) -> &[MessageReport] {
        &self.messages
    }

    /// How many invocations there were.
    pub fn invocations(&self) -> usize {
        self.invocations
    }

    /// How long the run took, in virtual time.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The store in memory: what transactions committed is there.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// How many committed events were caused by the event with this id.
    pub fn events_caused_by(&self, event_id: &str) -> usize {
        let caused = |event: &Outgoing| event.metadata().causation_id.as_deref() == Some(event_id);
        self.store.events().iter().filter(|e| caused(e)).count()
    }

    /// Whether the key of the event with this id is completed.
    pub fn is_done(&self, event_id: &str) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|m| m.event_id.as_deref() == Some(event_id) && m.is_done)
    }

    /// Panics with the whole report if anything is wrong.
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
            writeln!(f, "nothing is wrong")?;
        }
        write!(f, "SUREHAND_SEED={} runs it again", self.seed)
    }
}
