use surehand::{Delivery, Function, Json, Sqs};

async fn reserve(_: Json<String>, queue: &str, _: Delivery) -> surehand::Result<()> {
    let _ = queue;
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
