//! What counts as an attempt, as the table in docs/exactly-once.md says it, and what starts the count anew.

use super::{
    check::{context_at, virtual_clock},
    remote_store::{Call, Fault, RemoteStore},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeSet, time::Duration};
use surehand::{
    Clock, DynamoDbStream, Envelope, Error, ErrorKind, Event, EventBridge, Function, Idempotency,
    IdempotencyKey, MemoryStore, Metadata, OnMalformed, Result, Sqs, State, Transaction,
    envelope::Outgoing,
    idempotency::{Claim, ClaimRequest, Store},
    source::Source,
    testing::{self, Message, RecordedDeadLetters, RecordedMetrics, RecordedRedelivery},
};
use surehand_test_support::emf;
use tokio::time::{sleep, timeout};

const DOCUMENT: &str = include_str!("../../docs/exactly-once.md");
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    partition_key = "all"
)]
struct OrderPlaced {
    number: u32,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Happens {
    Returns(ErrorKind),
    Panics,
    Hangs,
    /// It is called when the record before it has used up most of the time.
    HangsLate,
    Dies,
    Unreadable,
    KeyReused,
    Held,
    NoTime,
    Behind,
    NoStore,
    Nothing,
}

/// The rows of the document: what happened, the kind of failure, whether it counts.
const ROWS: [(&str, &str, bool, Happens); 15] = {
    use ErrorKind as K;
    use Happens as H;
    [
        (
            "the handler returned another error",
            "transient",
            true,
            H::Returns(K::Transient),
        ),
        (
            "the handler rejected the record",
            "rejected",
            true,
            H::Returns(K::Rejected),
        ),
        ("the handler panicked", "panicked", true, H::Panics),
        (
            "the handler was stopped at the deadline",
            "deadline",
            true,
            H::Hangs,
        ),
        (
            "it was stopped there after less than half of the invocation's time",
            "deadline",
            false,
            H::HangsLate,
        ),
        (
            "an event could not be published",
            "publish",
            true,
            H::Returns(K::Publish),
        ),
        ("the body cannot be read", "malformed", true, H::Unreadable),
        (
            "the key belongs to another record",
            "key_reused",
            true,
            H::KeyReused,
        ),
        ("the process died in the handler", "", true, H::Dies),
        (
            "another attempt holds the claim",
            "in_progress",
            false,
            H::Held,
        ),
        (
            "the time was out before it began",
            "skipped",
            false,
            H::NoTime,
        ),
        (
            "an earlier record of its group failed",
            "skipped",
            false,
            H::Behind,
        ),
        ("the store did not answer", "store", false, H::NoStore),
        (
            "another attempt took over",
            "fenced",
            false,
            H::Returns(K::Fenced),
        ),
        (
            "the invocation cannot be understood",
            "invocation",
            false,
            H::Returns(K::Invocation),
        ),
    ]
};

#[test]
fn the_document_has_these_rows() {
    let section = DOCUMENT.split("\n## Attempts\n").nth(1).unwrap();
    let table = section
        .split("\n\n")
        .find(|it| it.contains("| What happened |"));
    let lines = table.unwrap().lines().skip(2);
    let said: Vec<_> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let kind = cells[2].trim_matches(['`', '—']);
            (cells[1], kind, cells[3].starts_with("yes"))
        })
        .collect();
    let expected: Vec<_> = ROWS.iter().map(|row| (row.0, row.1, row.2)).collect();
    assert_eq!(said, expected);
}

async fn happen(event: &Value, happens: Happens) -> Result<()> {
    match happens {
        Happens::HangsLate if event["number"] == 1 => {
            sleep(TIMEOUT * 2 / 3).await;
            Ok(())
        }
        Happens::Returns(kind) => Err(Error::new(kind, "as told")),
        Happens::Panics => std::panic::resume_unwind(Box::new("a bug")),
        Happens::Hangs | Happens::HangsLate | Happens::Dies => std::future::pending().await,
        Happens::Behind => Err(Error::transient("the first of its group")),
        _ => Ok(()),
    }
}

async fn lease(event: Envelope<Value>, State(happens): State<Happens>) -> Result<()> {
    happen(&event.data, happens).await
}

