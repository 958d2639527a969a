//! `OrderPlaced`, by a rule, from a queue.

use shop::{
    events::{OrderRejected, StockReserved},
    reserve_stock::reserve_stock,
    stock::Stock,
};
use surehand::{BoxError, Function, Sqs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::from_env(Sqs, reserve_stock, Stock::from_env().await?)
        .await?
        .publishes::<StockReserved>()
        .publishes::<OrderRejected>()
        .run()
        .await
}
