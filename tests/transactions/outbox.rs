//! What commits leave to publish, and who publishes it.

use super::world::{OrderPlaced, StockReserved, World, order};
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use surehand::{
    Change, Clock, Envelope, Event, Function, Publisher, Record, Sqs, State, Transaction,
    dead_letter::{DeadLetters, FailureNote},
    envelope::Outgoing,
    outbox::{Outbox, OutboxStream},
    publish::{PublishError, Transport, Unpublished},
    testing::{self, Message, RecordedDeadLetters, RecordedEvents},
};

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

    // The item is marked: reading it again publishes nothing, and a sweep finds nothing.
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

fn image(item: &surehand::transaction::Item) -> serde_json::Value {
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
    /// A bus that accepts events until it is switched off.
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
    assert_eq!(ids.len(), 4, "an event that was published twice has one id");
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "bank", detail_type = "Debited", partition_key = "{account}")]
struct Debited {
    account: String,
    number: usize,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "bank", detail_type = "Credited", partition_key = "{account}")]
struct Credited {
    account: String,
    number: usize,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(source = "bank", detail_type = "Transferred")]
struct Transferred {
    from: String,
    to: String,
    number: usize,
}

async fn transfer(transferred: Envelope<Transferred>, tx: Transaction) -> surehand::Result<()> {
    let Transferred { from, to, number } = transferred.data;
    tx.publish(&Debited {
        account: from,
        number,
    });
    tx.publish(&Credited {
        account: to,
        number,
    });
    Ok(())
}

impl World {
    /// Commits a transfer; returns what the stream says of it.
    async fn transfer(
        &self,
        from: &str,
        to: &str,
        number: usize,
    ) -> (&'static str, serde_json::Value, serde_json::Value) {
        let before = self.items("idempotency").await;
        let transferred = Transferred {
            from: from.into(),
            to: to.into(),
            number,
        };
        let function = Function::new(Sqs, transfer, ()).idempotent(self.store.clone());
        let event = testing::sqs_event("transfers", [Message::event(&transferred)]);
        function.invoke(event, testing::context()).await.unwrap();
        let after = self.items("idempotency").await;
        let is_new =
            |item: &&surehand::transaction::Item| before.iter().all(|it| it["id"] != item["id"]);
        let new = after.iter().find(is_new).unwrap();
        ("INSERT", json!({ "id": to_json(&new["id"]) }), image(new))
    }

    fn outbox(&self, transport: impl Transport) -> Outbox {
        Outbox::new(
            self.client.clone(),
            "idempotency",
            Publisher::new(transport),
        )
    }
}

/// Refuses what a test says, and takes the rest.
#[derive(Clone)]
struct Refusing<F>(RecordedEvents, F);

impl<F: Fn(&Outgoing) -> bool + Send + Sync + 'static> Transport for Refusing<F> {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let (refused, taken): (Vec<_>, Vec<_>) =
                events.iter().cloned().partition(|event| (self.1)(event));
            self.0.send(&taken).await?;
            if refused.is_empty() {
                return Ok(());
            }
            let accepted = taken.iter().map(|event| event.id().to_owned());
            let refused = refused
                .iter()
                .map(|event| Unpublished::new(event, "InvalidGroup", "never"));
            Err(PublishError::new(accepted.collect(), refused.collect()))
        })
    }
}

#[tokio::test]
async fn commits_that_share_any_partition_key_are_published_in_order() {
    let world = World::new().await;
    let changes = [
        world.transfer("a", "b", 1).await,
        world.transfer("c", "b", 2).await,
    ];
    let (recorded, is_first) = (RecordedEvents::new(), AtomicBool::new(true));
    let refusing = Refusing(recorded.clone(), move |event: &Outgoing| {
        event.detail_type() == "Credited"
            && event.data().contains("\"number\":1")
            && is_first.swap(false, Ordering::SeqCst)
    });
    let relay = Function::new(OutboxStream, relay, world.outbox(refusing));
    for _ in 0..2 {
        let event = testing::stream_event("idempotency", changes.clone());
        relay.invoke(event, testing::context()).await.unwrap();
    }
    let credits = recorded.of_type::<Credited>();
    assert_eq!(
        credits.first().map(|credit| credit.number),
        Some(1),
        "after a failure the rest of its partition key must wait"
    );
}

