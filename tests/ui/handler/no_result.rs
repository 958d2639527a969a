use surehand::{Json, Router};

async fn reserve(_: Json<String>) {}

fn main() {
    let _ = Router::<()>::new().otherwise(reserve);
}
