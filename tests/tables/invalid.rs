//! What DynamoDB does not take: it is said before anything is sent, or by DynamoDB, and is no panic.

use super::{
    entities::{Counter, Customer, Entry, Order, Purchase, line, order},
    world::World,
};
use surehand::{
    ErrorKind, Transaction,
    tables::{Read, Set},
    transaction::{Updating, Write},
};

/// How a commit of this is refused. Another attempt would not help it.
async fn rejected(world: &World, stage: impl FnOnce(&Transaction)) -> String {
    let error = world.commit(stage).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    error.to_string()
}

fn update<'a>(world: &World, tx: &'a Transaction) -> Write<'a, Order, Updating> {
    tx.update(&world.tables, Order::key("o-1"))
}

#[tokio::test]
async fn an_update_changes_a_place_once() {
    let world = World::new().await;
    let overlaps = |one: &str, two: &str| {
        format!(
            "a write of Order is not valid: an update changes `{one}` and `{two}`, which overlap: change it once"
        )
    };
    let error = rejected(&world, |tx| {
        update(&world, tx)
            .set(|o| o.total, 1)
            .add(|o| o.total, 1)
            .stage();
    });
    assert_eq!(error.await, overlaps("#total", "#total"));
    let error = rejected(&world, |tx| {
        update(&world, tx)
            .set(|o| o.lines.at_index(0).field(|it| it.quantity), 1)
            .append(|o| o.lines, [line("pen", 1)])
            .stage();
    });
    assert_eq!(error.await, overlaps("#lines[0].#quantity", "#lines"));
    let error = rejected(&world, |tx| {
        update(&world, tx)
            .remove(|o| o.billing)
            .set(|o| o.billing.some().field(|it| it.floor), 1)
            .stage();
    });
    assert_eq!(error.await, overlaps("#billing", "#billing.#floor"));
    // Places beside each other are no problem.
    world.dynamo.put(&order()).await;
    let beside = world.commit(|tx| {
        update(&world, tx)
            .set(|o| o.lines.at_index(0).field(|it| it.quantity), 1)
            .set(|o| o.lines.at_index(1).field(|it| it.quantity), 2)
            .set(|o| o.stock.entry("book"), 1)
            .set(|o| o.stock.entry("books"), 2)
            .stage();
    });
    beside.await.unwrap();
}

#[tokio::test]
async fn an_update_changes_something() {
    let world = World::new().await;
    let nothing = "the update changes nothing";
    let error = rejected(&world, |tx| update(&world, tx).stage()).await;
    assert_eq!(error, format!("a write of Order is not valid: {nothing}"));
    let error = rejected(&world, |tx| {
        update(&world, tx)
            .add_to(|o| o.tags, [])
            .only_if(|o| o.total.ge(1))
            .stage();
    });
    assert!(error.await.ends_with(nothing));
    // To count the version up alone is to change nothing.
    let error = rejected(&world, |tx| {
        tx.update(&world.tables, Counter::key("a")).stage();
    });
    assert!(error.await.ends_with(nothing));
}

#[tokio::test]
async fn a_key_that_cannot_be_is_the_error_of_its_use() {
    let world = World::new().await;
    let empty = "the key of Entry is not valid: `source` is empty, and DynamoDB takes no empty key";
    let key = || Entry::key("", 1);
    let entry = || Entry::default();
    assert_eq!(
        world.tables.get(key()).await.unwrap_err().to_string(),
        empty
    );
    let read = world.tables.read(Read::new().key(&key())).await;
    assert_eq!(read.unwrap_err().to_string(), empty);
    let query = world.tables.query(Entry::partition("")).all().await;
    let query = query.unwrap_err().to_string();
    assert!(query.contains("`source` is empty"), "{query}");
    assert_eq!(
        world.tables.put(&entry()).await.unwrap_err().to_string(),
        empty
    );
    assert_eq!(
        rejected(&world, |tx| tx.insert(&world.tables, &entry()).stage()).await,
        empty
    );
    assert_eq!(
        rejected(&world, |tx| tx.put(&world.tables, &entry()).stage()).await,
        empty
    );
    let update = rejected(&world, |tx| {
        tx.update(&world.tables, key())
            .set(|it| it.text, "x")
            .or_create()
            .stage();
    });
    assert_eq!(update.await, empty);
    assert_eq!(
        rejected(&world, |tx| tx.delete(&world.tables, key()).stage()).await,
        empty
    );
    assert_eq!(
        rejected(&world, |tx| tx.check(&world.tables, key()).stage()).await,
        empty
    );
}

#[tokio::test]
async fn a_key_has_a_length_that_dynamodb_takes() {
    let world = World::new().await;
    let customer = |bytes: usize| Customer::key("x".repeat(bytes - "CUSTOMER#".len()));
    let error = world.tables.get(customer(2_049)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key of Customer is not valid: `pk` has 2049 bytes, and DynamoDB takes 2048"
    );
    assert_eq!(world.tables.get(customer(2_048)).await.unwrap(), None);
    let update = |tx: &Transaction, bytes: usize| {
        let key = Purchase::key("7", "x".repeat(bytes - "PURCHASE#".len()));
        tx.update(&world.tables, key)
            .set(|it| it.placed_at, 1)
            .or_create()
            .stage();
    };
    assert_eq!(
        rejected(&world, |tx| update(tx, 1_025)).await,
        "the key of Purchase is not valid: `sk` has 1025 bytes, and DynamoDB takes 1024"
    );
    world.commit(|tx| update(tx, 1_024)).await.unwrap();
}

