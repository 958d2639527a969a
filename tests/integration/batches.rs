//! Whole batches: everything at once, and order.

use super::{
    check::{
        Case, Delivery, Response, check, context_at, failures, read_event, respond, virtual_clock,
    },
    script::Step,
};
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use surehand::{
    Clock, Delivery as Delivered, Error, Function, Idempotency, MemoryStore, OnPark, Result, Sqs,
    State,
};
use tokio::sync::Barrier;

#[test]
fn of_ten_records_each_gets_what_is_its_own() {
    check(Case {
        script: &[
            ("e-4", &[Step::PanicLater("a bug"), Step::Succeed]),
            ("e-6", &[Step::Reject("out of stock")]),
            ("e-8", &[Step::Take(60), Step::Succeed]),
        ],
        deliveries: vec![
            Delivery {
                event: "sqs-ten-orders",
                effects: &["e-1", "e-10", "e-2", "e-5", "e-7", "e-9"],
                response: Response::Failures(&["m-4", "m-8"]),
                parked: &[
                    ("m-3", "malformed", "not JSON"),
                    ("m-6", "rejected", "out of stock"),
                ],
                ..Delivery::default()
            },
            // SQS delivers the returned messages again.
            Delivery {
                only: &["m-4", "m-8"],
                ..Delivery::again("sqs-ten-orders", &["e-4", "e-8"])
            },
            // SQS may deliver any message again, even one that was acked: no effect happens twice.
            Delivery {
                event: "sqs-ten-orders",
                receive: Some(3),
                parked: &[
                    ("m-3", "malformed", "not JSON"),
                    ("m-6", "rejected", "out of stock"),
                ],
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

/// Three groups, interleaved: a1 b1 c1 a2 b2 c2 a3 b3 c3.
#[derive(Clone)]
struct Groups {
    begun: Arc<Mutex<Vec<String>>>,
    /// Where the groups' n-th records wait for each other.
    meetings: Arc<[Barrier; 3]>,
}

async fn meet(message: Delivered, State(groups): State<Groups>) -> Result<()> {
    let id = message.message_id;
    groups.begun.lock().unwrap().push(id.clone());
    if id == "a2" {
        return Err(Error::transient("the ledger of group a is locked"));
    }
    let turn: usize = id[1..].parse().unwrap();
    groups.meetings[turn - 1].wait().await;
    Ok(())
}

/// The barriers prove it: a record passes one only if those of the other groups are under way at
/// the same time. Otherwise it hangs until the deadline, and is returned.
#[tokio::test(start_paused = true)]
async fn groups_run_in_order_and_side_by_side_and_a_failure_holds_up_its_own() {
    let groups = Groups {
        begun: Arc::default(),
        // One of the second records fails before its barrier, and the third one of its group never
        // begins.
        meetings: Arc::new([Barrier::new(3), Barrier::new(2), Barrier::new(2)]),
    };
    let clock = virtual_clock();
    let once = Idempotency::new(MemoryStore::new().with_clock(clock.clone())).clock(clock.clone());
    let function = Function::new(Sqs, meet, groups.clone())
        .clock(clock.clone())
        .idempotent(once);
    let context = context_at(&clock, Duration::from_secs(30));
    let response = respond(&function, &read_event("sqs-fifo"), context).await;
    assert_eq!(failures(&response.unwrap()), ["a2", "a3"]);

    let begun = groups.begun.lock().unwrap();
    let of = |group: &str| -> Vec<&str> {
        let ids = begun.iter().map(String::as_str);
        ids.filter(|id| id.starts_with(group)).collect()
    };
    assert_eq!(of("a"), ["a1", "a2"], "a3 is returned unrun");
    assert_eq!(of("b"), ["b1", "b2", "b3"]);
    assert_eq!(of("c"), ["c1", "c2", "c3"]);
}

#[test]
fn a_returned_group_is_taken_up_where_it_stopped() {
    check(Case {
        script: &[("e-a2", &[Step::FailFor(30), Step::Succeed])],
        deliveries: vec![
            Delivery {
                event: "sqs-fifo",
                effects: &["e-a1", "e-b1", "e-b2", "e-b3", "e-c1", "e-c2", "e-c3"],
                response: Response::Failures(&["a2", "a3"]),
                back_in: &[("a2", 30.0..=30.0), ("a3", 30.0..=30.0)],
                ..Delivery::default()
            },
            Delivery {
                only: &["a2", "a3"],
                ..Delivery::again("sqs-fifo", &["e-a2", "e-a3"])
            },
        ],
        ..Case::default()
    });
}

#[test]
fn after_a_parked_record_its_group_proceeds_or_halts_as_it_was_told() {
    check(Case {
        script: &[("e-a1", &[Step::Reject("never")])],
        deliveries: vec![Delivery {
            event: "sqs-fifo",
            effects: &[
                "e-a2", "e-a3", "e-b1", "e-b2", "e-b3", "e-c1", "e-c2", "e-c3",
            ],
            parked: &[("a1", "rejected", "never")],
            ..Delivery::default()
        }],
        ..Case::default()
    });
    check(Case {
        on_park: OnPark::Halt,
        script: &[("e-a1", &[Step::Reject("never")])],
        deliveries: vec![
            Delivery {
                event: "sqs-fifo",
                effects: &["e-b1", "e-b2", "e-b3", "e-c1", "e-c2", "e-c3"],
                response: Response::Failures(&["a2", "a3"]),
                parked: &[("a1", "rejected", "never")],
                back_in: &[("a2", 0.0..=0.0), ("a3", 0.0..=0.0)],
                ..Delivery::default()
            },
            Delivery {
                only: &["a2", "a3"],
                ..Delivery::again("sqs-fifo", &["e-a2", "e-a3"])
            },
        ],
        ..Case::default()
    });
}

#[derive(Clone, Default)]
struct Load(Arc<[AtomicUsize; 2]>);

async fn work(State(load): State<Load>) -> Result<()> {
    let [now, most] = &*load.0;
    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(10)).await;
    now.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

/// How many records were handled at the same time.
async fn most_at_once(event: &str, concurrency: usize, clock: &Clock) -> usize {
    let load = Load::default();
    let store = MemoryStore::new().with_clock(clock.clone());
    let function = Function::new(Sqs, work, load.clone())
        .clock(clock.clone())
        .concurrency(concurrency)
        .idempotent(Idempotency::new(store).clock(clock.clone()));
    let context = context_at(clock, Duration::from_secs(30));
    let response: Value = respond(&function, &read_event(event), context)
        .await
        .unwrap();
    assert_eq!(failures(&response), [""; 0]);
    load.0[1].load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn no_more_records_run_at_once_than_they_may_and_none_starves() {
    let clock = virtual_clock();
    for (event, concurrency, most) in [
        ("sqs-orders", 10, 4),
        ("sqs-orders", 3, 3),
        ("sqs-orders", 1, 1),
        // A concurrency of 0 would never handle a record.
        ("sqs-orders", 0, 1),
        ("sqs-fifo", 10, 3),
        ("sqs-fifo", 2, 2),
        // The second record of an event waits for the first, which needs no second place for it.
        ("sqs-same-event-twice", 1, 1),
        ("sqs-same-event-twice", 10, 2),
    ] {
        assert_eq!(
            most_at_once(event, concurrency, &clock).await,
            most,
            "{event}, {concurrency}"
        );
    }
}
