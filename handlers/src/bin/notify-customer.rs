//! `StockReserved` and `OrderRejected`, by a rule, from a queue.

use shop::notify_customer::{Mailer, notify_customer};
use surehand::{BoxError, Function, Sqs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::from_env(Sqs, notify_customer(), Mailer::from_env().await?)
        .await?
        .run()
        .await
}
