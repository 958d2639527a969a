use serde::{Deserialize, Serialize};
use surehand::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", subject = "order/{orderid}")]
struct UnknownField {
    order_id: String,
    customer_id: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", partition_key = "{id:>8}")]
struct Formatted {
    id: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", subject = "order/{order_id")]
struct Unclosed {
    order_id: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", subject = "{0}")]
struct Tuple(String);

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", subject = "{gone}")]
struct Unit;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", partition_key = "{coupon}")]
struct NotDisplay {
    coupon: Option<String>,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", partition_key = "{id}")]
enum Choice {
    One { id: String },
}

fn main() {}
