//! Queries: by ranges of sort keys, by indexes, and by pages.

use super::{
    entities::{Customer, Entry, Purchase},
    world::World,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use surehand::Entity;

fn purchase(customer: &str, number: &str, status: Option<&str>) -> Purchase {
    Purchase {
        customer_id: customer.into(),
        number: number.into(),
        status: status.map(str::to_owned),
        placed_at: number.len() as u64,
    }
}

fn customer() -> Customer {
    Customer {
        customer_id: "7".into(),
        city: "Bern".into(),
    }
}

/// A world with the purchases of two customers beside the customer.
async fn with_purchases(numbers: &[&str]) -> World {
    let world = World::new().await;
    world.dynamo.put(&customer()).await;
    world.dynamo.put(&purchase("8", "other", None)).await;
    for number in numbers {
        world.dynamo.put(&purchase("7", number, Some("open"))).await;
    }
    world
}

fn numbers(purchases: Vec<Purchase>) -> Vec<String> {
    purchases.into_iter().map(|it| it.number).collect()
}

#[tokio::test]
async fn a_partition_has_the_entitys_own_items_in_the_order_of_their_sort_key() {
    let world = with_purchases(&["b", "a", "c"]).await;
    let query = || world.tables.query(Purchase::partition("7"));
    assert_eq!(numbers(query().all().await.unwrap()), ["a", "b", "c"]);
    let descending = query().descending().all().await.unwrap();
    assert_eq!(numbers(descending), ["c", "b", "a"]);
    let eventual = query().eventually_consistent().all().await.unwrap();
    assert_eq!(eventual.len(), 3);
    let customers = world.tables.query(Customer::partition("7")).all().await;
    assert_eq!(customers.unwrap(), [customer()]);
    let none = world.tables.query(Purchase::partition("9")).all().await;
    assert_eq!(none.unwrap(), []);
}

#[tokio::test]
async fn a_range_is_of_what_follows_the_text_that_the_sort_key_begins_with() {
    let world = with_purchases(&["a1", "a2", "b1", "b2", "c", "\u{10ffff}"]).await;
    let query = || world.tables.query(Purchase::partition("7"));
    let ranges = [
        (query().at_least("b1"), vec!["b1", "b2", "c", "\u{10ffff}"]),
        (query().at_most("b1"), vec!["a1", "a2", "b1"]),
        (query().at_least("a2").at_most("b2"), vec!["a2", "b1", "b2"]),
        (query().at_most("b2").at_least("a2"), vec!["a2", "b1", "b2"]),
        (query().begins_with("a"), vec!["a1", "a2"]),
        (
            query().begins_with(""),
            vec!["a1", "a2", "b1", "b2", "c", "\u{10ffff}"],
        ),
        (query().at_least("").at_most("a9"), vec!["a1", "a2"]),
    ];
    for (at, (range, expected)) in ranges.into_iter().enumerate() {
        assert_eq!(numbers(range.all().await.unwrap()), expected, "range {at}");
    }
}

#[tokio::test]
async fn a_sort_key_that_is_a_number_is_in_the_order_of_numbers() {
    let world = World::new().await;
    for at in [-10, 9, 10, 100] {
        let text = "x".to_owned();
        let source = "a".to_owned();
        world.dynamo.put(&Entry { source, at, text }).await;
    }
    let query = || world.tables.query(Entry::partition("a"));
    let ats = |entries: Vec<Entry>| entries.into_iter().map(|it| it.at).collect::<Vec<_>>();
    assert_eq!(ats(query().all().await.unwrap()), [-10, 9, 10, 100]);
    let least = query().at_least(10).all().await.unwrap();
    assert_eq!(ats(least), [10, 100]);
    let most = query().at_most(9).all().await.unwrap();
    assert_eq!(ats(most), [-10, 9]);
    let both = query().at_least(-10).at_most(10).all().await.unwrap();
    assert_eq!(ats(both), [-10, 9, 10]);
}

#[tokio::test]
async fn an_index_has_the_items_that_have_its_key() {
    let world = World::new().await;
    for (number, status) in [
        ("333", Some("open")),
        ("1", Some("open")),
        ("22", Some("sent")),
        ("4444", None),
    ] {
        world.dynamo.put(&purchase("7", number, status)).await;
    }
    let open = || world.tables.query(Purchase::by_status("open"));
    assert_eq!(numbers(open().all().await.unwrap()), ["1", "333"]);
    let late = open().at_least(2_u64).all().await.unwrap();
    assert_eq!(numbers(late), ["333"]);
    // It is in the index once it has the key.
    let update = world.commit(|tx| {
        let key = Purchase::key("7", "4444");
        tx.update(&world.tables, key)
            .set(|it| it.status, "open")
            .stage();
    });
    update.await.unwrap();
    assert_eq!(numbers(open().all().await.unwrap()), ["1", "333", "4444"]);
    let update = world.commit(|tx| {
        let key = Purchase::key("7", "1");
        tx.update(&world.tables, key)
            .set(|it| it.status, None)
            .stage();
    });
    update.await.unwrap();
    assert_eq!(numbers(open().all().await.unwrap()), ["333", "4444"]);
}

#[tokio::test]
async fn a_filter_is_applied_after_the_limit() {
    let world = with_purchases(&["a", "bb", "c", "dd"]).await;
    let query = || {
        let query = world.tables.query(Purchase::partition("7"));
        query.only_if(|it| it.placed_at.ge(2))
    };
    assert_eq!(numbers(query().all().await.unwrap()), ["bb", "dd"]);
    let both = query().only_if(|it| it.number.ne("bb"));
    assert_eq!(numbers(both.all().await.unwrap()), ["dd"]);
    let first = query().limit(1).page().await.unwrap();
    assert_eq!(first.items, [], "the first item was read and is not meant");
    let second = query().limit(1).resume(first.next.unwrap());
    assert_eq!(numbers(second.page().await.unwrap().items), ["bb"]);
    let rest = query()
        .limit(1)
        .resume(query().limit(3).page().await.unwrap().next.unwrap());
    assert_eq!(numbers(rest.all().await.unwrap()), ["dd"]);
}

#[tokio::test]
async fn pages_of_an_index_go_on_where_they_ended() {
    let world = with_purchases(&["1", "22", "333"]).await;
    let open = || world.tables.query(Purchase::by_status("open")).limit(2);
    let first = open().page().await.unwrap();
    let second = open().resume(first.next.unwrap()).page().await.unwrap();
    assert_eq!(numbers(first.items), ["1", "22"]);
    assert_eq!(numbers(second.items), ["333"]);
    assert_eq!(second.next, None);
}

fn page_of(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// What a client sends as a page leads into no other partition, and is no reason to panic.
#[tokio::test]
async fn a_page_of_something_else_is_refused() {
    let world = with_purchases(&["a", "b", "c"]).await;
    world.dynamo.put(&purchase("8", "z", None)).await;
    for at in [1, 2] {
        let (source, text) = ("CUSTOMER#7".to_owned(), String::new());
        world.dynamo.put(&Entry { source, at, text }).await;
    }
    let other = world.tables.query(Purchase::partition("8")).limit(1);
    let other = other.page().await.unwrap().next.unwrap();
    let elsewhere = world.tables.query(Entry::partition("CUSTOMER#7")).limit(1);
    let elsewhere = elsewhere.page().await.unwrap().next.unwrap();

    let of_another = "the page to resume from is of another partition";
    let of_none = "the page to resume from is not one of a query";
    let pages = [
        (other, of_another),
        (elsewhere, of_another),
        (page_of("{}"), of_another),
        (
            page_of(r#"{"pk": ["N", "7"], "sk": ["S", "x"]}"#),
            of_another,
        ),
        (String::new(), of_none),
        ("???".to_owned(), of_none),
        ("é".repeat(100), of_none),
        (page_of("[1, 2]"), of_none),
        (page_of("not JSON"), of_none),
        (page_of(r#"{"pk": "CUSTOMER#7"}"#), of_none),
        (page_of(r#"{"pk": ["BOOL", "CUSTOMER#7"]}"#), of_none),
        (page_of(r#"{"pk": ["B", "?"]}"#), of_none),
        (page_of(&"[".repeat(10_000)), of_none),
    ];
    for (page, expected) in pages {
        for of_all in [false, true] {
            let query = world.tables.query(Purchase::partition("7")).resume(&page);
            let error = match of_all {
                true => query.all().await.map(drop),
                false => query.page().await.map(drop),
            };
            assert_eq!(error.unwrap_err().to_string(), expected, "{page}");
        }
    }
    // What has the partition and no such key is refused by DynamoDB.
    for page in [
        r#"{"pk": ["S", "CUSTOMER#7"]}"#,
        r#"{"pk": ["S", "CUSTOMER#7"], "sk": ["N", "1"]}"#,
        r#"{"pk": ["S", "CUSTOMER#7"], "sk": ["S", "PURCHASE#a"], "more": ["S", "x"]}"#,
    ] {
        let query = world.tables.query(Purchase::partition("7"));
        let error = query.resume(page_of(page)).page().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the table `SHOP_TABLE` could not be read (ValidationException)",
            "{page}"
        );
    }
}

/// A page ends somewhere in the range of its query; a forged one leads to nothing outside of it.
#[tokio::test]
async fn a_page_does_not_widen_the_range() {
    let world = with_purchases(&["a", "b"]).await;
    let page = page_of(r#"{"pk": ["S", "CUSTOMER#7"], "sk": ["S", "A"]}"#);
    let query = world.tables.query(Purchase::partition("7")).resume(page);
    if let Ok(items) = query.all().await {
        assert_eq!(
            numbers(items),
            ["a", "b"],
            "without the customer before them"
        );
    }
    assert!(
        world
            .tables
            .get(customer().to_key())
            .await
            .unwrap()
            .is_some()
    );
}
