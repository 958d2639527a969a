use surehand::{Function, Json, Sqs};

struct Receipt;

async fn reserve(_: Json<String>) -> surehand::Result<Receipt> {
    Ok(Receipt)
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
