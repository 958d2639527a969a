//! Invoked directly, by whoever takes the order.

use shop::{
    environment,
    orders::PlaceOrder,
    place_order::{Checkout, place_order},
};
use surehand::{BoxError, Direct, DynamoDbStore, Function, Idempotency, Json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let checkout = Checkout::from_env(&environment::aws().await).await?;
    // A caller that asks again, for want of a reply, gets the reply of the first time.
    let once = Idempotency::new(DynamoDbStore::from_env().await?)
        .key(|request: Json<PlaceOrder>| request.0.request_id);
    Function::new(Direct, place_order, checkout)
        .idempotent(once)
        .run()
        .await
}
