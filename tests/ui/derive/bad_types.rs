use serde::{Deserialize, Serialize};
use surehand::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "Changed")]
struct Changed<T> {
    to: T,
}

#[derive(Clone, Copy, Event)]
#[event(source = "shop.orders", detail_type = "Either")]
union Either {
    a: u32,
    b: f32,
}

fn main() {}
