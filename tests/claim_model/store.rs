//! The store under the model: the library's own, called for real.
//!
//! The model has no store of its own that could drift from the code. A state of the model names a
//! state of the store, which is reached again by repeating the calls that led to it.

use super::{EXPIRES, LEASE, LIMIT, MARGIN, mutation::Mutation};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use futures_util::FutureExt;
use std::{
    collections::HashMap,
    fmt,
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, ErrorKind, IdempotencyKey, MemoryStore, Result,
    idempotency::{
        AttemptFailure, AttemptStart, Begun, Claim, ClaimRequest, Commit, CommitStore, Committed,
        Lease, Sending, Store,
    },
};

/// An attempt at the key: the worker that makes it, and which of its deliveries it is for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) worker: u8,
    pub(crate) delivery: u8,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(b'A' + self.worker), self.delivery)
    }
}

/// What a worker's event is in, which is another message once it was put back.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) worker: u8,
    pub(crate) put_back: u8,
    /// In which tick.
    pub(crate) sent: u8,
}

impl Message {
    /// The name of its sending.
    fn name(self) -> String {
        format!("{self:?}")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.worker, self.put_back, self.sent)
    }
}

/// A time by a worker's clock. Within a tick no two attempts begin at the same one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) tick: u8,
    /// In milliseconds.
    pub(crate) turn: u16,
}

impl Moment {
    const LAST_TURN: u16 = 999;

    pub(crate) fn end_of(tick: u8) -> Self {
        Self {
            tick,
            turn: Self::LAST_TURN,
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.tick, self.turn)
    }
}

/// A request to the store. It stays the same, even if it arrives late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) owner: Owner,
    /// What the attempt is made for.
    pub(crate) message: Message,
    /// What the caller's clock showed, in all calls of an attempt when it began.
    pub(crate) at: Moment,
    pub(crate) kind: CallKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CallKind {
    /// Refused for a suspect, unless the record is handled alone.
    Claim {
        alone: bool,
    },
    Complete,
    Release {
        counts: bool,
    },
    Find,
    /// Writes down that an attempt begins which holds no lease; refused like a claim.
    Begin {
        alone: bool,
    },
    /// Writes down that such an attempt has failed, and whether it was written down when it began.
    Failed {
        begun: bool,
        counts: bool,
    },
    /// With one effect.
    Commit,
}

impl Call {
    /// A look at the key.
    pub(crate) fn find(at: Moment) -> Self {
        Self {
            owner: Owner::default(),
            message: Message::default(),
            at,
            kind: CallKind::Find,
        }
    }

    /// In which tick the attempt has to end, by all clocks; a lease does at its end.
    pub(crate) fn until(&self) -> u8 {
        self.at.tick + LEASE + MARGIN
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// As which attempt.
    Acquired {
        number: u8,
    },
    /// The key has no owner.
    Free,
    /// The attempt has begun, or failed, and has this number if it is counted.
    Counted(Option<u8>),
    /// Earlier attempts never ended, and the last one has until then.
    Suspect {
        attempts: u8,
        until: Option<u8>,
    },
    Completed,
    /// Until the end of that tick.
    Held {
        until: u8,
    },
    Done,
    Fenced,
}

/// Names a state of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(u32);

/// What a state of the store shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The owner of the completion.
    pub(crate) completed_by: Option<Owner>,
    /// How many effects were committed.
    pub(crate) effects: usize,
    /// How many attempts are counted, and how many of those are open.
    pub(crate) attempts: (u8, u8),
    /// When the last one began.
    pub(crate) last: Moment,
}

/// Every state of the store that was reached, and what every call did there.
pub(crate) struct Stores {
    mutation: Option<Mutation>,
    states: Vec<Reached>,
    by_text: HashMap<String, StoreId>,
    answers: HashMap<(StoreId, Call), (Answer, StoreId)>,
}

struct Reached {
    /// The calls that led here.
    calls: Vec<Call>,
    look: Look,
}

impl Stores {
    pub(crate) const EMPTY: StoreId = StoreId(0);

    pub(crate) fn new(mutation: Option<Mutation>) -> Self {
        let mut new = Self {
            mutation,
            states: Vec::new(),
            by_text: HashMap::new(),
            answers: HashMap::new(),
        };
        new.name(&Real::default(), Vec::new());
        new
    }

