//! What commits leave to publish, and who publishes it.

use super::world::{OrderPlaced, StockReserved, World, order};
use aws_sdk_dynamodb::types::AttributeValue;
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
    Change, Envelope, Event, Function, Outbox, OutboxStream, Outgoing, PublishError, Publisher,
    Sqs, State, Transaction, Transport, Unpublished,
    testing::{self, Message, RecordedEvents},
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
