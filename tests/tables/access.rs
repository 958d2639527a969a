//! A function does with its tables what its [`Access`] says, and nothing else.

use super::{
    entities::{Counter, Entry, Order, Purchase, all, order},
    world::World,
};
use surehand::{
    Entity, Idempotency, MemoryStore, Tables, Transaction,
    tables::{Access, Read},
};

fn lacks(verb: &str) -> String {
    format!(
        "the function's `Access` does not say that it {verb} Order: add `.{verb}::<Order>()` to it"
    )
}

/// What is staged fails the commit, and is committed by no store.
async fn refused(stage: impl FnOnce(&Transaction)) -> String {
    let store = MemoryStore::new();
    let once = Idempotency::new(store.clone()).scope("tests");
    let committed = once
        .once("1", (), async |tx| {
            stage(&tx);
            Ok(())
        })
        .await;
    assert!(store.writes().is_empty());
    committed.unwrap_err().to_string()
}

#[tokio::test]
async fn each_verb_must_be_in_the_access() {
    let world = World::new().await;
    // Everything of another entity in the same table is nothing of this one.
    let others = || all::<Counter>().and(all::<Purchase>());
    let without = |access: Access| world.dynamo.tables_for(access);
    let tables = without(others());
    let key = || Order::key("o-1");

    assert_eq!(
        tables.get(key()).await.unwrap_err().to_string(),
        lacks("reads")
    );
    let read = tables.read(Read::new().key(&key())).await;
    assert_eq!(read.unwrap_err().to_string(), lacks("reads"));
    assert_eq!(
        tables.put(&order()).await.unwrap_err().to_string(),
        lacks("puts")
    );
    assert_eq!(
        tables.insert(&order()).await.unwrap_err().to_string(),
        lacks("puts")
    );
    let staged = [
        (
            refused(|tx| tx.insert(&tables, &order()).stage()).await,
            "puts",
        ),
        (
            refused(|tx| tx.put(&tables, &order()).stage()).await,
            "puts",
        ),
        (
            refused(|tx| tx.update(&tables, key()).set(|o| o.total, 1).stage()).await,
            "updates",
        ),
        (
            refused(|tx| tx.delete(&tables, key()).stage()).await,
            "deletes",
        ),
        (
            refused(|tx| tx.check(&tables, key()).stage()).await,
            "checks",
        ),
    ];
    for (error, verb) in staged {
        assert_eq!(error, lacks(verb));
    }

    let tables = without(Access::new().reads::<Entry>());
    let query = tables.query(Entry::partition("a")).all().await;
    assert_eq!(
        query.unwrap_err().to_string(),
        "the function's `Access` does not say that it queries Entry: add `.queries::<Entry>()` to it"
    );
}

#[tokio::test]
async fn an_entity_that_is_not_in_the_access_has_no_table() {
    let world = World::new().await;
    let tables = world.dynamo.tables_for(Access::new().reads::<Entry>());
    let error = tables.name::<Order>().unwrap_err().to_string();
    assert_eq!(
        error,
        "the function's `Access` does not say what it does with Order: add it there, as in `.reads::<Order>()`"
    );
    let found = tables.read(Read::new()).await.unwrap();
    assert_eq!(found.get(&order().to_key()).unwrap_err().to_string(), error);
}

/// What either of two allows, both allow together; a table is named once for all of its entities.
#[tokio::test]
async fn accesses_add_up() {
    let world = World::new().await;
    let access = Access::new()
        .puts::<Order>()
        .and(Access::new().reads::<Order>());
    let named = std::cell::RefCell::new(Vec::new());
    let name = |variable: &str| {
        named.borrow_mut().push(variable.to_owned());
        variable.to_owned()
    };
    let tables = Tables::new(world.dynamo.client().clone(), access, name);
    tables.put(&order()).await.unwrap();
    assert_eq!(tables.get(order().to_key()).await.unwrap(), Some(order()));
    assert_eq!(named.into_inner(), ["SHOP_TABLE"]);
    assert_eq!(tables.name::<Order>().unwrap(), "SHOP_TABLE");
}
