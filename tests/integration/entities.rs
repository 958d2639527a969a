//! What `#[derive(Entity)]` and `#[derive(Document)]` write.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use surehand::{
    Entity,
    tables::{Document, IndexSchema, KeyAttribute, KeyKind, KeySchema, KeyValue, Partition, Set},
};

/// An order's number, which is a key by itself.
#[derive(Clone, Serialize, Deserialize)]
struct Number(u32);

impl KeyValue for Number {
    const KIND: KeyKind = KeyKind::Number;
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Serialize, Deserialize, Document)]
struct Address {
    #[serde(rename = "zip")]
    postal_code: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(
    table = "SHOP_TABLE",
    key(pk = "CUSTOMER#{customer_id}", sk = "{{ORDER}}#{number}##{position}"),
    index(by_status, name = "by-status", key(status, placed_at)),
    index(by_coupon, key("coupon-pk" = "COUPON#{coupon}", pk = "CUSTOMER#{customer_id}")),
    index(by_agent, key(agent))
)]
#[serde(rename_all = "camelCase")]
struct Order {
    customer_id: String,
    number: Number,
    position: u8,
    r#status: String,
    placed_at: u64,
    coupon: Option<String>,
    agent: Option<Number>,
    address: Address,
    #[serde(default)]
    tags: Set<String>,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
    #[serde(skip)]
    _cached: Option<u8>,
    #[entity(version)]
    version: u64,
}

fn order() -> Order {
    Order {
        customer_id: "7".into(),
        number: Number(42),
        position: 3,
        status: "placed".into(),
        placed_at: 1_700_000_000,
        coupon: None,
        agent: None,
        address: Address {
            postal_code: "3000".into(),
        },
        tags: Set::default(),
        rest: HashMap::new(),
        _cached: Some(1),
        version: 0,
    }
}

#[test]
fn an_entity_says_what_it_is_an_item_of() {
    assert_eq!(Order::NAME, "Order");
    assert_eq!(Order::TABLE, "SHOP_TABLE");
    assert_eq!(Order::VERSION, Some("version"));
    let part = |name, kind, prefix| KeyAttribute {
        name,
        kind,
        prefix,
        is_whole: false,
    };
    let key = KeySchema {
        partition: part("pk", KeyKind::Text, "CUSTOMER#"),
        sort: Some(part("sk", KeyKind::Text, "{ORDER}#")),
    };
    assert_eq!(Order::KEY, key);
    let index = |name, partition, sort| IndexSchema {
        name,
        key: KeySchema { partition, sort },
    };
    let placed_at = part("placedAt", KeyKind::Number, "");
    assert_eq!(
        Order::INDEXES,
        [
            index(
                "by-status",
                part("status", KeyKind::Text, ""),
                Some(placed_at)
            ),
            index(
                "by_coupon",
                part("coupon-pk", KeyKind::Text, "COUPON#"),
                Some(key.partition)
            ),
            index("by_agent", part("agent", KeyKind::Number, ""), None),
        ]
    );
}

#[test]
fn an_entitys_attributes_are_those_that_serde_writes() {
    let written = serde_json::to_value(HashMap::from([("a", order())])).unwrap();
    let mut names: Vec<_> = written["a"].as_object().unwrap().keys().collect();
    let mut attributes = Order::ATTRIBUTES.to_vec();
    names.sort();
    attributes.sort_unstable();
    assert_eq!(names, attributes);
}

/// Asserts for each rule of `rename_all` that the derive gives a field the name that serde gives it.
macro_rules! each_rule {
    ($($rule:literal $name:ident),+) => {$(
        #[derive(Serialize, Deserialize, Entity)]
        #[entity(table = "T", key(some_field_2))]
        #[serde(rename_all = $rule)]
        struct $name { some_field_2: String, _id: u8, r#type: u8, #[serde(rename = "x")] y: u8 }

        let written = serde_json::to_value($name { some_field_2: String::new(), _id: 0, r#type: 0, y: 0 });
        let written = written.unwrap();
        let names = written.as_object().unwrap();
        for attribute in $name::ATTRIBUTES {
            assert!(names.contains_key(*attribute), "{}: {attribute}", $rule);
        }
        assert_eq!(names.len(), $name::ATTRIBUTES.len());
    )+};
}

#[test]
fn names_follow_every_rule_as_serde_does() {
    each_rule!(
        "lowercase" Lower, "UPPERCASE" Upper, "PascalCase" Pascal, "camelCase" Camel, "snake_case" Snake,
        "SCREAMING_SNAKE_CASE" ScreamingSnake, "kebab-case" Kebab, "SCREAMING-KEBAB-CASE" ScreamingKebab
    );
}

#[test]
fn a_key_is_the_same_of_an_item_and_of_its_fields() {
    let key = Order::key("7", Number(42), 3).to_item().unwrap();
    assert_eq!(key, order().to_key().to_item().unwrap());
    let text = |name: &str| key[name].as_s().unwrap().as_str();
    assert_eq!((text("pk"), text("sk")), ("CUSTOMER#7", "{ORDER}#42##3"));
}

#[test]
fn an_index_leaves_out_an_item_without_a_field_of_its_key() {
    let composed = |order: &Order| format!("{:?}", order.composed());
    let mut order = order();
    let without = composed(&order);
    assert!(
        without.contains("\"CUSTOMER#7\"") && without.contains("\"{ORDER}#42##3\""),
        "{without}"
    );
    assert!(
        !without.contains("coupon-pk") && without.matches("\"pk\"").count() == 1,
        "{without}"
    );
    order.coupon = Some("SPRING".into());
    let with = composed(&order);
    assert!(
        with.contains("coupon-pk") && with.contains("\"COUPON#SPRING\""),
        "{with}"
    );
}

#[test]
fn a_partition_is_compared_by_the_type_of_its_sort_key() {
    let _: Partition<Order, String> = Order::partition("7");
    let _: Partition<Order, u64> = Order::by_status("placed");
    let _: Partition<Order, String> = Order::by_coupon("SPRING");
    let _: Partition<Order, ()> = Order::by_agent(Number(1));
}

/// Two items must not have one key, so that no field can be read as ending elsewhere.
#[test]
fn a_field_that_would_end_elsewhere_makes_no_key() {
    #[derive(Serialize, Deserialize, Entity)]
    #[entity(table = "T", key(pk = "{a}##{b}#"))]
    struct Pair {
        a: String,
        b: String,
    }
    for a in ["1##2", "##", "1#"] {
        let problem = Pair::key(a, "2").to_item().unwrap_err();
        assert!(
            problem.contains("`a`") && problem.contains("`##`"),
            "{a}: {problem}"
        );
    }
    for (a, b) in [("1", "#2"), ("#1", "2"), ("1", "2##3#"), ("", "")] {
        Pair::key(a, b).to_item().unwrap();
    }
}
