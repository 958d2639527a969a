//! `OrderCharged`, from a FIFO queue in which each customer is a message group.

use shop::{customer_ledger::customer_ledger, ledger::Ledger, table::Table};
use surehand::{BoxError, DynamoDbStore, Function, Sqs, SqsDeadLetters, SqsVisibility};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let table = Table::from_env(surehand::aws::config().await)?;
    Function::new(Sqs, customer_ledger, Ledger::new(table))
        .idempotent(DynamoDbStore::from_env().await?)
        .dead_letters(SqsDeadLetters::from_env().await?)
        .redelivery(SqsVisibility::from_env().await)
        .run()
        .await
}
