//! Invoked by whoever wants dead letters put back, and by its own queue while it is at it.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), surehand::BoxError> {
    surehand_redrive::function::run().await
}
