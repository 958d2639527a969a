//! Updates: as DynamoDB gets them, and the items afterwards.

use super::{
    entities::{Counter, Order, address, line, order},
    world::{World, shown, staged},
};
use aws_sdk_dynamodb::types::Update;
use surehand::{
    Entity,
    tables::Set,
    transaction::{Updating, Write},
};

type Of<'a> = Write<'a, Order, Updating>;

struct Case {
    update: for<'a> fn(Of<'a>) -> Of<'a>,
    text: &'static str,
    /// What is changed of [`order`] before.
    before: fn(&mut Order),
    /// What the update changes.
    after: fn(&mut Order),
}

fn case(
    update: for<'a> fn(Of<'a>) -> Of<'a>,
    text: &'static str,
    before: fn(&mut Order),
    after: fn(&mut Order),
) -> Case {
    Case {
        update,
        text,
        before,
        after,
    }
}

const AS_IT_IS: fn(&mut Order) = |_| {};

fn texts<const N: usize>(texts: [&str; N]) -> Set<String> {
    texts.map(str::to_owned).into_iter().collect()
}

fn values() -> Vec<Case> {
    vec![
        case(
            |w| w.set(|o| o.status, "sent"),
            "SET #status = :v0 | :v0 = S(sent)",
            AS_IT_IS,
            |o| o.status = "sent".into(),
        ),
        case(
            |w| w.set(|o| o.status, "sent").set(|o| o.total, 5),
            "SET #status = :v0, #total = :v1 | :v0 = S(sent) | :v1 = N(5)",
            AS_IT_IS,
            |o| (o.status, o.total) = ("sent".into(), 5),
        ),
        case(
            |w| w.set(|o| o.coupon, "SPRING"),
            "SET #coupon = :v0 | :v0 = S(SPRING)",
            AS_IT_IS,
            |o| o.coupon = Some("SPRING".into()),
        ),
        case(
            |w| w.set(|o| o.coupon, None),
            "REMOVE #coupon",
            |o| o.coupon = Some("SPRING".into()),
            |o| o.coupon = None,
        ),
        case(
            |w| w.set(|o| o.tags, Set::default()),
            "REMOVE #tags",
            AS_IT_IS,
            |o| o.tags.clear(),
        ),
        case(
            |w| w.set_from(|o| o.paid, |o| o.total),
            "SET #paid = #total",
            AS_IT_IS,
            |o| o.paid = 1_000,
        ),
        case(
            |w| w.set(|o| o.odd, 1).set(|o| o.size, 2).set(|o| o.n0, 3),
            "SET #n0 = :v0, #n1 = :v1, #n0_ = :v2 \
             | #n0 = odd-name.x | #n0_ = n0 | #n1 = größe | :v0 = N(1) | :v1 = N(2) | :v2 = N(3)",
            AS_IT_IS,
            |o| (o.odd, o.size, o.n0) = (1, 2, 3),
        ),
        case(
            |w| w.set_if_absent(|o| o.coupon, "SPRING"),
            "SET #coupon = if_not_exists(#coupon, :v0) | :v0 = S(SPRING)",
            AS_IT_IS,
            |o| o.coupon = Some("SPRING".into()),
        ),
        case(
            |w| w.set_if_absent(|o| o.coupon, "SPRING"),
            "SET #coupon = if_not_exists(#coupon, :v0) | :v0 = S(SPRING)",
            |o| o.coupon = Some("AUTUMN".into()),
            AS_IT_IS,
        ),
        case(
            |w| w.set_if_absent(|o| o.coupon, None).set(|o| o.paid, 1),
            "SET #paid = :v0 | :v0 = N(1)",
            AS_IT_IS,
            |o| o.paid = 1,
        ),
        case(
            |w| w.remove(|o| o.coupon),
            "REMOVE #coupon",
            |o| o.coupon = Some("SPRING".into()),
            |o| o.coupon = None,
        ),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        case(
            |w| w.add(|o| o.paid, 100),
            "ADD #paid :v0 | :v0 = N(100)",
            AS_IT_IS,
            |o| o.paid = 500,
        ),
        case(
            |w| w.add(|o| o.discount, 3),
            "ADD #discount :v0 | :v0 = N(3)",
            AS_IT_IS,
            |o| o.discount = Some(3),
        ),
        case(
            |w| w.add(|o| o.weight, 0.25),
            "ADD #weight :v0 | :v0 = N(0.25)",
            AS_IT_IS,
            |o| o.weight = 2.75,
        ),
        case(
            |w| w.subtract(|o| o.paid, 100),
            "ADD #paid :v0 | :v0 = N(-100)",
            AS_IT_IS,
            |o| o.paid = 300,
        ),
        case(
            |w| w.subtract(|o| o.paid, -100),
            "ADD #paid :v0 | :v0 = N(100)",
            AS_IT_IS,
            |o| o.paid = 500,
        ),
        case(
            |w| w.add(|o| o.stock.entry("book"), 4),
            "ADD #stock.#book :v0 | :v0 = N(4)",
            AS_IT_IS,
            |o| _ = o.stock.insert("book".into(), 7),
        ),
        case(
            |w| w.add(|o| o.stock.entry("lamp"), 4),
            "ADD #stock.#lamp :v0 | :v0 = N(4)",
            AS_IT_IS,
            |o| _ = o.stock.insert("lamp".into(), 4),
        ),
    ]
}