    /// What the store answers in this state, and the state that it has then.
    pub(crate) fn call(&mut self, state: StoreId, call: Call) -> (Answer, StoreId) {
        if let Some(known) = self.answers.get(&(state, call)) {
            return *known;
        }
        let mut calls = self.states[state.0 as usize].calls.clone();
        let real = Real::default();
        for (at, earlier) in calls.iter().enumerate() {
            real.call(*earlier, self.mutation, &calls[..at]);
        }
        let before = real.text();
        let answer = real.call(call, self.mutation, &calls);
        let after = if real.text() == before {
            state
        } else {
            calls.push(call);
            self.name(&real, calls)
        };
        self.answers.insert((state, call), (answer, after));
        (answer, after)
    }

    pub(crate) fn look(&self, state: StoreId) -> Look {
        self.states[state.0 as usize].look
    }

    /// How many states the store had, and how many calls met different ones.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.states.len(), self.answers.len())
    }

    /// How often each answer was given.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (CallKind, Answer)> {
        let all = self.answers.iter();
        all.map(|((_, call), (answer, _))| (call.kind, *answer))
    }

    fn name(&mut self, real: &Real, calls: Vec<Call>) -> StoreId {
        let next = StoreId(u32::try_from(self.states.len()).expect("few states"));
        let id = *self.by_text.entry(real.text()).or_insert(next);
        if id == next {
            let look = real.look(&calls);
            self.states.push(Reached { calls, look });
        }
        id
    }
}

/// A memory store of the library.
#[derive(Default)]
struct Real(MemoryStore);

/// Tick 0.
const START: Duration = Duration::from_secs(1_800_000_000);
const FINGERPRINT: &str = "fingerprint";

fn time(moment: Moment) -> SystemTime {
    let turn = Duration::from_millis(moment.turn.into());
    SystemTime::UNIX_EPOCH + START + Duration::from_secs(moment.tick.into()) + turn
}

fn end_of(tick: u8) -> SystemTime {
    time(Moment::end_of(tick))
}

fn moment(time: SystemTime) -> Moment {
    let start = SystemTime::UNIX_EPOCH + START;
    let since = time.duration_since(start).unwrap_or_default();
    Moment {
        tick: u8::try_from(since.as_secs()).unwrap_or(u8::MAX),
        turn: u16::try_from(since.subsec_millis()).unwrap_or(u16::MAX),
    }
}

/// The last tick in which it is not yet over.
fn last_tick(time: SystemTime) -> u8 {
    let Moment { tick, turn } = moment(time);
    match turn {
        Moment::LAST_TURN => tick,
        _ => tick.saturating_sub(1),
    }
}

fn expires(call: Call) -> SystemTime {
    time(call.at) + Duration::from_secs(EXPIRES.into())
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("f#1")
}

fn small(count: u32) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

fn lease(owner: Owner) -> Lease {
    Lease {
        key: key(),
        owner: format!("{owner:?}"),
        attempt: 1,
    }
}

/// What the attempt is counted by.
fn sending(call: Call, mutation: Option<Mutation>) -> Sending {
    let Message { worker, sent, .. } = call.message;
    let at = Some(end_of(sent + MARGIN));
    match mutation {
        Some(Mutation::CountsCopiesAnew) => Sending::new(call.message.name(), None),
        Some(Mutation::CountsOnAfterARedrive) => {
            let first = Message {
                worker,
                put_back: 0,
                sent: 0,
            };
            Sending::new(first.name(), Some(SystemTime::UNIX_EPOCH))
        }
        _ => Sending::new(call.message.name(), at),
    }
}

/// With how many attempts that never ended a suspect is refused.
fn limit(alone: bool, mutation: Option<Mutation>) -> u32 {
    let is_alone = alone || mutation == Some(Mutation::SuspectsBesideOthers);
    if is_alone { LIMIT.into() } else { 0 }
}

impl Real {
    fn at(&self, moment: Moment) -> MemoryStore {
        let now = time(moment);
        self.0.clone().with_clock(Clock::from_fn(move || now))
    }

    /// All that the store remembers.
    fn text(&self) -> String {
        format!("{:?}", self.at(Moment::default()))
    }

