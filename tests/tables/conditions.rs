//! Conditions: as DynamoDB gets them, and whether they hold.

use super::{
    entities::{Kind, Order, OrderFields, address, line, order},
    world::{World, shown, staged},
};
use surehand::{Entity, Error, tables::Condition};

/// What is changed of [`order`].
type Change = fn(&mut Order);

struct Case {
    condition: fn(OrderFields<Order>) -> Condition<Order>,
    text: &'static str,
    /// Orders for which it holds.
    holds: Vec<Change>,
    /// Orders for which it does not.
    fails: Vec<Change>,
}

fn case<const H: usize, const F: usize>(
    condition: fn(OrderFields<Order>) -> Condition<Order>,
    text: &'static str,
    holds: [Change; H],
    fails: [Change; F],
) -> Case {
    Case {
        condition,
        text,
        holds: holds.into(),
        fails: fails.into(),
    }
}

const AS_IT_IS: Change = |_| {};

fn comparisons() -> Vec<Case> {
    vec![
        case(
            |o| o.status.eq("placed"),
            "#status = :v0 | :v0 = S(placed)",
            [AS_IT_IS],
            [|o| o.status = "Placed".into()],
        ),
        case(
            |o| o.status.ne("sent"),
            "#status <> :v0 | :v0 = S(sent)",
            [AS_IT_IS],
            [|o| o.status = "sent".into()],
        ),
        case(
            |o| o.total.lt(1_001),
            "#total < :v0 | :v0 = N(1001)",
            [AS_IT_IS, |o| o.total = -5],
            [|o| o.total = 1_001],
        ),
        case(
            |o| o.total.le(1_000),
            "#total <= :v0 | :v0 = N(1000)",
            [AS_IT_IS],
            [|o| o.total = 1_001],
        ),
        case(
            |o| o.total.gt(999),
            "#total > :v0 | :v0 = N(999)",
            [AS_IT_IS],
            [|o| o.total = 999],
        ),
        case(
            |o| o.weight.ge(2.5),
            "#weight >= :v0 | :v0 = N(2.5)",
            [AS_IT_IS, |o| o.weight = 1e30],
            [|o| o.weight = 2.499_999],
        ),
        case(
            |o| o.total.between(10, 1_000),
            "#total BETWEEN :v0 AND :v1 | :v0 = N(10) | :v1 = N(1000)",
            [AS_IT_IS, |o| o.total = 10],
            [|o| o.total = 9, |o| o.total = 1_001],
        ),
        case(
            |o| o.status.between("p", "q"),
            "#status BETWEEN :v0 AND :v1 | :v0 = S(p) | :v1 = S(q)",
            [AS_IT_IS],
            [|o| o.status = "sent".into()],
        ),
        case(
            |o| o.status.is_in(["new", "placed"]),
            "#status IN (:v0, :v1) | :v0 = S(new) | :v1 = S(placed)",
            [AS_IT_IS],
            [|o| o.status = "sent".into()],
        ),
        case(
            |o| o.gift.eq(true),
            "#gift = :v0 | :v0 = BOOL(true)",
            [|o| o.gift = true],
            [AS_IT_IS],
        ),
        case(
            |o| o.kind.eq(Kind::Shop),
            "#kind = :v0 | :v0 = S(SHOP)",
            [|o| o.kind = Kind::Shop],
            [AS_IT_IS],
        ),
        case(
            |o| o.paid.lt(o.total),
            "#paid < #total",
            [AS_IT_IS],
            [|o| o.paid = 1_000],
        ),
        // The key's fields are attributes of the item as well.
        case(
            |o| o.order_id.eq("o-1"),
            "#order_id = :v0 | :v0 = S(o-1)",
            [AS_IT_IS],
            [],
        ),
    ]
}

