//! The workers, and what happens to them.
//!
//! A worker does what `Idempotency` does. Everything else happens to it: a call or its answer is
//! lost, a call arrives after its caller gave it up, the process crashes or is frozen, the handler
//! fails, clocks differ. A frozen process is one that does nothing while the time goes on.

use super::{
    EXPIRES, FIRST_TICK, LIMIT, MARGIN,
    ledger::Ledger,
    promises::{
        NOT_PARKED_DONE, NOT_PARKED_MEANWHILE, NOTHING_AFTER, PARKED_FOR_ATTEMPTS, WITHIN_THE_LIMIT,
    },
    store::{Answer, Call, CallKind, Message, Moment, Owner, StoreId, Stores},
};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(super) time: u8,
    pub(super) faults: u8,
    pub(super) stalls: u8,
    redrives: u8,
    recurs: u8,
    workers: Vec<Worker>,
    /// Calls on their way that their callers gave up.
    pub(super) adrift: Vec<Call>,
    pub(super) store: StoreId,
    /// The owner that was last granted the key.
    pub(super) holder: Option<Owner>,
    /// The owner whose completion was seen first.
    pub(super) completed_by: Option<Owner>,
    /// The owner of a completion that has expired.
    pub(super) forgotten: Option<Owner>,
    /// The effects of what has expired.
    effects: u8,
    pub(super) ledger: Ledger,
    /// How often a handler with effects outside the store ran; at most 2 are counted.
    pub(super) runs: u8,
    /// The property that the last step broke.
    pub(super) broken: Option<&'static str>,
    /// The only one that is looked at, if so.
    only: Option<&'static str>,
}

/// The bounds of the exploration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) workers: usize,
    pub(crate) kinds: &'static [Kind],
    /// When their messages were sent.
    pub(crate) sent: &'static [u8],
    /// How many ticks their clocks may be ahead, up to the margin.
    pub(crate) ahead: u8,
    /// Crashes, failures of handlers, lost and late calls.
    pub(crate) faults: u8,
    /// Ticks that pass although a worker has something to do.
    pub(crate) stalls: u8,
    /// How often a message is put back that was parked.
    pub(crate) redrives: u8,
    /// How often the key recurs, after its completion has expired.
    pub(crate) recurs: u8,
}

/// What a worker begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(super) kind: Kind,
    pub(super) ahead: u8,
    pub(super) sent: u8,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Worker {
    kind: Kind,
    /// How much its clock is ahead of the time.
    ahead: u8,
    message: Message,
    /// Names the attempt.
    delivery: u8,
    /// Whether it got the message before.
    again: bool,
    /// How often its handler ran for the message, since the count began.
    runs: u8,
    attempt: Option<Attempt>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lease,
    /// Its first delivery begins without a word to the store.
    Transaction,
    /// Its source does not say which delivery is the first.
    Begun,
}

/// An attempt whose handler may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    /// What it began with.
    call: Call,
    /// Which one the store says it is, unless it does so when it fails.
    counted: Option<u8>,
    /// Which one it truly is.
    number: u8,
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
    /// Its handler is yet to run.
    Working { thawed: bool },
    /// The event is acknowledged.
    Acked,
    /// It is a dead letter.
    Parked,
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
    /// The call is served, and the process dies before it has the answer.
    CrashAfter(usize),
    /// The dead letter is redriven.
    PutBack(usize),
    /// All is done and long ago, and the first worker gets an event with the same key.
    Recur,
}

impl World {
    pub(super) fn new(scope: Scope, seats: &[Seat], only: Option<&'static str>) -> Self {
        let workers = (0..).zip(seats).map(|(worker, seat)| Worker {
            kind: seat.kind,
            ahead: seat.ahead,
            message: Message {
                worker,
                put_back: 0,
                sent: seat.sent,
            },
            delivery: 0,
            again: seat.kind == Kind::Begun,
            runs: 0,
            attempt: None,
            phase: Phase::Queued,
        });
        Self {
            time: FIRST_TICK,
            faults: scope.faults,
            stalls: scope.stalls,
            redrives: scope.redrives,
            recurs: scope.recurs,
            workers: workers.collect(),
            adrift: Vec::new(),
            store: Stores::EMPTY,
            holder: None,
            completed_by: None,
            forgotten: None,
            effects: 0,
            ledger: Ledger::default(),
            runs: 0,
            broken: None,
            only,
        }
    }

