//! A panic anywhere around a record is that record's failure alone.

use super::{
    check::{context_at, failures, read_event, respond, virtual_clock},
    script::{Script, anything},
};
use serde_json::Value;
use std::time::Duration;
use surehand::{
    Envelope, Function, Idempotency, MemoryStore, Record, Result, Sqs, State,
    testing::RecordedDeadLetters,
};
use tower::util::MapRequestLayer;

/// Delivers sqs-orders, of which m-2 meets the panic.
async fn deliver(
    change: impl FnOnce(Function<Sqs>) -> Function<Sqs>,
) -> (Vec<String>, Vec<String>) {
    let clock = virtual_clock();
    let script = Script::default();
    let function = Function::new(Sqs, anything, script.clone()).clock(clock.clone());
    let context = context_at(&clock, Duration::from_secs(30));
    let response = respond(&change(function), &read_event("sqs-orders"), context).await;
    (failures(&response.unwrap()), script.effects())
}

const OTHERS: [&str; 3] = ["e-1", "e-3", "e-4"];

#[tokio::test(start_paused = true)]
async fn in_a_layer() {
    let explode = |record: Record| {
        assert_ne!(record.id(), "m-2", "the layer has a bug");
        record
    };
    let layer = MapRequestLayer::new(explode);
    let store = MemoryStore::new();
    for idempotent in [false, true] {
        let (failed, effects) = deliver(|function| {
            let function = function.layer(layer.clone());
            if idempotent {
                function.idempotent(store.clone())
            } else {
                function
            }
        })
        .await;
        assert_eq!(
            (failed, effects),
            (vec!["m-2".to_owned()], OTHERS.map(String::from).to_vec())
        );
    }
    // Its lease was released.
    let (failed, effects) = deliver(|function| function.idempotent(store)).await;
    assert_eq!((failed.len(), effects), (0, vec!["e-2".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn in_the_reading_of_the_key() {
    let (failed, effects) = deliver(|function| {
        let once = Idempotency::new(MemoryStore::new()).key(|event: Envelope<Value>| {
            assert_ne!(event.metadata.id, "e-2", "the key has a bug");
            event.metadata.id
        });
        function.idempotent(once)
    })
    .await;
    assert_eq!(
        (failed, effects),
        (vec!["m-2".to_owned()], OTHERS.map(String::from).to_vec())
    );
}

/// A future that is not async all the way: the call itself panics.
fn explode_at_once(
    event: Envelope<Value>,
    State(script): State<Script>,
) -> impl Future<Output = Result<Value>> + Send {
    assert_ne!(event.metadata.id, "e-2", "the handler has a bug");
    anything(event, State(script))
}

#[tokio::test(start_paused = true)]
async fn in_a_handler_that_is_no_async_fn() {
    let clock = virtual_clock();
    let (script, dead_letters) = (Script::default(), RecordedDeadLetters::new());
    let function = Function::new(Sqs, explode_at_once, script.clone())
        .clock(clock.clone())
        .max_attempts(1)
        .dead_letters(dead_letters.clone());
    let context = context_at(&clock, Duration::from_secs(30));
    let response = respond(&function, &read_event("sqs-orders"), context).await;
    assert_eq!(failures(&response.unwrap()), [""; 0]);
    assert_eq!(script.effects(), OTHERS);
    assert_eq!(
        dead_letters.kinds(),
        [("m-2".to_owned(), "panicked".to_owned())]
    );
}