fn absences() -> Vec<Case> {
    vec![
        case(
            |o| o.coupon.exists(),
            "attribute_exists(#coupon)",
            [|o| o.coupon = Some(String::new())],
            [AS_IT_IS],
        ),
        case(
            |o| o.coupon.absent(),
            "attribute_not_exists(#coupon)",
            [AS_IT_IS],
            [|o| o.coupon = Some("X".into())],
        ),
        case(
            |o| o.coupon.eq("SPRING"),
            "#coupon = :v0 | :v0 = S(SPRING)",
            [|o| o.coupon = Some("SPRING".into())],
            [AS_IT_IS],
        ),
        case(
            |o| o.coupon.ne("SPRING"),
            "#coupon <> :v0 | :v0 = S(SPRING)",
            [AS_IT_IS, |o| o.coupon = Some("AUTUMN".into())],
            [|o| o.coupon = Some("SPRING".into())],
        ),
        case(
            |o| o.coupon.eq(None),
            "attribute_not_exists(#coupon) OR attribute_type(#coupon, :v0) | :v0 = S(NULL)",
            [AS_IT_IS],
            [|o| o.coupon = Some("X".into())],
        ),
        case(
            |o| o.coupon.ne(None),
            "NOT (attribute_not_exists(#coupon) OR attribute_type(#coupon, :v0)) | :v0 = S(NULL)",
            [|o| o.coupon = Some("X".into())],
            [AS_IT_IS],
        ),
        // What is absent in a document is written as a null.
        case(
            |o| o.address.field(|it| it.floor).eq(None),
            "attribute_not_exists(#address.#floor) OR attribute_type(#address.#floor, :v0) | :v0 = S(NULL)",
            [|o| o.address.floor = None],
            [AS_IT_IS],
        ),
        case(
            |o| o.discount.ge(5),
            "#discount >= :v0 | :v0 = N(5)",
            [|o| o.discount = Some(5)],
            [AS_IT_IS, |o| o.discount = Some(4)],
        ),
        case(
            |o| o.discount.some().lt(o.total),
            "#discount < #total",
            [|o| o.discount = Some(5)],
            [AS_IT_IS, |o| o.discount = Some(1_000)],
        ),
        case(
            |o| o.tags.eq(surehand::tables::Set::default()),
            "attribute_not_exists(#tags) OR attribute_type(#tags, :v0) | :v0 = S(NULL)",
            [|o| o.tags.clear()],
            [AS_IT_IS],
        ),
        case(
            |o| o.days.has_type("NS"),
            "attribute_type(#days, :v0) | :v0 = S(NS)",
            [AS_IT_IS],
            [|o| o.days.clear()],
        ),
    ]
}

fn contents() -> Vec<Case> {
    vec![
        case(
            |o| o.status.begins_with("pla"),
            "begins_with(#status, :v0) | :v0 = S(pla)",
            [AS_IT_IS],
            [|o| o.status = "unplaced".into()],
        ),
        case(
            |o| o.coupon.some().begins_with("SP"),
            "begins_with(#coupon, :v0) | :v0 = S(SP)",
            [|o| o.coupon = Some("SPRING".into())],
            [AS_IT_IS],
        ),
        case(
            |o| o.status.contains("lace"),
            "contains(#status, :v0) | :v0 = S(lace)",
            [AS_IT_IS],
            [|o| o.status = "sent".into()],
        ),
        case(
            |o| o.tags.contains("vip"),
            "contains(#tags, :v0) | :v0 = S(vip)",
            [AS_IT_IS],
            [|o| _ = o.tags.remove("vip"), |o| o.tags.clear()],
        ),
        case(
            |o| o.days.contains(2),
            "contains(#days, :v0) | :v0 = N(2)",
            [AS_IT_IS],
            [|o| _ = o.days.remove(&2)],
        ),
        case(
            |o| o.lines.contains(line("pen", 1)),
            "contains(#lines, :v0) | :v0 = M(quantity: N(1), sku: S(pen))",
            [AS_IT_IS],
            [|o| o.lines[1].quantity = 2],
        ),
        case(
            |o| o.status.size().eq(6),
            "size(#status) = :v0 | :v0 = N(6)",
            [AS_IT_IS, |o| o.status = "plåçed".into()],
            // A character beyond U+FFFF counts twice.
            [|o| o.status = "place𝄞".into()],
        ),
        case(
            |o| o.lines.size().lt(2),
            "size(#lines) < :v0 | :v0 = N(2)",
            [|o| drop(o.lines.pop())],
            [AS_IT_IS],
        ),
        case(
            |o| o.tags.size().le(1).or(o.tags.absent()),
            "size(#tags) <= :v0 OR attribute_not_exists(#tags) | :v0 = N(1)",
            [|o| _ = o.tags.remove("vip"), |o| o.tags.clear()],
            [AS_IT_IS],
        ),
        case(
            |o| o.stock.size().gt(1).and(o.stock.size().ge(2)),
            "size(#stock) > :v0 AND size(#stock) >= :v1 | :v0 = N(1) | :v1 = N(2)",
            [AS_IT_IS],
            [|o| o.stock.clear()],
        ),
    ]
}

