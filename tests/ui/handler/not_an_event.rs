use serde::{Deserialize, Serialize};
use surehand::{Envelope, Function, Sqs};

#[derive(Serialize, Deserialize)]
struct OrderPlaced {}

async fn reserve(_: Envelope<OrderPlaced>) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
