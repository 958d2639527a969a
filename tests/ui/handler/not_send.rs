use std::rc::Rc;
use surehand::{Function, Json, Sqs};

async fn reserve(order: Json<String>) -> surehand::Result<()> {
    let order = Rc::new(order.0);
    std::future::ready(()).await;
    drop(order);
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, ());
}
