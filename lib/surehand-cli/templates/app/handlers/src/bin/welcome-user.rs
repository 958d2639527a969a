//! Receives `UserRegistered` from the queue to which a rule delivers it.

use handlers::welcome_user::welcome_user;
use surehand::{BoxError, Function, Sqs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::from_env(Sqs, welcome_user, ()).await?.run().await
}
