//! The stores keep their contract.

use crate::dynamodb;
use surehand::{DynamoDbStore, testing::store_contract};

#[tokio::test]
async fn the_embedded_dynamodb_keeps_the_store_contract() {
    let client = dynamodb::embedded().await;
    dynamodb::make_idempotency_table(&client, "contract").await;
    store_contract::check(|clock| DynamoDbStore::new(client.clone(), "contract").with_clock(clock))
        .await;
}
