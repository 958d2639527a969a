//! Changes of the idempotency table, from its stream.

use shop::{outbox::ShopOutbox, outbox_relay::outbox_relay};
use surehand::{BoxError, Function, outbox::OutboxStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(OutboxStream, outbox_relay, ShopOutbox::from_env().await?)
        .run()
        .await
}
