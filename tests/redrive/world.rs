//! A dead-letter queue, a destination and a journal in memory, with faults by a seed.

use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use surehand::{Error, Result};
use surehand_redrive::{
    Accepted, Action, Destination, Entries, Entry, Journal, Ledger, Letter, Parcel, Plan, Post,
    Queue, QueueInfo, Received, Refusal,
};
use tokio::time::{Instant, sleep};

pub(crate) const DEAD: &str = "https://sqs.r.amazonaws.com/1/dead";
pub(crate) const DEAD_FIFO: &str = "https://sqs.r.amazonaws.com/1/dead.fifo";
pub(crate) const SOURCE: &str = "https://sqs.r.amazonaws.com/1/source";
pub(crate) const SOURCE_FIFO: &str = "https://sqs.r.amazonaws.com/1/source.fifo";

/// Letters `m-0`, `m-1`, … of one group, or of none.
pub(crate) fn letters(count: usize, group: Option<&str>) -> Vec<Letter> {
    let letters = (0..count).map(|index| {
        let mut letter = Letter::new(format!("m-{index}"), format!("{{\"n\":{index}}}"));
        letter.group = group.map(str::to_owned);
        letter.deduplication_id = Some(format!("own-{index}"));
        letter
    });
    letters.collect()
}

pub(crate) fn source(fifo: bool) -> Destination {
    let url = if fifo { SOURCE_FIFO } else { SOURCE };
    Destination::Queue(url.to_owned())
}

/// All of them are redriven.
pub(crate) fn plan_of(letters: &[Letter]) -> Plan {
    let fifo = letters.iter().any(|letter| letter.group.is_some());
    let mut plan = Plan::new(if fifo { DEAD_FIFO } else { DEAD }).to(source(fifo));
    for letter in letters {
        plan.add(letter, Action::Redrive);
    }
    plan
}

/// What the test breaks on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The code believes that every entry of a send was accepted.
    IgnorePartialFailures,
    /// Letters are sent with the deduplication id that they had.
    ReuseDeduplicationId,
    /// Letters are deleted as soon as they are about to be sent.
    DeleteBeforeConfirm,
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

pub(crate) struct State {
    rng: fastrand::Rng,
    /// How likely each call is to fail, in one of the ways.
    faults: f64,
    /// The call with this number fails in this way, independently of the other calls.
    one: Option<(u64, u8)>,
    pub(crate) calls: u64,
    fifo: bool,
    held: Vec<Held>,
    /// The destination's messages, in the order in which they arrived.
    pub(crate) delivered: Vec<Parcel>,
    /// When a queue saw a deduplication id, by the queue's name and the id.
    seen: HashMap<(String, String), Instant>,
    /// What the destination's consumer gets, of the redrive and of others.
    pub(crate) source: Vec<Message>,
    receipts: u64,
    pub(crate) journal: Vec<String>,
    /// The ids that the journal has as dropped, and as sent.
    archived: HashSet<String>,
    confirmed: HashSet<String>,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) redrive_policy: Option<String>,
    /// Parcels of the largest send, and most bytes.
    pub(crate) largest: (usize, usize),
    pub(crate) changes: u64,
    /// Calls of this kind get no answer.
    pub(crate) deletes_fail: bool,
    pub(crate) renewals_fail: bool,
    /// There is no right to delete.
    pub(crate) deletes_are_denied: bool,
    /// The queue's counts do not know of messages that are hidden.
    pub(crate) counts_lag: bool,
    /// Every sent message is immediately a dead letter again.
    pub(crate) bounces: bool,
}

/// A message of the source queue.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) group: Option<String>,
    pub(crate) body: String,
    /// The dead letter that it came from.
    pub(crate) letter_id: Option<String>,
}

struct Held {
    letter: Letter,
    receipt: String,
    hidden_until: Option<Instant>,
}

