//! The redrive function: a run goes on from one invocation to the next, whatever they die of.
//!
//! Invocations take their time by the clock, so that these tests are not among those that keep the processor busy.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod redrive_function {
    pub(crate) mod queues;
}

use aws_sdk_dynamodb::{Client, types::AttributeValue as TableValue};
use futures_util::{StreamExt, future::ready, stream};
use redrive_function::queues::{FakeQueues, OWN};
use serde_json::{Value, json};
use std::{collections::BTreeSet, future::poll_fn, pin::pin, task::Poll, time::Duration};
use surehand::{
    Function, Sqs,
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
    testing::{self, Message, RecordedDeadLetters},
};
use surehand_redrive::{
    Action, Letter, Plan,
    function::{Invocation, Invocations, Redrive, invoked, work},
};
use surehand_test_support::dynamodb;

const DEAD: &str = "https://sqs.eu-west-1.amazonaws.com/1/dead";
const ORDERS: &str = "https://sqs.local/1/orders";
const TABLE: &str = "idempotency";

/// The function with its table and queues. Invocations are short, for each of them waits.
struct World {
    table: Client,
    queues: FakeQueues,
    parked: RecordedDeadLetters,
    function: Function<Invocation>,
}

fn letters(count: usize) -> Vec<Letter> {
    let body = |index: usize| json!({ "order_id": index }).to_string();
    (0..count)
        .map(|index| Letter::new(format!("m-{index}"), body(index)))
        .map(|mut letter| {
            letter.sent_at_ms = Some(1_000);
            letter
        })
        .collect()
}

impl World {
    async fn new(letters: Vec<Letter>) -> Self {
        let ((table, _), queues) = (dynamodb::embedded().await, FakeQueues::new(DEAD, letters));
        dynamodb::make_idempotency_table(&table, TABLE).await;
        let redrive = Redrive::new(table.clone(), TABLE, queues.clone());
        let parked = RecordedDeadLetters::new();
        let worker = Function::new(Sqs, work, redrive.clone()).dead_letters(parked.clone());
        let function = Function::new(Invocation, invoked, Invocations::new(redrive, worker));
        Self {
            table,
            queues,
            parked,
            function,
        }
    }

    async fn ask(&self, request: &Value) -> Result<Value, String> {
        let context = testing::context_ending_in(Duration::from_secs(5));
        let event = testing::direct_event(request);
        let reply = self.function.invoke(event, context).await;
        let reply = reply.map_err(|error| format!("{error:#}"))?;
        Ok(serde_json::from_str(reply.get()).unwrap())
    }

    async fn start(&self, request: &Value) -> String {
        let started = self.ask(request).await.unwrap();
        started["run"].as_str().unwrap().to_owned()
    }

    /// Lambda brings the message. None if the invocation died.
    async fn bring(&self, message: &str, seconds: u64) -> Option<Value> {
        let event = testing::sqs_event("redrive", [Message::body(message).id("message")]);
        let event = testing::direct_event(&event);
        let context = testing::context_ending_in(Duration::from_secs(seconds));
        tokio::select! {
            reply = self.function.invoke(event, context) => {
                Some(serde_json::from_str(reply.unwrap().get()).unwrap())
            }
            () = self.queues.died() => None,
        }
    }

    /// The ids of the items in the table.
    async fn items(&self) -> Vec<String> {
        let scan = self.table.scan().table_name(TABLE).send().await.unwrap();
        let items = scan.items.unwrap_or_default();
        let ids = items.iter().map(|item| item["id"].as_s().unwrap().clone());
        ids.collect()
    }

    /// Ends the turn of the run that has the queue.
    async fn forget_turn(&self) {
        let ids = self.items().await;
        for id in ids.into_iter().filter(|id| id.starts_with("redrive#turn#")) {
            let request = self.table.delete_item().table_name(TABLE);
            let request = request.key("id", TableValue::S(id));
            request.send().await.unwrap();
        }
    }

    /// Brings messages until there are none; returns how many invocations that took.
    async fn work(&self, seconds: u64) -> usize {
        let mut invocations = 0;
        while let Some(message) = self.queues.message() {
            invocations += 1;
            assert!(invocations < 50, "the run does not end");
            let reply = self.bring(&message, seconds).await;
            if reply != Some(done()) {
                // After a while.
                self.queues.give_back(message);
                self.queues.recover();
            }
        }
        invocations
    }
}

fn done() -> Value {
    json!({ "batchItemFailures": [] })
}

