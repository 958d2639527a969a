//! Transactions in programs that are no Lambda functions.

use super::world::{StockReserved, World, number, text};
use aws_sdk_dynamodb::types::{Put, Update};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use surehand::{
    DynamoDbStore, Error, ErrorKind, Idempotency, Publisher, Result, Transaction,
    idempotency::Handled, outbox::Outbox, testing::RecordedEvents,
};

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0} left")]
struct OutOfStock(String);

#[derive(Clone, Debug, Serialize)]
struct Take {
    quantity: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    quantity: i64,
    attempt: u64,
}

/// A service of the shop: it has clients, and no invocation.
#[derive(Clone)]
struct Service {
    once: Idempotency<DynamoDbStore>,
    runs: Arc<AtomicUsize>,
}

impl Service {
    fn new(world: &World) -> Self {
        Self {
            once: Idempotency::new(world.store.clone())
                .scope("checkout")
                .cache(0),
            runs: Arc::default(),
        }
    }

    async fn take(&self, key: &str, quantity: i64) -> Result<Handled<Receipt>> {
        let take = Take { quantity };
        self.once
            .once(key, &take, async |tx: Transaction| {
                self.runs.fetch_add(1, Ordering::SeqCst);
                let update = Update::builder()
                    .table_name("shop")
                    .key("id", text("stock"))
                    .update_expression("SET available = available - :quantity")
                    .condition_expression("available >= :quantity")
                    .expression_attribute_values(":quantity", number(quantity));
                tx.stage(update).or_else(|item| {
                    let left = item.and_then(|item| item.get("available")?.as_n().ok().cloned());
                    Error::rejected(OutOfStock(left.unwrap_or_default()))
                });
                tx.publish(&StockReserved {
                    order_id: key.into(),
                    number: 0,
                    padding: String::new(),
                });
                let attempt = fastrand::u64(..);
                Ok(Receipt { quantity, attempt })
            })
            .await
    }
}

#[tokio::test]
async fn a_request_is_one_call_and_its_repetition_gets_the_first_reply() {
    let world = World::new().await;
    let service = Service::new(&world);
    let first = service.take("k", 3).await.unwrap();
    assert!(!first.is_duplicate);
    assert_eq!(world.calls(), 1, "one TransactWriteItems");
    // As after a restart, and in another process.
    let again = Service::new(&world).take("k", 3).await.unwrap();
    assert!(again.is_duplicate);
    assert_eq!(world.calls(), 1);
    assert_eq!(first.reply, again.reply);
    assert_eq!(world.available().await, 7);
    assert_eq!(world.items("idempotency").await.len(), 1);

    let other = service.take("k", 4).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::KeyReused);
    assert_eq!(world.available().await, 7);
    service.take("other", 4).await.unwrap();
    assert_eq!(world.available().await, 3);
}

#[tokio::test]
async fn of_concurrent_requests_of_one_key_one_happens() {
    let world = World::new().await;
    let here = Service::new(&world);
    let elsewhere = Service::new(&world);
    let requests = (0..20).map(|n| {
        let service = if n % 2 == 0 { &here } else { &elsewhere };
        service.take("k", 2)
    });
    let handled = futures_util::future::join_all(requests).await;
    let mut replies: Vec<_> = handled.into_iter().map(Result::unwrap).collect();
    let duplicates = replies.iter().filter(|handled| handled.is_duplicate);
    assert_eq!(duplicates.count(), 19);
    replies.dedup_by(|one, other| one.reply == other.reply);
    assert_eq!(replies.len(), 1);
    assert_eq!(world.available().await, 8);
}

#[tokio::test]
async fn a_failed_condition_is_the_handlers_own_error_and_the_key_stays_free() {
    let world = World::new().await;
    let service = Service::new(&world);
    let error = service.take("k", 11).await.unwrap_err();
    let reason: &OutOfStock = error.downcast_ref().unwrap();
    assert_eq!(reason, &OutOfStock("10".into()));
    assert!(error.is_rejected());
    assert_eq!(world.available().await, 10);
    assert!(world.items("idempotency").await.is_empty());
    assert!(!service.take("k", 10).await.unwrap().is_duplicate);
    assert_eq!(world.available().await, 0);
}

