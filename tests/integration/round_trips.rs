//! What a batch waits for its store.

use super::{
    check::{context_at, read_event, respond, virtual_clock},
    remote_store::RemoteStore,
    script::{Script, order_placed},
};
use serde_json::json;
use std::time::Duration;
use surehand::{Function, Idempotency, MemoryStore, Sqs, testing::RecordedDeadLetters};
use tokio::time::Instant;

/// Each record needs a claim and a completion, and no record waits for another's.
#[tokio::test(start_paused = true)]
async fn a_batch_of_ten_takes_two_round_trips_and_one_of_duplicates_one() {
    const ROUND_TRIP: Duration = Duration::from_millis(20);
    let clock = virtual_clock();
    let store = RemoteStore::new(MemoryStore::new().with_clock(clock.clone()), ROUND_TRIP);
    let script = Script::default();
    let once = Idempotency::new(store).clock(clock.clone()).cache(0);
    let function = Function::new(Sqs, order_placed, script.clone())
        .clock(clock.clone())
        .dead_letters(RecordedDeadLetters::new())
        .idempotent(once);
    let event = read_event("sqs-ten-orders");
    for calls in [2, 1] {
        let start = Instant::now();
        let response = respond(
            &function,
            &event,
            context_at(&clock, Duration::from_secs(30)),
        );
        assert_eq!(response.await.unwrap(), json!({ "batchItemFailures": [] }));
        let took = start.elapsed();
        assert!(
            took >= ROUND_TRIP * calls && took < ROUND_TRIP * (calls + 1),
            "{took:?}"
        );
    }
    // One of the ten is not JSON.
    assert_eq!(script.effects().len(), 9);
}