    fn look(&self, calls: &[Call]) -> Look {
        let store = self.at(Moment::default());
        let data = match now(store.find(&key())) {
            Ok(Some(Claim::Completed(completion))) => completion.data,
            _ => None,
        };
        let history = now(store.history(&key())).expect("the store answers");
        // The data of a completion is the name of its owner.
        let owners = calls.iter().map(|call| call.owner);
        Look {
            completed_by: data.and_then(|data| {
                let mut owners = owners.into_iter();
                owners.find(|owner| format!("{owner:?}") == data)
            }),
            effects: self.0.writes().len(),
            attempts: history
                .as_ref()
                .map_or((0, 0), |it| (small(it.attempts), small(it.unended))),
            last: history
                .and_then(|it| it.started_at)
                .map(moment)
                .unwrap_or_default(),
        }
    }

    fn call(&self, call: Call, mutation: Option<Mutation>, earlier: &[Call]) -> Answer {
        match call.kind {
            CallKind::Claim { alone } => self.claim(call, alone, mutation, earlier),
            CallKind::Complete if mutation == Some(Mutation::Unfenced) => {
                self.as_whoever_owns(call, earlier, |owner| self.complete(call, owner, mutation))
            }
            CallKind::Complete => ended(self.complete(call, call.owner, mutation)),
            CallKind::Release { counts } if mutation == Some(Mutation::Unfenced) => {
                self.as_whoever_owns(call, earlier, |owner| self.release(call, owner, counts))
            }
            CallKind::Release { counts } => {
                let counts = counts && mutation != Some(Mutation::FailuresAreNothing);
                ended(self.release(call, call.owner, counts))
            }
            CallKind::Find => match now(self.at(call.at).find(&key())) {
                Ok(Some(claim)) => taken(claim),
                Ok(None) => Answer::Free,
                Err(error) => panic!("the store must answer, but failed: {error:#}"),
            },
            CallKind::Begin { alone } => self.begin(call, alone, mutation),
            CallKind::Failed { begun, counts } => {
                self.failed(call, (begun, counts), mutation, earlier)
            }
            CallKind::Commit => self.commit(call, mutation),
        }
    }

    fn claim(
        &self,
        call: Call,
        alone: bool,
        mutation: Option<Mutation>,
        earlier: &[Call],
    ) -> Answer {
        let until = match mutation {
            Some(Mutation::NoMargin) => end_of(call.until() - MARGIN),
            Some(Mutation::EndlessLease) => end_of(u8::MAX),
            _ => end_of(call.until()),
        };
        let mut request = ClaimRequest::new(key(), FINGERPRINT, until, expires(call));
        request.owner = format!("{:?}", call.owner);
        request.sending = sending(call, mutation);
        request.limit = limit(alone, mutation);
        let claim = || match now(self.at(call.at).claim(&request)) {
            Ok(claim) => taken(claim),
            Err(error) => panic!("the store must answer, but failed: {error:#}"),
        };
        match claim() {
            Answer::Held { .. } if mutation == Some(Mutation::HeldIsFree) => {
                self.as_whoever_owns(call, earlier, |owner| self.release(call, owner, true));
                claim()
            }
            answer => answer,
        }
    }

    fn start(call: Call, mutation: Option<Mutation>) -> AttemptStart {
        let until = match mutation {
            Some(Mutation::ForgetsWhatGoesOn) => time(call.at),
            _ => end_of(call.until()),
        };
        let mut start = AttemptStart::new(key(), FINGERPRINT, time(call.at), until, expires(call));
        start.sending = sending(call, mutation);
        start
    }

    fn begin(&self, call: Call, alone: bool, mutation: Option<Mutation>) -> Answer {
        let mut start = Self::start(call, mutation);
        start.limit = limit(alone, mutation);
        let at = match mutation {
            // It takes a completion for one that has expired.
            Some(Mutation::BeginsOverACompletion) => Moment::end_of(u8::MAX),
            _ => call.at,
        };
        begun(now(self.at(at).begin(&start)))
    }

