use surehand::Router;

#[derive(Clone)]
struct Shop;

async fn reserve(shop: Shop) -> surehand::Result<()> {
    let _ = shop;
    Ok(())
}

fn main() {
    let _ = Router::<Shop>::new().otherwise(reserve);
}
