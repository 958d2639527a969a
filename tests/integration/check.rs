//! The one way in which all cases run: Lambda's events in, a scripted handler, and then the
//! response, the effects, the dead letters and the delays are what the case says.

use super::script::{Script, Steps, anything, order_placed};
use futures_util::future::BoxFuture;
use lambda_runtime::Context;
use serde_json::{Value, json};
use std::{
    ops::RangeInclusive,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, Direct, DynamoDbStream, Error, ErrorKind, EventBridge, Function, Idempotency, Json,
    MemoryStore, OnPark, Record, Result, Router, Sqs,
    dead_letter::{DeadLetters, FailureNote},
    source::Source,
    testing::{self, RecordedDeadLetters, RecordedMetrics, RecordedRedelivery},
};
use surehand_test_support::emf;

/// A function, and the deliveries to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) trigger: Trigger,
    pub(crate) handles: Handles,
    pub(crate) script: Steps,
    pub(crate) dead_letters: Parking,
    pub(crate) on_park: OnPark,
    /// 5 if none.
    pub(crate) max_attempts: Option<u32>,
    /// Takes the idempotency key from the request's `request_id` instead of the event's id.
    pub(crate) keyed_by_request_id: bool,
    pub(crate) not_idempotent: bool,
    pub(crate) deliveries: Vec<Delivery>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Trigger {
    #[default]
    Sqs,
    EventBridge,
    DynamoDbStream,
    Direct,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Handles {
    #[default]
    Orders,
    Anything,
    OrdersByRouter,
    OrdersElseAnything,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Parking {
    /// The destination accepts every record.
    #[default]
    Accepted,
    Refused,
    /// The function has no dead-letter destination.
    None,
}

/// How long an invocation may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// An event, and its expected results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    /// The file in `data/events`, without its ending.
    pub(crate) event: &'static str,
    /// Of an SQS event only these messages, when any are named.
    pub(crate) only: &'static [&'static str],
    /// Of an SQS event the messages' receive count, when it is not the file's.
    pub(crate) receive: Option<u32>,
    pub(crate) response: Response,
    /// The ids of the events that take effect, in any order.
    pub(crate) effects: &'static [&'static str],
    /// The parked records: the id, the kind of failure, and a part of the message.
    pub(crate) parked: &'static [(&'static str, &'static str, &'static str)],
    /// When the records that are named here are redelivered, in seconds from now.
    pub(crate) back_in: &'static [(&'static str, RangeInclusive<f64>)],
}

