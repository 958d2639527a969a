//! Writes that have no end are not staged.

use super::{
    entities::{Order, order},
    world::World,
};
use std::time::Duration;
use surehand::{Error, Transaction};

const NO_END: &str = "a write of Order has no end: `.or(…)`, `.or_else(…)` or `.stage()` stages it";

#[tokio::test]
async fn a_statement_that_is_left_in_the_middle_writes_nothing() {
    let world = World::new().await;
    world.dynamo.put(&order()).await;
    let left = |tx: &Transaction| -> Result<(), Error> {
        let price = || -> Result<i64, Error> { Err(Error::rejected("no price")) };
        tx.update(&world.tables, Order::key("o-1"))
            .set(|o| o.status, "discounted")
            .set(|o| o.total, price()?)
            .only_if(|o| o.status.eq("placed"))
            .stage();
        Ok(())
    };
    let refused = world.refused(|tx| {
        // The handler goes on without it.
        let _ = left(tx);
    });
    assert_eq!(refused.await, NO_END);
    let item = world.dynamo.get(Order::key("o-1")).await.unwrap();
    assert_eq!(item.status, order().status);
}

#[tokio::test]
async fn a_write_that_nobody_ends_is_the_error_of_the_commit() {
    let world = World::new().await;
    let refused = world.refused(|tx| drop(tx.put(&world.tables, &order())));
    assert_eq!(refused.await, NO_END);
    assert!(world.dynamo.get(Order::key("o-1")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_stopped_by_a_time_limit_is_not_staged() {
    let store = surehand::MemoryStore::new();
    let once = surehand::Idempotency::new(store.clone()).scope("tests");
    let client = aws_sdk_dynamodb::Client::from_conf(
        aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .build(),
    );
    let access = super::entities::everything();
    let tables = surehand::Tables::new(client, access, str::to_owned);
    let handler = async |tx: Transaction| {
        let slow = async {
            let write = tx.update(&tables, Order::key("o-1")).set(|o| o.total, 1);
            tokio::time::sleep(Duration::from_secs(60)).await;
            write.only_if(|o| o.total.eq(0)).stage();
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), slow).await;
        Ok(())
    };
    let error = once.once("1", (), handler).await.unwrap_err();
    assert_eq!(error.to_string(), NO_END);
    assert!(store.writes().is_empty());
}