async fn transaction(
    event: Envelope<Value>,
    State(happens): State<Happens>,
    _tx: Transaction,
) -> Result<()> {
    happen(&event.data, happens).await
}

struct Case {
    clock: Clock,
    store: MemoryStore,
    dead: RecordedDeadLetters,
    metrics: RecordedMetrics,
    happens: Happens,
    commits: bool,
}

impl Case {
    fn new(happens: Happens, commits: bool) -> Self {
        let clock = virtual_clock();
        Self {
            store: MemoryStore::new().with_clock(clock.clone()),
            dead: RecordedDeadLetters::new(),
            metrics: RecordedMetrics::new(),
            clock,
            happens,
            commits,
        }
    }

    fn function<So: Source>(&self, source: So) -> Function<So> {
        let function = match self.commits {
            true => Function::new(source, transaction, self.happens),
            false => Function::new(source, lease, self.happens),
        };
        let refuses = self.happens == Happens::NoStore;
        let store = RemoteStore::new(self.store.clone(), Duration::ZERO).faults(move |call| {
            let is_asked = [Call::Claim, Call::Commit].contains(&call);
            (refuses && is_asked).then_some(Fault::Refused)
        });
        let once = Idempotency::new(store).clock(self.clock.clone()).cache(0);
        function
            .clock(self.clock.clone())
            .metrics(self.metrics.emf("Shop").service("tests"))
            .dead_letters(self.dead.clone())
            .idempotent(once)
    }

    /// Delivers the event once, as it happens. The process may die.
    async fn deliver<So: Source>(&self, source: So, event: So::Event) {
        let function = self.function(source);
        let time = match self.happens {
            Happens::NoTime => Duration::ZERO,
            _ => TIMEOUT,
        };
        let mut context = context_at(&self.clock, time);
        context.request_id = "request".into();
        let invoked = function.invoke(event, context);
        if self.happens == Happens::Dies {
            let _ = timeout(Duration::from_secs(10), invoked).await;
            sleep(TIMEOUT * 2).await;
            return;
        }
        drop(invoked.await);
    }

    /// How many attempts at the key have begun, and how many of them never ended.
    async fn attempts(&self, key: &IdempotencyKey) -> (u32, u32) {
        let facts = self.store.history(key).await.unwrap();
        facts.map_or((0, 0), |it| (it.attempts, it.unended))
    }

    fn kinds(&self) -> BTreeSet<String> {
        let mut sums = emf::Sums::new();
        for line in self.metrics.lines() {
            emf::add(&mut sums, &serde_json::from_str(&line).unwrap());
        }
        let failed = sums.iter().filter(|(_, sum)| **sum > 0.0);
        let kinds = failed.filter_map(|(name, _)| {
            let kind = name.strip_prefix("RecordsFailed{")?.split("kind=").nth(1)?;
            Some(kind.split([',', '}']).next()?.to_owned())
        });
        kinds.collect()
    }

    async fn hold(&self, key: &IdempotencyKey) {
        let now = self.clock.now();
        let request = ClaimRequest::new(key.clone(), "other", now + TIMEOUT * 9, now + TIMEOUT * 9);
        let held = self.store.claim(&request).await.unwrap();
        assert!(matches!(held, Claim::Acquired(_)));
    }
}

fn order(number: u32) -> Outgoing {
    Outgoing::new(&OrderPlaced { number }).unwrap()
}