fn places() -> Vec<Case> {
    vec![
        case(
            |o| o.address.field(|it| it.city).eq("Bern"),
            "#address.#city = :v0 | :v0 = S(Bern)",
            [AS_IT_IS],
            [|o| o.address.city = "Basel".into()],
        ),
        case(
            |o| o.address.eq(address("Bern", Some(3))),
            "#address = :v0 | :v0 = M(city: S(Bern), floor: N(3))",
            [AS_IT_IS],
            [|o| o.address.floor = None],
        ),
        case(
            |o| o.billing.some().field(|it| it.city).eq("Genf"),
            "#billing.#city = :v0 | :v0 = S(Genf)",
            [|o| o.billing = Some(address("Genf", None))],
            [AS_IT_IS],
        ),
        case(
            |o| o.lines.at_index(1).field(|it| it.quantity).ge(1),
            "#lines[1].#quantity >= :v0 | :v0 = N(1)",
            [AS_IT_IS],
            [|o| drop(o.lines.pop()), |o| o.lines[1].quantity = 0],
        ),
        case(
            |o| o.codes.at_index(1).eq(None),
            "attribute_not_exists(#codes[1]) OR attribute_type(#codes[1], :v0) | :v0 = S(NULL)",
            [AS_IT_IS, |o| o.codes.clear()],
            [|o| o.codes[1] = Some("b".into())],
        ),
        case(
            |o| o.stock.entry("book").ge(3),
            "#stock.#book >= :v0 | :v0 = N(3)",
            [AS_IT_IS],
            [|o| _ = o.stock.remove("book")],
        ),
        case(
            |o| o.stock.entry("a.b c").eq(5),
            "#stock.#n1 = :v0 | #n1 = a.b c | :v0 = N(5)",
            [AS_IT_IS],
            [|o| o.stock = [("a.b c".to_owned(), 6)].into()],
        ),
        case(
            |o| o.stock.entry("lamp").absent(),
            "attribute_not_exists(#stock.#lamp)",
            [AS_IT_IS],
            [|o| _ = o.stock.insert("lamp".into(), 0)],
        ),
        case(
            |o| o.homes.entry("first").some().field(|it| it.city).eq("Chur"),
            "#homes.#first.#city = :v0 | :v0 = S(Chur)",
            [AS_IT_IS],
            [|o| o.homes.clear()],
        ),
        case(
            |o| o.odd.eq(7).and(o.size.eq(4)).and(o.n0.eq(1)),
            "#n0 = :v0 AND #n1 = :v1 AND #n0_ = :v2 \
             | #n0 = odd-name.x | #n0_ = n0 | #n1 = größe | :v0 = N(7) | :v1 = N(4) | :v2 = N(1)",
            [AS_IT_IS],
            [|o| o.odd = 8, |o| o.size = 8, |o| o.n0 = 8],
        ),
        case(
            |o| o.odd.gt(0).and(o.odd.lt(10)),
            "#n0 > :v0 AND #n0 < :v1 | #n0 = odd-name.x | :v0 = N(0) | :v1 = N(10)",
            [AS_IT_IS],
            [|o| o.odd = 10],
        ),
    ]
}

