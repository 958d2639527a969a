use serde::{Deserialize, Serialize};
use surehand::Entity;

#[derive(Serialize, Deserialize, Entity)]
struct Nothing {
    order_id: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "shop-table", key(order_id))]
struct BadTable {
    order_id: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(tabel = "SHOP_TABLE", key(order_id))]
struct UnknownKey {
    order_id: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
#[entity(index(by_status, key(status)), index(by_status, name = "by-status", key(status)))]
struct TwoIndexes {
    order_id: String,
    status: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
struct Tuple(String);

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
enum Choice {
    Order { order_id: String },
}

#[derive(Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
struct Generic<T> {
    order_id: T,
}

// A use of the entity adds no error to those at its type.
fn _uses(key: surehand::tables::Key<Nothing>) -> (&'static str, surehand::tables::Key<BadTable>) {
    let _ = key;
    (Nothing::TABLE, BadTable::key("1"))
}

fn main() {}
