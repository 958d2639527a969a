//! Transactions and the outbox on a DynamoDB: all of it once, or none of it.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use aws_sdk_dynamodb::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::BoxError,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, Delete,
        GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, Put,
        ScalarAttributeType, Update,
    },
};
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
    Change, Direct, DynamoDbStore, Envelope, Error, Event, Function, Idempotency, Json, Outbox,
    OutboxStream, Outgoing, PublishError, Publisher, Router, Sqs, State, Transaction, Transport,
    Unpublished,
    testing::{self, Message, RecordedDeadLetters, RecordedEvents},
};

#[path = "support/dynamodb.rs"]
mod dynamodb;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    partition_key = "{customer}"
)]
struct OrderPlaced {
    order_id: String,
    customer: String,
    quantity: i64,
    /// How many events to publish, and of which size.
    events: usize,
    padding: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(source = "shop.stock", detail_type = "StockReserved")]
struct StockReserved {
    order_id: String,
    number: usize,
    padding: String,
}

fn order(order_id: &str, quantity: i64) -> OrderPlaced {
    OrderPlaced {
        order_id: order_id.into(),
        customer: "c-1".into(),
        quantity,
        events: 1,
        padding: 0,
    }
}

async fn reserve(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
    let order = order.data;
    tx.update(
        Update::builder()
            .table_name("shop")
            .key("id", text("stock"))
            .update_expression("SET available = available - :quantity")
            .condition_expression("available >= :quantity")
            .expression_attribute_values(":quantity", number(order.quantity)),
    )
    .or_else(|item| {
        let left = item.and_then(|item| item.get("available")?.as_n().ok().cloned());
        Error::rejected(format!("{} left", left.unwrap_or_else(|| "none".into())))
    });
    tx.put(
        Put::builder()
            .table_name("shop")
            .item("id", text(&format!("reservation-{}", order.order_id)))
            .condition_expression("attribute_not_exists(id)"),
    )
    .or(Error::rejected("reserved already"));
    for number in 0..order.events {
        tx.publish(&StockReserved {
            order_id: order.order_id.clone(),
            number,
            padding: "x".repeat(order.padding),
        });
    }
    Ok(())
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Counts the requests that leave the client.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "calls"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct World {
    client: Client,
    calls: Calls,
    store: DynamoDbStore,
}

impl World {
    /// Tables with ten in stock.
    async fn new() -> Self {
        let (client, _endpoint) = dynamodb::embedded().await;
        let calls = Calls::default();
        let counted = Client::from_conf(
            client
                .config()
                .to_builder()
                .interceptor(calls.clone())
                .build(),
        );
        make_idempotency_table(&client).await;
        dynamodb::make_idempotency_table(&client, "shop").await;
        client
            .put_item()
            .table_name("shop")
            .item("id", text("stock"))
            .item("available", number(10))
            .send()
            .await
            .unwrap();
        let store = DynamoDbStore::new(counted, "idempotency");
        Self {
            client,
            calls,
            store,
        }
    }

    async fn available(&self) -> i64 {
        let item = self.item("shop", "stock").await.unwrap();
        item["available"].as_n().unwrap().parse().unwrap()
    }

    async fn item(&self, table: &str, id: &str) -> Option<surehand::Item> {
        let output = self.client.get_item().table_name(table).key("id", text(id));
        output.consistent_read(true).send().await.unwrap().item
    }

    async fn items(&self, table: &str) -> Vec<surehand::Item> {
        let output = self.client.scan().table_name(table).send().await.unwrap();
        output.items.unwrap_or_default()
    }

    fn function(&self) -> Function<Sqs> {
        Function::new(Sqs, reserve, ()).idempotent(Idempotency::new(self.store.clone()).cache(0))
    }

    async fn run(&self, message: Message) -> Vec<String> {
        let event = testing::sqs_event("orders", [message]);
        let response = self
            .function()
            .invoke(event, testing::context())
            .await
            .unwrap();
        testing::failed_ids(&response)
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// The idempotency table with the outbox's index.
async fn make_idempotency_table(client: &Client) {
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .unwrap()
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name("outbox")
        .key_schema(key("outbox_shard", KeyType::Hash))
        .key_schema(key("outbox_since", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        )
        .build()
        .unwrap();
    client
        .create_table()
        .table_name("idempotency")
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("outbox_shard", ScalarAttributeType::S))
        .attribute_definitions(attribute("outbox_since", ScalarAttributeType::N))
        .key_schema(key("id", KeyType::Hash))
        .global_secondary_indexes(index)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn claim_effects_and_events_are_one_call_and_happen_once() {
    let world = World::new().await;
    let message = Message::event(&order("1", 3)).id("m");
    assert!(world.run(message.clone()).await.is_empty());
    assert_eq!(world.calls.take(), 1, "one TransactWriteItems");
    assert_eq!(world.available().await, 7);

    // A duplicate that says that it is a later receive costs a read, one that does not the commit.
    assert!(world.run(message.clone().receive_count(2)).await.is_empty());
    assert_eq!(world.calls.take(), 1, "one GetItem");
    assert!(world.run(message).await.is_empty());
    assert_eq!(world.calls.take(), 1, "one TransactWriteItems");
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
    assert_eq!(world.calls.take(), 1);
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
        tx.check(
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
    assert!(world.items("idempotency").await.is_empty());
}

#[tokio::test]
async fn a_handler_that_fails_leaves_nothing() {
    async fn fail(_: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
        tx.delete(
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
    assert_eq!(world.calls.take(), 0);
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
                assert_eq!(world.calls.take(), 0);
            }
            None => {
                result.unwrap();
                assert_eq!(world.calls.take(), 1);
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
    let error = run(256 * 1024).await.unwrap_err();
    assert!(error.is_rejected(), "{error:?}");
    assert!(
        error
            .to_string()
            .ends_with("an event 262144 at most: publish a reference to the data"),
        "{error}"
    );
    assert_eq!(world.calls.take(), 0);
    run(255 * 1024).await.unwrap();
    assert_eq!(world.calls.take(), 1);
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
    assert_eq!(world.calls.take(), 1, "one commit");
    run(Message::event(&OrderCancelled {})).await.unwrap();
    assert_eq!(world.calls.take(), 2, "a claim and its completion");
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
    assert_eq!(world.available().await, 10, "the lease's completion stands");

    let other = Message::event(&order("2", 1));
    assert!(world.run(other.clone()).await.is_empty());
    leased
        .invoke(testing::sqs_event("orders", [other]), testing::context())
        .await
        .unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1, "the commit stands");
}

#[tokio::test]
async fn events_wait_in_the_outbox_until_they_are_published_and_marked() {
    let world = World::new().await;
    let recorded = RecordedEvents::new();
    let outbox = Outbox::new(
        world.client.clone(),
        "idempotency",
        Publisher::new(recorded.clone()),
    );
    // Small ones ride in the claim; of the large ones some have items of their own.
    for (id, events, padding) in [("small", 3, 0), ("large", 4, 60_000)] {
        let placed = OrderPlaced {
            events,
            padding,
            ..order(id, 1)
        };
        assert!(world.run(Message::event(&placed)).await.is_empty());
    }
    let items = world.items("idempotency").await;
    assert!(items.len() > 2, "{} items", items.len());
    let mut published = 0;
    for item in &items {
        published += outbox.publish_item(item).await.unwrap();
    }
    assert_eq!(published, 7);
    let mut ids: Vec<String> = recorded.sent().iter().map(|e| e.id().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7);
    let small: Vec<usize> = recorded
        .of_type::<StockReserved>()
        .iter()
        .filter(|event| event.order_id == "small")
        .map(|event| event.number)
        .collect();
    assert_eq!(small, [0, 1, 2], "in the order in which they were staged");
    let cause = recorded.sent()[0].metadata().causation_id.clone();
    assert!(cause.is_some(), "they carry on the story");

    // Marked: what is read again has nothing to publish, and a sweep finds nothing.
    for item in world.items("idempotency").await {
        assert_eq!(outbox.publish_item(&item).await.unwrap(), 0);
    }
    let swept = outbox.sweep(Duration::ZERO, || false).await.unwrap();
    assert_eq!((swept.published, swept.failed), (0, 0));
}

#[tokio::test]
async fn a_sweep_publishes_what_the_stream_missed_and_only_that() {
    let world = World::new().await;
    let recorded = RecordedEvents::new();
    let outbox = Outbox::new(
        world.client.clone(),
        "idempotency",
        Publisher::new(recorded.clone()),
    );
    for id in 0..5 {
        assert!(
            world
                .run(Message::event(&order(&id.to_string(), 1)))
                .await
                .is_empty()
        );
    }
    let young = outbox
        .sweep(Duration::from_secs(60), || false)
        .await
        .unwrap();
    assert_eq!(young.published, 0, "the stream's turn is not over");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stopped = outbox.sweep(Duration::ZERO, || true).await.unwrap();
    assert_eq!(stopped.published, 0, "no time left");
    let swept = outbox.sweep(Duration::ZERO, || false).await.unwrap();
    assert_eq!(swept.published, 5);
    let again = outbox.sweep(Duration::ZERO, || false).await.unwrap();
    assert_eq!(again.published, 0);
    assert_eq!(recorded.sent().len(), 5);
}

#[tokio::test]
async fn the_dynamodb_store_keeps_the_contract() {
    let world = World::new().await;
    testing::store_contract::check(|clock| world.store.clone().with_clock(clock)).await;
}

/// DynamoDB's JSON, as its streams write it.
fn to_json(value: &AttributeValue) -> serde_json::Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(digits) => json!({ "N": digits }),
        AttributeValue::L(values) => {
            json!({ "L": values.iter().map(to_json).collect::<Vec<_>>() })
        }
        AttributeValue::M(map) => json!({ "M": image(map) }),
        other => panic!("{other:?} is not in these items"),
    }
}

fn image(item: &surehand::Item) -> serde_json::Value {
    item.iter()
        .map(|(name, value)| (name.clone(), to_json(value)))
        .collect()
}

async fn relay(change: Change, State(outbox): State<Outbox>) -> surehand::Result<()> {
    if let Some(image) = &change.new_image {
        outbox.publish_item(image).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_function_on_the_stream_publishes_and_stops_a_partition_at_its_first_failure() {
    /// Takes events until told not to.
    #[derive(Clone, Default)]
    struct Flaky(RecordedEvents, Arc<AtomicUsize>);
    impl Transport for Flaky {
        fn send<'a>(
            &'a self,
            events: &'a [Outgoing],
        ) -> futures_util::future::BoxFuture<'a, Result<(), PublishError>> {
            let refused = self
                .1
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                });
            if refused.is_ok() {
                let all = events
                    .iter()
                    .map(|event| Unpublished::new(event, "Throttled", "busy"));
                return Box::pin(std::future::ready(Err(PublishError::new(
                    vec![],
                    all.collect(),
                ))));
            }
            self.0.send(events)
        }
    }
    #[derive(Serialize, Deserialize, Event)]
    #[event(
        source = "shop.ledger",
        detail_type = "Charged",
        partition_key = "{customer}"
    )]
    struct Charged {
        customer: String,
        number: usize,
    }
    async fn charge(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
        tx.publish(&Charged {
            customer: order.data.customer,
            number: order.data.events,
        });
        Ok(())
    }

    let world = World::new().await;
    let function = Function::new(Sqs, charge, ()).idempotent(world.store.clone());
    let mut changes = Vec::new();
    for (number, customer) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        let placed = OrderPlaced {
            customer: customer.into(),
            events: number,
            ..order(&number.to_string(), 1)
        };
        let seen: Vec<_> = world
            .items("idempotency")
            .await
            .iter()
            .map(|i| i["id"].clone())
            .collect();
        let event = testing::sqs_event("orders", [Message::event(&placed)]);
        function.invoke(event, testing::context()).await.unwrap();
        let items = world.items("idempotency").await;
        let new = items
            .iter()
            .find(|item| !seen.contains(&item["id"]))
            .unwrap();
        changes.push(("INSERT", json!({ "id": to_json(&new["id"]) }), image(new)));
    }
    let transport = Flaky::default();
    let outbox = Outbox::new(
        world.client.clone(),
        "idempotency",
        Publisher::new(transport.clone()),
    );
    let relay = Function::new(OutboxStream, relay, outbox);
    let run = || {
        relay.invoke(
            testing::stream_event("idempotency", changes.clone()),
            testing::context(),
        )
    };

    // The first of `a` is refused: the second of `a` waits for it, and those of `b` do not.
    transport.1.store(1, Ordering::SeqCst);
    let response = run().await.unwrap();
    let lowest = response.batch_item_failures[0].item_identifier.as_deref();
    assert_eq!((response.batch_item_failures.len(), lowest), (1, Some("1")));
    let published = || -> Vec<(String, usize)> {
        transport
            .0
            .of_type::<Charged>()
            .into_iter()
            .map(|c| (c.customer, c.number))
            .collect()
    };
    assert_eq!(published(), [("b".into(), 2), ("b".into(), 4)]);

    // Delivered again from the checkpoint, as Lambda does.
    let response = run().await.unwrap();
    assert!(response.batch_item_failures.is_empty());
    let of_a: Vec<usize> = published()
        .into_iter()
        .filter(|(c, _)| c == "a")
        .map(|(_, n)| n)
        .collect();
    assert_eq!(of_a, [1, 3]);
    let mut ids: Vec<String> = transport
        .0
        .sent()
        .iter()
        .map(|event| event.id().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "what was published twice has one id");
}
