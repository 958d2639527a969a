//! What else is written: puts, deletions and checks, with their conditions and the errors of those.

use super::{
    entities::{Counter, Customer, Order, order},
    world::{World, shown, staged},
};
use aws_sdk_dynamodb::types::AttributeValue;
use surehand::{Error, ErrorKind};

fn counter(value: i64, changes: u64) -> Counter {
    Counter {
        name: "visits".into(),
        value,
        changes,
    }
}

#[tokio::test]
async fn an_inserted_item_is_a_new_one() {
    let world = World::new().await;
    let insert = |total: i64| {
        let order = Order { total, ..order() };
        let tables = &world.tables;
        move |tx: &surehand::Transaction| {
            tx.insert(tables, &order)
                .or(Error::rejected("placed before"));
        }
    };
    let put = staged(insert(1)).await.put.unwrap();
    let condition = put.condition_expression.unwrap();
    let names = put.expression_attribute_names;
    assert_eq!(
        shown(&condition, names.as_ref(), None),
        "attribute_not_exists(#pk)"
    );
    assert_eq!(put.item["pk"], AttributeValue::S("ORDER#o-1".into()));
    assert!(!put.item.contains_key("coupon"), "it has none");

    world.commit(insert(1)).await.unwrap();
    assert_eq!(world.refused(insert(2)).await, "placed before");
    assert_eq!(world.dynamo.get(Order::key("o-1")).await.unwrap().total, 1);
}

#[tokio::test]
async fn a_put_item_replaces_what_was_there_unless_a_condition_says_otherwise() {
    let world = World::new().await;
    let put = |total: i64| Order { total, ..order() };
    for total in [1, 2] {
        let put = world.commit(|tx| tx.put(&world.tables, &put(total)).stage());
        put.await.unwrap();
    }
    let refused = world.refused(|tx| {
        tx.put(&world.tables, &put(3))
            .only_if_absent()
            .or_else(|it: Option<Order>| Error::rejected(format!("it has {}", it.unwrap().total)));
    });
    assert_eq!(refused.await, "it has 2");
    let replaced = world.commit(|tx| {
        tx.put(&world.tables, &put(3))
            .only_if_present()
            .only_if(|o| o.total.eq(2))
            .stage();
    });
    replaced.await.unwrap();
    assert_eq!(world.dynamo.get(Order::key("o-1")).await.unwrap().total, 3);
}

#[tokio::test]
async fn a_put_item_replaces_the_version_that_it_has() {
    let world = World::new().await;
    let put = |value, changes| {
        let counter = counter(value, changes);
        let tables = &world.tables;
        move |tx: &surehand::Transaction| tx.put(tables, &counter).stage()
    };
    world.refused(put(1, 3)).await;
    for changes in 0..3 {
        world.commit(put(1, changes)).await.unwrap();
        world.refused(put(2, changes)).await;
    }
    assert_eq!(
        world.dynamo.get(Counter::key("visits")).await,
        Some(counter(1, 3))
    );
    let insert = |tx: &surehand::Transaction| {
        tx.insert(
            &world.tables,
            &Counter {
                name: "other".into(),
                ..counter(1, 9)
            },
        )
        .stage();
    };
    world.commit(insert).await.unwrap();
    let inserted = world.dynamo.get(Counter::key("other")).await.unwrap();
    assert_eq!(
        inserted.changes, 1,
        "an inserted item has the first version"
    );
}

#[tokio::test]
async fn an_item_is_deleted_once_its_conditions_hold() {
    let world = World::new().await;
    world.dynamo.put(&order()).await;
    let delete = |total: i64| {
        let tables = &world.tables;
        move |tx: &surehand::Transaction| {
            tx.delete(tables, Order::key("o-1"))
                .only_if(|o| o.total.eq(total))
                .or(Error::rejected("another total"));
        }
    };
    assert_eq!(world.refused(delete(1)).await, "another total");
    world.commit(delete(1_000)).await.unwrap();
    assert_eq!(world.dynamo.get(Order::key("o-1")).await, None);
    // Without a condition it need not be there.
    let delete = world.commit(|tx| tx.delete(&world.tables, Order::key("o-1")).stage());
    delete.await.unwrap();
}

#[tokio::test]
async fn a_check_makes_a_commit_depend_on_an_item() {
    let world = World::new().await;
    let customer = Customer {
        customer_id: "7".into(),
        city: "Bern".into(),
    };
    let book = |city: &'static str| {
        let tables = &world.tables;
        move |tx: &surehand::Transaction| {
            tx.check(tables, Customer::key("7"))
                .only_if(|it| it.city.eq(city))
                .or(Error::rejected("another city"));
            tx.insert(tables, &order()).stage();
        }
    };
    assert_eq!(world.refused(book("Bern")).await, "another city");
    world.dynamo.put(&customer).await;
    assert_eq!(world.refused(book("Chur")).await, "another city");
    assert_eq!(world.dynamo.get(Order::key("o-1")).await, None);
    world.commit(book("Bern")).await.unwrap();
    assert_eq!(world.dynamo.get(Order::key("o-1")).await, Some(order()));

    // Without a condition, it must be there.
    let check = staged(|tx| tx.check(&world.tables, Customer::key("8")).stage()).await;
    let check = check.condition_check.unwrap();
    let names = check.expression_attribute_names;
    let text = shown(&check.condition_expression, names.as_ref(), None);
    assert_eq!(text, "attribute_exists(#pk)");
    let free = world.commit(|tx| {
        tx.check(&world.tables, Customer::key("8"))
            .only_if_absent()
            .stage()
    });
    free.await.unwrap();
}

