//! Workers that have one event each, the same one, and a store between them: what the store's answers must keep to.

use super::{
    ledger::Ledger,
    mutation::Mutation,
    promises::{
        DONE_IN_THE_END, EFFECT_WITH_COMPLETION, FENCE, NOT_PARKED_DONE, NOT_PARKED_MEANWHILE,
        NOTHING_AFTER, ONE_COMPLETION, ONE_LIVE_LEASE, ONE_RUN, PARKED_FOR_ATTEMPTS,
        SUSPECTS_ALONE, TRUE_COUNT, WITHIN_THE_LIMIT,
    },
    store::{Answer, Call, CallKind, Stores},
    world::{Scope, Seat, Step, World},
};
use stateright::{Model, Property};
use std::sync::{Mutex, MutexGuard};

pub(crate) struct ClaimModel {
    scope: Scope,
    mutation: Option<Mutation>,
    stores: Mutex<Stores>,
}

impl ClaimModel {
    pub(crate) fn new(scope: Scope, mutation: Option<Mutation>) -> Self {
        Self {
            scope,
            mutation,
            stores: Mutex::new(Stores::new(mutation)),
        }
    }

    pub(crate) fn stores(&self) -> MutexGuard<'_, Stores> {
        self.stores.lock().expect("no panic in the store")
    }

    /// Lets the store serve a call, and checks that the effect is allowed.
    fn serve(&self, world: &mut World, call: Call) -> Answer {
        let mut stores = self.stores();
        let is_failure = matches!(call.kind, CallKind::Failed { .. });
        let found = is_failure.then(|| stores.call(world.store, Call::find(call.at)).0);
        let is_held = matches!(found, Some(Answer::Held { .. }));
        let (answer, store) = stores.call(world.store, call);
        let look = stores.look(store);
        drop(stores);

        let is_changed = store != world.store;
        let is_holder = world.holder == Some(call.owner);
        let is_refused = matches!(
            answer,
            Answer::Held { .. } | Answer::Completed | Answer::Suspect { .. }
        );
        if is_refused && is_changed {
            world.breaks(FENCE);
        }
        let is_end = matches!(call.kind, CallKind::Complete | CallKind::Release { .. });
        if is_end && !is_holder && (is_changed || answer != Answer::Fenced) {
            world.breaks(FENCE);
        }
        match call.kind {
            CallKind::Complete if is_holder && answer != Answer::Done => world.breaks(FENCE),
            CallKind::Claim { .. } if matches!(answer, Answer::Acquired { .. }) => {
                world.holder = Some(call.owner);
            }
            CallKind::Commit if answer == Answer::Done => {
                if is_changed && world.live_leases() > 0 {
                    world.breaks(ONE_LIVE_LEASE);
                }
                world.holder = Some(call.owner);
            }
            _ => {}
        }
        if is_changed {
            world.write_down(call, answer, is_holder, is_held);
        }
        let forgotten = world.forgotten;
        let completed_by = look.completed_by.filter(|by| Some(*by) != forgotten);
        if world.completed_by.is_some() && world.completed_by != completed_by {
            world.breaks(ONE_COMPLETION);
        }
        if is_changed && completed_by.is_some() {
            world.ledger = Ledger::default();
        } else if is_changed && look.attempts != world.ledger.totals() {
            world.breaks(TRUE_COUNT);
        }
        world.completed_by = completed_by;
        world.store = store;
        answer
    }
}

impl World {
    /// What was attempted, as the documents say it. An answer that changes nothing is another one's, or known.
    fn write_down(&mut self, call: Call, answer: Answer, is_holder: bool, is_held: bool) {
        let owner = call.owner;
        match (call.kind, answer) {
            (CallKind::Claim { alone }, Answer::Acquired { number }) => {
                self.begins(call, alone, number);
            }
            (CallKind::Begin { alone }, Answer::Counted(number)) => {
                self.begins(call, alone, number.unwrap_or_default());
            }
            // Others may have begun since, without a lease.
            (CallKind::Release { counts }, Answer::Done)
                if is_holder && self.ledger.is_last(owner) =>
            {
                self.ledger.end(owner, counts);
            }
            (CallKind::Failed { counts, .. }, Answer::Counted(_)) if self.ledger.is_open(owner) => {
                self.ledger.end(owner, counts);
            }
            // Who holds the key counts for itself, and one that was overtaken is not seen.
            (CallKind::Failed { begun, counts }, Answer::Counted(_)) => {
                let is_new = !begun && counts && !is_held && self.ledger.is_before(call.at);
                if is_new {
                    self.count(call);
                    self.ledger.end(owner, true);
                }
            }
            _ => {}
        }
    }

