//! Attempts that began and never ended, and what is known of them.

use super::check::{context_at, virtual_clock};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, Envelope, Error, Event, Function, Idempotency, IdempotencyKey, MemoryStore, OnUnknown,
    Record, Sqs, State,
    dead_letter::{DeadLetters, FailureNote},
    envelope::Outgoing,
    idempotency::{AttemptEnd, Store},
    testing::{self, Message, RecordedDeadLetters},
};
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_secs(30);
const SKEW: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
}

/// How often the handler ran; the first run never ends.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

async fn stand_still_once(
    _: Envelope<OrderPlaced>,
    State(runs): State<Runs>,
) -> surehand::Result<()> {
    if runs.0.fetch_add(1, Ordering::Relaxed) == 0 {
        std::future::pending::<()>().await;
    }
    Ok(())
}

struct World {
    clock: Clock,
    store: MemoryStore,
    runs: Runs,
    dead: RecordedDeadLetters,
    function: Function<Sqs>,
    event: Outgoing,
    /// When it was sent.
    sent_at: SystemTime,
}

impl World {
    fn new(on_unknown: OnUnknown) -> Self {
        Self::with(on_unknown, Some(RecordedDeadLetters::new()))
    }

    fn with(on_unknown: OnUnknown, dead: Option<RecordedDeadLetters>) -> Self {
        let clock = virtual_clock();
        let store = MemoryStore::new().with_clock(clock.clone());
        let runs = Runs::default();
        let once = Idempotency::new(store.clone())
            .clock_skew(SKEW)
            .clock(clock.clone())
            .on_unknown(on_unknown);
        let mut function = Function::new(Sqs, stand_still_once, runs.clone())
            .clock(clock.clone())
            .idempotent(once);
        if let Some(dead) = &dead {
            function = function.dead_letters(dead.clone());
        }
        let event = Outgoing::new(&OrderPlaced {
            order_id: "1".into(),
        })
        .unwrap();
        Self {
            sent_at: clock.now(),
            clock,
            store,
            runs,
            dead: dead.unwrap_or_default(),
            function,
            event,
        }
    }

    /// True if the message is acknowledged. A process that dies after ten seconds does not answer.
    async fn deliver(&self, receive: u32, dies: bool) -> bool {
        let message = Message::outgoing(&self.event)
            .id("m-1")
            .sent_at(self.sent_at)
            .receive_count(receive);
        let event = testing::sqs_event("orders", [message]);
        let invoked = self
            .function
            .invoke(event, context_at(&self.clock, TIMEOUT));
        if dies {
            let _ = tokio::time::timeout(Duration::from_secs(10), invoked).await;
            sleep(TIMEOUT + SKEW).await;
            return false;
        }
        testing::failed_ids(&invoked.await.unwrap()).is_empty()
    }

    /// The same for a message that was a dead letter, and was put back at that time. True if it is
    /// acknowledged.
    async fn put_back(&self, receive: u32, sent: SystemTime) -> bool {
        let message = Message::outgoing(&self.event)
            .attribute(FailureNote::REDRIVE_COUNT, "1")
            .receive_count(receive);
        let event = testing::sqs_event("orders", [message]);
        let mut event = serde_json::to_value(event).unwrap();
        let sent = sent.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        event["Records"][0]["attributes"]["SentTimestamp"] = sent.as_millis().to_string().into();
        let event = serde_json::from_value(event).unwrap();
        let context = context_at(&self.clock, TIMEOUT);
        let response = self.function.invoke(event, context).await.unwrap();
        testing::failed_ids(&response).is_empty()
    }

    fn key(&self) -> IdempotencyKey {
        IdempotencyKey::of_event("test-function", self.event.metadata())
    }

