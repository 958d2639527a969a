use surehand::{Function, Sqs};

#[derive(Clone)]
struct Shop;

async fn reserve(shop: Shop) -> surehand::Result<()> {
    let _ = shop;
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, Shop);
}