/// From SQS, under a lease and in a transaction.
#[tokio::test(start_paused = true)]
async fn a_record_of_a_queue_is_counted_as_the_table_says() {
    for (what, kind, counts, happens) in ROWS {
        for commits in [false, true] {
            let case = Case::new(happens, commits);
            let what = format!("{what}, in a transaction: {commits}");
            let (first, event) = (order(1), order(2));
            let key = IdempotencyKey::of_event("test-function", event.metadata());
            let message = Message::outgoing(&event).id("m-2");
            let batch = match happens {
                Happens::Unreadable => {
                    // There is no key to count by; its receives take their place.
                    let case = Case::new(happens, commits);
                    for (receive, parked) in [(4, 0), (5, 1)] {
                        let message = Message::body("{").receive_count(receive);
                        let function = case.function(Sqs).on_malformed(OnMalformed::Retry);
                        let event = testing::sqs_event("orders", [message]);
                        let context = context_at(&case.clock, TIMEOUT);
                        function.invoke(event, context).await.unwrap();
                        assert_eq!(case.dead.parked().len(), parked, "{what}");
                    }
                    assert!(case.kinds().contains(kind), "{what}");
                    continue;
                }
                Happens::KeyReused => {
                    case.deliver(Sqs, testing::sqs_event("orders", [message]))
                        .await;
                    let mut other: Value = serde_json::from_str(&event.body()).unwrap();
                    other["detail"]["data"]["number"] = 3.into();
                    vec![Message::body(other.to_string())]
                }
                Happens::Behind | Happens::HangsLate => {
                    vec![Message::outgoing(&first).id("m-1"), message]
                }
                _ => vec![message],
            };
            if happens == Happens::Held {
                case.hold(&key).await;
            }
            let before = case.attempts(&key).await.0;
            // The first death in a transaction is not seen.
            let deaths = if happens == Happens::Dies { 2 } else { 1 };
            for receive in 1..=deaths {
                let batch = batch.iter().map(|it| it.clone().receive_count(receive));
                case.deliver(Sqs, testing::sqs_event("orders", batch)).await;
            }
            let (begun, unended) = case.attempts(&key).await;
            let kinds = case.kinds();
            if happens == Happens::Dies {
                let seen = if commits { 1 } else { 2 };
                assert_eq!((begun, unended), (seen, seen), "{what}");
                continue;
            }
            assert!(kinds.contains(kind), "{what}: {kinds:?}");
            let is_final = [Happens::KeyReused, Happens::Returns(ErrorKind::Rejected)];
            if is_final.contains(&happens) {
                assert_eq!(case.dead.parked().len(), 1, "{what}");
                assert_eq!(case.dead.parked()[0].1.kind, kind, "{what}");
                continue;
            }
            let expected = before + u32::from(counts);
            assert_eq!(begun, expected, "{what}");
            assert!(unended == 0 || happens == Happens::Held, "{what}");
            assert!(case.dead.parked().is_empty(), "{what}");
        }
    }
}

/// Where the source does not count, and the function has dead letters.
#[tokio::test(start_paused = true)]
async fn a_record_of_a_source_without_a_count_is_counted_as_the_table_says() {
    for (what, _, counts, happens) in ROWS {
        let is_handlers = matches!(
            happens,
            Happens::Returns(_)
                | Happens::Panics
                | Happens::Hangs
                | Happens::Dies
                | Happens::NoTime
        );
        if !is_handlers || happens == Happens::Returns(ErrorKind::Rejected) {
            continue;
        }
        for commits in [false, true] {
            let what = format!("{what}, in a transaction: {commits}");
            let changes = || {
                let keys = json!({"id": {"S": "1"}});
                testing::stream_event("orders", [("INSERT", keys.clone(), keys)])
            };
            let case = Case::new(happens, commits);
            let mut metadata = Metadata::new("change-1");
            metadata.source = Some("aws:dynamodb".into());
            metadata.detail_type = Some("INSERT".into());
            let key = IdempotencyKey::of_event("test-function", &metadata);
            for _ in 0..2 {
                case.deliver(DynamoDbStream, changes()).await;
            }
            let expected = if counts { 2 } else { 0 };
            assert_eq!(case.attempts(&key).await.0, expected, "stream: {what}");

            // Lambda's own attempts at one event have one request id.
            let case = Case::new(happens, commits);
            let event = order(1);
            let key = IdempotencyKey::of_event("test-function", event.metadata());
            let raw = || RawValue::from_string(event.body()).unwrap();
            for _ in 0..2 {
                case.deliver(EventBridge, raw()).await;
            }
            assert_eq!(case.attempts(&key).await.0, expected, "eventbridge: {what}");
        }
    }
}

