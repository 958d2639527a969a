//! `StockReserved` and `OrderRejected`, by a rule, from a queue.

use shop::notify_customer::{Mailer, notify_customer};
use surehand::{BoxError, DynamoDbStore, Function, Sqs, SqsDeadLetters, SqsVisibility};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let mailer = Mailer::from_env(surehand::aws::config().await)?;
    Function::new(Sqs, notify_customer(), mailer)
        .idempotent(DynamoDbStore::from_env().await?)
        .dead_letters(SqsDeadLetters::from_env().await?)
        .redelivery(SqsVisibility::from_env().await)
        .run()
        .await
}
