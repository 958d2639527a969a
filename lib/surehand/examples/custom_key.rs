//! What if a repeated request has another event id each time?
//!
//! Then the key is taken from the request itself. Here a caller invokes the function directly, and asks
//! again because the first answer was lost.
//!
//! `cargo run -p surehand --example custom_key --features testing`

use serde::{Deserialize, Serialize};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use surehand::{Direct, ErrorKind, Function, Idempotency, Json, MemoryStore, State, testing};

#[derive(Clone, Serialize, Deserialize)]
struct PlaceOrder {
    /// The caller's own, and the same when it asks again.
    request_id: String,
    item: String,
}

/// Gives each order the next number.
async fn place_order(
    request: Json<PlaceOrder>,
    State(numbers): State<Arc<AtomicU32>>,
) -> surehand::Result<String> {
    let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(format!("order {number}: {}", request.0.item))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> surehand::Result<()> {
    let numbers = Arc::new(AtomicU32::new(0));
    let once =
        Idempotency::new(MemoryStore::new()).key(|request: Json<PlaceOrder>| request.0.request_id);
    let function = Function::new(Direct, place_order, numbers.clone()).idempotent(once);
    let invoke =
        |request: &PlaceOrder| function.invoke(testing::direct_event(request), testing::context());

    let request = PlaceOrder {
        request_id: "r-1".into(),
        item: "tea".into(),
    };
    let first = invoke(&request).await?;
    let again = invoke(&request).await?;
    println!("first {first}, and again {again}");
    assert_eq!(first.get(), r#""order 1: tea""#);
    assert_eq!(first.get(), again.get());
    assert_eq!(numbers.load(Ordering::Relaxed), 1);

    // The key stands for its request: under the same one nothing else is ordered.
    let other = PlaceOrder {
        item: "coffee".into(),
        ..request
    };
    let error = invoke(&other).await.expect_err("it is refused");
    println!("another request under the same key: {error}");
    assert_eq!(error.kind(), ErrorKind::KeyReused);
    Ok(())
}
