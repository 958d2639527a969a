//! Invoked every minute, by a schedule.

use shop::{outbox::ShopOutbox, outbox_sweep::outbox_sweep};
use surehand::{BoxError, Direct, Function};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let outbox = ShopOutbox::from_env(surehand::aws::config().await).await?;
    Function::new(Direct, outbox_sweep, outbox).run().await
}
