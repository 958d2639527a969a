//! Invoked every minute, by a schedule.

use shop::{outbox::ShopOutbox, outbox_sweep::outbox_sweep};
use surehand::{BoxError, Direct, Function};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(Direct, outbox_sweep, ShopOutbox::from_env().await?)
        .run()
        .await
}