#[tokio::test]
async fn a_list_of_values_has_one_to_a_hundred() {
    let world = World::new().await;
    let check = |tx: &Transaction, count: i64| {
        tx.check(&world.tables, Order::key("o-1"))
            .only_if(|o| o.total.is_in(0..count))
            .stage();
    };
    for count in [0, 101] {
        assert_eq!(
            rejected(&world, |tx| check(tx, count)).await,
            format!(
                "a write of Order is not valid: `is_in` has {count} values: DynamoDB takes 1 to 100"
            )
        );
    }
    let order = Order {
        total: 99,
        ..order()
    };
    world.dynamo.put(&order).await;
    world.commit(|tx| check(tx, 100)).await.unwrap();
}

#[tokio::test]
async fn an_expression_has_four_kilobytes() {
    let world = World::new().await;
    let check = |tx: &Transaction, parts: i64| {
        tx.check(&world.tables, Order::key("o-1"))
            .only_if(|o| {
                let parts = (1..parts).map(|total| o.total.eq(total));
                parts.fold(o.total.eq(0), surehand::tables::Condition::or)
            })
            .stage();
    };
    let error = rejected(&world, |tx| check(tx, 300)).await;
    assert!(error.contains("bytes: DynamoDB takes 4096"), "{error}");
    world
        .dynamo
        .put(&Order {
            total: 99,
            ..order()
        })
        .await;
    world.commit(|tx| check(tx, 100)).await.unwrap();
}

/// The name of an entry can be longer than a placeholder.
#[tokio::test]
async fn an_entry_of_any_name_can_be_named() {
    let world = World::new().await;
    world.dynamo.put(&order()).await;
    let names = [
        "x".repeat(255),
        "x".repeat(300),
        " ".into(),
        ":v0 #n0".into(),
        "0".into(),
        "SELECT".into(),
    ];
    for name in &names {
        let set = world.commit(|tx| {
            tx.update(&world.tables, Order::key("o-1"))
                .set(|o| o.stock.entry(name), 1)
                .only_if(|o| o.stock.entry(name).absent())
                .stage();
        });
        set.await.unwrap();
    }
    let stock = world.dynamo.get(Order::key("o-1")).await.unwrap().stock;
    assert!(names.iter().all(|name| stock[name] == 1));
}

#[tokio::test]
async fn nothing_is_in_no_order() {
    let world = World::new().await;
    let error = rejected(&world, |tx| {
        tx.check(&world.tables, Order::key("o-1"))
            .only_if(|o| o.discount.ge(None))
            .stage();
    });
    let expected = "a write of Order is not valid: a condition compares with `None` or an empty set: use `absent`, or `eq`";
    assert_eq!(error.await, expected);
    let error = rejected(&world, |tx| {
        tx.check(&world.tables, Order::key("o-1"))
            .only_if(|o| o.coupon.is_in([Some("X".to_owned()), None]))
            .stage();
    });
    assert_eq!(error.await, expected);
    let error = rejected(&world, |tx| {
        tx.check(&world.tables, Order::key("o-1"))
            .only_if(|o| o.tags.is_in([Set::default()]))
            .stage();
    });
    assert_eq!(error.await, expected);
    let error = rejected(&world, |tx| {
        tx.update(&world.tables, Order::key("o-1"))
            .add(|o| o.discount, None)
            .stage();
    });
    assert!(error.await.contains("what is no number"));
}

#[tokio::test]
async fn an_item_has_400_kilobytes() {
    let world = World::new().await;
    let large = |bytes: usize| Order {
        status: "x".repeat(bytes),
        ..order()
    };
    world.tables.put(&large(400_000)).await.unwrap();
    let order = large(410_000);
    let error = rejected(&world, |tx| tx.put(&world.tables, &order).stage()).await;
    assert!(error.contains("DynamoDB takes 409600 an item"), "{error}");
    let error = world.tables.put(&order).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the table `SHOP_TABLE` could not be written (ValidationException)"
    );
}

#[tokio::test]
async fn an_item_is_written_once_in_a_transaction() {
    let world = World::new().await;
    let error = rejected(&world, |tx| {
        tx.put(&world.tables, &order()).stage();
        tx.delete(&world.tables, Order::key("o-1")).stage();
    });
    assert_eq!(
        error.await,
        "DynamoDB does not take the transaction: Transaction request cannot include multiple operations on one item"
    );
    assert_eq!(world.dynamo.all::<Order>().await, []);
}

/// The first problem is told, and nothing of the transaction is committed.
#[tokio::test]
async fn what_cannot_be_staged_keeps_the_rest_from_being_committed() {
    let world = World::new().await;
    let error = rejected(&world, |tx| {
        tx.insert(&world.tables, &order()).stage();
        tx.update(&world.tables, Counter::key("a")).stage();
        tx.delete(&world.tables, Entry::key("", 1)).stage();
    });
    let error = error.await;
    assert!(error.contains("a write of Counter"), "{error}");
    assert_eq!(world.dynamo.all::<Order>().await, []);
}
