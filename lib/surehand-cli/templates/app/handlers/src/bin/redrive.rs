//! Puts dead letters back: see `surehand_redrive::function` for what it can be asked.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), surehand::BoxError> {
    surehand_redrive::function::run().await
}
