//! The store's contract and the layer's fences, on the table that the template makes.

use super::shop::Shop;
use surehand::{DynamoDbStore, testing::store_contract};
use surehand_test_support::fencing;

pub(crate) async fn check(shop: &Shop) {
    let table = shop.output("IdempotencyTableName");
    store_contract::check_commits(|clock| {
        DynamoDbStore::new(shop.dynamodb.clone(), table).with_clock(clock)
    })
    .await;
    fencing::check(|clock| DynamoDbStore::new(shop.dynamodb.clone(), table).with_clock(clock))
        .await;
}
