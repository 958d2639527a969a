use serde::{Deserialize, Serialize};
use surehand::{Entity, tables::Set};

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "CUSTOMER#{customer}", sk = "ORDER#{order_id}"))]
struct UnknownField {
    customer_id: String,
    order_id: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(orderid))]
struct UnknownAttribute {
    order_id: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(customer_id, order_id, position))]
struct Three {
    customer_id: String,
    order_id: String,
    position: u32,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "{order_id}{position}"))]
struct Ambiguous {
    order_id: String,
    position: u32,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id = "ORDER#{order_id}"))]
struct Both {
    order_id: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(coupon))]
struct Optional {
    coupon: Option<String>,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(price))]
struct NoKeyValue {
    price: f64,
}

#[derive(Serialize, Deserialize)]
struct Address {
    city: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "ADDRESS#{address}"))]
struct NotDisplay {
    address: Address,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
struct WithSet {
    order_id: String,
    tags: Set<String>,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
struct Versions {
    order_id: String,
    #[entity(version)]
    version: i32,
    #[entity(version)]
    changes: u64,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(order_id))]
struct TwoNames {
    order_id: String,
    #[serde(rename(serialize = "state"))]
    status: String,
}

fn main() {}
