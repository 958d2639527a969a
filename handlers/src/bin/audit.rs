//! Every event of the shop, by a rule that invokes the function itself.

use shop::audit::{AuditLog, audit};
use surehand::{BoxError, EventBridge, Function};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(EventBridge, audit, AuditLog::from_env().await?)
        .run()
        .await
}