    pub(super) fn breaks(&mut self, property: &'static str) {
        if self.only.is_none_or(|only| only == property) {
            self.broken.get_or_insert(property);
        }
    }

    /// Collects all steps except those of calls that were given up.
    pub(super) fn steps(&self, steps: &mut Vec<Step>) {
        let may_fail = self.faults > 0;
        for (w, worker) in self.workers.iter().enumerate() {
            match &worker.phase {
                Phase::Queued => steps.push(Step::Receive(w)),
                Phase::Delayed { until } if self.clock(w) > *until => steps.push(Step::Receive(w)),
                Phase::Delayed { .. } | Phase::Acked => {}
                Phase::Parked if self.redrives > 0 => steps.push(Step::PutBack(w)),
                Phase::Parked => {}
                Phase::Calling { failed_before, .. } => {
                    steps.push(Step::Answer(w));
                    if may_fail {
                        steps.extend([Step::LoseAnswer(w), Step::Delay(w)]);
                        steps.extend([Step::Crash(w), Step::CrashAfter(w)]);
                    }
                    if *failed_before {
                        steps.push(Step::GiveUp(w));
                    }
                }
                Phase::Working { thawed } => {
                    if self.is_in_time(w) || *thawed {
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
        if self.recurs > 0 && self.is_done() && self.adrift.is_empty() {
            steps.push(Step::Recur);
        }
        if self.wakes_at().is_some() {
            steps.push(Step::Wait);
        } else if !steps.is_empty() && self.stalls > 0 {
            steps.push(Step::Tick);
        }
    }

    /// Returns when a worker has something to do again, if none has now. A lease without an end
    /// never ends.
    pub(super) fn wakes_at(&self) -> Option<u8> {
        let mut first = None;
        for (w, worker) in self.workers.iter().enumerate() {
            match worker.phase {
                Phase::Acked | Phase::Parked => {}
                Phase::Delayed { until } if self.clock(w) <= until => {
                    let at = until.checked_add(1)? - worker.ahead;
                    first = Some(first.unwrap_or(at).min(at));
                }
                _ => return None,
            }
        }
        first
    }

    /// Whether all have come to an end, with the same result.
    pub(super) fn is_done(&self) -> bool {
        let is = |phase| move |worker: &Worker| worker.phase == phase;
        let is_over = |it: &Worker| is(Phase::Acked)(it) || is(Phase::Parked)(it);
        let is_acked = self.workers.iter().any(is(Phase::Acked));
        self.workers.iter().all(is_over) && (self.completed_by.is_some() || !is_acked)
    }

    fn clock(&self, worker: usize) -> u8 {
        self.time + self.workers[worker].ahead
    }

    /// When the worker does something next. Within a tick it is after what the store has, and no two workers do
    /// something at once.
    fn moment(&self, w: usize, last: Moment) -> Moment {
        const ATTEMPTS: u16 = 16;
        let tick = self.clock(w);
        let round = match last.tick == tick {
            true => last.turn / ATTEMPTS + 1,
            false => 0,
        };
        let Worker {
            message, delivery, ..
        } = &self.workers[w];
        let turn = u16::from(message.worker) + 3 * u16::from(delivery % 4);
        Moment {
            tick,
            turn: ATTEMPTS * round + turn,
        }
    }

    /// Whether the invocation is not over, by the worker's clock.
    fn is_in_time(&self, w: usize) -> bool {
        let attempt = self.workers[w].attempt;
        attempt.is_some_and(|it| self.clock(w) <= it.call.until() - MARGIN)
    }

    /// Whether the worker's handler runs, and has time left as far as it knows.
    fn goes_on(&self, w: usize) -> bool {
        matches!(self.workers[w].phase, Phase::Working { .. }) && self.is_in_time(w)
    }

    /// How many workers hold a lease and have time left to work, as far as they know.
    pub(super) fn live_leases(&self) -> usize {
        let all = 0..self.workers.len();
        all.filter(|w| self.workers[*w].kind == Kind::Lease && self.goes_on(*w))
            .count()
    }

    /// Returns true if the completion is a transaction's.
    pub(super) fn is_committed(&self) -> bool {
        self.completed_by
            .is_some_and(|owner| self.workers[owner.worker as usize].kind != Kind::Lease)
    }

    /// How many effects there must be.
    pub(super) fn commits(&self) -> usize {
        usize::from(self.effects) + usize::from(self.is_committed())
    }

    pub(super) fn receive(&mut self, w: usize, last: Moment) {
        let worker = &mut self.workers[w];
        worker.delivery += 1;
        let is_again = std::mem::replace(&mut worker.again, true);
        match worker.kind {
            Kind::Lease => self.call(w, CallKind::Claim { alone: false }, last),
            Kind::Transaction if !is_again => {
                let call = self.new_call(w, CallKind::Commit, last);
                self.works(w, call, None);
            }
            Kind::Transaction | Kind::Begun => {
                self.call(w, CallKind::Begin { alone: false }, last);
            }
        }
    }

    fn new_call(&self, w: usize, kind: CallKind, last: Moment) -> Call {
        let Worker {
            message, delivery, ..
        } = self.workers[w];
        let owner = Owner {
            worker: message.worker,
            delivery,
        };
        Call {
            owner,
            message,
            at: self.moment(w, last),
            kind,
        }
    }

    fn call(&mut self, w: usize, kind: CallKind, last: Moment) {
        let call = self.new_call(w, kind, last);
        self.make(w, call, false);
    }

    /// Makes a call that is one of the attempt's.
    fn call_of_attempt(&mut self, w: usize, kind: CallKind) {
        if let Some(Attempt { call, .. }) = self.workers[w].attempt {
            self.make(w, Call { kind, ..call }, false);
        }
    }

    fn make(&mut self, w: usize, call: Call, failed_before: bool) {
        self.workers[w].phase = Phase::Calling {
            call,
            failed_before,
        };
    }

    /// The client sends the same bytes again.
    pub(super) fn call_again(&mut self, w: usize, call: Call) {
        self.make(w, call, true);
    }

    pub(super) fn pending(&self, w: usize) -> Call {
        match self.workers[w].phase {
            Phase::Calling { call, .. } => call,
            phase => panic!("no call is pending in {phase:?}"),
        }
    }

    fn works(&mut self, w: usize, call: Call, counted: Option<u8>) {
        let number = match counted {
            Some(_) => self.ledger.totals().0,
            None => 0,
        };
        let worker = &mut self.workers[w];
        worker.attempt = Some(Attempt {
            call,
            counted,
            number,
        });
        worker.phase = Phase::Working { thawed: false };
    }

    pub(super) fn answered(&mut self, w: usize, call: Call, answer: Answer, last: Moment) {
        match (call.kind, answer) {
            (CallKind::Claim { .. }, Answer::Acquired { number }) => {
                self.works(w, call, Some(number));
            }
            (CallKind::Begin { .. }, Answer::Counted(counted)) => self.works(w, call, counted),
            (CallKind::Claim { alone: false }, Answer::Suspect { .. }) => {
                self.waits_alone(w, call, CallKind::Claim { alone: true }, last);
            }
            (CallKind::Begin { alone: false }, Answer::Suspect { .. }) => {
                self.waits_alone(w, call, CallKind::Begin { alone: true }, last);
            }
            (CallKind::Claim { .. } | CallKind::Begin { .. }, Answer::Suspect { until, .. }) => {
                self.was_refused(w, call);
                match until.filter(|until| *until >= self.clock(w)) {
                    Some(until) => self.comes_back(w, Phase::Delayed { until }),
                    None => self.parks_a_suspect(w),
                }
            }
            (CallKind::Claim { .. } | CallKind::Begin { .. }, Answer::Held { until }) => {
                self.was_refused(w, call);
                self.comes_back(w, Phase::Delayed { until });
            }
            (CallKind::Commit, Answer::Held { .. }) if self.has_begun(w) => self.takes_back(w),
            (CallKind::Commit, Answer::Held { until }) => {
                self.was_refused(w, call);
                self.comes_back(w, Phase::Delayed { until });
            }
            (CallKind::Complete | CallKind::Commit, Answer::Done) => self.acks(w),
            // Its caller learns of what it could not take back, and of nothing else.
            (
                CallKind::Failed {
                    begun: false,
                    counts: false,
                },
                Answer::Completed,
            ) => self.comes_back(w, Phase::Queued),
            (_, Answer::Completed) => {
                self.was_refused(w, call);
                self.acks(w);
            }
            (CallKind::Release { counts: true }, Answer::Done) => {
                self.failed(w, self.workers[w].attempt.and_then(|it| it.counted), true);
            }
            (CallKind::Failed { counts: true, .. }, Answer::Counted(counted)) => {
                let begun = self.workers[w].attempt.and_then(|it| it.counted);
                if begun.is_none() && counted.is_some() {
                    let number = self.ledger.totals().0;
                    self.workers[w].attempt.as_mut().expect("it ran").number = number;
                }
                self.failed(w, begun.or(counted), true);
            }
            (
                CallKind::Complete | CallKind::Release { .. } | CallKind::Failed { .. },
                Answer::Done | Answer::Fenced | Answer::Counted(_),
            ) => self.comes_back(w, Phase::Queued),
            unexpected => panic!("an answer that fits its call, not {unexpected:?}"),
        }
    }

    /// Its turn comes after all others of its batch.
    fn waits_alone(&mut self, w: usize, refused: Call, kind: CallKind, last: Moment) {
        self.was_refused(w, refused);
        self.workers[w].delivery += 1;
        self.call(w, kind, last);
    }

    /// The store has not recorded this attempt's name, so that the next one may reuse it: this saves states.
    fn was_refused(&mut self, w: usize, call: Call) {
        let is_adrift = self.adrift.iter().any(|it| it.owner == call.owner);
        if !is_adrift && !self.has_begun(w) && !self.ledger.has(call.owner) {
            self.workers[w].delivery -= 1;
        }
    }

    /// Whether the store knows that the worker's attempt began.
    fn has_begun(&self, w: usize) -> bool {
        self.workers[w]
            .attempt
            .is_some_and(|it| it.counted.is_some())
    }

    fn comes_back(&mut self, w: usize, phase: Phase) {
        self.workers[w].attempt = None;
        self.workers[w].phase = phase;
    }

    fn acks(&mut self, w: usize) {
        self.comes_back(w, Phase::Acked);
    }

    /// The attempt does not count.
    fn takes_back(&mut self, w: usize) {
        let (begun, counts) = (true, false);
        self.call_of_attempt(w, CallKind::Failed { begun, counts });
    }

    /// The handler has failed: the message comes back, or is parked.
    fn failed(&mut self, w: usize, counted: Option<u8>, is_answered: bool) {
        let is_last = counted.is_some_and(|number| number >= LIMIT);
        if !is_last {
            return self.comes_back(w, Phase::Queued);
        }
        let number = self.workers[w].attempt.map_or(0, |it| it.number);
        if number < LIMIT {
            self.breaks(PARKED_FOR_ATTEMPTS);
        }
        if is_answered && self.completed_by.is_some() {
            self.breaks(NOT_PARKED_DONE);
        }
        self.comes_back(w, Phase::Parked);
    }

    /// Its attempts are used up, and some of them never ended.
    fn parks_a_suspect(&mut self, w: usize) {
        let (_, open) = self.ledger.counts(self.workers[w].message);
        if open < LIMIT {
            self.breaks(PARKED_FOR_ATTEMPTS);
        }
        if self.completed_by.is_some() {
            self.breaks(NOT_PARKED_DONE);
        }
        let is_of_count = |w: usize| {
            let attempt = self.workers[w].attempt;
            attempt.is_some_and(|it| self.ledger.is_open(it.call.owner))
        };
        if (0..self.workers.len()).any(|other| self.goes_on(other) && is_of_count(other)) {
            self.breaks(NOT_PARKED_MEANWHILE);
        }
        self.comes_back(w, Phase::Parked);
    }

    pub(super) fn gives_up(&mut self, w: usize) {
        let call = self.pending(w);
        let counted = self.workers[w].attempt.and_then(|it| it.counted);
        let is_last = counted.is_some_and(|number| number >= LIMIT);
        let until = call.until();
        match call.kind {
            CallKind::Claim { .. } => {
                let kind = CallKind::Release { counts: false };
                self.make(w, Call { kind, ..call }, false);
            }
            CallKind::Begin { .. } => {
                let (begun, counts) = (false, false);
                let kind = CallKind::Failed { begun, counts };
                self.make(w, Call { kind, ..call }, false);
            }
            CallKind::Commit if counted.is_some() => self.takes_back(w),
            CallKind::Failed { counts: true, .. } if counted.is_some() => {
                self.failed(w, counted, false);
            }
            CallKind::Release { counts: true } if is_last => self.failed(w, counted, false),
            // Before the lease has ended, another attempt could only find the key held.
            CallKind::Complete | CallKind::Release { .. } => {
                self.comes_back(w, Phase::Delayed { until });
            }
            CallKind::Find | CallKind::Commit | CallKind::Failed { .. } => {
                self.comes_back(w, Phase::Queued);
            }
        }
    }

    /// One more attempt counts.
    pub(super) fn count(&mut self, call: Call) {
        let had_count = !self.ledger.is_empty();
        let is_new = self.ledger.begin(call.owner, call.message, call.at);
        if is_new && had_count {
            for worker in &mut self.workers {
                worker.runs = 0;
            }
        }
    }

    /// The handler has run, with an end that counts.
    fn ran(&mut self, w: usize) {
        let (_, open) = self.ledger.counts(self.workers[w].message);
        let attempt = self.workers[w].attempt;
        let is_open = attempt.is_some_and(|it| self.ledger.is_open(it.call.owner));
        let worker = &mut self.workers[w];
        // A death does not use up the last attempt.
        let deaths = open - u8::from(is_open);
        let most = LIMIT + deaths + u8::from(worker.kind == Kind::Transaction);
        worker.runs += 1;
        if worker.runs > most {
            self.breaks(WITHIN_THE_LIMIT);
        }
    }

    pub(super) fn run_handler(&mut self, w: usize, last: Moment) {
        if self.workers[w].kind != Kind::Lease {
            return self.call(w, CallKind::Commit, last);
        }
        let is_thawed = self.workers[w].phase == Phase::Working { thawed: true };
        if !is_thawed && self.completed_by.is_some() {
            self.breaks(NOTHING_AFTER);
        }
        self.runs = (self.runs + 1).min(2);
        self.ran(w);
        self.call_of_attempt(w, CallKind::Complete);
    }

    pub(super) fn fails(&mut self, w: usize) {
        self.ran(w);
        let (begun, counts) = (self.has_begun(w), true);
        match self.workers[w].kind {
            Kind::Lease => self.call_of_attempt(w, CallKind::Release { counts }),
            Kind::Transaction | Kind::Begun => {
                self.call_of_attempt(w, CallKind::Failed { begun, counts });
            }
        }
    }

    pub(super) fn thaws(&mut self, w: usize) {
        self.workers[w].phase = Phase::Working { thawed: true };
    }

    pub(super) fn crashes(&mut self, w: usize) {
        let is_committing = |call: Call| call.kind == CallKind::Commit;
        match self.workers[w].phase {
            Phase::Working { .. } => self.ran(w),
            Phase::Calling { call, .. } if is_committing(call) => self.ran(w),
            _ => {}
        }
        self.comes_back(w, Phase::Queued);
    }

    pub(super) fn put_back(&mut self, w: usize) {
        self.redrives -= 1;
        self.sends(w);
    }

    pub(super) fn recurs(&mut self) {
        self.recurs -= 1;
        self.time += EXPIRES + MARGIN + 1;
        self.effects += u8::from(self.is_committed());
        self.forgotten = self.completed_by.take();
        (self.holder, self.runs) = (None, 0);
        self.ledger = Ledger::default();
        self.sends(0);
    }

    fn sends(&mut self, w: usize) {
        let sent = self.time;
        let worker = &mut self.workers[w];
        worker.message.put_back += 1;
        worker.message.sent = sent;
        (worker.again, worker.runs) = (worker.kind == Kind::Begun, 0);
        worker.phase = Phase::Queued;
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, ahead, .. } = self;
        write!(f, "{kind:?}+{ahead} {:?} ", self.message)?;
        match (self.phase, self.attempt) {
            (Phase::Calling { call, .. }, _) => {
                write!(f, "{:?} as {:?} at {:?}", call.kind, call.owner, call.at)
            }
            (Phase::Working { .. }, Some(Attempt { call, counted, .. })) => {
                let until = call.until() - MARGIN;
                write!(f, "works as {:?} to {until}, {counted:?}", call.owner)
            }
            (phase, _) => write!(f, "{phase:?}"),
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, workers, .. } = self;
        write!(f, "t={time} holder={:?} ", self.holder)?;
        write!(f, "completed_by={:?} {workers:?}", self.completed_by)?;
        if self.ledger != Ledger::default() {
            write!(f, " {:?}", self.ledger)?;
        }
        if !self.adrift.is_empty() {
            write!(f, " adrift={:?}", self.adrift)?;
        }
        Ok(())
    }
}
