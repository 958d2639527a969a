//! Claim, effects and events: all of it once, or none of it.

use super::world::{OrderPlaced, StockReserved, World, number, order, reserve, text};
use aws_sdk_dynamodb::types::{ConditionCheck, Delete};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use surehand::{
    Direct, Envelope, Error, Event, Function, Idempotency, Json, Router, Sqs, State, Transaction,
    testing::{self, Message, RecordedDeadLetters},
};

#[tokio::test]
async fn claim_effects_and_events_are_one_call_and_happen_once() {
    let world = World::new().await;
    let message = Message::event(&order("1", 3)).id("m");
    assert!(world.run(message.clone()).await.is_empty());
    assert_eq!(world.calls(), 1, "one TransactWriteItems");
    assert_eq!(world.available().await, 7);

    // A duplicate with a higher receive count costs a read, one without it the commit.
    assert!(world.run(message.clone().receive_count(2)).await.is_empty());
    assert_eq!(world.calls(), 1, "one UpdateItem");
    assert!(world.run(message).await.is_empty());
    assert_eq!(world.calls(), 1, "one TransactWriteItems");
    assert_eq!(world.available().await, 7);
    assert_eq!(
        world.items("idempotency").await.len(),
        1,
        "the event is in the claim"
    );
}

#[tokio::test]
async fn a_handler_that_stages_nothing_is_one_conditional_put() {
    async fn nothing(_: Envelope<OrderPlaced>, _tx: Transaction) -> surehand::Result<()> {
        Ok(())
    }
    let world = World::new().await;
    let function = Function::new(Sqs, nothing, ()).idempotent(world.store.clone());
    let event = testing::sqs_event("orders", [Message::event(&order("1", 1))]);
    function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(world.calls(), 1);
    assert_eq!(world.items("idempotency").await.len(), 1);
}

#[tokio::test]
async fn a_failed_condition_is_the_handlers_own_error_and_nothing_happens() {
    let world = World::new().await;
    let dead = RecordedDeadLetters::new();
    let function = world.function().dead_letters(dead.clone());
    let event = testing::sqs_event("orders", [Message::event(&order("1", 11)).id("m")]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert!(testing::failed_ids(&response).is_empty(), "it is parked");
    let (_, note) = &dead.parked()[0];
    assert_eq!(
        (note.kind.as_str(), note.message.as_str()),
        ("rejected", "10 left")
    );
    assert_eq!(world.available().await, 10);
    assert!(world.item("shop", "reservation-1").await.is_none());
    assert!(
        world.items("idempotency").await.is_empty(),
        "no claim, no event"
    );
}

#[tokio::test]
async fn a_failed_condition_without_an_error_of_its_own_is_retried_and_never_acked() {
    async fn check(_: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
        tx.stage(
            ConditionCheck::builder()
                .table_name("shop")
                .key("id", text("stock"))
                .condition_expression("available > :many")
                .expression_attribute_values(":many", number(1_000)),
        );
        Ok(())
    }
    let world = World::new().await;
    let function = Function::new(Sqs, check, ()).idempotent(world.store.clone());
    let event = testing::sqs_event("orders", [Message::event(&order("1", 1)).id("m")]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&response), ["m"]);
    assert_eq!(
        world.attempts().await,
        [(1, 1)],
        "it is counted, and no claim"
    );
}

#[tokio::test]
async fn a_handler_that_fails_leaves_nothing_but_its_count() {
    async fn fail(_: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
        tx.stage(
            Delete::builder()
                .table_name("shop")
                .key("id", text("stock")),
        );
        Err(Error::transient("no luck"))
    }
    let world = World::new().await;
    let function = Function::new(Sqs, fail, ()).idempotent(world.store.clone());
    let event = testing::sqs_event("orders", [Message::event(&order("1", 1)).id("m")]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&response), ["m"]);
    assert_eq!(world.calls(), 1);
    assert_eq!(world.attempts().await, [(1, 1)]);
    assert_eq!(world.available().await, 10);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_anything_is_sent() {
    async fn stage(request: Json<serde_json::Value>, tx: Transaction) -> surehand::Result<()> {
        let (writes, bytes) = (request.0["writes"].as_u64(), request.0["bytes"].as_u64());
        for index in 0..writes.unwrap_or_default() {
            let padding = "x".repeat(bytes.unwrap_or_default() as usize);
            tx.put_item(
                "shop",
                &json!({ "id": format!("item-{index}"), "padding": padding }),
            );
        }
        Ok(())
    }
    let world = World::new().await;
    for (writes, bytes, problem) in [
        (100, 1, Some("101 actions")),
        (1, 410_000, Some("DynamoDB takes 409600 an item")),
        (12, 390_000, Some("DynamoDB takes 4194304 in a transaction")),
        (99, 1, None),
    ] {
        let once = Idempotency::new(world.store.clone());
        let function = Function::new(Direct, stage, ()).idempotent(once);
        let request = testing::direct_event(&json!({ "writes": writes, "bytes": bytes }));
        let result = function.invoke(request, testing::context()).await;
        match problem {
            Some(problem) => {
                let error = result.unwrap_err();
                assert!(
                    error.is_rejected() && error.to_string().contains(problem),
                    "{error}"
                );
                assert_eq!(world.calls(), 0);
            }
            None => {
                result.unwrap();
                assert_eq!(world.calls(), 1);
            }
        }
    }
}

