//! The function that reserves stock, under a lease and with a transaction.

use super::orders::{OrderPlaced, RECORDS, StockReserved, order, reservation, take};
use aws_sdk_dynamodb::{Client, types::TransactWriteItem};
use futures_util::future::{BoxFuture, join_all};
use lambda_runtime::Context;
use serde_json::json;
use std::time::{Duration, SystemTime};
use surehand::{
    DynamoDbStore, Envelope, FromRef, Function, Idempotency, Publisher, Sqs, State, Transaction,
    envelope::Outgoing,
    outbox::Outbox,
    publish::{PublishError, Transport},
    source::QueueEvent,
    transaction::Item,
};

/// The handlers' state.
#[derive(Clone)]
struct Shop {
    client: Client,
    publisher: Publisher,
}

impl FromRef<Shop> for Publisher {
    fn from_ref(shop: &Shop) -> Self {
        shop.publisher.clone()
    }
}

/// Accepts every event without any work: EventBridge is not part of what is measured.
struct Nowhere;

impl Transport for Nowhere {
    fn send<'a>(&'a self, _events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn in_transaction(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
    let order = order.data;
    tx.stage(take(&order));
    tx.stage(reservation(&order));
    tx.publish(&StockReserved {
        order_id: order.order_id,
        customer: order.customer,
    });
    Ok(())
}

/// Makes the same effects in two steps, with the event as a third, so that a crash can separate
/// them.
async fn under_lease(
    order: Envelope<OrderPlaced>,
    State(shop): State<Shop>,
    publisher: Publisher,
) -> surehand::Result<()> {
    let order = order.data;
    let take = take(&order).build()?;
    let update = shop.client.update_item().table_name(take.table_name);
    let update = update
        .set_key(Some(take.key))
        .update_expression(take.update_expression)
        .set_condition_expression(take.condition_expression)
        .set_expression_attribute_values(take.expression_attribute_values);
    update.send().await?;
    let put = reservation(&order).build()?;
    let request = shop.client.put_item().table_name(put.table_name);
    let request = request
        .set_item(Some(put.item))
        .set_condition_expression(put.condition_expression);
    request.send().await?;
    let reserved = StockReserved {
        order_id: order.order_id,
        customer: order.customer,
    };
    publisher.publish(&reserved).await?;
    Ok(())
}

/// The function in both modes, and the relay of the second.
pub(crate) struct Flow {
    client: Client,
    lease: Function<Sqs>,
    commit: Function<Sqs>,
    outbox: Outbox,
}

impl Flow {
    pub(crate) fn new(client: &Client) -> Self {
        let publisher = Publisher::new(Nowhere);
        let store = DynamoDbStore::new(client.clone(), "idempotency");
        let once = |scope: &str| Idempotency::new(store.clone()).scope(scope).cache(0);
        let shop = Shop {
            client: client.clone(),
            publisher: publisher.clone(),
        };
        Self {
            client: client.clone(),
            lease: Function::new(Sqs, under_lease, shop).idempotent(once("lease")),
            commit: Function::new(Sqs, in_transaction, ()).idempotent(once("commit")),
            outbox: Outbox::new(client.clone(), "idempotency", publisher),
        }
    }

    pub(crate) async fn lease(&self, batch: u64) {
        invoke(&self.lease, event("lease", batch)).await;
    }

    pub(crate) async fn commit(&self, batch: u64) {
        invoke(&self.commit, event("commit", batch)).await;
    }

    /// Returns the claims whose events wait, as the table's stream delivers them.
    pub(crate) async fn waiting(&self) -> Vec<Item> {
        let index = self
            .client
            .scan()
            .table_name("idempotency")
            .index_name("outbox");
        let keys = index.send().await.unwrap().items.unwrap_or_default();
        let items = keys.into_iter().map(async |mut key| {
            let id = key.remove("id");
            let get = self.client.get_item().table_name("idempotency");
            let output = get.set_key(id.map(|id| Item::from([("id".to_owned(), id)])));
            output.send().await.unwrap().item.unwrap()
        });
        join_all(items).await
    }

    pub(crate) async fn relay(&self, waiting: &[Item]) {
        assert_eq!(waiting.len() as u64, RECORDS);
        for published in join_all(waiting.iter().map(|item| self.outbox.publish_item(item))).await {
            assert_eq!(published.unwrap(), 1);
        }
    }
}

async fn invoke(function: &Function<Sqs>, event: QueueEvent) {
    let mut context = Context::default();
    let end = SystemTime::now() + Duration::from_secs(900);
    let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    context.deadline = u64::try_from(since.as_millis()).unwrap();
    let response = function.invoke(event, context).await.unwrap();
    assert!(response.batch_item_failures.is_empty());
}

/// Makes a batch whose orders depend on its number: if it is delivered again, they are duplicates.
fn event(mode: &str, batch: u64) -> QueueEvent {
    let records = (0..RECORDS).map(|index| {
        let id = format!("{mode}-{batch:08}-{index:04}");
        let body = json!({
            "metadata": {"id": id, "time": "2026-11-21T10:00:00.123Z", "version": 1},
            "data": order(id.clone(), index)
        });
        json!({
            "messageId": id, "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": body.to_string(),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1780000000000"},
            "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
            "awsRegion": "eu-central-1"
        })
    });
    let records: Vec<_> = records.collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

/// Returns the effects of an order, in the form of a transaction.
pub(crate) fn effects(order: &OrderPlaced) -> [TransactWriteItem; 2] {
    [
        TransactWriteItem::builder()
            .update(take(order).build().unwrap())
            .build(),
        TransactWriteItem::builder()
            .put(reservation(order).build().unwrap())
            .build(),
    ]
}