impl World {
    pub(crate) fn new(seed: u64, fifo: bool, letters: Vec<Letter>) -> Self {
        let held = letters.into_iter().map(Held::new);
        Self(Arc::new(Mutex::new(State {
            rng: fastrand::Rng::with_seed(seed),
            faults: 0.0,
            one: None,
            calls: 0,
            fifo,
            held: held.collect(),
            delivered: Vec::new(),
            seen: HashMap::new(),
            source: Vec::new(),
            receipts: 0,
            journal: Vec::new(),
            archived: HashSet::new(),
            confirmed: HashSet::new(),
            mutation: None,
            redrive_policy: None,
            largest: (0, 0),
            changes: 0,
            deletes_fail: false,
            renewals_fail: false,
            deletes_are_denied: false,
            counts_lag: false,
            bounces: false,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn with_faults(self, rate: f64) -> Self {
        self.state().faults = rate;
        self
    }

    pub(crate) fn failing_once(self, call: u64, how: u8) -> Self {
        self.state().one = Some((call, how));
        self
    }

    pub(crate) fn mutated(self, mutation: Option<Mutation>) -> Self {
        self.state().mutation = mutation;
        self
    }

    /// No more faults.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults = 0.0;
        state.one = None;
    }

    /// Another dead letter.
    pub(crate) fn arrive(&self, letter: Letter) {
        self.state().held.push(Held::new(letter));
    }

    /// Sends another producer's message to the source queue. Returns false if it was accepted and
    /// dropped.
    pub(crate) fn publish(&self, message: Message, deduplication_id: &str) -> bool {
        let mut state = self.state();
        let is_new = !state.has_seen(SOURCE_FIFO, deduplication_id);
        if is_new {
            state.source.push(message);
        }
        is_new
    }

    /// Another process takes a dead letter that is visible.
    pub(crate) fn steal(&self) -> Option<String> {
        let now = Instant::now();
        let mut state = self.state();
        let is_free = |held: &Held| held.hidden_until.is_none_or(|until| until <= now);
        let index = state.held.iter().position(is_free)?;
        Some(state.held.remove(index).letter.id)
    }

    /// The visibility timeouts run out.
    pub(crate) fn reveal(&self) {
        for held in &mut self.state().held {
            held.hidden_until = None;
        }
    }

    /// The ids of the letters, in their order.
    pub(crate) fn queued(&self) -> Vec<String> {
        let state = self.state();
        state.held.iter().map(|h| h.letter.id.clone()).collect()
    }

    pub(crate) fn left(&self) -> BTreeSet<String> {
        let state = self.state();
        state.held.iter().map(|h| h.letter.id.clone()).collect()
    }

    /// Messages that are hidden from others.
    pub(crate) fn hidden(&self) -> usize {
        let now = Instant::now();
        let state = self.state();
        let hidden = state.held.iter();
        hidden
            .filter(|h| h.hidden_until.is_some_and(|until| until > now))
            .count()
    }

    /// How many letters were hidden, and are not any more.
    pub(crate) fn lapsed(&self) -> usize {
        let (state, now) = (self.state(), Instant::now());
        let held = state.held.iter();
        held.filter(|h| h.hidden_until.is_some_and(|until| until <= now))
            .count()
    }

    /// The journal as a process that starts now finds it.
    pub(crate) fn ledger(&self) -> Ledger {
        let state = self.state();
        let lines = state.journal.iter();
        lines
            .map(|line| serde_json::from_str::<Entry>(line).unwrap())
            .collect()
    }

    pub(crate) fn delivered_ids(&self) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        for parcel in &self.state().delivered {
            *ids.entry(parcel.letter_id.clone()).or_default() += 1;
        }
        ids
    }

    /// Draws how this call fails.
    fn fault(&self) -> Fault {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let how = match state.one {
            Some((call, how)) if call == number => how,
            Some(_) => return Fault::None,
            None => {
                let rate = state.faults;
                if state.rng.f64() >= rate {
                    return Fault::None;
                }
                state.rng.u8(..)
            }
        };
        match how % 4 {
            0 => Fault::Refused,
            1 => Fault::AnswerLost,
            2 => Fault::Partial,
            _ => Fault::Slow,
        }
    }

    /// A call takes a while: a process can die before and after it has its effect.
    async fn travel(&self, fault: Fault) {
        let slow = match fault {
            Fault::Slow => Duration::from_secs(90),
            _ => Duration::from_millis(5),
        };
        sleep(slow).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Refused,
    AnswerLost,
    Partial,
    Slow,
}

impl Held {
    fn new(letter: Letter) -> Self {
        Self {
            letter,
            receipt: String::new(),
            hidden_until: None,
        }
    }
}

impl State {
    /// Whether the queue has seen the id in the last five minutes; it has now.
    fn has_seen(&mut self, queue: &str, deduplication_id: &str) -> bool {
        let now = Instant::now();
        let key = (queue.to_owned(), deduplication_id.to_owned());
        let five_minutes = Duration::from_secs(300);
        let seen = self.seen.get(&key);
        if seen.is_some_and(|at| now.duration_since(*at) < five_minutes) {
            return true;
        }
        self.seen.insert(key, now);
        false
    }

    fn fails_entry(&mut self, fault: Fault) -> bool {
        fault == Fault::Partial && self.rng.bool()
    }
}

fn failed() -> Error {
    Error::transient("the service does not answer")
}

fn refused() -> Refusal {
    Refusal::transient("InternalError", "try again")
}

impl Queue for World {
    fn info(&self) -> BoxFuture<'_, Result<QueueInfo>> {
        Box::pin(async move {
            let fault = self.fault();
            self.travel(fault).await;
            if fault == Fault::Refused {
                return Err(failed());
            }
            let hidden = self.hidden() as u64;
            let state = self.state();
            Ok(QueueInfo {
                url: if state.fifo { DEAD_FIFO } else { DEAD }.into(),
                arn: match state.fifo {
                    true => "arn:aws:sqs:r:1:dead.fifo".into(),
                    false => "arn:aws:sqs:r:1:dead".into(),
                },
                fifo: state.fifo,
                visible: state.held.len() as u64 - hidden,
                in_flight: if state.counts_lag { 0 } else { hidden },
                delayed: 0,
                redrive_policy: state.redrive_policy.clone(),
                retention: None,
            })
        })
    }

    fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Received>>> {
        Box::pin(async move {
            let fault = self.fault();
            self.travel(fault).await;
            if fault == Fault::Refused {
                return Err(failed());
            }
            let received = self.state().receive(max, visibility, fault);
            self.travel(Fault::None).await;
            if fault == Fault::AnswerLost {
                return Err(failed());
            }
            if received.is_empty() {
                sleep(wait).await;
            }
            Ok(received)
        })
    }

    fn delete<'a>(&'a self, receipts: &'a [String]) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let fault = self.fault();
            self.travel(fault).await;
            if fault == Fault::Refused {
                return Err(failed());
            }
            if self.state().deletes_fail {
                return Err(failed());
            }
            if self.state().deletes_are_denied {
                let refusal = Refusal::of_code("AccessDeniedException", "not authorized");
                return Err(refusal.into());
            }
            let results = self.state().delete(receipts, fault);
            self.travel(Fault::None).await;
            match fault {
                Fault::AnswerLost => Err(failed()),
                _ => Ok(results),
            }
        })
    }

