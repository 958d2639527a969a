//! `OrderPlaced`, by a rule, from a queue.

use shop::{
    events::{OrderRejected, StockReserved},
    reserve_stock::reserve_stock,
    stock::Stock,
    table::Table,
};
use std::time::Duration;
use surehand::{Backoff, BoxError, DynamoDbStore, Function, Sqs, SqsDeadLetters, SqsVisibility};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let table = Table::from_env(surehand::aws::config().await)?;
    Function::new(Sqs, reserve_stock, Stock::from_env(table)?)
        .publishes::<StockReserved>()
        .publishes::<OrderRejected>()
        .idempotent(DynamoDbStore::from_env().await?)
        .dead_letters(SqsDeadLetters::from_env().await?)
        .redelivery(SqsVisibility::from_env().await)
        // Customers wait for the answer, so the first retries come soon.
        .backoff(Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(5 * 60),
        ))
        .run()
        .await
}
