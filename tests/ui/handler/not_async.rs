use surehand::{Json, Router};

fn reserve(_: Json<String>) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Router::<()>::new().otherwise(reserve);
}
