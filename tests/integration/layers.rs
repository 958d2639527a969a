//! Layers that users put around their handlers.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};
use surehand::{
    Direct, Envelope, Error, Event, Function, IdempotencyKey, Json, MemoryStore, Publisher, Record,
    Reply, Result, Sqs, State, Transaction,
    testing::{self, Message, RecordedEvents},
};
use tower::util::MapRequestLayer;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
}

/// Calls the inner service again if it fails.
#[derive(Clone)]
struct Again<S>(S);

impl<S> tower::Service<Record> for Again<S>
where
    S: tower::Service<Record, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        let mut inner = self.0.clone();
        Box::pin(async move {
            match inner.call(record.clone()).await {
                Ok(reply) => Ok(reply),
                Err(_) => inner.call(record).await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_tries_again_begins_with_nothing_staged() {
    async fn stage(
        _: Envelope<OrderPlaced>,
        State(runs): State<Arc<AtomicU32>>,
        tx: Transaction,
    ) -> Result<()> {
        tx.publish(&OrderPlaced {
            order_id: "2".into(),
        });
        match runs.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::transient("busy")),
            _ => Ok(()),
        }
    }
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let function = Function::new(Sqs, stage, runs.clone())
        .layer(tower::layer::layer_fn(Again))
        .idempotent(store.clone());
    let placed = OrderPlaced {
        order_id: "1".into(),
    };
    let event = testing::sqs_event("orders", [Message::event(&placed)]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&response), [""; 0]);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(
        store.events().len(),
        1,
        "what a failed try has staged must not be committed"
    );
}

/// A record with the same body, as a layer makes it that decrypts or unpacks bodies.
fn made_anew(record: &Record) -> Record {
    Record::new(
        record.delivery().clone(),
        record.body(),
        record.context().clone(),
        record.deadline().clone(),
    )
}

fn placed() -> Message {
    Message::event(&OrderPlaced {
        order_id: "1".into(),
    })
}

#[tokio::test]
async fn a_record_that_a_layer_made_anew_is_still_that_attempts() {
    /// Takes two publishers, which count the events of one attempt together.
    async fn publish(
        first: Publisher,
        second: Publisher,
        key: IdempotencyKey,
        State(keys): State<Arc<std::sync::Mutex<Vec<String>>>>,
    ) -> Result<()> {
        keys.lock().unwrap().push(key.to_string());
        for publisher in [first, second] {
            publisher
                .publish(&OrderPlaced {
                    order_id: "2".into(),
                })
                .await?;
        }
        Ok(())
    }
    #[derive(Clone)]
    struct Shop(Publisher, Arc<std::sync::Mutex<Vec<String>>>);
    impl surehand::FromRef<Shop> for Publisher {
        fn from_ref(shop: &Shop) -> Self {
            shop.0.clone()
        }
    }
    impl surehand::FromRef<Shop> for Arc<std::sync::Mutex<Vec<String>>> {
        fn from_ref(shop: &Shop) -> Self {
            Arc::clone(&shop.1)
        }
    }
    let mut runs = Vec::new();
    for anew in [false, true] {
        let events = RecordedEvents::new();
        let shop = Shop(Publisher::new(events.clone()), Arc::default());
        let layer = MapRequestLayer::new(move |record: Record| match anew {
            true => made_anew(&record),
            false => record,
        });
        let function = Function::new(Sqs, publish, shop.clone())
            .layer(layer.clone())
            .layer(layer)
            .idempotent(MemoryStore::new());
        let event = testing::sqs_event("orders", [Message::body(BODY).id("m-1")]);
        let response = function.invoke(event, testing::context()).await.unwrap();
        assert_eq!(testing::failed_ids(&response), [""; 0]);
        let ids: Vec<String> = events.sent().iter().map(|e| e.id().to_owned()).collect();
        assert_ne!(ids[0], ids[1], "two events of an attempt have one id");
        let keys = shop.1.lock().unwrap().clone();
        runs.push((ids, keys));
    }
    assert_eq!(runs[0], runs[1]);
}

const BODY: &str = r#"{"metadata":{"id":"e-1"},"data":{"order_id":"1"}}"#;

#[tokio::test]
async fn a_transaction_of_a_record_that_a_layer_made_anew_is_committed() {
    async fn stage(_: Envelope<OrderPlaced>, tx: Transaction) -> Result<()> {
        tx.publish(&OrderPlaced {
            order_id: "2".into(),
        });
        Ok(())
    }
    let store = MemoryStore::new();
    let function = Function::new(Sqs, stage, ())
        .layer(MapRequestLayer::new(|record: Record| made_anew(&record)))
        .idempotent(store.clone());
    let event = testing::sqs_event("orders", [placed()]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&response), [""; 0]);
    assert_eq!(store.events().len(), 1);
}

#[tokio::test]
async fn the_caller_gets_the_reply_to_a_request_that_a_layer_made_anew() {
    async fn double(Json(number): Json<u32>) -> Result<u32> {
        Ok(2 * number)
    }
    let function = Function::new(Direct, double, ())
        .layer(MapRequestLayer::new(|record: Record| made_anew(&record)));
    let request = serde_json::value::to_raw_value(&21).unwrap();
    let reply = function.invoke(request, testing::context()).await.unwrap();
    assert_eq!(reply.get(), "42");
}

/// Has the inner service called in a task of its own.
#[derive(Clone)]
struct Spawning<S>(S, bool);

impl<S> tower::Service<Record> for Spawning<S>
where
    S: tower::Service<Record, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        let (mut inner, anew) = (self.0.clone(), self.1);
        Box::pin(async move {
            let record = if anew { made_anew(&record) } else { record };
            tokio::spawn(async move { inner.call(record).await }).await?
        })
    }
}

#[tokio::test]
async fn a_record_of_no_attempt_is_an_error_and_runs_no_handler() {
    async fn handle(_: Envelope<OrderPlaced>) -> Result<()> {
        Ok(())
    }
    for (anew, failed) in [(false, 0), (true, 1)] {
        let layer = tower::layer::layer_fn(move |inner| Spawning(inner, anew));
        let function = Function::new(Sqs, handle, ())
            .layer(layer)
            .idempotent(MemoryStore::new());
        let event = testing::sqs_event("orders", [placed()]);
        let response = function.invoke(event, testing::context()).await.unwrap();
        assert_eq!(testing::failed_ids(&response).len(), failed, "{anew}");
    }
}
