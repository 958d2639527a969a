//! The entities of these tests: orders with every kind of field, purchases in one partition with their customer,
//! and rows that are only counted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use surehand::{
    Entity,
    tables::{Access, Document, Set},
};

/// Its fields have names that DynamoDB reserves, and names that no expression can have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "ORDER#{order_id}", sk = "ORDER"))]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) status: String,
    pub(crate) total: i64,
    pub(crate) paid: i64,
    pub(crate) weight: f64,
    pub(crate) gift: bool,
    pub(crate) kind: Kind,
    pub(crate) coupon: Option<String>,
    pub(crate) discount: Option<i64>,
    #[serde(default)]
    pub(crate) tags: Set<String>,
    #[serde(default)]
    pub(crate) days: Set<u32>,
    #[serde(default)]
    pub(crate) lines: Vec<Line>,
    #[serde(default)]
    pub(crate) codes: Vec<Option<String>>,
    pub(crate) address: Address,
    pub(crate) billing: Option<Address>,
    #[serde(default)]
    pub(crate) stock: BTreeMap<String, i64>,
    #[serde(default)]
    pub(crate) homes: BTreeMap<String, Address>,
    #[serde(rename = "odd-name.x")]
    pub(crate) odd: i64,
    #[serde(rename = "größe")]
    pub(crate) size: i64,
    /// The placeholder of a name that no expression can have could be called so.
    pub(crate) n0: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Kind {
    #[default]
    Web,
    Shop,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Document)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Document)]
pub(crate) struct Address {
    pub(crate) city: String,
    pub(crate) floor: Option<i64>,
}

pub(crate) fn line(sku: &str, quantity: i64) -> Line {
    let sku = sku.to_owned();
    Line { sku, quantity }
}

pub(crate) fn address(city: &str, floor: Option<i64>) -> Address {
    let city = city.to_owned();
    Address { city, floor }
}

/// The order from which the tests' other orders differ.
pub(crate) fn order() -> Order {
    Order {
        order_id: "o-1".into(),
        status: "placed".into(),
        total: 1_000,
        paid: 400,
        weight: 2.5,
        tags: ["new", "vip"].map(str::to_owned).into_iter().collect(),
        days: [1, 2].into_iter().collect(),
        lines: vec![line("book", 2), line("pen", 1)],
        codes: vec![Some("a".into()), None],
        address: address("Bern", Some(3)),
        stock: [("book", 3), ("a.b c", 5)]
            .map(|(sku, left)| (sku.to_owned(), left))
            .into(),
        homes: [("first".to_owned(), address("Chur", None))].into(),
        odd: 7,
        size: 4,
        n0: 1,
        ..Order::default()
    }
}

/// An entity with a version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "COUNTER#{name}", sk = "COUNTER"))]
pub(crate) struct Counter {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) value: i64,
    #[entity(version)]
    pub(crate) changes: u64,
}

/// What a customer has bought, in a partition with the [`Customer`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHOP_TABLE",
    key(pk = "CUSTOMER#{customer_id}", sk = "PURCHASE#{number}"),
    index(by_status, name = "by-status", key(status, placed_at))
)]
pub(crate) struct Purchase {
    pub(crate) customer_id: String,
    pub(crate) number: String,
    pub(crate) status: Option<String>,
    pub(crate) placed_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHOP_TABLE",
    key(pk = "CUSTOMER#{customer_id}", sk = "CUSTOMER")
)]
pub(crate) struct Customer {
    pub(crate) customer_id: String,
    pub(crate) city: String,
}

/// An entity whose key is fields, in a table of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Entity)]
#[entity(table = "LOG_TABLE", key(source, at))]
pub(crate) struct Entry {
    pub(crate) source: String,
    pub(crate) at: i64,
    pub(crate) text: String,
}

/// Everything that there is to do with an entity.
pub(crate) fn all<E: Entity>() -> Access {
    let read = Access::new().reads::<E>().queries::<E>();
    let written = read.puts::<E>().updates::<E>().deletes::<E>();
    written.checks::<E>()
}

pub(crate) fn everything() -> Access {
    [
        all::<Order>(),
        all::<Counter>(),
        all::<Purchase>(),
        all::<Customer>(),
        all::<Entry>(),
    ]
    .into_iter()
    .fold(Access::new(), Access::and)
}
