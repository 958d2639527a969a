//! Workers that have one event each, the same one, and a store between them.
//!
//! A worker does what `Idempotency` does. Everything else happens to it: a call or its answer is
//! lost, a call arrives after its caller gave it up, the process crashes or is frozen, the handler
//! fails, clocks differ. A frozen process is one that does nothing while the time goes on.

use super::{
    MARGIN,
    mutation::Mutation,
    store::{Answer, Call, CallKind, Owner, StoreId, Stores},
};
use stateright::{Model, Property};
use std::{
    fmt,
    sync::{Mutex, MutexGuard},
};

/// An owner that was replaced changes nothing, and gets an error.
pub(crate) const FENCE: &str = "a fenced owner changes nothing";
/// The first completion stays, and no claim is granted after it.
pub(crate) const ONE_COMPLETION: &str = "a completion is never overwritten";
/// The store's effects belong to the completion, and happen once.
pub(crate) const EFFECT_WITH_COMPLETION: &str = "an effect is there once, with its completion";
/// If clocks differ by the margin at most, only one worker has a live lease.
pub(crate) const ONE_LIVE_LEASE: &str = "live leases do not overlap";
/// A worker that was not frozen does not run its handler after a completion.
pub(crate) const NOTHING_AFTER: &str = "no live owner runs after a completion";
/// Without a fault the handler runs once.
pub(crate) const ONE_RUN: &str = "without faults there is one run";
/// When no worker has anything left to do, the key is completed, and all workers know it.
pub(crate) const DONE_IN_THE_END: &str = "in the end the key is completed";

/// The bounds of the exploration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) workers: usize,
    /// Crashes, failures of handlers, lost and late calls.
    pub(crate) faults: u8,
    /// Ticks that pass although a worker has something to do.
    pub(crate) stalls: u8,
}

pub(crate) struct ClaimModel {
    scope: Scope,
    stores: Mutex<Stores>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    time: u8,
    faults: u8,
    stalls: u8,
    workers: Vec<Worker>,
    /// Calls on their way that their callers gave up.
    adrift: Vec<Call>,
    store: StoreId,
    /// The owner that was last granted the key.
    holder: Option<Owner>,
    /// The owner whose completion was seen first.
    completed_by: Option<Owner>,
    /// How often a handler with effects outside the store ran; at most 2 are counted.
    runs: u8,
    /// The property that the last step broke.
    broken: Option<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Worker {
    kind: Kind,
    /// How much its clock is ahead of the time.
    ahead: u8,
    /// Names the attempt.
    delivery: u8,
    /// Whether it got the event before.
    again: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Lease,
    Transaction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The event is in the queue.
    Queued,
    /// The event is in the queue, which does not deliver it before this tick of the worker's clock
    /// is over.
    Delayed { until: u8 },
    /// A call was made, and has no answer yet.
    Calling { call: Call, failed_before: bool },
    /// It has the lease, and its handler is yet to run.
    Working { lease: Call, thawed: bool },
    /// The event is acknowledged.
    Acked,
}

/// A step. The number is the worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Time passes although a worker has something to do.
    Tick,
    /// Time passes until a worker has something to do.
    Wait,
    Receive(usize),
    /// The call is served, and its answer received.
    Answer(usize),
    /// The call is served, but the answer lost; the worker makes the call again.
    LoseAnswer(usize),
    /// The call is still on its way when the worker makes it again.
    Delay(usize),
    /// A call that was given up arrives.
    Arrive(Call),
    /// After a failed call the worker does not make it again.
    GiveUp(usize),
    RunHandler(usize),
    FailHandler(usize),
    /// The deadline is over, and the handler cancelled.
    CancelHandler(usize),
    /// The process was frozen after it had looked at the deadline, and has not noticed.
    Thaw(usize),
    Crash(usize),
}

impl ClaimModel {
    pub(crate) fn new(scope: Scope, mutation: Option<Mutation>) -> Self {
        Self {
            scope,
            stores: Mutex::new(Stores::new(mutation)),
        }
    }

