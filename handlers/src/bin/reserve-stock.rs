//! `OrderPlaced`, by a rule, from a queue.

use shop::{
    events::{OrderRejected, StockReserved},
    reserve_stock::reserve_stock,
    stock::Stock,
};
use std::time::Duration;
use surehand::{Backoff, BoxError, Function, Sqs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::from_env(Sqs, reserve_stock, Stock::from_env().await?)
        .await?
        .publishes::<StockReserved>()
        .publishes::<OrderRejected>()
        // Customers wait for the answer, so the first retries come soon.
        .backoff(Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(5 * 60),
        ))
        .run()
        .await
}
