//! `OrderCharged`, from a FIFO queue in which each customer is a message group.

use shop::{customer_ledger::customer_ledger, ledger::Ledger};
use surehand::{BoxError, Function, Sqs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::from_env(Sqs, customer_ledger, Ledger::from_env().await?)
        .await?
        .run()
        .await
}
