//! Invoked directly, by whoever takes the order.

use shop::{
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder},
    place_order::place_order,
};
use surehand::{BoxError, Direct, DynamoDbStore, Function, Idempotency, Json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(Direct, place_order, Orders::from_env().await?)
        // A caller that got no reply and repeats the request gets the reply to the first one.
        .idempotent(
            Idempotency::new(DynamoDbStore::from_env().await?)
                .key(|request: Json<PlaceOrder>| request.0.idempotency_key()),
        )
        .publishes::<OrderPlaced>()
        .publishes::<OrderCharged>()
        .run()
        .await
}