#[tokio::test]
async fn nothing_is_changed_unless_the_request_says_so() {
    let mut letters = letters(5);
    let three = Attribute {
        data_type: "Number".into(),
        value: AttributeValue::Text("3".into()),
    };
    letters[3]
        .attributes
        .insert(FailureNote::REDRIVE_COUNT.into(), three);
    let world = World::new(letters).await;
    let request = json!({ "queue": DEAD, "to": ORDERS, "select": { "ids": ["m-1", "m-3"] } });
    let answer = world.ask(&request).await.unwrap();
    assert_eq!(
        (&answer["seen"], &answer["selected"], &answer["complete"]),
        (&json!(5), &json!(1), &json!(true))
    );
    assert_eq!(
        answer["held"],
        json!({ "it has come back 3 times; the plan needs `force` to put it back again": 1 })
    );
    assert_eq!(answer["groups"][0]["count"], 2);
    assert_eq!(world.queues.message(), None);
    assert_eq!((world.queues.left(), world.queues.hidden()), (5, 0));
    assert!(world.items().await.is_empty());
}

#[tokio::test]
async fn a_run_goes_on_from_one_invocation_to_the_next() {
    let mut letters = letters(60);
    // Its intent takes several items of the journal.
    letters[7].body = json!({ "note": "x".repeat(1_000_000) }).to_string();
    let world = World::new(letters).await;
    let request = json!({ "queue": DEAD, "to": ORDERS, "rate": 20, "apply": true });
    let run = world.start(&request).await;
    // At 20 a second it takes longer than an invocation has.
    let invocations = world.work(2).await;
    assert!(invocations > 1, "{invocations}");
    assert_eq!(world.queues.left(), 0);
    let delivered = world.queues.delivered();
    let once: BTreeSet<_> = delivered.iter().collect();
    assert_eq!((delivered.len(), once.len()), (60, 60));

    let status = world.ask(&json!({ "run": run })).await.unwrap();
    let expected = json!({
        "run": run, "rounds": 1, "planned": 60, "sent": 0, "done": 60, "ended": true,
        "complete": true, "failed": {}, "missing": [],
    });
    assert_eq!(status, expected);
}

/// An invocation may die in any call, before it has its effect or after.
#[tokio::test]
async fn a_run_survives_the_death_of_an_invocation() {
    let run = async |call: u64, after: bool| {
        let world = World::new(letters(4)).await;
        let request = json!({ "queue": DEAD, "to": ORDERS, "apply": true });
        world.start(&request).await;
        world.queues.die_at(call, after);
        world.work(2).await;
        let case = format!("dead in call {call}, after its effect: {after}");
        assert_eq!(world.queues.left(), 0, "{case}");
        let delivered = world.queues.delivered();
        let once: BTreeSet<_> = delivered.iter().cloned().collect();
        assert_eq!(once.len(), 4, "{case}");
        // Only messages that were on their way at that moment may have been sent twice.
        let twice = delivered.len() - once.len();
        assert!(
            twice == 0 || (twice == 4 && world.queues.may_repeat()),
            "{case}: {delivered:?}"
        );
        world.queues.has_died()
    };
    let calls = (0..CALLS).flat_map(|call| [run(call, false), run(call, true)]);
    let runs = stream::iter(calls).buffer_unordered(16);
    let died = runs.filter(|died| ready(*died)).count().await;
    // The calls are: look, read, release, look, read, send, delete. After the last one no process
    // dies.
    assert!((14..2 * CALLS as usize).contains(&died), "{died}");
}

/// More than a run takes.
const CALLS: u64 = 40;

/// What an invocation waits for when it dies: a queue, the table, or nothing.
#[tokio::test]
async fn a_run_survives_the_death_of_an_invocation_at_any_await() {
    let run = async |polls: usize| {
        let world = World::new(letters(3)).await;
        let request = json!({ "queue": DEAD, "to": ORDERS, "apply": true });
        world.start(&request).await;
        let message = world.queues.message().unwrap();
        let has_died = polled(polls, world.bring(&message, 2)).await.is_none();
        if has_died {
            world.queues.give_back(message);
            world.queues.recover();
        }
        world.work(2).await;
        let delivered = world.queues.delivered();
        let once: BTreeSet<_> = delivered.iter().collect();
        let case = format!("dead after {polls} polls: {delivered:?}");
        assert_eq!((world.queues.left(), once.len()), (0, 3), "{case}");
        assert!(delivered.len() <= 6, "{case}");
        has_died
    };
    let runs = stream::iter((0..).map(run)).buffered(8);
    let died = runs.take_while(|died| ready(*died)).count().await;
    assert!(died > 20, "{died} times");
}