#[tokio::test]
async fn an_event_that_nobody_could_publish_is_not_committed() {
    async fn say(Json(padding): Json<usize>, tx: Transaction) -> surehand::Result<()> {
        tx.publish(&StockReserved {
            order_id: "1".into(),
            number: 1,
            padding: "x".repeat(padding),
        });
        Ok(())
    }
    let world = World::new().await;
    let function = Function::new(Direct, say, ()).idempotent(world.store.clone());
    let run = |bytes| function.invoke(testing::direct_event(&bytes), testing::context());
    let error = run(384 * 1024).await.unwrap_err();
    assert!(error.is_rejected(), "{error:?}");
    assert!(
        error.to_string().ends_with(
            "an event that waits in the table 393216 at most: publish a reference to the data"
        ),
        "{error}"
    );
    assert_eq!(world.calls(), 0);
    run(383 * 1024).await.unwrap();
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_direct_invocations_reply_is_committed_as_well() {
    async fn place(Json(request): Json<OrderPlaced>, tx: Transaction) -> surehand::Result<String> {
        tx.put_item("shop", &json!({ "id": request.order_id }));
        Ok(format!("placed {}", uuid_of_this_attempt()))
    }
    fn uuid_of_this_attempt() -> u64 {
        fastrand::u64(..)
    }
    let world = World::new().await;
    let once = Idempotency::new(world.store.clone())
        .key(|request: Json<OrderPlaced>| request.0.order_id)
        .cache(0);
    let function = Function::new(Direct, place, ()).idempotent(once);
    let request = || testing::direct_event(&order("1", 1));
    let first = function
        .invoke(request(), testing::context())
        .await
        .unwrap();
    let again = function
        .invoke(request(), testing::context())
        .await
        .unwrap();
    assert_eq!(first.get(), again.get());
}

#[tokio::test]
async fn a_router_commits_for_the_handlers_that_ask_for_it() {
    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop.orders", detail_type = "OrderCancelled")]
    struct OrderCancelled {}
    async fn cancelled(_: Envelope<OrderCancelled>) -> surehand::Result<()> {
        Ok(())
    }
    let world = World::new().await;
    let function = Function::new(Sqs, Router::new().on(reserve).on(cancelled), ())
        .idempotent(world.store.clone());
    let run = |message| function.invoke(testing::sqs_event("q", [message]), testing::context());
    run(Message::event(&order("1", 1))).await.unwrap();
    assert_eq!(world.calls(), 1, "one commit");
    run(Message::event(&OrderCancelled {})).await.unwrap();
    assert_eq!(world.calls(), 2, "a claim and its completion");
}

#[tokio::test]
async fn a_transaction_respects_a_lease_and_a_lease_a_transaction() {
    async fn lease(
        _: Envelope<OrderPlaced>,
        State(count): State<Arc<AtomicUsize>>,
    ) -> surehand::Result<()> {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    let world = World::new().await;
    let count = Arc::new(AtomicUsize::new(0));
    let leased = Function::new(Sqs, lease, count.clone()).idempotent(world.store.clone());
    let message = Message::event(&order("1", 1));
    let event = || testing::sqs_event("orders", [message.clone()]);
    leased.invoke(event(), testing::context()).await.unwrap();
    assert!(world.run(message.clone()).await.is_empty());
    assert_eq!(world.available().await, 10, "the lease's completion stays");

    let other = Message::event(&order("2", 1));
    assert!(world.run(other.clone()).await.is_empty());
    leased
        .invoke(testing::sqs_event("orders", [other]), testing::context())
        .await
        .unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1, "the commit stays");
}

#[tokio::test]
async fn the_dynamodb_store_keeps_the_contract() {
    let world = World::new().await;
    testing::store_contract::check_commits(|clock| world.store.clone().with_clock(clock)).await;
}
