use surehand::{Delivery as D, Function, Sqs};

async fn reserve(_: D, _: D, _: D, _: D, _: D, _: D, _: D, _: D, _: D) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