    fn failed(
        &self,
        call: Call,
        (has_begun, counts): (bool, bool),
        mutation: Option<Mutation>,
        earlier: &[Call],
    ) -> Answer {
        let mut start = Self::start(call, mutation);
        if mutation == Some(Mutation::RepeatsAreAttempts) && !has_begun {
            let repeats = earlier.iter().filter(|it| **it == call).count();
            start.at += Duration::from_millis(u64::try_from(repeats).expect("few"));
        }
        let store = self.at(call.at);
        if mutation == Some(Mutation::EndsForAnother) && has_begun {
            let history = now(store.history(&key())).expect("the store answers");
            start.at = history.and_then(|it| it.started_at).unwrap_or(start.at);
        }
        let mut failure = AttemptFailure::new(start, "failed");
        failure.has_begun = has_begun;
        failure.counts = counts && mutation != Some(Mutation::FailuresAreNothing);
        begun(now(store.failed(&failure)))
    }

    fn complete(&self, call: Call, owner: Owner, mutation: Option<Mutation>) -> Result<()> {
        let forgotten = match mutation {
            Some(Mutation::ForgetsAtOnce) => time(call.at),
            _ => expires(call),
        };
        let data = format!("{:?}", call.owner);
        let store = self.at(call.at);
        now(store.complete(&lease(owner), Some(&data), forgotten))
    }

    fn release(&self, call: Call, owner: Owner, counts: bool) -> Result<()> {
        now(self.at(call.at).release(&lease(owner), counts, "failed"))
    }

    fn commit(&self, call: Call, mutation: Option<Mutation>) -> Answer {
        let owner = format!("{:?}", call.owner);
        let key = match mutation {
            // The effect has a key of its own, independent of the claim's.
            Some(Mutation::EffectBeside) => {
                self.commit_under(call, &IdempotencyKey::new(owner.clone()), true);
                key()
            }
            _ => key(),
        };
        let has_effect = mutation != Some(Mutation::EffectBeside);
        match self.commit_under(call, &key, has_effect) {
            Committed::Done => Answer::Done,
            Committed::Completed(_) => Answer::Completed,
            Committed::Held { until } => held(until),
            other => panic!("the effect must be committed, not {other:?}"),
        }
    }

    fn commit_under(&self, call: Call, key: &IdempotencyKey, has_effect: bool) -> Committed {
        let owner = format!("{:?}", call.owner);
        let effect = Put::builder()
            .table_name("effects")
            .item("id", AttributeValue::S("the only one".into()))
            .build()
            .expect("a complete put");
        let effect = [TransactWriteItem::builder().put(effect).build()];
        let (made, forgotten) = (time(call.at), expires(call));
        let mut commit =
            Commit::new(key, FINGERPRINT, &owner, made, forgotten).with_data(Some(&owner));
        if has_effect {
            commit.writes = &effect;
        }
        now(self.at(call.at).commit(&commit)).expect("the store answers")
    }

    /// Makes a call as the key's current owner.
    fn as_whoever_owns(
        &self,
        call: Call,
        earlier: &[Call],
        make: impl Fn(Owner) -> Result<()>,
    ) -> Answer {
        let owners = earlier.iter().chain([&call]).map(|call| call.owner);
        let answers = owners.map(|owner| ended(make(owner)));
        let mut done = answers.filter(|answer| *answer == Answer::Done);
        done.next().unwrap_or(Answer::Fenced)
    }
}

/// The memory store answers without waiting.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a store that never waits")
}

fn taken(claim: Claim) -> Answer {
    match claim {
        Claim::Acquired(lease) => Answer::Acquired {
            number: small(lease.attempt),
        },
        Claim::Completed(_) => Answer::Completed,
        Claim::Held { until } => held(until),
        Claim::Suspect(suspect) => Answer::Suspect {
            attempts: small(suspect.attempts),
            until: suspect.until.map(last_tick),
        },
    }
}

fn begun(begun: Result<Begun>) -> Answer {
    match begun {
        Ok(Begun::Begun { number }) => Answer::Counted(number.map(small)),
        Ok(Begun::Taken(claim)) => taken(claim),
        Err(error) => panic!("the store must answer, but failed: {error:#}"),
    }
}

fn held(until: Option<SystemTime>) -> Answer {
    Answer::Held {
        until: until.map_or(u8::MAX, last_tick),
    }
}

fn ended(result: Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) if error.kind() == ErrorKind::Fenced => Answer::Fenced,
        Err(error) => panic!("the store must answer, but failed: {error:#}"),
    }
}