/// Also where only the claims count, and an attempt is not written down before it is made.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_tried_as_often_as_all_else_if_it_is_to_come_back() {
    for (commits, begins) in [(false, true), (true, true), (true, false)] {
        let case = Case::new(Happens::Returns(ErrorKind::Malformed), commits);
        let once = Idempotency::new(case.store.clone())
            .clock(case.clock.clone())
            .begin_first(begins);
        let function = case.function(EventBridge).on_malformed(OnMalformed::Retry);
        let function = function.idempotent(once);
        let event = order(1);
        for attempt in 1..=5 {
            let raw = RawValue::from_string(event.body()).unwrap();
            let mut context = context_at(&case.clock, TIMEOUT);
            context.request_id = "request".into();
            let invoked = function.invoke(raw, context).await;
            let what = format!("attempt {attempt}, transaction: {commits}, begins: {begins}");
            assert_eq!(invoked.is_ok(), attempt == 5, "{what}");
            assert_eq!(case.dead.parked().len(), attempt / 5, "{what}");
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(case.dead.parked()[0].1.attempts, 5);
    }
}

/// The store writes down that an attempt begins, and its answer is lost: no handler was called.
#[tokio::test(start_paused = true)]
async fn a_beginning_without_an_answer_is_no_attempt() {
    let case = Case::new(Happens::NoStore, true);
    let event = order(1);
    let key = IdempotencyKey::of_event("test-function", event.metadata());
    let lost = RemoteStore::new(case.store.clone(), Duration::ZERO)
        .faults(|call| (call == Call::Find).then_some(Fault::AnswerLost));
    let once = Idempotency::new(lost).clock(case.clock.clone());
    let function = case.function(Sqs).idempotent(once);
    for receive in 2..20 {
        let message = Message::outgoing(&event).id("m").receive_count(receive);
        let message = message.sent_at(std::time::UNIX_EPOCH);
        let event = testing::sqs_event("orders", [message]);
        let context = context_at(&case.clock, TIMEOUT);
        function.invoke(event, context).await.unwrap();
        sleep(TIMEOUT * 2).await;
    }
    assert_eq!(case.attempts(&key).await, (0, 0));
    assert!(case.dead.parked().is_empty());
}

/// The handler fails as often as it is told, and how often it was called.
#[derive(Clone, Default)]
struct Failing(std::sync::Arc<std::sync::Mutex<(u32, u32)>>);

async fn fail(_: Envelope<OrderPlaced>, State(failing): State<Failing>) -> Result<()> {
    let mut failing = failing.0.lock().unwrap();
    failing.1 += 1;
    if failing.0 > 0 {
        failing.0 -= 1;
        return Err(Error::transient("busy"));
    }
    Ok(())
}

