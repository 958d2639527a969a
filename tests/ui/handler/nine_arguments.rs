use surehand::{Delivery as D, Router};

async fn reserve(_: D, _: D, _: D, _: D, _: D, _: D, _: D, _: D, _: D) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Router::<()>::new().otherwise(reserve);
}
