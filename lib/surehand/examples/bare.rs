//! A queue's function on lambda_runtime alone. What Surehand adds is measured against it.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Order {
    order_id: String,
}

async fn handle(event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let mut response = SqsBatchResponse::default();
    for message in event.payload.records {
        let body = message.body.as_deref().unwrap_or_default();
        match serde_json::from_str::<Order>(body) {
            Ok(order) => tracing::info!(order.order_id, "effect"),
            Err(error) => {
                tracing::warn!(%error, "failure");
                response.add_failure(message.message_id.unwrap_or_default());
            }
        }
    }
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().json().init();
    lambda_runtime::run(service_fn(handle)).await
}
