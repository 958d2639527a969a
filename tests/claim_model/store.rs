//! The store under the model: the library's own, called for real.
//!
//! The model has no store of its own that could drift from the code. A state of the model names a
//! state of the store, which is reached again by repeating the calls that led to it.

use super::{LEASE, MARGIN, mutation::Mutation};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use futures_util::FutureExt;
use std::{
    collections::HashMap,
    fmt,
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, ErrorKind, IdempotencyKey, MemoryStore, Result,
    idempotency::{Claim, ClaimRequest, Commit, CommitStore, Committed, Lease, Store},
};

/// An attempt at the key: the worker that makes it, and which of its deliveries it is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) worker: u8,
    pub(crate) delivery: u8,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(b'A' + self.worker), self.delivery)
    }
}

/// A request to the store. It stays the same, even if it arrives late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) owner: Owner,
    /// What the caller's clock showed, in ticks; for the end of a lease, what it showed at the
    /// claim.
    pub(crate) at: u8,
    pub(crate) kind: CallKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CallKind {
    Claim,
    Complete,
    Release,
    Find,
    /// With one effect.
    Commit,
}

impl Call {
    /// When the lease ends, by the caller's clock.
    pub(crate) fn until(&self) -> u8 {
        self.at + LEASE + MARGIN
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Acquired,
    /// The key has no owner.
    Free,
    Completed,
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
        for earlier in &calls {
            real.call(*earlier, self.mutation, &calls);
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
const LONG: Duration = Duration::from_secs(1_000_000);
const FINGERPRINT: &str = "fingerprint";

fn time(tick: u8) -> SystemTime {
    SystemTime::UNIX_EPOCH + START + Duration::from_secs(tick.into())
}

fn tick(time: SystemTime) -> u8 {
    let start = SystemTime::UNIX_EPOCH + START;
    let since = time.duration_since(start).unwrap_or_default();
    u8::try_from(since.as_secs()).unwrap_or(u8::MAX)
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("f#1")
}

fn lease(owner: Owner) -> Lease {
    Lease {
        key: key(),
        owner: format!("{owner:?}"),
        attempt: 1,
    }
}

impl Real {
    fn at(&self, tick: u8) -> MemoryStore {
        let now = time(tick);
        self.0.clone().with_clock(Clock::from_fn(move || now))
    }

    /// All that the store remembers.
    fn text(&self) -> String {
        format!("{:?}", self.at(0))
    }

    fn look(&self, calls: &[Call]) -> Look {
        let data = match now(self.at(0).find(&key())) {
            Ok(Some(Claim::Completed(completion))) => completion.data,
            _ => None,
        };
        // The data of a completion is the name of its owner.
        let owners = calls.iter().map(|call| call.owner);
        Look {
            completed_by: data.and_then(|data| {
                let mut owners = owners.into_iter();
                owners.find(|owner| format!("{owner:?}") == data)
            }),
            effects: self.0.writes().len(),
        }
    }

    fn call(&self, call: Call, mutation: Option<Mutation>, earlier: &[Call]) -> Answer {
        match call.kind {
            CallKind::Claim => self.claim(call, mutation, earlier),
            CallKind::Complete if mutation == Some(Mutation::Unfenced) => {
                self.as_whoever_owns(call, earlier, |owner| self.complete(call, owner, mutation))
            }
            CallKind::Complete => ended(self.complete(call, call.owner, mutation)),
            CallKind::Release if mutation == Some(Mutation::Unfenced) => {
                self.as_whoever_owns(call, earlier, |owner| self.release(call, owner))
            }
            CallKind::Release => ended(self.release(call, call.owner)),
            CallKind::Find => match now(self.at(call.at).find(&key())) {
                Ok(Some(claim)) => taken(claim),
                Ok(None) => Answer::Free,
                Err(error) => panic!("the store must answer, but failed: {error:#}"),
            },
            CallKind::Commit => self.commit(call, mutation),
        }
    }

    fn claim(&self, call: Call, mutation: Option<Mutation>, earlier: &[Call]) -> Answer {
        let until = match mutation {
            Some(Mutation::NoMargin) => time(call.until() - MARGIN),
            Some(Mutation::EndlessLease) => time(u8::MAX),
            _ => time(call.until()),
        };
        let mut request = ClaimRequest::new(key(), FINGERPRINT, until, time(call.at) + LONG);
        request.owner = format!("{:?}", call.owner);
        let claim = || match now(self.at(call.at).claim(&request)) {
            Ok(claim) => taken(claim),
            Err(error) => panic!("the store must answer, but failed: {error:#}"),
        };
        match claim() {
            Answer::Held { .. } if mutation == Some(Mutation::HeldIsFree) => {
                self.as_whoever_owns(call, earlier, |owner| self.release(call, owner));
                claim()
            }
            answer => answer,
        }
    }

    fn complete(&self, call: Call, owner: Owner, mutation: Option<Mutation>) -> Result<()> {
        let forgotten = match mutation {
            Some(Mutation::ForgetsAtOnce) => time(call.at),
            _ => time(call.at) + LONG,
        };
        let data = format!("{:?}", call.owner);
        let store = self.at(call.at);
        now(store.complete(&lease(owner), Some(&data), forgotten))
    }

    fn release(&self, call: Call, owner: Owner) -> Result<()> {
        now(self.at(call.at).release(&lease(owner), true, "failed"))
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
        let (made, forgotten) = (time(call.at), time(call.at) + LONG);
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
        Claim::Acquired(_) => Answer::Acquired,
        Claim::Completed(_) => Answer::Completed,
        Claim::Held { until } => held(until),
        Claim::Suspect(_) => panic!("a claim without a limit takes suspects too"),
    }
}

fn held(until: Option<SystemTime>) -> Answer {
    Answer::Held {
        until: until.map_or(u8::MAX, tick),
    }
}

fn ended(result: Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) if error.kind() == ErrorKind::Fenced => Answer::Fenced,
        Err(error) => panic!("the store must answer, but failed: {error:#}"),
    }
}
