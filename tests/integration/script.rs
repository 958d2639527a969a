//! A handler that does what a test has written down for each event.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use surehand::{Envelope, Error, Event, Result, State};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
#[event(partition_key = "{order_id}")]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: String,
    pub(crate) quantity: u32,
}

/// What the handler does with an event.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Succeed,
    /// Succeeds with this JSON.
    Reply(&'static str),
    Reject(&'static str),
    Fail(&'static str),
    /// Asks for another attempt after this many seconds.
    FailFor(u64),
    /// Panics before its first await.
    PanicAtOnce(&'static str),
    /// Panics after an await.
    PanicLater(&'static str),
    /// Succeeds after this many seconds.
    Take(u64),
    Hang,
}

/// Steps by event id, one for each attempt, the last one for all further attempts.
pub(crate) type Steps = &'static [(&'static str, &'static [Step])];

/// The steps of all events, and their effects. Clones share both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    steps: HashMap<String, Vec<Step>>,
    attempts: HashMap<String, usize>,
    started: Vec<String>,
    effects: Vec<String>,
}

impl Script {
    /// Any event without steps succeeds.
    pub(crate) fn new(steps: Steps) -> Self {
        let steps = steps
            .iter()
            .map(|(id, steps)| ((*id).to_owned(), steps.to_vec()));
        let progress = Progress {
            steps: steps.collect(),
            ..Progress::default()
        };
        Self(Arc::new(Mutex::new(progress)))
    }

    /// The ids of the events that the handler has begun, in order.
    pub(crate) fn started(&self) -> Vec<String> {
        self.progress().started.clone()
    }

    /// The ids of the events that took effect, in order.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.progress().effects.clone()
    }

    async fn play(&self, id: &str) -> Result<Value> {
        let reply = match self.next(id) {
            Step::Succeed => Value::Null,
            Step::Reply(json) => serde_json::from_str(json)?,
            Step::Reject(why) => return Err(Error::rejected(why)),
            Step::Fail(why) => return Err(Error::transient(why)),
            Step::FailFor(seconds) => {
                return Err(Error::retry_after(Duration::from_secs(seconds), "not now"));
            }
            Step::PanicAtOnce(why) => panic!("{why}"),
            Step::PanicLater(why) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                panic!("{why}")
            }
            Step::Take(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Value::Null
            }
            Step::Hang => std::future::pending().await,
        };
        self.progress().effects.push(id.to_owned());
        Ok(reply)
    }

    fn next(&self, id: &str) -> Step {
        let mut progress = self.progress();
        progress.started.push(id.to_owned());
        let attempt = progress.attempts.entry(id.to_owned()).or_default();
        let index = *attempt;
        *attempt += 1;
        let steps = progress.steps.get(id).map_or(&[][..], Vec::as_slice);
        let step = steps.get(index).or(steps.last());
        step.cloned().unwrap_or(Step::Succeed)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap()
    }
}

/// The handler of one type of event.
pub(crate) async fn order_placed(
    order: Envelope<OrderPlaced>,
    State(script): State<Script>,
) -> Result<Value> {
    assert!(order.data.quantity > 0 && !order.data.order_id.is_empty());
    script.play(&order.metadata.id).await
}

/// The handler of anything.
pub(crate) async fn anything(
    event: Envelope<Value>,
    State(script): State<Script>,
) -> Result<Value> {
    script.play(&event.metadata.id).await
}
