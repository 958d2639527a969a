//! Invoked directly, by whoever takes the order.

use shop::{
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder},
    place_order::place_order,
    table::Table,
};
use surehand::{BoxError, Direct, DynamoDbStore, Function, Idempotency, Json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(Direct, place_order, Orders::new(Table::from_env().await?))
        // A caller that asks again, for want of a reply, gets the reply of the first time.
        .idempotent(
            Idempotency::new(DynamoDbStore::from_env().await?)
                .key(|request: Json<PlaceOrder>| request.0.request_id),
        )
        .publishes::<OrderPlaced>()
        .publishes::<OrderCharged>()
        .run()
        .await
}
