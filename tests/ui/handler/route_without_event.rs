use surehand::{Delivery, Router};

async fn reserve(_: Delivery) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Router::<()>::new().on(reserve);
}
