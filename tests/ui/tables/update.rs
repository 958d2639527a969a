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

fn _of_the_key(tx: Transaction, shop: Tables) {
    tx.update(&shop, Order::key("7", "42")).set(|order| order.order_id, "43");
}

fn _of_the_version(tx: Transaction, shop: Tables) {
    tx.update(&shop, Order::key("7", "42")).add(|order| order.version, 1);
}

fn _of_another_type(tx: Transaction, shop: Tables) {
    tx.update(&shop, Order::key("7", "42")).set(|order| order.placed_at, "noon");
}

fn _of_no_number(tx: Transaction, shop: Tables) {
    tx.update(&shop, Order::key("7", "42")).add(|order| order.status, 1);
}

fn _of_a_field_that_is_always_there(tx: Transaction, shop: Tables) {
    tx.update(&shop, Order::key("7", "42")).remove(|order| order.status);
}

fn main() {}