#[tokio::test]
async fn what_was_accepted_beside_a_refused_event_is_published_once() {
    let world = World::new().await;
    world.transfer("a", "no group", 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let recorded = RecordedEvents::new();
    let refusing = Refusing(recorded.clone(), |event: &Outgoing| {
        event.detail_type() == "Credited"
    });
    let outbox = world.outbox(refusing);
    for _ in 0..5 {
        outbox.sweep(Duration::ZERO, || false).await.unwrap();
    }
    assert_eq!(
        recorded.of_type::<Debited>().len(),
        1,
        "what the bus has accepted must not be published again"
    );
}

#[tokio::test]
async fn what_was_accepted_is_not_published_again_by_a_process_that_was_just_started() {
    let world = World::new().await;
    world.transfer("a", "b", 1).await;
    let images = world.items("idempotency").await;
    let recorded = RecordedEvents::new();
    let refuses = |event: &Outgoing| event.detail_type() == "Credited";
    let later = Clock::virtual_from(SystemTime::now() + Duration::from_secs(10));
    for clock in [Clock::system(), later] {
        let refusing = Refusing(recorded.clone(), refuses);
        let outbox = world.outbox(refusing).with_clock(clock);
        for image in &images {
            let _ = outbox.publish_item(image).await;
        }
    }
    assert_eq!(
        recorded.of_type::<Debited>().len(),
        1,
        "what the bus has accepted must not be published again"
    );
}

/// SQS takes the characters that XML has
/// ([SendMessage](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html)).
#[tokio::test]
async fn a_body_that_no_queue_takes_is_not_committed() {
    fn is_allowed(character: char) -> bool {
        matches!(
            character,
            '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..
        )
    }
    let world = World::new().await;
    let transferred = Transferred {
        from: "a".into(),
        to: "b\u{ffff}".into(),
        number: 1,
    };
    let function = Function::new(Sqs, transfer, ()).idempotent(world.store.clone());
    let event = testing::sqs_event("transfers", [Message::event(&transferred)]);
    function.invoke(event, testing::context()).await.unwrap();
    let committed = world.items("idempotency").await;
    let bodies = committed
        .iter()
        .filter_map(|item| item.get("outbox")?.as_l().ok())
        .flatten()
        .filter_map(|event| event.as_m().ok()?.get("body")?.as_s().ok());
    for body in bodies {
        assert!(
            body.chars().all(is_allowed),
            "what SQS does not take must not be committed: {body:?}"
        );
    }
}

#[tokio::test]
async fn items_that_fail_do_not_keep_older_ones_waiting() {
    let world = World::new().await;
    let put = async |id: String, shard: u32, since: u32, account: &str| {
        let debited = Debited {
            account: account.into(),
            number: 1,
        };
        let body = Outgoing::new(&debited).unwrap().body();
        let event = AttributeValue::M([("body".into(), AttributeValue::S(body))].into());
        world
            .client
            .put_item()
            .table_name("idempotency")
            .item("id", AttributeValue::S(id))
            .item("outbox", AttributeValue::L(vec![event]))
            .item("outbox_since", AttributeValue::N(since.to_string()))
            .item("outbox_shard", AttributeValue::S(shard.to_string()))
            .send()
            .await
            .unwrap();
    };
    for index in 0..10 {
        put(format!("failing-{index}"), 0, 1_000 + index, "no group").await;
    }
    put("oldest".into(), 5, 1, "a").await;
    let recorded = RecordedEvents::new();
    let refusing = Refusing(recorded.clone(), |event: &Outgoing| {
        event.data().contains("no group")
    });
    let outbox = world.outbox(refusing);
    for _ in 0..20 {
        // Time for eight items.
        let looks = AtomicUsize::new(0);
        let is_over = || looks.fetch_add(1, Ordering::SeqCst) >= 8;
        outbox.sweep(Duration::ZERO, is_over).await.unwrap();
    }
    assert_eq!(
        recorded.sent().len(),
        1,
        "a sweep must reach the oldest item"
    );
}

/// Refuses events of one type with a code; what is in the same call is not sent.
#[derive(Clone)]
struct Strict {
    recorded: RecordedEvents,
    refused: &'static str,
    code: &'static str,
}

impl Transport for Strict {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let is_refused = |event: &Outgoing| event.detail_type() == self.refused;
            if !events.iter().any(is_refused) {
                return self.recorded.send(events).await;
            }
            let unpublished = events.iter().map(|event| match is_refused(event) {
                true => Unpublished::new(event, self.code, "never"),
                false => Unpublished::new(event, "NotSent", "another one cannot be"),
            });
            Err(PublishError::new(Vec::new(), unpublished.collect()))
        })
    }
}

fn strict(code: &'static str) -> Strict {
    Strict {
        recorded: RecordedEvents::new(),
        refused: "Credited",
        code,
    }
}

