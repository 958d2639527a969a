//! Batches of ten messages, each with an id of its own.

use serde_json::{Value, json};

pub(crate) const RECORDS: usize = 10;

/// The event that both examples handle.
pub(crate) fn acts(number: usize) -> String {
    batch(number, |_| json!({"do": "succeed", "order_id": "42"}))
}

/// The event that `reserve-stock` gets from its rule.
pub(crate) fn orders(number: usize) -> String {
    batch(number, |id| {
        json!({
            "version": "0", "id": id, "detail-type": "OrderPlaced", "source": "shop.orders",
            "account": "123456789012", "time": "2026-11-21T10:00:00Z", "region": "eu-central-1",
            "resources": [],
            "detail": {
                "metadata": {
                    "id": id, "time": "2026-11-21T10:00:00.123Z", "version": 1,
                    "subject": "order/42", "correlationid": id, "producer": "place-order",
                    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
                },
                "data": {
                    "order_id": id, "customer_id": "customer-7", "email": "ada@example.com",
                    "lines": [{"sku": "book", "quantity": 2, "unit_price_cents": 1_200}],
                    "total_cents": 2_400
                }
            }
        })
    })
}

fn batch(number: usize, body: impl Fn(&str) -> Value) -> String {
    let records = (0..RECORDS).map(|index| {
        let id = format!("0190a7c4-7e5b-7c3d-9f10-{number:08}{index:04}");
        json!({
            "messageId": id,
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": body(&id).to_string(),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1780000000000"},
            "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
            "awsRegion": "eu-central-1"
        })
    });
    let records: Vec<_> = records.collect();
    json!({ "Records": records }).to_string()
}
