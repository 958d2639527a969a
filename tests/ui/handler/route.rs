use serde::{Deserialize, Serialize};
use surehand::{Delivery, Envelope, Router};

#[derive(Serialize, Deserialize)]
struct OrderPlaced {}

async fn no_envelope(_: Delivery) -> surehand::Result<()> {
    Ok(())
}

async fn envelope_later(_: Delivery, _: Envelope<OrderPlaced>) -> surehand::Result<()> {
    Ok(())
}

async fn not_an_event(_: Envelope<OrderPlaced>) -> surehand::Result<()> {
    Ok(())
}

async fn any_event(_: Envelope<serde_json::Value>) -> surehand::Result<()> {
    Ok(())
}

async fn nothing() -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Router::<()>::new().on(no_envelope);
    let _ = Router::<()>::new().on(envelope_later);
    let _ = Router::<()>::new().on(not_an_event);
    let _ = Router::<()>::new().on(any_event);
    let _ = Router::<()>::new().on(nothing);
}
