//! Invoked by an operator or a schedule, and by its own queue while a run goes on.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), surehand::BoxError> {
    surehand_redrive::function::run().await
}
