use serde::{Deserialize, Serialize};
use surehand::{Entity, Tables};

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "CUSTOMER#{customer_id}", sk = "ORDER#{order_id}"))]
#[entity(index(by_status, key(status, placed_at)))]
struct Order {
    customer_id: String,
    order_id: String,
    status: String,
    placed_at: u64,
    note: Option<String>,
    address: Address,
    #[entity(version)]
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Address {
    city: String,
}

async fn _too_few(shop: Tables) -> surehand::Result<()> {
    shop.get(Order::key("7")).await?;
    Ok(())
}

async fn _of_another_type(shop: Tables) -> surehand::Result<()> {
    shop.get(Order::key(7, "42")).await?;
    Ok(())
}

async fn _no_key(shop: Tables) -> surehand::Result<()> {
    shop.get("42").await?;
    Ok(())
}

async fn _range_of_another_type(shop: Tables) -> surehand::Result<()> {
    shop.query(Order::by_status("placed")).at_least("noon").all().await?;
    Ok(())
}

fn main() {}