fn combinations() -> Vec<Case> {
    vec![
        case(
            |o| o.gift.eq(false).and(o.total.eq(1_000)).and(o.paid.eq(400)),
            "#gift = :v0 AND #total = :v1 AND #paid = :v2 | :v0 = BOOL(false) | :v1 = N(1000) | :v2 = N(400)",
            [AS_IT_IS],
            [|o| o.gift = true, |o| o.total = 1, |o| o.paid = 1],
        ),
        case(
            |o| o.total.eq(1).or(o.paid.eq(1)).or(o.gift.eq(true)),
            "#total = :v0 OR #paid = :v1 OR #gift = :v2 | :v0 = N(1) | :v1 = N(1) | :v2 = BOOL(true)",
            [|o| o.total = 1, |o| o.paid = 1, |o| o.gift = true],
            [AS_IT_IS],
        ),
        // (a OR b) AND c is not a OR b AND c, in which the AND is first.
        case(
            |o| o.total.eq(1).or(o.paid.eq(400)).and(o.gift.eq(true)),
            "(#total = :v0 OR #paid = :v1) AND #gift = :v2 | :v0 = N(1) | :v1 = N(400) | :v2 = BOOL(true)",
            [|o| o.gift = true],
            [AS_IT_IS, |o| o.total = 1],
        ),
        case(
            |o| o.total.eq(1).or(o.paid.eq(400).and(o.gift.eq(true))),
            "#total = :v0 OR (#paid = :v1 AND #gift = :v2) | :v0 = N(1) | :v1 = N(400) | :v2 = BOOL(true)",
            [|o| o.gift = true, |o| o.total = 1],
            [AS_IT_IS],
        ),
        case(
            |o| (!o.total.eq(1)).and(!o.total.between(5, 9)),
            "(NOT #total = :v0) AND (NOT (#total BETWEEN :v1 AND :v2)) | :v0 = N(1) | :v1 = N(5) | :v2 = N(9)",
            [AS_IT_IS],
            [|o| o.total = 1, |o| o.total = 7],
        ),
        case(
            |o| !(o.total.eq(1).or(o.paid.eq(1))),
            "NOT (#total = :v0 OR #paid = :v1) | :v0 = N(1) | :v1 = N(1)",
            [AS_IT_IS],
            [|o| o.total = 1, |o| o.paid = 1],
        ),
        case(
            |o| !!o.coupon.exists(),
            "NOT (NOT attribute_exists(#coupon))",
            [|o| o.coupon = Some("X".into())],
            [AS_IT_IS],
        ),
        case(
            |o| o.total.between(1, 2_000).and(o.paid.between(1, 2_000)),
            "(#total BETWEEN :v0 AND :v1) AND (#paid BETWEEN :v2 AND :v3) \
             | :v0 = N(1) | :v1 = N(2000) | :v2 = N(1) | :v3 = N(2000)",
            [AS_IT_IS],
            [|o| o.total = 0, |o| o.paid = 2_001],
        ),
    ]
}

fn cases() -> impl Iterator<Item = Case> {
    let groups = [comparisons, absences, contents, places, combinations];
    groups.into_iter().flat_map(|group| group())
}

#[tokio::test]
async fn a_condition_is_text_with_a_placeholder_for_each_name_and_value() {
    let world = World::new().await;
    for case in cases() {
        let write = staged(|tx| {
            tx.check(&world.tables, Order::key("o-1"))
                .only_if(case.condition)
                .stage();
        });
        let check = write.await.condition_check.unwrap();
        let text = shown(
            &check.condition_expression,
            check.expression_attribute_names.as_ref(),
            check.expression_attribute_values.as_ref(),
        );
        assert_eq!(text, case.text);
    }
}

#[tokio::test]
async fn dynamodb_takes_a_condition_for_what_it_says() {
    let world = World::new().await;
    for case in cases() {
        let orders = [(true, &case.holds), (false, &case.fails)];
        let orders = orders
            .into_iter()
            .flat_map(|(holds, changes)| changes.iter().map(move |change| (holds, change)));
        for (at, (holds, change)) in orders.enumerate() {
            let mut order = order();
            change(&mut order);
            world.dynamo.put(&order).await;
            let checked = world.commit(|tx| {
                tx.check(&world.tables, order.to_key())
                    .only_if(case.condition)
                    .or(Error::rejected("it does not hold"));
            });
            let result = checked.await.map_err(|error| error.to_string());
            let expected = match holds {
                true => Ok(()),
                false => Err("it does not hold".to_owned()),
            };
            assert_eq!(result, expected, "{} of order {at}", case.text);
        }
    }
}

/// A condition on an item that is not there is one on an item without attributes.
#[tokio::test]
async fn of_an_item_that_is_not_there_only_what_is_absent_holds() {
    let world = World::new().await;
    type Written = fn(OrderFields<Order>) -> Condition<Order>;
    let conditions: [(Written, bool); 6] = [
        (|o| o.status.eq("placed"), false),
        (|o| o.status.ne("placed"), true),
        (|o| o.total.ge(0), false),
        (|o| !o.total.ge(0), true),
        (|o| o.coupon.eq(None), true),
        (|o| o.order_id.exists(), false),
    ];
    for (at, (condition, holds)) in conditions.into_iter().enumerate() {
        let checked = world.commit(|tx| {
            tx.check(&world.tables, Order::key("none"))
                .only_if(condition)
                .stage();
        });
        assert_eq!(checked.await.is_ok(), holds, "condition {at}");
    }
}
