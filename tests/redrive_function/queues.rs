//! A dead-letter queue, a destination and the function's own queue, in memory.

use futures_util::future::{BoxFuture, pending};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use surehand::Result;
use surehand_redrive::{
    Accepted, Destination, Entries, Letter, Parcel, Post, Queue, QueueInfo, Received, Refusal,
    function::{Queues, Work},
};
use tokio::sync::Notify;

/// Where the function parks its own messages.
pub(crate) const OWN: &str = "https://sqs.local/1/redrive-dead";

#[derive(Clone)]
pub(crate) struct FakeQueues {
    state: Arc<Mutex<State>>,
    death: Arc<Notify>,
    names: Arc<BTreeMap<String, String>>,
}

#[derive(Default)]
struct State {
    url: String,
    held: Vec<Held>,
    receipts: u64,
    delivered: Vec<String>,
    messages: VecDeque<String>,
    calls: u64,
    /// The call to die in, and whether it has its effect.
    death: Option<(u64, bool)>,
    has_died: bool,
    died_deleting: bool,
    may_repeat: bool,
    refuses: bool,
    policy: Option<String>,
    receive_time: Duration,
}

struct Held {
    letter: Letter,
    receipt: Option<String>,
}

impl FakeQueues {
    pub(crate) fn new(url: &str, letters: Vec<Letter>) -> Self {
        let held = letters.into_iter().map(|letter| Held {
            letter,
            receipt: None,
        });
        let state = State {
            url: url.into(),
            held: held.collect(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            death: Arc::default(),
            names: Arc::new(BTreeMap::from([("dead".to_owned(), url.to_owned())])),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next message of the function's queue.
    pub(crate) fn message(&self) -> Option<String> {
        self.state().messages.pop_front()
    }

    pub(crate) fn give_back(&self, message: String) {
        self.state().messages.push_back(message);
    }

    /// Returns how many messages are in the dead-letter queue.
    pub(crate) fn left(&self) -> usize {
        self.state().held.len()
    }

    pub(crate) fn hidden(&self) -> usize {
        let state = self.state();
        state.held.iter().filter(|h| h.receipt.is_some()).count()
    }

    /// The bodies that were sent, in their order.
    pub(crate) fn delivered(&self) -> Vec<String> {
        self.state().delivered.clone()
    }

    /// The invocation dies in the call with this number from now.
    pub(crate) fn die_at(&self, call: u64, after: bool) {
        let mut state = self.state();
        state.calls = 0;
        state.death = Some((call, after));
    }

    pub(crate) async fn died(&self) {
        self.death.notified().await;
        // Concurrent messages have arrived by now.
        let mut state = self.state();
        let is_sent = |held: &Held| state.delivered.contains(&held.letter.body);
        state.may_repeat = !state.died_deleting && state.held.iter().any(is_sent);
    }

    pub(crate) fn has_died(&self) -> bool {
        self.state().has_died
    }

    /// Returns true if the process died after it had sent dead letters and before it had recorded
    /// them. A dead letter is only deleted after that.
    pub(crate) fn may_repeat(&self) -> bool {
        self.state().may_repeat
    }

    /// Makes the messages that the dead invocation had received visible again.
    pub(crate) fn recover(&self) {
        for held in &mut self.state().held {
            held.receipt = None;
        }
    }

    /// Each receive takes this long.
    pub(crate) fn crawl(&self, time: Duration) {
        self.state().receive_time = time;
    }

    /// Whether every send fails.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// A task in which the dead-letter queue itself moves messages.
    pub(crate) fn has_policy(&self) {
        self.state().policy = Some("{}".into());
    }

    /// One call of a service, with its effect.
    async fn call<T>(&self, deletes: bool, effect: impl FnOnce(&mut State) -> T) -> T {
        tokio::task::yield_now().await;
        let (result, dies) = {
            let mut state = self.state();
            let dies = match state.death {
                Some((call, after)) if call == state.calls => Some(after),
                _ => None,
            };
            state.calls += 1;
            let result = (dies != Some(false)).then(|| effect(&mut state));
            if dies.is_some() {
                state.death = None;
                state.has_died = true;
                state.died_deleting = deletes;
            }
            (result, dies.is_some())
        };
        match result {
            Some(result) if !dies => result,
            _ => {
                self.death.notify_one();
                pending().await
            }
        }
    }
}

impl Queues for FakeQueues {
    fn dead_letters(&self, url: &str) -> Box<dyn Queue> {
        assert_eq!(url, self.state().url);
        Box::new(self.clone())
    }

    fn by_name(&self) -> &BTreeMap<String, String> {
        &self.names
    }

    fn is_own(&self, url: &str) -> bool {
        url == OWN
    }

    fn destinations<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Destination>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn post(&self) -> &dyn Post {
        self
    }

    fn go_on<'a>(&'a self, work: &'a Work, _delay: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let message = serde_json::to_string(work)?;
            self.call(false, |state| state.messages.push_back(message))
                .await;
            Ok(())
        })
    }
}