    fn runs(&self) -> u32 {
        self.runs.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_did_that_never_ended_is_not_risked_twice() {
    let world = World::new(OnUnknown::Park);
    assert!(!world.deliver(1, true).await);
    assert!(world.deliver(2, false).await, "it is parked");
    assert_eq!(world.runs(), 1);
    let (_, note) = &world.dead.parked()[0];
    assert_eq!(note.kind, "interrupted");
    assert!(
        note.message
            .starts_with("attempt 1 at the record began and never ended"),
        "{}",
        note.message
    );

    // The operator who redrives it has looked at it, and wants another attempt.
    assert!(world.put_back(1, world.clock.now()).await);
    assert_eq!((world.runs(), world.dead.parked().len()), (2, 1));
    assert_eq!(world.store.completed(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_again_unless_asked_otherwise() {
    let world = World::new(OnUnknown::default());
    assert!(!world.deliver(1, true).await);
    assert!(world.deliver(2, false).await);
    assert_eq!((world.runs(), world.dead.parked().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_queue_moved_itself_has_its_last_attempt_on_record() {
    let world = World::new(OnUnknown::default());
    assert_eq!(world.store.history(&world.key()).await.unwrap(), None);
    assert!(!world.deliver(1, true).await);
    let facts = world.store.history(&world.key()).await.unwrap().unwrap();
    assert_eq!((facts.attempts, facts.end), (1, AttemptEnd::Unknown));
    let lasted = facts
        .deadline
        .unwrap()
        .duration_since(facts.started_at.unwrap());
    assert_eq!(lasted.unwrap(), TIMEOUT + SKEW);
    assert_eq!(facts.last_error, None);
}

#[tokio::test(start_paused = true)]
async fn so_has_one_whose_handler_takes_a_transaction() {
    async fn stage(
        _: Envelope<OrderPlaced>,
        State(runs): State<Runs>,
        _tx: surehand::Transaction,
    ) -> surehand::Result<()> {
        if runs.0.fetch_add(1, Ordering::Relaxed) < 3 {
            std::future::pending::<()>().await;
        }
        Err(Error::transient("busy"))
    }
    let mut world = World::new(OnUnknown::default());
    let once = Idempotency::new(world.store.clone()).clock(world.clock.clone());
    world.function = Function::new(Sqs, stage, world.runs.clone())
        .clock(world.clock.clone())
        .idempotent(once);
    // One call commits everything, and before it there is nothing: the first death is not seen.
    world.deliver(1, true).await;
    assert_eq!(world.store.history(&world.key()).await.unwrap(), None);
    for receive in [2, 3] {
        world.deliver(receive, true).await;
        let facts = world.store.history(&world.key()).await.unwrap().unwrap();
        let seen = receive - 1;
        assert_eq!((facts.attempts, facts.unended), (seen, seen));
        assert_eq!(facts.end, AttemptEnd::Unknown);
        let lasted = facts
            .deadline
            .unwrap()
            .duration_since(facts.started_at.unwrap());
        assert_eq!(lasted.unwrap(), TIMEOUT + SKEW);
    }
    // It locks nothing.
    assert!(!world.deliver(4, false).await);
    assert_eq!(world.runs(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_park_that_is_refused_leaves_the_attempt_unknown() {
    let refusing = RecordedDeadLetters::refusing();
    let world = World::with(OnUnknown::Park, Some(refusing));
    world.deliver(1, true).await;
    for receive in [2, 3] {
        world.deliver(receive, false).await;
    }
    assert_eq!(
        world.runs(),
        1,
        "after a refused park the handler must not run again"
    );
}

/// A destination that is full at first.
struct Full(AtomicU32, RecordedDeadLetters);

impl DeadLetters for Full {
    fn park<'a>(
        &'a self,
        record: &'a Record,
        note: &'a FailureNote,
    ) -> BoxFuture<'a, surehand::Result<()>> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return self.1.park(record, note);
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        Box::pin(async { Err(Error::transient("full")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_note_counts_the_calls_of_the_handler_and_no_park_that_was_refused() {
    let world = World::new(OnUnknown::Park);
    let full = Full(AtomicU32::new(3), world.dead.clone());
    let world = World {
        function: world.function.dead_letters(full),
        ..world
    };
    world.deliver(1, true).await;
    let facts = || async { world.store.history(&world.key()).await.unwrap().unwrap() };
    let died = facts().await;
    for receive in 2..=4 {
        assert!(!world.deliver(receive, false).await);
        assert_eq!(facts().await, died, "what is not run changes nothing");
        sleep(TIMEOUT).await;
    }
    assert!(world.deliver(5, false).await, "it is parked");
    let (_, note) = &world.dead.parked()[0];
    assert_eq!(
        (note.attempts, world.runs()),
        (1, 1),
        "attempts are calls of the handler"
    );
    let ended = jiff::Timestamp::try_from(died.deadline.unwrap()).unwrap();
    assert_eq!(
        note.message,
        format!("attempt 1 at the record began and never ended; its lease ended at {ended:.3}")
    );
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_the_attempt_stays_unknown() {
    let world = World::with(OnUnknown::Park, None);
    world.deliver(1, true).await;
    for receive in [2, 3] {
        world.deliver(receive, false).await;
    }
    assert_eq!(
        world.runs(),
        1,
        "without dead letters the handler must not run again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_function_that_parks_without_dead_letters_does_not_start() {
    let world = World::with(OnUnknown::Park, None);
    let error = world.function.run().await.unwrap_err().to_string();
    assert!(error.contains("OnUnknown::Park"), "{error}");
}

/// The record was put back by hand while what its last attempt did was still not known.
#[tokio::test(start_paused = true)]
async fn what_was_put_back_is_tried_again_also_before_the_mark_is_gone() {
    let world = World::new(OnUnknown::Park);
    assert!(!world.deliver(1, true).await);
    assert!(world.put_back(1, world.clock.now()).await);
    assert_eq!((world.runs(), world.dead.parked().len()), (2, 0));
}

/// A queue may deliver a message twice, and a producer send an event twice.
#[tokio::test(start_paused = true)]
async fn a_second_message_of_a_parked_event_is_parked_too() {
    let world = World::new(OnUnknown::Park);
    world.deliver(1, true).await;
    for parked in [1, 2] {
        assert!(world.deliver(1, false).await, "it is parked");
        assert_eq!((world.runs(), world.dead.parked().len()), (1, parked));
    }
    // A receive or two may pass without an attempt, for whatever reason, before it is tried again.
    let sent = world.clock.now();
    sleep(Duration::from_secs(1)).await;
    assert!(world.put_back(3, sent).await);
    assert_eq!((world.runs(), world.store.completed()), (2, 1));
}

/// It was put back before the attempt that did not end. A redrive that dies puts back twice: the copy, too, was
/// sent before, though it is received for the first time.
#[tokio::test(start_paused = true)]
async fn what_was_put_back_is_tried_once() {
    let world = World::new(OnUnknown::Park);
    let sent = world.clock.now();
    world.deliver(1, true).await;
    for receive in [1, 2, 3] {
        assert!(world.put_back(receive, sent).await, "it is parked");
        assert_eq!(world.runs(), 1);
    }
    assert_eq!(world.dead.parked().len(), 3);
}

/// The process lives, and drops the handler at the deadline, wherever that was.
#[tokio::test(start_paused = true)]
async fn a_handler_that_was_stopped_at_the_deadline_has_an_unknown_end() {
    let world = World::new(OnUnknown::Park);
    assert!(!world.deliver(1, false).await);
    sleep(2 * TIMEOUT).await;
    world.deliver(2, false).await;
    assert_eq!(
        (world.runs(), world.dead.parked().len()),
        (1, 1),
        "a handler that was stopped may have had its effect, and must not run again"
    );
}
