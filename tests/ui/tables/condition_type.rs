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

fn _wrong_type(tx: Transaction, shop: Tables) {
    let _ = tx.delete(&shop, Order::key("7", "42")).only_if(|order| order.placed_at.ge("noon"));
}

fn _no_condition(tx: Transaction, shop: Tables) {
    let _ = tx.delete(&shop, Order::key("7", "42")).only_if(|order| order.status == "placed");
}

fn _no_order(tx: Transaction, shop: Tables) {
    let _ = tx.delete(&shop, Order::key("7", "42")).only_if(|order| order.address.lt("Bern"));
}

fn main() {}
