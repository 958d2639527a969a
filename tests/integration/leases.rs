//! Leases that others hold, and stores that do not answer.

use super::{
    check::{context_at, failures, read_event, respond, virtual_clock},
    remote_store::{Call, Fault, RemoteStore},
    script::{Script, Step, Steps, order_placed},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use surehand::{
    Clock, EventBridge, Function, Idempotency, MemoryStore, Sqs,
    testing::{self, Message, RecordedDeadLetters, RecordedRedelivery},
};
use tokio::time::{Instant, sleep};

const TIMEOUT: Duration = Duration::from_secs(30);
const SKEW: Duration = Duration::from_secs(1);

/// Handles m-1 in one process, and returns the result.
struct Process {
    function: Function<Sqs>,
    script: Script,
    redelivery: RecordedRedelivery,
    clock: Clock,
}

impl Process {
    fn new(clock: &Clock, store: RemoteStore, steps: Steps) -> Self {
        let script = Script::new(steps);
        let redelivery = RecordedRedelivery::new();
        let once = Idempotency::new(store)
            .clock_skew(SKEW)
            .clock(clock.clone());
        let function = Function::new(Sqs, order_placed, script.clone())
            .clock(clock.clone())
            .dead_letters(RecordedDeadLetters::new())
            .redelivery(redelivery.clone())
            .idempotent(once);
        Self {
            function,
            script,
            redelivery,
            clock: clock.clone(),
        }
    }

    /// True if the message is acked.
    async fn deliver(&self) -> bool {
        let mut event: serde_json::Value = serde_json::from_str(&read_event("sqs-orders")).unwrap();
        event["Records"].as_array_mut().unwrap().truncate(1);
        let context = context_at(&self.clock, TIMEOUT);
        let response = respond(&self.function, &event.to_string(), context).await;
        failures(&response.unwrap()).is_empty()
    }

    fn last_delay(&self) -> Duration {
        self.redelivery.delays().last().unwrap().1
    }
}

fn memory(clock: &Clock) -> RemoteStore {
    let store = MemoryStore::new().with_clock(clock.clone());
    RemoteStore::new(store, Duration::from_millis(20))
}

#[tokio::test(start_paused = true)]
async fn a_record_that_another_process_holds_comes_back_when_its_lease_ends() {
    let clock = virtual_clock();
    let store = memory(&clock);
    let first = Process::new(&clock, store.clone(), &[("e-1", &[Step::Take(25)])]);
    let second = Process::new(&clock, store, &[]);
    let (first_acked, ()) = tokio::join!(first.deliver(), async {
        sleep(Duration::from_secs(10)).await;
        assert!(!second.deliver().await);
        // A lease holds in the millisecond in which it ends.
        let rest = TIMEOUT + SKEW - Duration::from_secs(10) + Duration::from_millis(1);
        let delay = second.last_delay();
        assert!(
            delay <= rest && delay > rest - Duration::from_millis(50),
            "{delay:?}"
        );
        assert_eq!(second.script.started(), [""; 0]);
        sleep(delay).await;
        assert!(second.deliver().await, "now it is a duplicate");
    });
    assert!(first_acked);
    assert_eq!(first.script.effects(), ["e-1"]);
    assert_eq!(second.script.started(), [""; 0]);
}

/// Two invocations of one process: the second waits, and needs no retry.
#[tokio::test(start_paused = true)]
async fn a_record_that_the_same_process_holds_is_waited_for() {
    let clock = virtual_clock();
    let process = Process::new(&clock, memory(&clock), &[("e-1", &[Step::Take(25)])]);
    assert_eq!(
        tokio::join!(process.deliver(), process.deliver()),
        (true, true)
    );
    assert_eq!(process.script.effects(), ["e-1"]);
    // It does not wait longer than the invocation lasts.
    let hanging = Process::new(&clock, memory(&clock), &[("e-1", &[Step::Hang])]);
    let start = Instant::now();
    assert_eq!(
        tokio::join!(hanging.deliver(), hanging.deliver()),
        (false, false)
    );
    assert!(start.elapsed() < TIMEOUT);
}

/// A store whose n-th calls of one kind fail.
fn faulty(clock: &Clock, call: Call, faults: &'static [Fault]) -> RemoteStore {
    let count = Arc::new(AtomicUsize::new(0));
    memory(clock).faults(move |this| {
        (this == call)
            .then(|| count.fetch_add(1, Ordering::SeqCst))
            .and_then(|index| faults.get(index).copied())
    })
}

#[tokio::test(start_paused = true)]
async fn without_a_claim_the_handler_does_not_run() {
    for fault in [&[Fault::Refused], &[Fault::AnswerLost], &[Fault::Hangs]] {
        let clock = virtual_clock();
        let process = Process::new(&clock, faulty(&clock, Call::Claim, fault), &[]);
        let start = Instant::now();
        assert!(!process.deliver().await, "{fault:?}");
        assert!(start.elapsed() < TIMEOUT, "{fault:?}");
        assert_eq!(process.script.started(), [""; 0], "{fault:?}");
        // As SQS does: not before the delay, and a lost claim's lease may have to end first.
        for _ in 0..2 {
            sleep(process.last_delay()).await;
            if process.deliver().await {
                break;
            }
        }
        assert_eq!(process.script.effects(), ["e-1"], "{fault:?}");
    }
}

/// A stream tries again at once, and an asynchronous invocation after one and two minutes, whatever the
/// lease of a process that died.
#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_delay_meets_a_dead_lease_and_waits_for_its_end() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = virtual_clock();
        let store = MemoryStore::new().with_clock(clock.clone());
        let script = Script::new(&[("e-1", &[Step::Hang, Step::Succeed])]);
        let timeout = Duration::from_secs(random.u64(5..=900));
        let pause = Duration::from_secs(if random.bool() { 0 } else { 60 });
        let invoke = async || {
            let once = Idempotency::new(store.clone()).clock(clock.clone());
            let function = Function::new(EventBridge, order_placed, script.clone())
                .clock(clock.clone())
                .idempotent(once);
            let event = serde_json::json!({
                "id": "e-1", "source": "shop.orders", "detail-type": "OrderPlaced",
                "detail": {"order_id": "o-1", "quantity": 1},
            });
            let event = serde_json::value::to_raw_value(&event).unwrap();
            function.invoke(event, context_at(&clock, timeout)).await
        };
        let death = timeout.mul_f64(random.f64() * 0.9);
        let died = tokio::time::timeout(death, invoke()).await;
        assert!(died.is_err(), "{seed}: the process dies in its handler");
        sleep(pause).await;
        // The next attempt outlasts the lease of the one before, unless that lived to its end.
        let mut attempts = 1;
        while invoke().await.is_err() {
            attempts += 1;
            assert!(attempts < 3, "{seed}: Lambda gives up");
            sleep(2 * pause).await;
        }
        assert_eq!(script.effects(), ["e-1"], "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_is_tried_again_since_its_effect_is_there() {
    use Fault::{AnswerLost, Refused};
    for faults in [
        &[Refused, Refused],
        &[AnswerLost, Refused],
        &[Refused, AnswerLost],
    ] {
        let clock = virtual_clock();
        let process = Process::new(&clock, faulty(&clock, Call::Complete, faults), &[]);
        assert!(process.deliver().await, "{faults:?}");
        assert!(process.deliver().await, "{faults:?}");
        assert_eq!(process.script.effects(), ["e-1"], "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_was_written_without_an_answer_is_found_after_the_lease() {
    use Fault::{AnswerLost, Hangs, Refused};
    let faults: [&[Fault]; 3] = [
        &[AnswerLost, AnswerLost, AnswerLost],
        &[AnswerLost, Refused, Refused],
        &[AnswerLost, Hangs],
    ];
    for faults in faults {
        let clock = virtual_clock();
        let process = Process::new(&clock, faulty(&clock, Call::Complete, faults), &[]);
        let start = Instant::now();
        assert!(!process.deliver().await, "{faults:?}");
        assert!(start.elapsed() < TIMEOUT, "{faults:?}");
        sleep(process.last_delay()).await;
        assert!(
            start.elapsed() > TIMEOUT + SKEW - Duration::from_millis(1),
            "{faults:?}"
        );
        assert!(process.deliver().await, "{faults:?}");
        assert_eq!(process.script.effects(), ["e-1"], "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_given_back_comes_back_after_its_lease() {
    for fault in [&[Fault::Refused], &[Fault::Hangs]] {
        let clock = virtual_clock();
        let store = faulty(&clock, Call::Release, fault);
        let steps: Steps = &[("e-1", &[Step::Fail("throttled"), Step::Succeed])];
        let process = Process::new(&clock, store, steps);
        let start = Instant::now();
        assert!(!process.deliver().await, "{fault:?}");
        assert!(start.elapsed() < TIMEOUT, "{fault:?}");
        sleep(process.last_delay() + Duration::from_millis(1)).await;
        assert!(process.deliver().await, "{fault:?}: the lease has ended");
        assert_eq!(process.script.effects(), ["e-1"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_expiry_does_not_end_a_lease() {
    let (timeout, clock) = (Duration::from_secs(900), virtual_clock());
    let store = MemoryStore::new().with_clock(clock.clone());
    let script = Script::new(&[("e-1", &[Step::Take(600)])]);
    let deliver = async |after: u64| {
        sleep(Duration::from_secs(after)).await;
        let once = Idempotency::new(store.clone())
            .clock(clock.clone())
            .expires_after(Duration::from_secs(60));
        let function = Function::new(Sqs, order_placed, script.clone())
            .clock(clock.clone())
            .idempotent(once);
        let mut event: serde_json::Value = serde_json::from_str(&read_event("sqs-orders")).unwrap();
        event["Records"].as_array_mut().unwrap().truncate(1);
        let context = context_at(&clock, timeout);
        respond(&function, &event.to_string(), context)
            .await
            .unwrap();
    };
    tokio::join!(deliver(0), deliver(70));
    assert_eq!(
        script.started(),
        ["e-1"],
        "a lease must hold until its end, however short the expiry"
    );
}

/// A claim whose answer is lost leaves a lease that no attempt knows it has.
#[tokio::test(start_paused = true)]
async fn receives_without_an_attempt_park_nothing() {
    let clock = virtual_clock();
    let store = faulty(&clock, Call::Claim, &[Fault::AnswerLost]);
    let (script, redelivery) = (Script::new(&[]), RecordedRedelivery::new());
    let dead = RecordedDeadLetters::new();
    let once = Idempotency::new(store)
        .clock_skew(SKEW)
        .clock(clock.clone());
    let function = Function::new(Sqs, order_placed, script.clone())
        .clock(clock.clone())
        .max_attempts(1)
        .dead_letters(dead.clone())
        .redelivery(redelivery.clone())
        .idempotent(once);
    for receive in 1..=3 {
        let placed = serde_json::json!({
            "metadata": {"id": "e-1", "source": "shop.orders", "type": "OrderPlaced"},
            "data": {"order_id": "o-1", "quantity": 1},
        });
        let message = Message::body(placed.to_string()).receive_count(receive);
        let event = testing::sqs_event("orders", [message]);
        let context = context_at(&clock, TIMEOUT);
        let response = function.invoke(event, context).await.unwrap();
        if testing::failed_ids(&response).is_empty() {
            break;
        }
        let (_, delay) = redelivery.delays().pop().unwrap();
        sleep(delay + Duration::from_secs(1)).await;
    }
    assert_eq!(
        (script.effects().len(), dead.parked().len()),
        (1, 0),
        "a record must not be parked before any handler ran"
    );
}

#[tokio::test]
async fn an_expiry_may_be_for_ever() {
    let once = Idempotency::new(MemoryStore::new())
        .scope("shop")
        .expires_after(Duration::MAX);
    let handled = std::panic::AssertUnwindSafe(once.once("k-1", 1, async |_tx| Ok(1)));
    let handled = futures_util::FutureExt::catch_unwind(handled).await;
    assert!(handled.is_ok(), "an expiry of any length must not panic");
    assert_eq!(handled.unwrap().unwrap().reply, 1);
}