#[tokio::test]
async fn what_a_handler_refuses_because_it_did_it_before_is_a_duplicate() {
    let world = World::new().await;
    let once = Service::new(&world).once;
    let place = || {
        once.once("k", (), async |tx: Transaction| {
            if world.item("shop", "order").await.is_some() {
                return Err(Error::transient("the order is there already"));
            }
            let put = Put::builder().table_name("shop").item("id", text("order"));
            tx.stage(put.condition_expression("attribute_not_exists(id)"));
            Ok("placed".to_owned())
        })
    };
    assert!(!place().await.unwrap().is_duplicate);
    let again = place().await.unwrap();
    assert_eq!((again.reply.as_str(), again.is_duplicate), ("placed", true));
    // Under another key it is an error indeed.
    let other = once.once("other", (), async |_: Transaction| {
        Err::<(), _>(Error::transient("no"))
    });
    assert_eq!(other.await.unwrap_err().to_string(), "no");
}

#[tokio::test]
async fn what_is_too_large_or_has_no_key_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    let once = Service::new(&world).once;
    let put = |writes: usize, bytes: usize| {
        once.once("k", (), async move |tx: Transaction| {
            for index in 0..writes {
                let padding = "x".repeat(bytes);
                tx.put_item(
                    "shop",
                    &json!({ "id": index.to_string(), "padding": padding }),
                );
            }
            Ok(())
        })
    };
    for (writes, bytes, problem) in [
        (100, 1, "101 actions"),
        (1, 410_000, "DynamoDB takes 409600 an item"),
        (12, 390_000, "DynamoDB takes 4194304 in a transaction"),
    ] {
        let error = put(writes, bytes).await.unwrap_err();
        assert!(error.is_rejected(), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    let nothing = async |_: Transaction| Ok(());
    let keyless = once.once("", (), nothing).await.unwrap_err();
    assert!(keyless.is_malformed());
    let unscoped = Idempotency::new(world.store.clone());
    let error = unscoped.once("k", (), nothing).await.unwrap_err();
    assert!(error.to_string().contains("Idempotency::scope"), "{error}");
    assert_eq!(world.calls(), 0);
    put(99, 1).await.unwrap();
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_nothing_and_can_be_made_again() {
    let world = World::new().await;
    let service = Service::new(&world);
    let hangs = service.once.once("k", (), async |tx: Transaction| {
        tx.put_item("shop", &json!({ "id": "never" }));
        std::future::pending::<Result<()>>().await
    });
    let given_up = tokio::time::timeout(Duration::from_millis(20), hangs).await;
    assert!(given_up.is_err());
    assert_eq!(world.calls(), 0);
    assert!(!service.take("k", 1).await.unwrap().is_duplicate);
    assert!(world.item("shop", "never").await.is_none());
}

#[tokio::test]
async fn the_events_of_a_request_are_swept_up_with_ids_of_its_own() {
    let world = World::new().await;
    let service = Service::new(&world);
    let recorded = RecordedEvents::new();
    let publisher = Publisher::new(recorded.clone());
    let outbox = Outbox::new(world.client.clone(), "idempotency", publisher);
    for key in ["a", "a", "b"] {
        service.take(key, 1).await.unwrap();
    }
    assert_eq!(service.runs.load(Ordering::SeqCst), 3);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let swept = outbox.sweep(Duration::ZERO, || false).await.unwrap();
    assert_eq!((swept.published, swept.failed), (2, 0));
    let sent = recorded.sent();
    assert_ne!(sent[0].id(), sent[1].id());
    for event in &sent {
        let metadata = event.metadata();
        assert_eq!(metadata.producer.as_deref(), Some("checkout"));
        assert!(metadata.causation_id.is_none(), "no event caused it");
        assert!(metadata.correlation_id.is_some());
    }
    assert_eq!(
        outbox
            .sweep(Duration::ZERO, || false)
            .await
            .unwrap()
            .published,
        0
    );
}

/// A service answers its requests on several threads.
#[test]
fn a_request_can_be_handled_on_any_thread() {
    fn spawned<F: Future + Send + 'static>(_: F) {}
    fn request(once: Idempotency<DynamoDbStore>) {
        spawned(async move {
            let handled = once.once("k", (), async |tx: Transaction| {
                tokio::task::yield_now().await;
                tx.put_item("shop", &json!({ "id": "1" }));
                Ok(1)
            });
            handled.await.map(|handled| handled.reply)
        });
    }
    let _: fn(Idempotency<DynamoDbStore>) = request;
}
