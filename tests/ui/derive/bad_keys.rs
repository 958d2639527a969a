use serde::{Deserialize, Serialize};
use surehand::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", type = "A")]
struct Unknown {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A")]
#[event(source = "shop.bills")]
struct Twice {}

#[derive(Serialize, Deserialize, Event)]
#[event(source, detail_type = "A")]
struct NoValue {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A")]
struct OnField {
    #[event(subject)]
    order_id: String,
}

fn main() {}