/// Polls a future this many times, and then drops it; none if it was not ready by then.
async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_queue_has_one_run_at_a_time() {
    let world = World::new(letters(2)).await;
    let request = json!({ "queue": DEAD, "to": ORDERS, "apply": true });
    let first = world.start(&request).await;
    let said = world.ask(&request).await.unwrap_err();
    assert!(said.contains(&format!("run {first} works on")), "{said}");
    // Looking is free, and a queue has a name.
    let dry = json!({ "queue": "dead", "to": ORDERS });
    assert_eq!(world.ask(&dry).await.unwrap()["selected"], 2);
    world.work(3).await;
    assert_eq!(world.queues.delivered().len(), 2);
    world.start(&request).await;
    world.work(3).await;
    assert_eq!(world.queues.delivered().len(), 2);
}

/// A run that was silent for a long time may still be active.
#[tokio::test]
async fn two_runs_on_a_queue_lose_and_double_nothing() {
    let world = World::new(letters(30)).await;
    let request = json!({ "queue": DEAD, "to": ORDERS, "rate": 60, "apply": true });
    let first = world.start(&request).await;
    let message = world.queues.message().unwrap();
    let other = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.forget_turn().await;
        let run = world.start(&request).await;
        let message = world.queues.message().unwrap();
        assert_eq!(world.bring(&message, 3).await, Some(done()));
        run
    };
    let (_, second) = tokio::join!(world.bring(&message, 3), other);
    world.work(3).await;
    let delivered = world.queues.delivered();
    let once: BTreeSet<_> = delivered.iter().collect();
    assert_eq!(
        (delivered.len(), once.len(), world.queues.left()),
        (30, 30, 0)
    );
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_message_that_comes_twice_does_no_harm() {
    let world = World::new(letters(40)).await;
    let request = json!({ "queue": DEAD, "to": ORDERS, "rate": 40, "apply": true });
    let run = world.start(&request).await;
    let message = world.queues.message().unwrap();
    let (first, second) = tokio::join!(world.bring(&message, 3), world.bring(&message, 3));
    assert_eq!((first, second), (Some(done()), Some(done())));
    world.work(3).await;
    // Long after.
    assert_eq!(world.bring(&message, 3).await, Some(done()));
    assert_eq!(world.queues.message(), None);
    assert_eq!(world.queues.left(), 0);
    let delivered: BTreeSet<_> = world.queues.delivered().into_iter().collect();
    assert_eq!(delivered.len(), 40);
    let status = world.ask(&json!({ "run": run })).await.unwrap();
    assert_eq!(status["ended"], true);
}

