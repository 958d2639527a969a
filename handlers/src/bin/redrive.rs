//! Invoked by whoever wants dead letters put back, and by its own queue while it is at it.

use shop::redrive::{Invocation, Invocations, Redrive, SqsQueues, invoked, work};
use std::time::Duration;
use surehand::{BoxError, Function, Sqs, SqsDeadLetters, SqsVisibility, environment};

/// What the worker answers needs no more than to be handed on; it keeps its own margin.
const MARGIN: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let aws = surehand::aws::config().await;
    let table = environment::var("IDEMPOTENCY_TABLE")?;
    let client = aws_sdk_dynamodb::Client::new(aws);
    let redrive = Redrive::new(client, table, SqsQueues::from_env(aws)?);
    let worker = Function::new(Sqs, work, redrive.clone())
        .dead_letters(SqsDeadLetters::from_env().await?)
        .redelivery(SqsVisibility::from_env().await);
    Function::new(Invocation, invoked, Invocations::new(redrive, worker))
        .deadline_margin(MARGIN)
        .run()
        .await
}