fn collections() -> Vec<Case> {
    vec![
        case(
            |w| w.append(|o| o.lines, [line("lamp", 1)]),
            "SET #lines = list_append(if_not_exists(#lines, :v0), :v1) \
             | :v0 = L() | :v1 = L(M(quantity: N(1), sku: S(lamp)))",
            AS_IT_IS,
            |o| o.lines.push(line("lamp", 1)),
        ),
        case(
            |w| w.prepend(|o| o.codes, [Some("z".into()), None]),
            "SET #codes = list_append(:v0, if_not_exists(#codes, :v1)) \
             | :v0 = L(S(z), NULL) | :v1 = L()",
            AS_IT_IS,
            |o| o.codes = vec![Some("z".into()), None, Some("a".into()), None],
        ),
        case(
            |w| w.set(|o| o.codes.at_index(0), None),
            "SET #codes[0] = :v0 | :v0 = NULL",
            AS_IT_IS,
            |o| o.codes[0] = None,
        ),
        case(
            |w| w.set(|o| o.lines.at_index(1).field(|it| it.quantity), 9),
            "SET #lines[1].#quantity = :v0 | :v0 = N(9)",
            AS_IT_IS,
            |o| o.lines[1].quantity = 9,
        ),
        case(
            |w| w.add_to(|o| o.tags, ["gift".to_owned()]),
            "ADD #tags :v0 | :v0 = SS(gift)",
            AS_IT_IS,
            |o| o.tags = texts(["gift", "new", "vip"]),
        ),
        case(
            |w| w.add_to(|o| o.days, [2, 3]),
            "ADD #days :v0 | :v0 = NS(2, 3)",
            |o| o.days.clear(),
            |o| o.days = [2, 3].into_iter().collect(),
        ),
        case(
            |w| w.remove_from(|o| o.tags, ["vip".to_owned(), "none".to_owned()]),
            "DELETE #tags :v0 | :v0 = SS(none, vip)",
            AS_IT_IS,
            |o| o.tags = texts(["new"]),
        ),
        // The last element takes the attribute with it.
        case(
            |w| w.remove_from(|o| o.days, [1, 2]),
            "DELETE #days :v0 | :v0 = NS(1, 2)",
            AS_IT_IS,
            |o| o.days.clear(),
        ),
        case(
            |w| {
                w.add_to(|o| o.tags, [])
                    .remove_from(|o| o.days, [])
                    .set(|o| o.paid, 1)
            },
            "SET #paid = :v0 | :v0 = N(1)",
            AS_IT_IS,
            |o| o.paid = 1,
        ),
    ]
}

fn places() -> Vec<Case> {
    vec![
        case(
            |w| w.set(|o| o.address.field(|it| it.city), "Basel"),
            "SET #address.#city = :v0 | :v0 = S(Basel)",
            AS_IT_IS,
            |o| o.address.city = "Basel".into(),
        ),
        case(
            |w| w.set(|o| o.address.field(|it| it.floor), None),
            "REMOVE #address.#floor",
            AS_IT_IS,
            |o| o.address.floor = None,
        ),
        case(
            |w| w.set(|o| o.billing, address("Genf", Some(1))),
            "SET #billing = :v0 | :v0 = M(city: S(Genf), floor: N(1))",
            AS_IT_IS,
            |o| o.billing = Some(address("Genf", Some(1))),
        ),
        case(
            |w| w.set(|o| o.stock.entry("a.b c"), 6),
            "SET #stock.#n1 = :v0 | #n1 = a.b c | :v0 = N(6)",
            AS_IT_IS,
            |o| _ = o.stock.insert("a.b c".into(), 6),
        ),
        case(
            |w| w.remove(|o| o.stock.entry("book")),
            "REMOVE #stock.#book",
            AS_IT_IS,
            |o| _ = o.stock.remove("book"),
        ),
        case(
            |w| {
                w.set(
                    |o| o.homes.entry("first").some().field(|it| it.city),
                    "Davos",
                )
            },
            "SET #homes.#first.#city = :v0 | :v0 = S(Davos)",
            AS_IT_IS,
            |o| o.homes = [("first".to_owned(), address("Davos", None))].into(),
        ),
        // Each clause is written once, whatever the order of the changes.
        case(
            |w| {
                w.add(|o| o.paid, 1)
                    .remove(|o| o.coupon)
                    .set(|o| o.status, "paid")
                    .remove_from(|o| o.days, [1])
                    .add_to(|o| o.tags, ["paid".to_owned()])
                    .append(|o| o.codes, [None])
            },
            "SET #status = :v0, #codes = list_append(if_not_exists(#codes, :v1), :v2) \
             ADD #paid :v3, #tags :v4 REMOVE #coupon DELETE #days :v5 \
             | :v0 = S(paid) | :v1 = L() | :v2 = L(NULL) | :v3 = N(1) | :v4 = SS(paid) | :v5 = NS(1)",
            |o| o.coupon = Some("X".into()),
            |o| {
                o.coupon = None;
                o.status = "paid".into();
                o.paid = 401;
                o.days = [2].into_iter().collect();
                o.tags = texts(["new", "paid", "vip"]);
                o.codes.push(None);
            },
        ),
    ]
}

