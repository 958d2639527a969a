//! Entities that share a table or an index, and what each of them sees of it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use surehand::{Entity, Error, Idempotency, Transaction, tables::Access, testing::DynamoDb};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHARED_TABLE",
    key(pk = "CUSTOMER#{customer}", sk = "BALANCE")
)]
#[entity(index(by_state, name = "by-state", key(state, at)))]
struct Balance {
    customer: String,
    state: String,
    at: u64,
}

/// Its sort key begins as that of the balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHARED_TABLE",
    key(pk = "CUSTOMER#{customer}", sk = "BALANCE#{day}")
)]
#[entity(index(by_state, name = "by-state", key(state, at)))]
struct DaysBalance {
    customer: String,
    day: String,
    state: String,
    at: u64,
}

/// It has whatever attributes it is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(table = "OPEN_TABLE", key(id))]
struct Open {
    id: String,
    payload: serde_json::Value,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

fn access() -> Access {
    let balances = Access::new().queries::<Balance>().queries::<DaysBalance>();
    balances.reads::<Open>().puts::<Open>()
}

#[tokio::test]
async fn an_entity_whose_sort_key_is_a_text_is_not_read_with_those_that_begin_so() {
    let dynamo = DynamoDb::start(access()).await;
    let balance = Balance {
        customer: "c".into(),
        state: "open".into(),
        at: 1,
    };
    let day = DaysBalance {
        customer: "c".into(),
        day: "monday".into(),
        state: "open".into(),
        at: 2,
    };
    dynamo.put(&balance).await;
    dynamo.put(&day).await;
    let tables = dynamo.tables();
    let balances = tables.query(Balance::partition("c")).all().await.unwrap();
    assert_eq!(balances, std::slice::from_ref(&balance));
    let days = tables
        .query(DaysBalance::partition("c"))
        .all()
        .await
        .unwrap();
    assert_eq!(days, std::slice::from_ref(&day));
    assert_eq!(
        dynamo.all::<Balance>().await,
        std::slice::from_ref(&balance)
    );

    // An index has both under one key.
    let open = tables.query(Balance::by_state("open")).all().await.unwrap();
    assert_eq!(open, [balance]);
    let open = tables
        .query(DaysBalance::by_state("open"))
        .all()
        .await
        .unwrap();
    assert_eq!(open, [day]);
}

#[tokio::test]
async fn a_null_that_is_a_value_is_read_as_it_was_put() {
    let dynamo = DynamoDb::start(access()).await;
    let open = Open {
        id: "1".into(),
        payload: serde_json::Value::Null,
        rest: BTreeMap::from([("x".into(), 1)]),
    };
    dynamo.put(&open).await;
    assert_eq!(dynamo.get(Open::key("1")).await, Some(open));
}

#[tokio::test]
async fn attributes_that_no_field_names_are_not_taken_for_unchanged() {
    let dynamo = DynamoDb::start(access()).await;
    let open = Open {
        id: "1".into(),
        payload: 1.into(),
        rest: BTreeMap::new(),
    };
    dynamo.put(&open).await;
    let tables = dynamo.tables();
    let read = tables.get(Open::key("1")).snapshot().await.unwrap();
    let once = Idempotency::new(dynamo.store()).scope("tests");
    let stage = async |tx: Transaction| {
        tx.put(&tables, &open)
            .unchanged(&read)
            .or(Error::rejected("changed"));
        Ok(())
    };
    let error = once.once("1", (), stage).await.unwrap_err().to_string();
    assert!(error.contains("give the entity a version"), "{error}");
}

#[tokio::test]
async fn a_snapshot_of_another_item_says_nothing() {
    let dynamo = DynamoDb::start(access()).await;
    let open = |id: &str| Open {
        id: id.into(),
        payload: 1.into(),
        rest: BTreeMap::new(),
    };
    let tables = dynamo.tables();
    let read = tables.get(Open::key("1")).snapshot().await.unwrap();
    let once = Idempotency::new(dynamo.store()).scope("tests");
    let stage = async |tx: Transaction| {
        tx.put(&tables, &open("2")).unchanged(&read).stage();
        Ok(())
    };
    let error = once.once("1", (), stage).await.unwrap_err().to_string();
    assert!(error.contains("the snapshot of another item"), "{error}");
}

#[tokio::test]
async fn a_put_that_is_repeated_is_there_and_another_one_is_not() {
    let dynamo = DynamoDb::start(access()).await;
    let tables = dynamo.tables();
    let open = |payload: i64| Open {
        id: "1".into(),
        payload: payload.into(),
        rest: BTreeMap::new(),
    };
    // As the client repeats it, if the first answer is lost.
    for _ in 0..2 {
        assert!(tables.insert(&open(1)).await.unwrap());
    }
    assert!(!tables.insert(&open(2)).await.unwrap());
}