impl World {
    /// The item that has events, or had some.
    async fn outbox_item(&self) -> surehand::transaction::Item {
        let items = self.items("idempotency").await.into_iter();
        let mut items = items.filter(|item| item.keys().any(|name| name.starts_with("outbox")));
        items.next().unwrap()
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_parked_as_it_would_have_been_published() {
    let world = World::new().await;
    world.transfer("a", "b", 1).await;
    let item = world.outbox_item().await;
    let bodies: Vec<String> = item["outbox"].as_l().unwrap().iter().map(body).collect();
    let (transport, letters) = (strict("MalformedDetail"), RecordedDeadLetters::new());
    let outbox = world
        .outbox(transport.clone())
        .dead_letters(letters.clone());

    // What was held up by it goes on at once.
    assert_eq!(outbox.publish_item(&item).await.unwrap(), 1);
    assert_eq!(transport.recorded.of_type::<Debited>().len(), 1);
    let parked = letters.parked();
    assert_eq!(parked.len(), 1);
    let (record, note) = &parked[0];
    assert_eq!(record.body(), bodies[1]);
    assert_eq!(note.kind, "publish");
    assert_eq!(note.event_id.as_deref(), Some(record.id()));
    assert_eq!(note.event_type.as_deref(), Some("Credited"));
    assert!(
        note.message.contains("MalformedDetail: never"),
        "{}",
        note.message
    );

    let item = world.outbox_item().await;
    assert!(!item.contains_key("outbox_since"), "nothing waits");
    assert_eq!(
        item["outbox_parked"].as_l().unwrap(),
        &[AttributeValue::S(record.id().to_owned())]
    );
    // What comes later for the same partition keys goes on as well.
    world.transfer("a", "b", 2).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let swept = outbox.sweep(Duration::ZERO, || false).await.unwrap();
    assert_eq!((swept.published, swept.parked, swept.failed), (1, 1, 0));
    let debits = transport.recorded.of_type::<Debited>();
    assert_eq!(
        debits.iter().map(|it| it.number).collect::<Vec<_>>(),
        [1, 2]
    );
}

fn body(event: &AttributeValue) -> String {
    event.as_m().unwrap()["body"].as_s().unwrap().clone()
}

#[tokio::test]
async fn events_wait_a_day_for_a_destination_that_can_be_mended() {
    let world = World::new().await;
    world.transfer("a", "b", 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (transport, letters) = (strict("AccessDeniedException"), RecordedDeadLetters::new());
    for (hours, failed, parked) in [(0, 1, 0), (23, 1, 0), (25, 0, 1), (26, 0, 0)] {
        let now = SystemTime::now() + Duration::from_secs(hours * 60 * 60);
        let outbox = world
            .outbox(transport.clone())
            .dead_letters(letters.clone());
        let outbox = outbox.with_clock(Clock::virtual_from(now));
        let swept = outbox.sweep(Duration::ZERO, || false).await.unwrap();
        assert_eq!((swept.failed, swept.parked), (failed, parked), "{hours}");
    }
    assert_eq!(letters.parked().len(), 1);
    assert_eq!(transport.recorded.of_type::<Debited>().len(), 1);
}

#[tokio::test]
async fn an_event_that_no_dead_letter_queue_takes_stays_in_the_outbox() {
    let world = World::new().await;
    world.transfer("a", "b", 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let without = world.outbox(strict("MalformedDetail"));
    let refusing = without
        .clone()
        .dead_letters(RecordedDeadLetters::refusing());
    for (number, outbox) in [without, refusing].into_iter().enumerate() {
        let swept = outbox.sweep(Duration::ZERO, || false).await.unwrap();
        assert_eq!((swept.failed, swept.parked), (1, 0), "{number}");
        let item = world.outbox_item().await;
        assert_eq!(item["outbox"].as_l().unwrap().len(), 2);
        assert!(
            item["outbox_error"]
                .as_s()
                .unwrap()
                .contains("MalformedDetail")
        );
    }
}

/// Has the dead letter, and gives no answer the first time.
#[derive(Clone, Default)]
struct Silent(RecordedDeadLetters, Arc<AtomicBool>);

impl DeadLetters for Silent {
    fn park<'a>(
        &'a self,
        record: &'a Record,
        note: &'a FailureNote,
    ) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(async move {
            self.0.park(record, note).await?;
            if !self.1.swap(true, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_process_that_dies_after_a_park_parks_the_same_event_once_more() {
    let world = World::new().await;
    world.transfer("a", "b", 1).await;
    let item = world.outbox_item().await;
    let (transport, letters) = (strict("MalformedDetail"), Silent::default());
    let outbox = || {
        world
            .outbox(transport.clone())
            .dead_letters(letters.clone())
    };
    let first = outbox();
    let dying = first.publish_item(&item);
    let died = tokio::select! {
        _ = dying => false,
        () = async {
            while letters.0.parked().is_empty() {
                tokio::task::yield_now().await;
            }
        } => true,
    };
    assert!(died);
    assert!(world.outbox_item().await.contains_key("outbox_since"));
    for expected in [1, 0] {
        let now = world.outbox_item().await;
        assert_eq!(outbox().publish_item(&now).await.unwrap(), expected);
    }
    let parked = letters.0.parked();
    assert_eq!(parked.len(), 2);
    assert_eq!(parked[0].0.id(), parked[1].0.id());
    assert_eq!(transport.recorded.sent().len(), 1);
}