fn cases() -> impl Iterator<Item = Case> {
    let groups = [values, numbers, collections, places];
    groups.into_iter().flat_map(|group| group())
}

/// An update and its condition as text. Their placeholders are of one list.
fn both(update: &Update) -> String {
    let condition = update.condition_expression.as_deref();
    let condition = condition.map(|it| format!(" if {it}")).unwrap_or_default();
    shown(
        &format!("{}{condition}", update.update_expression),
        update.expression_attribute_names.as_ref(),
        update.expression_attribute_values.as_ref(),
    )
}

#[tokio::test]
async fn an_update_is_text_and_its_condition_that_there_is_the_item() {
    let world = World::new().await;
    for case in cases() {
        let write = staged(|tx| (case.update)(tx.update(&world.tables, Order::key("o-1"))).stage());
        let update = write.await.update.unwrap();
        let (changes, values) = match case.text.split_once(" | ") {
            Some((changes, values)) => (changes, format!(" | {values}")),
            None => (case.text, String::new()),
        };
        let expected = format!("{changes} if attribute_exists(#pk){values}");
        assert_eq!(both(&update), expected);
    }
}

#[tokio::test]
async fn dynamodb_changes_the_item_as_the_update_says() {
    let world = World::new().await;
    for case in cases() {
        let mut before = order();
        (case.before)(&mut before);
        world.dynamo.put(&before).await;
        let committed = world
            .commit(|tx| (case.update)(tx.update(&world.tables, before.to_key())).stage())
            .await;
        committed.unwrap_or_else(|error| panic!("{}: {error}", case.text));
        let mut after = before.clone();
        (case.after)(&mut after);
        let found = world.dynamo.get(before.to_key()).await;
        assert_eq!(found, Some(after), "{}", case.text);
    }
}

#[tokio::test]
async fn an_update_with_conditions_has_one_list_of_placeholders() {
    let world = World::new().await;
    let write = staged(|tx| {
        tx.update(&world.tables, Order::key("o-1"))
            .set(|o| o.status, "sent")
            .only_if(|o| o.status.eq("placed"))
            .only_if(|o| o.total.le(5).or(o.gift.eq(true)))
            .stage();
    });
    assert_eq!(
        both(&write.await.update.unwrap()),
        "SET #status = :v0 if attribute_exists(#pk) AND (#status = :v1 AND (#total <= :v2 OR #gift = :v3)) \
         | :v0 = S(sent) | :v1 = S(placed) | :v2 = N(5) | :v3 = BOOL(true)"
    );
}

#[tokio::test]
async fn an_update_that_may_create_gives_the_item_the_fields_of_its_key() {
    let world = World::new().await;
    let write = staged(|tx| {
        tx.update(&world.tables, Counter::key("visits"))
            .add(|it| it.value, 5)
            .or_create()
            .stage();
    });
    assert_eq!(
        both(&write.await.update.unwrap()),
        "SET #name = if_not_exists(#name, :v0) ADD #value :v1, #changes :v2 \
         | :v0 = S(visits) | :v1 = N(5) | :v2 = N(1)"
    );
    for (value, changes) in [(5, 1), (10, 2)] {
        let count = world.commit(|tx| {
            tx.update(&world.tables, Counter::key("visits"))
                .add(|it| it.value, 5)
                .or_create()
                .stage();
        });
        count.await.unwrap();
        let name = "visits".to_owned();
        let expected = Counter {
            name,
            value,
            changes,
        };
        assert_eq!(
            world.dynamo.get(Counter::key("visits")).await,
            Some(expected)
        );
    }
}

/// What only has a key is created by an update that sets nothing else.
#[tokio::test]
async fn an_update_may_create_and_change_nothing() {
    let world = World::new().await;
    for changes in [1, 2] {
        let touch = |tx: &surehand::Transaction| {
            tx.update(&world.tables, Counter::key("visits"))
                .or_create()
                .stage();
        };
        world.commit(touch).await.unwrap();
        let counter = world.dynamo.get(Counter::key("visits")).await.unwrap();
        assert_eq!((counter.value, counter.changes), (0, changes));
    }
}

#[tokio::test]
async fn an_update_counts_the_version_up() {
    let world = World::new().await;
    let counter = Counter {
        name: "visits".into(),
        value: 1,
        changes: 7,
    };
    world.dynamo.put(&counter).await;
    let update = world.commit(|tx| {
        tx.update(&world.tables, counter.to_key())
            .set(|it| it.value, 2)
            .only_if(|it| it.changes.eq(7))
            .stage();
    });
    update.await.unwrap();
    let after = world.dynamo.get(counter.to_key()).await.unwrap();
    assert_eq!((after.value, after.changes), (2, 8));
}