    fn change_visibility<'a>(
        &'a self,
        receipts: &'a [String],
        visibility: Duration,
    ) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let fault = self.fault();
            self.travel(fault).await;
            if fault == Fault::Refused {
                return Err(failed());
            }
            let until = Instant::now() + visibility;
            let mut state = self.state();
            state.changes += 1;
            if state.renewals_fail && !visibility.is_zero() {
                return Err(failed());
            }
            let results = receipts.iter().map(|receipt| {
                if state.fails_entry(fault) {
                    return Err(refused());
                }
                let held = state.held.iter_mut().find(|h| h.receipt == *receipt);
                let held = held.ok_or_else(|| Refusal::permanent("InvalidParameterValue", "no"))?;
                held.hidden_until = Some(until);
                Ok(())
            });
            let results = results.collect();
            match fault {
                Fault::AnswerLost => Err(failed()),
                _ => Ok(results),
            }
        })
    }
}

impl State {
    fn receive(&mut self, max: usize, visibility: Duration, fault: Fault) -> Vec<Received> {
        let now = Instant::now();
        let mut blocked: BTreeSet<String> = BTreeSet::new();
        let (mut received, mut has_repeated) = (Vec::new(), false);
        // SQS may return no message although there are some.
        if self.faults > 0.0 && self.rng.u8(..8) == 0 {
            return received;
        }
        for held in &mut self.held {
            let is_hidden = held.hidden_until.is_some_and(|until| until > now);
            if let Some(group) = held.letter.group.as_ref().filter(|_| self.fifo) {
                if is_hidden {
                    blocked.insert(group.clone());
                }
                if blocked.contains(group) {
                    continue;
                }
            }
            // A standard queue may deliver a message to two receivers. It does so rarely: what was
            // received must not crowd out what was not.
            let may_repeat = !self.fifo && self.faults > 0.0 && !has_repeated;
            let is_repeated = is_hidden && may_repeat && self.rng.u8(..64) == 0;
            if received.len() >= max || (is_hidden && !is_repeated) {
                continue;
            }
            has_repeated |= is_repeated;
            self.receipts += 1;
            held.receipt = format!("receipt-{}", self.receipts);
            held.hidden_until = Some(now + visibility);
            held.letter.receive_count += 1;
            received.push(Received {
                letter: held.letter.clone(),
                receipt: held.receipt.clone(),
            });
        }
        if fault == Fault::Partial && self.fifo {
            // SQS may return fewer messages than asked for.
            received.truncate(1.max(received.len() / 2));
            let kept: BTreeSet<_> = received.iter().map(|r| r.receipt.clone()).collect();
            for held in &mut self.held {
                if held.hidden_until == Some(now + visibility) && !kept.contains(&held.receipt) {
                    held.hidden_until = None;
                }
            }
        }
        received
    }

