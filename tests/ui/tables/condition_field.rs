use serde::{Deserialize, Serialize};
use surehand::{Entity, Tables, Transaction};

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

fn _unknown(tx: Transaction, shop: Tables) {
    let _ = tx.delete(&shop, Order::key("7", "42")).only_if(|order| order.state.eq("placed"));
}

fn _no_document(tx: Transaction, shop: Tables) {
    let _ = tx.delete(&shop, Order::key("7", "42")).only_if(|order| order.address.city.eq("Bern"));
}

fn main() {}
