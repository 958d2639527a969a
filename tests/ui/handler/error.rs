use surehand::{Function, Json, Sqs};

async fn reserve(_: Json<String>) -> Result<(), String> {
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
