use surehand::{Function, Json, Sqs};

fn reserve(_: Json<String>) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