    pub(crate) fn stores(&self) -> MutexGuard<'_, Stores> {
        self.stores.lock().expect("no panic in the store")
    }

    /// Lets the store serve a call, and checks that the effect is allowed.
    fn serve(&self, world: &mut World, call: Call) -> Answer {
        let mut stores = self.stores();
        let (answer, store) = stores.call(world.store, call);
        let look = stores.look(store);
        drop(stores);

        let is_changed = store != world.store;
        let is_holder = world.holder == Some(call.owner);
        let is_refused = matches!(answer, Answer::Held { .. } | Answer::Completed);
        let mut broken = None;
        match call.kind {
            CallKind::Complete | CallKind::Release if !is_holder => {
                broken = (is_changed || answer != Answer::Fenced).then_some(FENCE);
            }
            CallKind::Complete if answer != Answer::Done => broken = Some(FENCE),
            CallKind::Claim if answer == Answer::Acquired => {
                if world.completed_by.is_some() {
                    broken = Some(ONE_COMPLETION);
                }
                world.holder = Some(call.owner);
            }
            CallKind::Commit if answer == Answer::Done => {
                if is_changed && world.live_leases() > 0 {
                    broken = Some(ONE_LIVE_LEASE);
                }
                world.holder = Some(call.owner);
            }
            _ if is_refused && is_changed => broken = Some(FENCE),
            _ => {}
        }
        if world.completed_by.is_some() && world.completed_by != look.completed_by {
            broken = Some(ONE_COMPLETION);
        }
        world.completed_by = look.completed_by;
        world.store = store;
        world.broken = world.broken.or(broken);
        answer
    }
}

impl Model for ClaimModel {
    type State = World;
    type Action = Step;

    /// Returns workers of every kind with every clock. Their names make no difference, and neither
    /// does an offset that all clocks share.
    fn init_states(&self) -> Vec<World> {
        let mut kinds = Vec::new();
        for kind in [Kind::Lease, Kind::Transaction] {
            for ahead in 0..=MARGIN {
                kinds.push((kind, ahead));
            }
        }
        let mut all = vec![Vec::new()];
        for _ in 0..self.scope.workers {
            let longer = all.iter().flat_map(|some: &Vec<(Kind, u8)>| {
                let last = some.last().copied();
                let next = kinds.iter().filter(move |kind| last <= Some(**kind));
                next.map(|kind| [some.as_slice(), &[*kind]].concat())
            });
            all = longer.collect();
        }
        all.retain(|some| some.iter().any(|(_, ahead)| *ahead == 0));
        all.into_iter()
            .map(|some| World::new(self.scope, &some))
            .collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // States after a violation need not be explored.
        if world.broken.is_some() {
            return;
        }
        world.steps(steps);
        let mut adrift = world.adrift.clone();
        adrift.dedup();
        steps.extend(adrift.into_iter().map(Step::Arrive));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        match step {
            Step::Tick => {
                next.stalls -= 1;
                next.time += 1;
            }
            Step::Wait => next.time = world.wakes_at()?,
            Step::Receive(w) => next.receive(w),
            Step::Answer(w) => {
                let call = next.pending(w);
                let answer = self.serve(&mut next, call);
                next.answered(w, call, answer);
            }
            Step::LoseAnswer(w) => {
                next.faults -= 1;
                let call = next.pending(w);
                self.serve(&mut next, call);
                next.call_again(w, call);
            }
            Step::Delay(w) => {
                next.faults -= 1;
                let call = next.pending(w);
                next.adrift.push(call);
                next.adrift.sort_unstable();
                next.call_again(w, call);
            }
            Step::Arrive(call) => {
                let at = next.adrift.iter().position(|adrift| *adrift == call)?;
                next.adrift.remove(at);
                self.serve(&mut next, call);
            }
            Step::GiveUp(w) => next.gives_up(w),
            Step::RunHandler(w) => next.run_handler(w),
            Step::FailHandler(w) => {
                next.faults -= 1;
                next.ends(w, CallKind::Release);
            }
            Step::CancelHandler(w) => next.ends(w, CallKind::Release),
            Step::Thaw(w) => {
                if let Phase::Working { thawed, .. } = &mut next.workers[w].phase {
                    *thawed = true;
                }
            }
            Step::Crash(w) => {
                next.faults -= 1;
                next.workers[w].phase = Phase::Queued;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FENCE, |_, world: &World| world.broken != Some(FENCE)),
            Property::always(ONE_COMPLETION, |_, world: &World| {
                world.broken != Some(ONE_COMPLETION)
            }),
            Property::always(NOTHING_AFTER, |_, world: &World| {
                world.broken != Some(NOTHING_AFTER)
            }),
            Property::always(ONE_LIVE_LEASE, |_, world: &World| {
                world.broken != Some(ONE_LIVE_LEASE) && world.live_leases() <= 1
            }),
            Property::always(EFFECT_WITH_COMPLETION, |model: &Self, world: &World| {
                let effects = model.stores().look(world.store).effects;
                effects == usize::from(world.is_committed())
            }),
            Property::always(ONE_RUN, |model: &Self, world: &World| {
                let had_faults =
                    world.faults < model.scope.faults || world.stalls < model.scope.stalls;
                had_faults || world.runs + u8::from(world.is_committed()) <= 1
            }),
            // The only steps left are those of calls that may never arrive. Every path to such a
            // state is finite, so that fairness does not matter.
            Property::always(DONE_IN_THE_END, |_, world: &World| {
                let mut steps = Vec::new();
                world.steps(&mut steps);
                let everybody_knows = world.workers.iter().all(|w| w.phase == Phase::Acked);
                !steps.is_empty() || (everybody_knows && world.completed_by.is_some())
            }),
        ]
    }
}

