//! Receives `UserRegistered` from the queue to which a rule delivers it.

use handlers::welcome_user::welcome_user;
use surehand::{BoxError, DynamoDbStore, Function, Sqs, SqsDeadLetters, SqsVisibility};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(Sqs, welcome_user, ())
        .idempotent(DynamoDbStore::from_env().await?)
        .dead_letters(SqsDeadLetters::from_env().await?)
        .redelivery(SqsVisibility::from_env().await)
        .run()
        .await
}
