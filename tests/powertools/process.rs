//! A process of a Surehand function that shares its keys with one on Powertools.

use aws_sdk_dynamodb::Client;
use lambda_runtime::Context;
use serde_json::{Value, value::RawValue};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, Direct, DynamoDbStore, Error, Function, Idempotency, Json, Result, State,
    idempotency::KeyStyle, source::Source, testing,
};
use tokio::sync::Notify;

pub(crate) const TABLE: &str = "idempotency";
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the handler does, one step per run. Without a step it must not run.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Return(Value),
    Fail,
    /// Waits until the test lets it go on, and returns.
    Hold(Arc<Held>, Value),
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) entered: Notify,
    pub(crate) go_on: Notify,
}

#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<VecDeque<Step>>>);

impl Script {
    pub(crate) fn then(&self, step: Step) {
        self.0.lock().unwrap().push_back(step);
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    async fn run(&self) -> Result<Value> {
        let step = self.0.lock().unwrap().pop_front();
        match step.expect("the handler must not run") {
            Step::Return(reply) => Ok(reply),
            Step::Fail => Err(Error::transient("the database is away")),
            Step::Hold(held, reply) => {
                held.entered.notify_one();
                held.go_on.notified().await;
                Ok(reply)
            }
        }
    }
}

async fn handler(State(script): State<Script>) -> Result<Value> {
    script.run().await
}

/// How many seconds a process's clock is ahead of Python's.
pub(crate) type Ahead = i64;

pub(crate) struct Process<So> {
    function: Function<So>,
    pub(crate) script: Script,
    clock: Clock,
}

impl<So: Source> Process<So> {
    /// `scope` is Powertools' name of its function. The key is what `once` says.
    pub(crate) fn new(
        source: So,
        client: &Client,
        scope: &str,
        ahead: Ahead,
        once: impl FnOnce(Idempotency<DynamoDbStore>) -> Idempotency<DynamoDbStore>,
    ) -> Self {
        let clock = clock(ahead);
        let store = DynamoDbStore::new(client.clone(), TABLE).with_clock(clock.clone());
        let idempotency = Idempotency::new(store)
            .scope(scope)
            .style(KeyStyle::Powertools)
            .clock(clock.clone());
        let script = Script::default();
        let function = Function::new(source, handler, script.clone())
            .clock(clock.clone())
            .idempotent(once(idempotency));
        Self {
            function,
            script,
            clock,
        }
    }

    pub(crate) async fn deliver(&self, event: So::Event) -> Result<So::Response> {
        self.function.invoke(event, self.context()).await
    }

    /// An invocation that has 30 seconds by the process's clock.
    fn context(&self) -> Context {
        let mut context = testing::context();
        let end = self.clock.now() + TIMEOUT;
        let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        context.deadline = u64::try_from(since.as_millis()).unwrap();
        context
    }
}

impl Process<Direct> {
    /// Takes orders, each once by its `request_id`.
    pub(crate) fn of_orders(client: &Client, scope: &str, ahead: Ahead) -> Self {
        Self::new(Direct, client, scope, ahead, |once| {
            once.key(|Json(order): Json<Value>| order["request_id"].as_str().map(str::to_owned))
        })
    }

    /// Takes orders, each once by what `key` makes of it.
    pub(crate) fn keyed(client: &Client, scope: &str, key: fn(&Value) -> Value) -> Self {
        Self::new(Direct, client, scope, 0, |once| {
            once.key(move |Json(order): Json<Value>| key(&order))
        })
    }

    pub(crate) async fn order(&self, order: &str) -> Result<Value> {
        let event = RawValue::from_string(order.to_owned()).unwrap();
        let reply = self.deliver(event).await?;
        Ok(serde_json::from_str(reply.get()).unwrap())
    }
}

fn clock(ahead: Ahead) -> Clock {
    let by = Duration::from_secs(ahead.unsigned_abs());
    Clock::from_fn(move || match ahead {
        0.. => SystemTime::now() + by,
        _ => SystemTime::now() - by,
    })
}
