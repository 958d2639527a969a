use serde::{Deserialize, Serialize};
use surehand::{Envelope, Router};

#[derive(Serialize, Deserialize)]
struct OrderPlaced {}

async fn reserve(_: Envelope<OrderPlaced>) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Router::<()>::new().otherwise(reserve);
}