/// Each hour a new event has the same key. It fails a few times, and is done then.
#[tokio::test(start_paused = true)]
async fn a_key_that_recurs_for_a_month_is_never_parked() {
    let clock = virtual_clock();
    let dead = RecordedDeadLetters::new();
    let failing = Failing::default();
    let store = MemoryStore::new().with_clock(clock.clone());
    let once = Idempotency::new(store)
        .clock(clock.clone())
        .key(|_: Metadata| "nightly".to_owned())
        .expires_after(Duration::from_secs(30 * 60));
    let function = Function::new(Sqs, fail, failing.clone())
        .clock(clock.clone())
        .dead_letters(dead.clone())
        .idempotent(once);
    let event = order(1);
    for hour in 0..24 * 30_u32 {
        failing.0.lock().unwrap().0 = hour % 5;
        let message = Message::outgoing(&event).sent_at(clock.now());
        let mut receive = 1;
        loop {
            let message = message.clone().receive_count(receive);
            let event = testing::sqs_event("orders", [message]);
            let response = function
                .invoke(event, context_at(&clock, TIMEOUT))
                .await
                .unwrap();
            if testing::failed_ids(&response).is_empty() {
                break;
            }
            receive += 1;
            sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(receive, hour % 5 + 1, "hour {hour}");
        sleep(Duration::from_secs(3_600)).await;
    }
    assert!(dead.parked().is_empty());
}

/// What has used up its attempts runs again as often, once it is put back in any way.
#[tokio::test(start_paused = true)]
async fn what_is_put_back_has_all_its_attempts_again() {
    for commits in [false, true] {
        let case = Case::new(Happens::Returns(ErrorKind::Transient), commits);
        let event = order(1);
        let function = case.function(Sqs).max_attempts(3);
        // Ours and SQS's own move make a new message, and so does whoever sends it by hand; an emulator may leave
        // a moved message its id.
        for (round, id) in ["m-1", "m-2", "m-2"].into_iter().enumerate() {
            let sent = case.clock.now();
            for receive in 1..=3 {
                assert_eq!(case.dead.parked().len(), round, "{id}, receive {receive}");
                let message = Message::outgoing(&event).id(id).sent_at(sent);
                let message = message.receive_count(receive);
                let event = testing::sqs_event("orders", [message]);
                let context = context_at(&case.clock, TIMEOUT);
                function.invoke(event, context).await.unwrap();
                sleep(Duration::from_secs(60)).await;
            }
            let (_, note) = case.dead.parked().remove(round);
            assert_eq!((note.kind.as_str(), note.attempts), ("transient", 3));
        }
    }
}

/// A killer at its limit is parked without another call, and runs again once it was put back.
#[tokio::test(start_paused = true)]
async fn what_killed_its_process_is_parked_before_it_runs_again() {
    for commits in [false, true] {
        let case = Case::new(Happens::Dies, commits);
        let event = order(1);
        let key = IdempotencyKey::of_event("test-function", event.metadata());
        for round in 1..=2 {
            let sent = case.clock.now();
            for receive in 1..=9 {
                let message = Message::outgoing(&event).id("m").sent_at(sent);
                let message = message.receive_count(receive);
                let event = testing::sqs_event("orders", [message]);
                case.deliver(Sqs, event).await;
                if case.dead.parked().len() == round {
                    // The first death in a transaction is not seen.
                    assert_eq!(
                        receive,
                        6 + u32::from(commits),
                        "in a transaction: {commits}"
                    );
                    break;
                }
            }
            let note = case.dead.parked().pop().unwrap().1;
            assert_eq!((note.kind.as_str(), note.attempts), ("interrupted", 5));
            assert!(
                note.message.starts_with(
                    "5 attempts at the record began and never ended; the last one had time until "
                ),
                "{}",
                note.message
            );
            assert_eq!(case.attempts(&key).await, (5, 5));
            sleep(Duration::from_secs(60)).await;
        }
    }
}

/// Beside a killer, or by one: its last attempt may have been ended by a neighbour's death.
#[tokio::test(start_paused = true)]
async fn a_death_at_the_last_attempt_parks_nothing_that_did_not_die_as_often() {
    for (commits, failures) in [(false, 0), (false, 4), (true, 4)] {
        let mut case = Case::new(Happens::Returns(ErrorKind::Transient), commits);
        let event = order(1);
        let key = IdempotencyKey::of_event("test-function", event.metadata());
        let (attempts, sent) = (failures + 1, case.clock.now());
        for receive in 1..=attempts + 1 {
            case.happens = match receive {
                _ if receive <= failures => case.happens,
                _ if receive == attempts => Happens::Dies,
                _ => Happens::Nothing,
            };
            let message = Message::outgoing(&event).id("m").sent_at(sent);
            let event = testing::sqs_event("orders", [message.receive_count(receive)]);
            let function = case.function(Sqs).max_attempts(attempts);
            let invoked = function.invoke(event, context_at(&case.clock, TIMEOUT));
            let _ = timeout(Duration::from_secs(10), invoked).await;
            sleep(TIMEOUT * 2).await;
        }
        let what = format!("{attempts} attempts, transaction: {commits}");
        assert!(case.dead.parked().is_empty(), "{what}");
        let done = case.store.find(&key).await.unwrap();
        assert!(
            matches!(done, Some(Claim::Completed(_))),
            "{what}: {done:?}"
        );
    }
}

/// A clock that is ahead of that of the process in which the last attempt goes on.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_goes_on_by_another_clock_is_not_taken_for_a_death() {
    for commits in [false, true] {
        let case = Case::new(Happens::Dies, commits);
        let event = order(1);
        let message = |receive| {
            let message = Message::outgoing(&event).id("m").receive_count(receive);
            testing::sqs_event("orders", [message.sent_at(std::time::UNIX_EPOCH)])
        };
        let start = |function: Function<Sqs>, receive, clock: &Clock| {
            let context = context_at(clock, TIMEOUT);
            let event = message(receive);
            async move { function.invoke(event, context).await }
        };
        let deaths = 2;
        for receive in 2..2 + deaths {
            let first = start(
                case.function(Sqs).max_attempts(deaths),
                receive,
                &case.clock,
            );
            let _ = timeout(Duration::from_secs(10), first).await;
            let is_last = receive == 1 + deaths;
            sleep(if is_last {
                Duration::from_millis(19_900)
            } else {
                TIMEOUT
            })
            .await;
        }
        let clock = case.clock.clone();
        let ahead = Clock::from_fn(move || clock.now() + Duration::from_millis(900));
        let store = case.store.clone().with_clock(ahead.clone());
        let function = case.function(Sqs).max_attempts(deaths).clock(ahead.clone());
        let once = Idempotency::new(store).clock(ahead.clone());
        let function = function.idempotent(once);
        let invoked = function.invoke(message(4), context_at(&ahead, TIMEOUT));
        invoked.await.unwrap();
        assert!(case.dead.parked().is_empty(), "in a transaction: {commits}");
        sleep(TIMEOUT).await;
        let invoked = function.invoke(message(5), context_at(&ahead, TIMEOUT));
        invoked.await.unwrap();
        let kinds: Vec<_> = case
            .dead
            .kinds()
            .into_iter()
            .map(|(_, kind)| kind)
            .collect();
        assert_eq!(kinds, ["interrupted"], "in a transaction: {commits}");
    }
}