impl Queue for FakeQueues {
    fn info(&self) -> BoxFuture<'_, Result<QueueInfo>> {
        Box::pin(async move {
            let info = self.call(false, |state| {
                let hidden = state.held.iter().filter(|h| h.receipt.is_some()).count() as u64;
                QueueInfo {
                    url: state.url.clone(),
                    arn: "arn:aws:sqs:eu-west-1:1:dead".to_owned(),
                    visible: state.held.len() as u64 - hidden,
                    in_flight: hidden,
                    redrive_policy: state.policy.clone(),
                    ..QueueInfo::default()
                }
            });
            Ok(info.await)
        })
    }

    fn receive(
        &self,
        max: usize,
        _visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Received>>> {
        Box::pin(async move {
            let received = self.call(false, |state| {
                let mut received = Vec::new();
                let visible = state.held.iter_mut().filter(|h| h.receipt.is_none());
                for held in visible.take(max) {
                    state.receipts += 1;
                    let receipt = format!("receipt-{}", state.receipts);
                    held.receipt = Some(receipt.clone());
                    let letter = held.letter.clone();
                    received.push(Received { letter, receipt });
                }
                received
            });
            let received = received.await;
            let time = self.state().receive_time;
            tokio::time::sleep(time).await;
            if received.is_empty() {
                tokio::time::sleep(wait).await;
            }
            Ok(received)
        })
    }

    fn delete<'a>(&'a self, receipts: &'a [String]) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let deleted = self.call(true, |state| {
                let is_one = |held: &Held, receipt: &String| held.receipt.as_ref() == Some(receipt);
                let mut results = Vec::new();
                for receipt in receipts {
                    let before = state.held.len();
                    state.held.retain(|held| !is_one(held, receipt));
                    let expired = || Refusal::permanent("ReceiptHandleIsInvalid", "expired");
                    results.push(
                        (state.held.len() < before)
                            .then_some(())
                            .ok_or_else(expired),
                    );
                }
                results
            });
            Ok(deleted.await)
        })
    }

    fn change_visibility<'a>(
        &'a self,
        receipts: &'a [String],
        visibility: Duration,
    ) -> BoxFuture<'a, Result<Entries<()>>> {
        Box::pin(async move {
            let changed = self.call(false, |state| {
                for held in &mut state.held {
                    let is_meant = held.receipt.as_ref().is_some_and(|r| receipts.contains(r));
                    if is_meant && visibility.is_zero() {
                        held.receipt = None;
                    }
                }
                receipts.iter().map(|_| Ok(())).collect()
            });
            Ok(changed.await)
        })
    }
}

impl Post for FakeQueues {
    fn send<'a>(
        &'a self,
        _to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, Result<Entries<Accepted>>> {
        Box::pin(async move {
            let sent = self.call(false, |state| {
                let refusal = || Refusal::permanent("AccessDenied", "not this queue");
                let accept = |parcel: &Parcel| Accepted {
                    message_id: format!("new-{}", parcel.letter_id),
                    body_md5: Some(parcel.body_md5()),
                    attributes_md5: Some(parcel.attributes_md5()),
                };
                if !state.refuses {
                    let bodies = parcels.iter().map(|parcel| parcel.body.clone());
                    state.delivered.extend(bodies);
                }
                let results = parcels.iter().map(|parcel| match state.refuses {
                    true => Err(refusal()),
                    false => Ok(accept(parcel)),
                });
                results.collect()
            });
            Ok(sent.await)
        })
    }
}