impl Delivery {
    /// The returned records are received for the second time, and take effect.
    pub(crate) fn again(event: &'static str, effects: &'static [&'static str]) -> Self {
        Self {
            event,
            receive: Some(2),
            effects,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Response {
    /// `batchItemFailures` with these ids, in this order.
    Failures(&'static [&'static str]),
    Json(Value),
    /// The invocation fails.
    Error(ErrorKind, &'static str),
}

impl Default for Response {
    fn default() -> Self {
        Self::Failures(&[])
    }
}

/// The default backoff after the first attempt, in seconds.
pub(crate) const BACKOFF: RangeInclusive<f64> = 7.5..=10.0;

/// Runs the case, with completed keys remembered in the process and without.
#[track_caller]
pub(crate) fn check(case: Case) {
    for cached_keys in [1_000, 0] {
        let run = async {
            match case.trigger {
                Trigger::Sqs => case.run(Sqs, cached_keys).await,
                Trigger::EventBridge => case.run(EventBridge, cached_keys).await,
                Trigger::DynamoDbStream => case.run(DynamoDbStream, cached_keys).await,
                Trigger::Direct => case.run(Direct, cached_keys).await,
            }
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(run);
    }
}

impl Case {
    async fn run<So: Source>(&self, source: So, cached_keys: usize) {
        let clock = virtual_clock();
        let script = Script::new(self.script);
        let redelivery = RecordedRedelivery::new();
        let metrics = RecordedMetrics::new();
        let dead_letters = match self.dead_letters {
            Parking::Refused => RecordedDeadLetters::refusing(),
            Parking::Accepted | Parking::None => RecordedDeadLetters::new(),
        };

        let state = script.clone();
        let mut function = match self.handles {
            Handles::Orders => Function::new(source, order_placed, state),
            Handles::Anything => Function::new(source, anything, state),
            Handles::OrdersByRouter => Function::new(source, Router::new().on(order_placed), state),
            Handles::OrdersElseAnything => {
                let router = Router::new().on(order_placed).otherwise(anything);
                Function::new(source, router, state)
            }
        }
        .clock(clock.clone())
        .max_attempts(self.max_attempts.unwrap_or(5))
        .on_park(self.on_park)
        .metrics(metrics.emf("Shop").service("tests"))
        .redelivery(redelivery.clone());
        if !matches!(self.dead_letters, Parking::None) {
            function = function.dead_letters(dead_letters.clone());
        }
        if !self.not_idempotent {
            let store = MemoryStore::new().with_clock(clock.clone());
            let mut once = Idempotency::new(store)
                .clock(clock.clone())
                .cache(cached_keys);
            if self.keyed_by_request_id {
                once = once.key(|request: Json<Value>| {
                    request.0["request_id"].as_str().map(str::to_owned)
                });
            }
            function = function.idempotent(once);
        }

        for (number, delivery) in self.deliveries.iter().enumerate() {
            let what = format!(
                "delivery {} of {} ({cached_keys} cached keys)",
                number + 1,
                delivery.event
            );
            let (effects, parked, delayed, lines) = (
                script.effects().len(),
                dead_letters.parked().len(),
                redelivery.delays().len(),
                metrics.lines().len(),
            );
            let mut context = context_at(&clock, TIMEOUT);
            context.request_id = format!("request-{}", number + 1);

            let response = respond(&function, &delivery.read(), context).await;
            delivery.check_response(response, &what);

            let mut new_effects = script.effects().split_off(effects);
            new_effects.sort();
            assert_eq!(new_effects, delivery.effects, "the effects of {what}");

            let parked: Vec<_> = dead_letters.parked().split_off(parked);
            let mut kinds: Vec<_> = parked.iter().map(|(r, n)| (r.id(), &*n.kind)).collect();
            kinds.sort();
            let expected: Vec<_> = delivery.parked.iter().map(|p| (p.0, p.1)).collect();
            assert_eq!(kinds, expected, "the dead letters of {what}");
            for (id, _, part) in delivery.parked {
                let (_, note) = parked.iter().find(|(r, _)| r.id() == *id).unwrap();
                assert!(
                    note.message.contains(part),
                    "the reason of {id} in {what} is `{}`",
                    note.message
                );
            }

            let delays = redelivery.delays().split_off(delayed);
            delivery.check_delays(&delays, &what);
            delivery.check_metrics(&metrics.lines()[lines..], &what);
        }
    }
}

impl Delivery {
    /// The event's text, as it is in the file unless the delivery changes it.
    fn read(&self) -> String {
        let text = read_event(self.event);
        if self.only.is_empty() && self.receive.is_none() {
            return text;
        }
        let mut event: Value = serde_json::from_str(&text).unwrap();
        if let Some(records) = event.get_mut("Records").and_then(Value::as_array_mut) {
            if !self.only.is_empty() {
                records.retain(|r| self.only.iter().any(|id| r["messageId"] == *id));
            }
            if let Some(count) = self.receive {
                for record in records {
                    record["attributes"]["ApproximateReceiveCount"] = count.to_string().into();
                }
            }
        }
        event.to_string()
    }

    fn check_response(&self, response: Result<Value>, what: &str) {
        match (&self.response, response) {
            (Response::Failures(ids), Ok(response)) => {
                let failures: Vec<_> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
                // The list is there also when it is empty.
                let expected = json!({ "batchItemFailures": failures });
                assert_eq!(response, expected, "the response to {what}");
            }
            (Response::Json(expected), Ok(response)) => {
                assert_eq!(response, *expected, "the response to {what}");
            }
            (Response::Error(kind, part), Err(error)) => {
                assert_eq!(error.kind(), *kind, "the error of {what}: {error}");
                assert!(error.to_string().contains(part), "{what}: {error}");
            }
            (expected, response) => panic!("{what}: {expected:?} expected, not {response:?}"),
        }
    }

    /// Checks that every record is counted once, with its outcome.
    fn check_metrics(&self, lines: &[String], what: &str) {
        let mut sums = emf::Sums::new();
        for line in lines {
            emf::add(&mut sums, &serde_json::from_str(line).unwrap());
        }
        let sum = |name: &str| {
            let key = format!("{name}{{function=test-function,service=tests}}");
            sums.get(&key).copied()
        };
        assert_eq!(sum("ColdStart"), Some(0.0), "{what}");
        let Some(records) = sum("BatchSize") else {
            let is_refused = matches!(self.response, Response::Error(..));
            assert!(is_refused && sums.len() == 1, "{what}: {sums:?}");
            return;
        };
        let (processed, duplicates) = (sum("RecordsProcessed"), sum("Duplicates"));
        let (failed, parked) = (sum("RecordsFailed").unwrap(), sum("Parked"));
        assert_eq!(processed, Some(self.effects.len() as f64), "{what}");
        assert_eq!(parked, Some(self.parked.len() as f64), "{what}");
        assert_eq!(
            processed.unwrap() + duplicates.unwrap() + failed,
            records,
            "{what}"
        );
        if let Response::Failures(ids) = self.response
            && self.event.starts_with("sqs")
        {
            assert_eq!(failed, (ids.len() + self.parked.len()) as f64, "{what}");
        }
        let by_kind = sums
            .iter()
            .filter(|(key, _)| key.starts_with("RecordsFailed{") && key.contains("kind="));
        assert_eq!(by_kind.map(|(_, sum)| sum).sum::<f64>(), failed, "{what}");
        for (_, kind, _) in self.parked {
            let key = format!("RecordsFailed{{function=test-function,kind={kind},service=tests}}");
            assert!(sums.contains_key(&key), "{what}: {sums:?}");
        }
    }

    fn check_delays(&self, delays: &[(String, Duration)], what: &str) {
        if let Response::Failures(failures) = self.response {
            let mut delayed: Vec<_> = delays.iter().map(|(id, _)| id.as_str()).collect();
            // A stream's response names one record, but the redelivery learns of every one that
            // failed.
            delayed.retain(|id| failures.contains(id));
            assert_eq!(delayed, failures, "what comes back after {what}");
        }
        for (id, expected) in self.back_in {
            let (_, delay) = delays.iter().find(|(d, _)| d == id).unwrap();
            let seconds = delay.as_secs_f64();
            assert!(
                expected.contains(&seconds),
                "{id} is redelivered {seconds} s after {what}, but {expected:?} was expected"
            );
        }
    }
}

/// A clock that a paused runtime turns.
pub(crate) fn virtual_clock() -> Clock {
    Clock::virtual_from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_255_200))
}

/// Makes the context of an invocation that begins now and may take this long.
pub(crate) fn context_at(clock: &Clock, timeout: Duration) -> Context {
    let end = clock.now() + timeout;
    let mut context = testing::context();
    let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    context.deadline = u64::try_from(since.as_millis()).unwrap();
    context
}

/// Invokes the function by way of JSON, as Lambda does.
pub(crate) async fn respond<So: Source>(
    function: &Function<So>,
    event: &str,
    context: Context,
) -> Result<Value> {
    let event = serde_json::from_str(event)?;
    let response = function.invoke(event, context).await?;
    Ok(serde_json::to_value(response)?)
}

/// The ids in an SQS response.
pub(crate) fn failures(response: &Value) -> Vec<String> {
    let failures = response["batchItemFailures"].as_array().unwrap();
    let ids = failures
        .iter()
        .map(|f| f["itemIdentifier"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

/// The event in `data/events`.
pub(crate) fn read_event(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/events/{name}.json"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A destination that is full at first.
pub(crate) struct FullAtFirst {
    refusals: AtomicU32,
    then: RecordedDeadLetters,
}

impl FullAtFirst {
    /// It refuses that many records.
    pub(crate) fn new(refusals: u32, then: RecordedDeadLetters) -> Self {
        Self {
            refusals: refusals.into(),
            then,
        }
    }
}

impl DeadLetters for FullAtFirst {
    fn park<'a>(&'a self, record: &'a Record, note: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
        if self.refusals.load(Ordering::Relaxed) == 0 {
            return self.then.park(record, note);
        }
        self.refusals.fetch_sub(1, Ordering::Relaxed);
        Box::pin(async { Err(Error::transient("full")) })
    }
}