/// A key of the function's own may be that of several events. What one of them did is not the other's.
#[tokio::test(start_paused = true)]
async fn another_payload_under_a_key_is_not_parked_for_what_the_first_one_did() {
    for commits in [false, true] {
        let mut case = Case::new(Happens::Dies, commits);
        let sent = case.clock.now();
        let deliver = async |case: &Case, number, receive| {
            let message = Message::outgoing(&order(number)).id(format!("m-{number}"));
            let message = message.sent_at(sent).receive_count(receive);
            let event = testing::sqs_event("orders", [message]);
            let once = Idempotency::new(case.store.clone())
                .clock(case.clock.clone())
                .key(|_: Metadata| "nightly".to_owned());
            let function = case.function(Sqs).idempotent(once);
            let invoked = function.invoke(event, context_at(&case.clock, TIMEOUT));
            let _ = timeout(Duration::from_secs(10), invoked).await;
            sleep(TIMEOUT * 2).await;
        };
        for receive in 2..=7 {
            deliver(&case, 1, receive).await;
        }
        let parked = [("m-1".to_owned(), "interrupted".to_owned())];
        assert_eq!(case.dead.kinds(), parked, "in a transaction: {commits}");
        case.happens = Happens::Nothing;
        deliver(&case, 2, 2).await;
        assert_eq!(case.dead.kinds(), parked, "in a transaction: {commits}");
        assert_eq!(case.store.completed(), 1, "in a transaction: {commits}");
    }
}

/// The shorter the invocations, the sooner the receives would be used up.
#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_for_hours_uses_up_few_receives() {
    for (commits, fault) in [
        (false, Fault::Hangs),
        (false, Fault::Refused),
        (true, Fault::Hangs),
        (true, Fault::Refused),
    ] {
        let case = Case::new(Happens::Nothing, commits);
        let redelivery = RecordedRedelivery::new();
        let store =
            RemoteStore::new(case.store.clone(), Duration::ZERO).faults(move |_| Some(fault));
        let once = Idempotency::new(store).clock(case.clock.clone());
        let function = case.function(Sqs).idempotent(once);
        let function = function.redelivery(redelivery.clone());
        let (event, began) = (order(1), case.clock.now());
        for receive in 1..=20 {
            let message = Message::outgoing(&event).id("m").receive_count(receive);
            let event = testing::sqs_event("orders", [message]);
            let context = context_at(&case.clock, Duration::from_secs(3));
            function.invoke(event, context).await.unwrap();
            sleep(redelivery.delays().pop().unwrap().1).await;
        }
        let took = case.clock.now().duration_since(began).unwrap();
        let what = format!("{fault:?}, in a transaction: {commits}");
        assert!(took > Duration::from_secs(60 * 60), "{what}: {took:?}");
        assert!(case.dead.parked().is_empty(), "{what}");
    }
}