impl World {
    fn new(scope: Scope, workers: &[(Kind, u8)]) -> Self {
        let workers = workers.iter().map(|(kind, ahead)| Worker {
            kind: *kind,
            ahead: *ahead,
            delivery: 0,
            again: false,
            phase: Phase::Queued,
        });
        Self {
            time: 0,
            faults: scope.faults,
            stalls: scope.stalls,
            workers: workers.collect(),
            adrift: Vec::new(),
            store: Stores::EMPTY,
            holder: None,
            completed_by: None,
            runs: 0,
            broken: None,
        }
    }

    /// Collects all steps except those of calls that were given up.
    fn steps(&self, steps: &mut Vec<Step>) {
        let may_fail = self.faults > 0;
        for (w, worker) in self.workers.iter().enumerate() {
            let is_late = |lease: &Call| self.clock(w) > deadline(lease);
            match &worker.phase {
                Phase::Queued => steps.push(Step::Receive(w)),
                Phase::Delayed { until } if self.clock(w) > *until => steps.push(Step::Receive(w)),
                Phase::Delayed { .. } | Phase::Acked => {}
                Phase::Calling { failed_before, .. } => {
                    steps.push(Step::Answer(w));
                    if may_fail {
                        steps.extend([Step::LoseAnswer(w), Step::Delay(w)]);
                    }
                    if *failed_before {
                        steps.push(Step::GiveUp(w));
                    }
                }
                Phase::Working { lease, thawed } => {
                    if !is_late(lease) || *thawed {
                        steps.push(Step::RunHandler(w));
                        if may_fail {
                            steps.push(Step::FailHandler(w));
                        }
                    } else {
                        steps.extend([Step::CancelHandler(w), Step::Thaw(w)]);
                    }
                    if may_fail {
                        steps.push(Step::Crash(w));
                    }
                }
            }
        }
        if self.wakes_at().is_some() {
            steps.push(Step::Wait);
        } else if !steps.is_empty() && self.stalls > 0 {
            steps.push(Step::Tick);
        }
    }

    /// Returns when a worker has something to do again, if none has now. A lease without an end
    /// never ends.
    fn wakes_at(&self) -> Option<u8> {
        let mut first = None;
        for (w, worker) in self.workers.iter().enumerate() {
            match worker.phase {
                Phase::Acked => {}
                Phase::Delayed { until } if self.clock(w) <= until => {
                    let at = until.checked_add(1)? - worker.ahead;
                    first = Some(first.unwrap_or(at).min(at));
                }
                _ => return None,
            }
        }
        first
    }

    fn clock(&self, worker: usize) -> u8 {
        self.time + self.workers[worker].ahead
    }

    /// How many workers hold a lease and have time left to work, as far as they know.
    fn live_leases(&self) -> usize {
        let live = self
            .workers
            .iter()
            .enumerate()
            .filter(|(w, worker)| match worker.phase {
                Phase::Working { lease, .. } => self.clock(*w) <= deadline(&lease),
                _ => false,
            });
        live.count()
    }