#[tokio::test]
async fn a_condition_without_an_error_is_tried_again_and_says_the_table() {
    let world = World::new().await;
    let check = |tx: &surehand::Transaction| tx.check(&world.tables, Customer::key("8")).stage();
    let error = world.commit(check).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(
        error.to_string(),
        "the condition of a staged write to SHOP_TABLE did not hold"
    );
}

/// Whoever says what a failed condition means sees the item as it was, if it can be read.
#[tokio::test]
async fn the_error_of_a_condition_is_made_of_the_item() {
    let world = World::new().await;
    let check = |tx: &surehand::Transaction| {
        tx.check(&world.tables, Order::key("o-1"))
            .only_if(|o| o.total.lt(0))
            .or_else(|it| Error::rejected(format!("{:?}", it.map(|it| it.total))));
    };
    assert_eq!(world.refused(check).await, "None", "there is none");
    world.dynamo.put(&order()).await;
    assert_eq!(world.refused(check).await, "Some(1000)");
    let other = world.dynamo.client().put_item().table_name("SHOP_TABLE");
    let other = [("pk", "ORDER#o-1"), ("sk", "ORDER")]
        .into_iter()
        .fold(other, |put, (name, text)| {
            put.item(name, AttributeValue::S(text.into()))
        });
    other.send().await.unwrap();
    assert_eq!(world.refused(check).await, "None", "it cannot be read");
}

mod unchanged {
    use super::*;

    /// Whether a commit that depends on the order as it was read is made after `change` of it.
    async fn is_committed(world: &World, change: impl AsyncFnOnce()) -> bool {
        let read = world
            .tables
            .get(Order::key("o-1"))
            .snapshot()
            .await
            .unwrap();
        change().await;
        let commit = world.commit(|tx| {
            tx.check(&world.tables, read.key().clone())
                .unchanged(&read)
                .stage();
        });
        commit.await.is_ok()
    }

    #[tokio::test]
    async fn an_item_is_unchanged_if_all_attributes_are_as_they_were() {
        let world = World::new().await;
        let put = async |change: fn(&mut Order)| {
            let mut order = order();
            change(&mut order);
            world.dynamo.put(&order).await;
        };
        let as_it_is: fn(&mut Order) = |_| {};
        assert!(is_committed(&world, async || {}).await, "still not there");
        assert!(!is_committed(&world, async || put(as_it_is).await).await);
        assert!(is_committed(&world, async || put(as_it_is).await).await);
        let changes: [fn(&mut Order); 5] = [
            |o| o.total += 1,
            |o| o.tags.clear(),
            |o| o.coupon = Some("X".into()),
            |o| o.lines[0].quantity += 1,
            |o| o.address.floor = None,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            put(as_it_is).await;
            let changed = is_committed(&world, async || put(change).await).await;
            assert!(!changed, "change {at}");
        }
        put(as_it_is).await;
        let delete = async || world.dynamo.delete(Order::key("o-1")).await;
        assert!(!is_committed(&world, delete).await);
    }

    #[tokio::test]
    async fn an_item_with_a_version_is_unchanged_as_long_as_that_is() {
        let world = World::new().await;
        world.dynamo.put(&counter(1, 4)).await;
        let key = Counter::key("visits");
        let read = world.tables.get(key.clone()).snapshot().await.unwrap();
        assert_eq!(read.value(), Some(&counter(1, 4)));
        let write = staged(|tx| {
            tx.delete(&world.tables, key.clone())
                .unchanged(&read)
                .stage();
        });
        let delete = write.await.delete.unwrap();
        let text = shown(
            &delete.condition_expression.unwrap(),
            delete.expression_attribute_names.as_ref(),
            delete.expression_attribute_values.as_ref(),
        );
        assert_eq!(text, "#changes = :v0 | :v0 = N(4)");
        world.dynamo.put(&counter(1, 5)).await;
        let delete = |tx: &surehand::Transaction| {
            tx.delete(&world.tables, key.clone())
                .unchanged(&read)
                .stage();
        };
        world.refused(delete).await;
    }
}

mod without_a_transaction {
    use super::*;

    #[tokio::test]
    async fn insert_says_whether_the_item_is_new() {
        let world = World::new().await;
        assert!(world.tables.insert(&order()).await.unwrap());
        let other = Order {
            total: 5,
            ..order()
        };
        assert!(!world.tables.insert(&other).await.unwrap());
        assert_eq!(world.dynamo.all::<Order>().await, [order()]);
    }

    #[tokio::test]
    async fn put_replaces_and_keeps_to_the_version() {
        let world = World::new().await;
        for total in [1, 2] {
            let order = Order { total, ..order() };
            world.tables.put(&order).await.unwrap();
            assert_eq!(world.dynamo.all::<Order>().await, [order]);
        }
        world.tables.put(&counter(1, 0)).await.unwrap();
        let error = world.tables.put(&counter(2, 0)).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("another version than the one to put"),
            "{text}"
        );
        world.tables.put(&counter(2, 1)).await.unwrap();
        assert_eq!(
            world.tables.get(Counter::key("visits")).await.unwrap(),
            Some(counter(2, 2))
        );
    }
}
