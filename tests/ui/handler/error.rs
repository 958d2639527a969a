use surehand::{Json, Router};

async fn reserve(_: Json<String>) -> Result<(), String> {
    Ok(())
}

fn main() {
    let _ = Router::<()>::new().otherwise(reserve);
}