    /// Returns true if the completion is a transaction's.
    fn is_committed(&self) -> bool {
        self.completed_by
            .is_some_and(|owner| self.workers[owner.worker as usize].kind == Kind::Transaction)
    }

    fn receive(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        worker.delivery += 1;
        let kind = match (worker.kind, std::mem::replace(&mut worker.again, true)) {
            (Kind::Lease, _) => CallKind::Claim,
            (Kind::Transaction, false) => CallKind::Commit,
            (Kind::Transaction, true) => CallKind::Find,
        };
        self.call(w, kind);
    }

    fn call(&mut self, w: usize, kind: CallKind) {
        let owner = Owner {
            worker: u8::try_from(w).expect("few workers"),
            delivery: self.workers[w].delivery,
        };
        let at = self.clock(w);
        self.workers[w].phase = Phase::Calling {
            call: Call { owner, at, kind },
            failed_before: false,
        };
    }

    /// The client sends the same bytes again.
    fn call_again(&mut self, w: usize, call: Call) {
        self.workers[w].phase = Phase::Calling {
            call,
            failed_before: true,
        };
    }

    fn pending(&self, w: usize) -> Call {
        match self.workers[w].phase {
            Phase::Calling { call, .. } => call,
            phase => panic!("no call is pending in {phase:?}"),
        }
    }

    fn answered(&mut self, w: usize, call: Call, answer: Answer) {
        let is_refused = matches!(answer, Answer::Held { .. } | Answer::Completed);
        if is_refused && self.adrift.iter().all(|adrift| adrift.owner != call.owner) {
            // The store has not recorded this attempt's name, so that the next one may reuse it:
            // this saves states.
            self.workers[w].delivery -= 1;
        }
        self.workers[w].phase = match (call.kind, answer) {
            (CallKind::Claim, Answer::Acquired) => Phase::Working {
                lease: call,
                thawed: false,
            },
            (CallKind::Find, Answer::Free) => return self.call(w, CallKind::Commit),
            (CallKind::Complete | CallKind::Commit, Answer::Done) => Phase::Acked,
            (_, Answer::Completed) => Phase::Acked,
            (_, Answer::Held { until }) => Phase::Delayed { until },
            (CallKind::Complete | CallKind::Release, Answer::Done | Answer::Fenced) => {
                Phase::Queued
            }
            unexpected => panic!("an answer that fits its call, not {unexpected:?}"),
        };
    }

    fn gives_up(&mut self, w: usize) {
        let call = self.pending(w);
        self.workers[w].phase = match call.kind {
            CallKind::Claim | CallKind::Find | CallKind::Commit => Phase::Queued,
            // Before the lease has ended, another attempt could only find the key held.
            CallKind::Complete | CallKind::Release => Phase::Delayed {
                until: call.until(),
            },
        };
    }

    fn run_handler(&mut self, w: usize) {
        if let Phase::Working { thawed: false, .. } = self.workers[w].phase
            && self.completed_by.is_some()
        {
            self.broken = Some(NOTHING_AFTER);
        }
        self.runs = (self.runs + 1).min(2);
        self.ends(w, CallKind::Complete);
    }

    fn ends(&mut self, w: usize, kind: CallKind) {
        if let Phase::Working { lease, .. } = self.workers[w].phase {
            let call = Call { kind, ..lease };
            self.workers[w].phase = Phase::Calling {
                call,
                failed_before: false,
            };
        }
    }
}

/// Returns the last tick of the invocation, by the clock of the worker that claimed.
fn deadline(lease: &Call) -> u8 {
    lease.until() - MARGIN
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, ahead, .. } = self;
        write!(f, "{kind:?}+{ahead} ")?;
        match self.phase {
            Phase::Calling { call, .. } => {
                write!(f, "{:?} as {:?} at {}", call.kind, call.owner, call.at)
            }
            Phase::Working { lease, .. } => {
                write!(f, "works as {:?} to {}", lease.owner, deadline(&lease))
            }
            phase => write!(f, "{phase:?}"),
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, workers, .. } = self;
        write!(f, "t={time} holder={:?} ", self.holder)?;
        write!(f, "completed_by={:?} {workers:?}", self.completed_by)?;
        if !self.adrift.is_empty() {
            write!(f, " adrift={:?}", self.adrift)?;
        }
        Ok(())
    }
}