#[tokio::test]
async fn a_plan_is_applied_as_it_is_and_once() {
    let letters = letters(4);
    let mut plan = Plan::new(DEAD).to(ORDERS.parse().unwrap());
    plan.add(&letters[0], Action::Redrive);
    plan.add(&letters[1], Action::Drop);
    let body = json!({ "order_id": "edited" }).to_string();
    plan.add(&letters[2], Action::Edit { body: body.clone() });
    let mut file = Vec::new();
    plan.write(&mut file).unwrap();
    let file = String::from_utf8(file).unwrap();

    let world = World::new(letters).await;
    let seen = world.ask(&json!({ "plan": file })).await.unwrap();
    assert_eq!(
        (&seen["seen"], &seen["selected"]),
        (&json!(3), &json!(3)),
        "{seen}"
    );
    assert_eq!(world.queues.left(), 4);

    let request = json!({ "plan": file, "apply": true });
    assert_eq!(world.start(&request).await, plan.header.plan);
    assert_eq!(world.start(&request).await, plan.header.plan);
    world.work(3).await;
    assert_eq!(world.queues.left(), 1);
    assert_eq!(
        world.queues.delivered(),
        [r#"{"order_id":0}"#.to_owned(), body]
    );
}

#[tokio::test]
async fn a_run_that_stops_is_a_dead_letter_itself_and_goes_on_when_that_is_put_back() {
    let world = World::new(letters(3)).await;
    world.queues.refuse(true);
    let request = json!({ "queue": DEAD, "to": ORDERS, "apply": true });
    let run = world.start(&request).await;
    world.work(3).await;
    assert_eq!((world.queues.left(), world.queues.hidden()), (3, 0));
    let parked = world.parked.parked();
    let [(message, note)] = &parked[..] else {
        panic!("one message is parked: {parked:?}");
    };
    assert!(
        note.message.contains("3 letters cannot be put back")
            && note.message.contains("AccessDenied"),
        "{note:?}"
    );
    let status = world.ask(&json!({ "run": run })).await.unwrap();
    assert_eq!(
        (&status["ended"], &status["done"]),
        (&json!(false), &json!(0))
    );

    world.queues.refuse(false);
    world.queues.give_back(message.body().to_owned());
    world.work(3).await;
    assert_eq!(
        (world.queues.left(), world.queues.delivered().len()),
        (0, 3)
    );
    let status = world.ask(&json!({ "run": run })).await.unwrap();
    assert_eq!(
        (&status["ended"], &status["done"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(world.parked.parked().len(), 1);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let world = World::new(letters(1)).await;
    for (request, expected) in [
        (json!({}), "it names a `queue`"),
        (json!({ "queue": DEAD, "run": "r" }), "it names a `queue`"),
        (json!({ "run": "r", "apply": true }), "it names a `queue`"),
        (json!({ "plan": "", "to": ORDERS }), "it names a `queue`"),
        (json!({ "plan": "" }), "the plan is empty"),
        (json!({ "queue": DEAD, "rate": 0.5 }), "1 at least"),
        (
            json!({ "queue": OWN, "apply": true }),
            "this function's own",
        ),
        (
            json!({ "queue": DEAD, "threshold_percent": 101 }),
            "100 at most",
        ),
        (
            json!({ "queue": DEAD, "to": "orders" }),
            "`orders` is not a destination",
        ),
        (json!({ "queue": "deed" }), "its ARN or one of dead"),
        (json!({ "kueue": DEAD }), "unknown field `kueue`"),
        (json!({ "run": "r" }), "there is no run `r`"),
    ] {
        let said = world.ask(&request).await.unwrap_err();
        assert!(said.contains(expected), "{request}: {said}");
    }
    world.queues.has_policy();
    let request = json!({ "queue": DEAD, "apply": true });
    let said = world.ask(&request).await.unwrap_err();
    assert!(said.contains("redrive policy of its own"), "{said}");
    assert_eq!(world.queues.message(), None);
}

/// Whoever can send to the function's queue starts no run by that, and changes none.
#[tokio::test]
async fn a_message_is_only_taken_for_a_run_that_a_request_started() {
    let world = World::new(letters(3)).await;
    let request =
        json!({ "queue": DEAD, "to": ORDERS, "select": { "ids": ["m-1"] }, "apply": true });
    world.start(&request).await;
    let genuine = world.queues.message().unwrap();
    let message: Value = serde_json::from_str(&genuine).unwrap();
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut forged = message.clone();
        change(&mut forged);
        forged.to_string()
    };
    for (count, forged) in [
        forged(&|it| it["run"] = "another".into()),
        forged(&|it| it["queue"] = OWN.into()),
        forged(&|it| it["select"]["select"]["ids"] = json!(["m-0"])),
        forged(&|it| it["select"]["to"] = json!({ "queue": OWN })),
        forged(&|it| it["select"] = Value::Null),
        forged(&|it| it["round"] = 3.into()),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(world.bring(&forged, 3).await, Some(done()), "{forged}");
        let parked = world.parked.parked();
        assert_eq!(parked.len(), count + 1, "{forged}");
        assert!(
            parked[count]
                .1
                .message
                .contains("was not started by a request"),
            "{parked:?}"
        );
        assert_eq!((world.queues.left(), world.queues.hidden()), (3, 0));
    }
    assert_eq!(world.bring(&genuine, 3).await, Some(done()));
    world.work(3).await;
    assert_eq!(world.queues.delivered(), [r#"{"order_id":1}"#]);
}

/// A run that gets nowhere does not go on for ever.
#[tokio::test]
async fn a_run_without_progress_ends_loudly() {
    let letters = letters(2);
    let mut plan = Plan::new(DEAD).to(ORDERS.parse().unwrap());
    plan.add(&letters[0], Action::Redrive);
    let mut file = Vec::new();
    plan.write(&mut file).unwrap();
    let file = String::from_utf8(file).unwrap();
    let world = World::new(letters).await;
    world.start(&json!({ "plan": file, "apply": true })).await;
    // By the time a receive has its answer, the invocation has to end: its handler has 2.5 s, the last
    // quarter of which begins nothing.
    world.queues.crawl(Duration::from_millis(2_100));
    world.work(3).await;
    let parked = world.parked.parked();
    assert_eq!(parked.len(), 1, "{parked:?}");
    let message = &parked[0].1.message;
    assert!(message.contains("made no progress in"), "{message}");
    assert_eq!((world.queues.left(), world.queues.hidden()), (2, 0));
}
