use crate::shop_tables;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use shop::{
    events::StockReserved, outbox::ShopOutbox, outbox_relay::outbox_relay,
    outbox_sweep::outbox_sweep,
};
use std::time::{Duration, SystemTime};
use surehand::{
    Clock, Direct, Envelope, Function, Publisher, Sqs, Transaction,
    outbox::OutboxStream,
    testing::{self, DynamoDb, Message, RecordedEvents, RecordedMetrics},
    transaction::Item,
};

/// Commits an event to the outbox.
async fn commit(dynamo: &DynamoDb) {
    async fn say(event: Envelope<StockReserved>, tx: Transaction) -> surehand::Result<()> {
        tx.publish(&event.data);
        Ok(())
    }
    let function = Function::new(Sqs, say, ()).idempotent(dynamo.store());
    let message = Message::event(&StockReserved {
        order_id: "o-1".into(),
        customer_id: "c-1".into(),
        email: "ada@example.com".into(),
    });
    let event = testing::sqs_event("orders", [message]);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert!(testing::failed_ids(&response).is_empty());
}

async fn sweep(dynamo: &DynamoDb, events: &RecordedEvents, later: Duration) -> Value {
    let clock = Clock::from_fn(move || SystemTime::now() + later);
    let outbox = ShopOutbox(
        dynamo
            .outbox(Publisher::new(events.clone()))
            .with_clock(clock),
    );
    let metrics = RecordedMetrics::new();
    let function = Function::new(Direct, outbox_sweep, outbox).metrics(metrics.emf("Shop"));
    let event = testing::direct_event(&json!({"detail-type": "Scheduled Event"}));
    let reply = function.invoke(event, testing::context()).await.unwrap();
    let mut reply: Value = serde_json::from_str(reply.get()).unwrap();
    let oldest_ms = reply.as_object_mut().unwrap().remove("oldest_ms");
    let oldest = oldest_ms.unwrap().as_f64().unwrap() / 1_000.0;
    assert_eq!(metrics.values("OutboxAge", None), [oldest]);
    // What the sweep has found had waited since it was committed, just now.
    let found = reply != json!({"published": 0, "failed": 0, "parked": 0});
    let waited = later.as_secs_f64();
    assert!(if found {
        (waited..waited + 30.0).contains(&oldest)
    } else {
        oldest == 0.0
    });
    assert_eq!(
        metrics.values("CommitsSwept", None),
        [reply["published"].as_f64().unwrap()]
    );
    assert_eq!(
        metrics.values("CommitsWaiting", None),
        [reply["failed"].as_f64().unwrap()]
    );
    reply
}

/// DynamoDB's JSON, as its streams write it.
fn stream_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(digits) => json!({ "N": digits }),
        AttributeValue::L(values) => {
            json!({ "L": values.iter().map(stream_json).collect::<Vec<_>>() })
        }
        AttributeValue::M(map) => json!({ "M": image(map) }),
        other => panic!("{other:?} is not in a claim"),
    }
}

fn image(item: &Item) -> Value {
    let fields = item.iter();
    let fields = fields.map(|(name, value)| (name.clone(), stream_json(value)));
    fields.collect()
}

#[tokio::test]
async fn the_relay_publishes_a_changed_item_and_marks_it() {
    let dynamo = shop_tables().await;
    commit(&dynamo).await;
    let claim = dynamo.claims().await.remove(0);
    let keys = json!({ "id": stream_json(&claim["id"]) });
    let events = RecordedEvents::new();
    let outbox = ShopOutbox(dynamo.outbox(Publisher::new(events.clone())));
    let metrics = RecordedMetrics::new();
    let function = Function::new(OutboxStream, outbox_relay, outbox).metrics(metrics.emf("Shop"));
    let changes = [
        ("INSERT", keys.clone(), image(&claim)),
        ("REMOVE", keys, Value::Null),
    ];
    let event = testing::stream_event("idempotency", changes);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(events.of_type::<StockReserved>().len(), 1);
    assert_eq!(metrics.sum("EventsPublished", None), 1.0);
    assert!(dynamo.publish().await.sent().is_empty(), "it is marked");
}

#[tokio::test]
async fn the_sweep_publishes_what_the_relay_did_not_and_says_how_much() {
    let dynamo = shop_tables().await;
    let events = RecordedEvents::new();
    commit(&dynamo).await;
    let nothing = json!({"published": 0, "failed": 0, "parked": 0});
    let soon = Duration::from_secs(50);
    assert_eq!(sweep(&dynamo, &events, soon).await, nothing);
    let late = Duration::from_secs(70);
    let one = json!({"published": 1, "failed": 0, "parked": 0});
    assert_eq!(sweep(&dynamo, &events, late).await, one);
    assert_eq!(events.of_type::<StockReserved>().len(), 1);
    assert_eq!(sweep(&dynamo, &events, late).await, nothing);
}
