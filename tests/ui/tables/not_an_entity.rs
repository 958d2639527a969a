use serde::{Deserialize, Serialize};
use surehand::{Tables, Transaction, tables::Access};

#[derive(Serialize, Deserialize)]
struct Order {
    order_id: String,
}

fn _access() -> Access {
    Access::new().puts::<Order>()
}

fn _write(tx: Transaction, shop: Tables, order: Order) {
    let _ = tx.insert(&shop, &order);
}

fn main() {}
