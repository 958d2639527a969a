use serde::{Deserialize, Serialize};
use surehand::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "", detail_type = "A")]
struct EmptySource {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "  ")]
struct EmptyType {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = 7)]
struct NumberType {}

#[derive(Serialize, Deserialize, Event)]
#[event(
    source = "s",
    detail_type = "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789"
)]
struct LongType {}

fn main() {}
