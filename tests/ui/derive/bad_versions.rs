use serde::{Deserialize, Serialize};
use serde_json::Value;
use surehand::Event;

fn step(data: Value) -> surehand::Result<Value> {
    Ok(data)
}

fn not_a_step(data: String) -> String {
    data
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", version = 0)]
struct Zero {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", version = "2")]
struct Text {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", version = 2, upcast(2 = step))]
struct NotOlder {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", upcast(1 = step))]
struct OnlyVersion {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", version = 3, upcast(1 = step, 1 = step))]
struct TwoSteps {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", version = 2, upcast(0 = step))]
struct FromZero {}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "A", version = 2, upcast(1 = not_a_step))]
struct WrongStep {}

fn main() {}
