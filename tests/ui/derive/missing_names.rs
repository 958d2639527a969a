use serde::{Deserialize, Serialize};
use surehand::{Envelope, Event};

#[derive(Serialize, Deserialize, Event)]
struct OrderPlaced {
    order_id: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders")]
struct OrderCancelled {
    order_id: String,
}

// A use of the event adds no error to those at its type.
fn _uses(_: Envelope<OrderPlaced>) -> &'static str {
    <OrderPlaced as Event>::DETAIL_TYPE
}

fn main() {}