    fn begins(&mut self, call: Call, alone: bool, number: u8) {
        if self.completed_by.is_some() {
            self.breaks(ONE_COMPLETION);
        }
        let (_, open) = self.ledger.counts(call.message);
        if open > 0 && !alone {
            self.breaks(SUSPECTS_ALONE);
        }
        self.count(call);
        if self.ledger.totals().0 != number {
            self.breaks(TRUE_COUNT);
        }
    }
}

impl Model for ClaimModel {
    type State = World;
    type Action = Step;

    /// Returns workers of every kind with every clock. Their names make no difference, and neither
    /// does an offset that all clocks share.
    fn init_states(&self) -> Vec<World> {
        let mut seats = Vec::new();
        for &kind in self.scope.kinds {
            for ahead in 0..=self.scope.ahead {
                let seat = |&sent| Seat { kind, ahead, sent };
                seats.extend(self.scope.sent.iter().map(seat));
            }
        }
        let mut all = vec![Vec::new()];
        for _ in 0..self.scope.workers {
            let longer = all.iter().flat_map(|some: &Vec<Seat>| {
                let last = some.last().copied();
                let next = seats.iter().filter(move |seat| last <= Some(**seat));
                next.map(|seat| [some.as_slice(), &[*seat]].concat())
            });
            all = longer.collect();
        }
        all.retain(|some| some.iter().any(|seat| seat.ahead == 0));
        let only = self.mutation.map(Mutation::breaks);
        all.into_iter()
            .map(|some| World::new(self.scope, &some, only))
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
        let last = self.stores().look(world.store).last;
        match step {
            Step::Tick => {
                next.stalls -= 1;
                next.time += 1;
            }
            Step::Wait => next.time = world.wakes_at()?,
            Step::Receive(w) => next.receive(w, last),
            Step::Answer(w) => {
                let call = next.pending(w);
                let answer = self.serve(&mut next, call);
                next.answered(w, call, answer, last);
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
            Step::RunHandler(w) => next.run_handler(w, last),
            Step::FailHandler(w) => {
                next.faults -= 1;
                next.fails(w);
            }
            Step::CancelHandler(w) => next.fails(w),
            Step::Thaw(w) => next.thaws(w),
            Step::Crash(w) => {
                next.faults -= 1;
                next.crashes(w);
            }
            Step::CrashAfter(w) => {
                next.faults -= 1;
                let call = next.pending(w);
                self.serve(&mut next, call);
                next.crashes(w);
            }
            Step::PutBack(w) => next.put_back(w),
            Step::Recur => next.recurs(),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! kept {
            ($($name:ident)*) => {
                [$(Property::always($name, |_, world: &World| world.broken != Some($name))),*]
            };
        }
        let mut all = vec![
            Property::always(ONE_LIVE_LEASE, |_, world: &World| {
                world.broken != Some(ONE_LIVE_LEASE) && world.live_leases() <= 1
            }),
            Property::always(EFFECT_WITH_COMPLETION, |model: &Self, world: &World| {
                model.stores().look(world.store).effects == world.commits()
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
                !steps.is_empty() || world.is_done()
            }),
        ];
        all.extend(kept! {
            FENCE ONE_COMPLETION NOTHING_AFTER TRUE_COUNT PARKED_FOR_ATTEMPTS WITHIN_THE_LIMIT
            SUSPECTS_ALONE NOT_PARKED_MEANWHILE NOT_PARKED_DONE
        });
        all
    }
}
