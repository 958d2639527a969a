use surehand::{Function, Json, Sqs};

async fn reserve(_: Json<String>) {}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