    fn delete(&mut self, receipts: &[String], fault: Fault) -> Entries<()> {
        let mut results = Vec::new();
        for receipt in receipts {
            if self.fails_entry(fault) {
                results.push(Err(refused()));
                continue;
            }
            let Some(index) = self.held.iter().position(|h| h.receipt == *receipt) else {
                results.push(Err(Refusal::permanent("ReceiptHandleIsInvalid", "expired")));
                continue;
            };
            let id = &self.held[index].letter.id;
            self.check_confirmed(id);
            self.held.remove(index);
            results.push(Ok(()));
        }
        results
    }

    /// Checks that a dead letter is only deleted if its destination has it and the journal knows
    /// that; a dropped one must be in the journal.
    fn check_confirmed(&self, id: &str) {
        let mut is_safe = self.archived.contains(id);
        if self.confirmed.contains(id) {
            is_safe = self.delivered.iter().any(|p| p.letter_id == id);
            assert!(is_safe, "{id} is journalled as sent, but no queue has it");
        }
        assert!(is_safe, "{id} is deleted, and was neither sent nor dropped");
    }
}

impl Post for World {
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, Result<Entries<Accepted>>> {
        Box::pin(async move {
            let fault = self.fault();
            self.travel(fault).await;
            if fault == Fault::Refused {
                return Err(failed());
            }
            let results = self.state().take(to, parcels, fault);
            self.travel(Fault::None).await;
            match fault {
                Fault::AnswerLost => Err(failed()),
                _ => Ok(results),
            }
        })
    }
}

impl State {
    fn take(&mut self, to: &Destination, parcels: &[Parcel], fault: Fault) -> Entries<Accepted> {
        let bytes = parcels.iter().map(Parcel::size).sum();
        assert!(parcels.len() <= 10 && bytes <= 1024 * 1024);
        self.largest = (self.largest.0.max(parcels.len()), self.largest.1.max(bytes));
        let Destination::Queue(url) = to else {
            panic!("{to} is not a queue");
        };
        let mut results = Vec::new();
        for parcel in parcels {
            let accepted = Accepted {
                message_id: format!("new-{}", parcel.letter_id),
                body_md5: Some(parcel.body_md5()),
                attributes_md5: Some(parcel.attributes_md5()),
            };
            if self.fails_entry(fault) {
                let is_ignored = self.mutation == Some(Mutation::IgnorePartialFailures);
                results.push(if is_ignored {
                    Ok(accepted)
                } else {
                    Err(refused())
                });
                continue;
            }
            let is_back = [SOURCE, SOURCE_FIFO].contains(&url.as_str());
            let is_known = self.confirmed.contains(&parcel.letter_id);
            let id = &parcel.letter_id;
            assert!(
                !(is_back && is_known),
                "{id} is sent although the journal has it as sent"
            );
            let mut id = parcel.deduplication_id.clone();
            if self.mutation == Some(Mutation::ReuseDeduplicationId) {
                let held = self.held.iter().find(|h| h.letter.id == parcel.letter_id);
                id = held.and_then(|h| h.letter.deduplication_id.clone());
            }
            if to.is_fifo() && self.has_seen(url, &id.unwrap()) {
                // Accepted, and dropped.
                results.push(Ok(accepted));
                continue;
            }
            self.source.push(Message {
                group: parcel.group.clone(),
                body: parcel.body.clone(),
                letter_id: Some(parcel.letter_id.clone()),
            });
            if self.bounces {
                let mut letter = Letter::new(&*accepted.message_id, &*parcel.body);
                letter.attributes.clone_from(&parcel.attributes);
                letter.group.clone_from(&parcel.group);
                self.held.push(Held::new(letter));
            }
            self.delivered.push(parcel.clone());
            results.push(Ok(accepted));
        }
        results
    }

    /// The source queue has seen these a moment ago.
    pub(crate) fn remember(&mut self, deduplication_id: &str) {
        self.has_seen(SOURCE_FIFO, deduplication_id);
    }
}

impl Journal for World {
    fn append<'a>(&'a mut self, entries: &'a [Entry]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // A process can die before, between two lines, and after.
            for entry in entries {
                sleep(Duration::from_millis(1)).await;
                let line = serde_json::to_string(entry).unwrap();
                let mut state = self.state();
                state.journal.push(line);
                match entry {
                    Entry::Intent {
                        letter, to: None, ..
                    } => _ = state.archived.insert(letter.id.clone()),
                    Entry::Sent { id, .. } => _ = state.confirmed.insert(id.clone()),
                    _ => {}
                }
                if state.mutation == Some(Mutation::DeleteBeforeConfirm)
                    && let Entry::Intent { letter, .. } = entry
                {
                    let held = state.held.iter().find(|h| h.letter.id == letter.id);
                    let receipt = held.map(|h| h.receipt.clone());
                    state.delete(&receipt.into_iter().collect::<Vec<_>>(), Fault::None);
                }
            }
            Ok(())
        })
    }
}
