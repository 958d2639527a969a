use surehand::{Json, Router};

struct Receipt;

async fn reserve(_: Json<String>) -> surehand::Result<Receipt> {
    Ok(Receipt)
}

fn main() {
    let _ = Router::<()>::new().otherwise(reserve);
}
