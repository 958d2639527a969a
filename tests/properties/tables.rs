//! Entities in a DynamoDB: what is put is what is read, two items have two keys, and pages leave nothing out.

use super::json;
use proptest::{collection::vec, prelude::*, test_runner::TestCaseResult};
use serde::{Deserialize, Serialize, Serializer, de};
use std::{collections::BTreeMap, fmt, sync::LazyLock};
use surehand::{
    Entity, Tables,
    tables::{Access, Document, KeyKind, KeyValue, Read, Set},
    testing::DynamoDb,
};
use tokio::runtime::Runtime;

/// An entity with a field of every kind that DynamoDB keeps.
///
/// Outside are: integers of 128 bits, which no attribute is written from; floats that are no numbers, or beyond
/// 1e126 or below 1e-130; an entry of a map without a name; a set that is empty inside an `Option` or a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(table = "EVERYTHING_TABLE", key(id, at))]
struct Everything {
    id: Bytes,
    at: i64,
    text: String,
    letter: char,
    is_so: bool,
    unsigned: (u8, u16, u32, u64, usize),
    signed: (i8, i16, i32, i64, isize),
    floats: (f32, f64),
    nothing: Option<String>,
    list: Vec<Option<i64>>,
    bytes: Bytes,
    #[serde(default)]
    texts: Set<String>,
    #[serde(default)]
    numbers: Set<i64>,
    map: BTreeMap<String, Vec<String>>,
    numbered: BTreeMap<i64, bool>,
    inner: Inner,
    inners: Vec<Inner>,
    choice: Choice,
    #[serde(flatten)]
    tagged: Tagged,
    json: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Document)]
struct Inner {
    text: String,
    maybe: Option<Box<Choice>>,
    #[serde(default)]
    set: Set<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    One(i64),
    Two(String, bool),
    Named { text: String, number: Option<f64> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tag", rename_all = "kebab-case")]
enum Tagged {
    Without,
    With { tagged_number: i64 },
}

/// Bytes as DynamoDB has them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

impl KeyValue for Bytes {
    const KIND: KeyKind = KeyKind::Bytes;
}

/// Any integer, its type's limits often.
macro_rules! integer {
    ($($type:ty),+) => {
        ($(prop_oneof![3 => any::<$type>(), 1 => Just(<$type>::MIN), 1 => Just(<$type>::MAX)]),+)
    };
}

/// A number that DynamoDB keeps.
fn float() -> impl Strategy<Value = f64> {
    let is_kept = |it: &f64| *it == 0.0 || (1e-129..1e125).contains(&it.abs());
    prop_oneof![
        any::<f64>().prop_filter("DynamoDB keeps it", is_kept),
        -1e9..1e9,
        Just(0.0),
        Just(0.1),
        Just(9e124),
    ]
}

fn short_float() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("a number", |it| it.is_finite())
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::Unit),
        any::<i64>().prop_map(Choice::One),
        (json::text(), any::<bool>()).prop_map(|(text, is_so)| Choice::Two(text, is_so)),
        (json::text(), prop::option::of(float()))
            .prop_map(|(text, number)| Choice::Named { text, number }),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    let maybe = prop::option::of(choice().prop_map(Box::new));
    let set = vec(any::<u32>(), 0..4).prop_map(Set::from_iter);
    (json::text(), maybe, set).prop_map(|(text, maybe, set)| Inner { text, maybe, set })
}

prop_compose! {
    fn key()(bytes in vec(any::<u8>(), 1..9), at in integer!(i64)) -> (Bytes, i64) {
        (Bytes(bytes), at)
    }
}

prop_compose! {
    fn everything()(
        (id, at) in key(),
        (text, letter, is_so) in (json::text(), any::<char>(), any::<bool>()),
        unsigned in integer!(u8, u16, u32, u64, usize),
        signed in integer!(i8, i16, i32, i64, isize),
        floats in (short_float(), float()),
        (nothing, json) in (prop::option::of(json::text()), prop::option::of(document())),
        list in vec(prop::option::of(integer!(i64)), 0..4),
        bytes in vec(any::<u8>(), 0..9),
        (texts, numbers) in (vec(json::text(), 0..4), vec(integer!(i64), 0..4)),
        map in prop::collection::btree_map(json::name(), vec(json::text(), 0..3), 0..4),
        numbered in prop::collection::btree_map(any::<i64>(), any::<bool>(), 0..3),
        (inner, inners, choice) in (inner(), vec(inner(), 0..3), choice()),
        tagged in prop_oneof![
            Just(Tagged::Without),
            any::<i64>().prop_map(|tagged_number| Tagged::With { tagged_number }),
        ],
    ) -> Everything {
        Everything {
            id, at, text, letter, is_so, unsigned, signed, floats, nothing, list, bytes: Bytes(bytes),
            texts: texts.into_iter().collect(), numbers: numbers.into_iter().collect(),
            map, numbered, inner, inners, choice, tagged, json,
        }
    }
}

/// JSON with names, since a map of DynamoDB's has no entry without, and with integers: a float may come back as
/// an integer of the same value.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        json::text().prop_map(serde_json::Value::from),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(json::name(), inner, 0..4)
                .prop_map(|it| serde_json::Value::Object(it.into_iter().collect())),
        ]
    })
}

/// A DynamoDB that all cases of a property share, and where it runs.
struct World {
    runtime: Runtime,
    tables: Tables,
    dynamo: DynamoDb,
}

impl World {
    fn new(access: Access) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let dynamo = runtime.block_on(DynamoDb::start(access));
        let tables = dynamo.tables();
        Self {
            runtime,
            tables,
            dynamo,
        }
    }
}

#[test]
fn an_entity_is_read_as_it_was_put() {
    let access = Access::new().puts::<Everything>().reads::<Everything>();
    let world = World::new(access);
    proptest!(ProptestConfig::with_cases(256), |(entity in everything())| {
        let [got, read] = world.runtime.block_on(async {
            world.tables.put(&entity).await.unwrap();
            let key = entity.to_key();
            let got = world.tables.get(key.clone()).await.unwrap();
            let found = world.tables.read(Read::new().key(&key)).await.unwrap();
            [got, found.get(&key).unwrap()]
        });
        prop_assert_eq!(got.as_ref(), Some(&entity));
        prop_assert_eq!(read.as_ref(), Some(&entity));
    });
}

/// Entities of one table, in whose keys fields are beside each other.
mod keys {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
    #[entity(table = "KEYS_TABLE", key(pk = "{a}#{b}", sk = "{c}::{d}:"))]
    struct Four {
        a: String,
        b: String,
        c: String,
        d: i64,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
    #[entity(table = "KEYS_TABLE", key(pk = "{a}abab{b}aba{c}", sk = "X"))]
    struct Three {
        a: String,
        b: String,
        c: String,
    }

    /// Texts in which what keys are separated by is likely.
    fn part() -> impl Strategy<Value = String> {
        prop_oneof!["[ab#:]{0,4}", "(ab|aba|#|:|::|x){0,3}", json::text()]
    }

    fn different<E: Entity + PartialEq + fmt::Debug>(one: &E, other: &E) -> TestCaseResult {
        let key = |entity: &E| entity.to_key().to_item();
        if let (Ok(key), Ok(other_key)) = (key(one), key(other)) {
            prop_assert_eq!(key == other_key, one == other, "{:?} {:?}", one, other);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// The fields of these are all in their key.
        #[test]
        fn entities_with_different_fields_have_different_keys(
            one in (part(), part(), part(), -9_i64..9),
            other in (part(), part(), part(), -9_i64..9),
        ) {
            let four = |(a, b, c, d): (String, String, String, i64)| Four { a, b, c, d };
            let three = |it: &Four| Three { a: it.a.clone(), b: it.b.clone(), c: it.c.clone() };
            let (one, other) = (four(one), four(other));
            different(&three(&one), &three(&other))?;
            different(&one, &other)?;
        }

        /// What is in a key is no reason to refuse it unless something ends there.
        #[test]
        fn a_key_of_ordinary_texts_is_made(a in "[a-z0-9-]{0,9}", b in "[a-z0-9#:-]{0,9}", d: i64) {
            let four = Four { a: a.clone(), b, c: a, d };
            prop_assert!(four.to_key().to_item().is_ok());
        }
    }
}

mod pages {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
    #[entity(
        table = "PAGES_TABLE",
        key(pk = "SHELF#{shelf}", sk = "BOOK#{name}"),
        index(by_size, name = "by-size", key(size, pk = "SHELF#{shelf}"))
    )]
    struct Book {
        shelf: String,
        name: String,
        size: u64,
    }

    static WORLD: LazyLock<World> =
        LazyLock::new(|| World::new(Access::new().queries::<Book>().puts::<Book>()));

    /// Reads page after page.
    async fn by_pages(
        query: impl Fn() -> surehand::tables::Query<'static, Book, String>,
        limit: u32,
    ) -> Vec<Book> {
        let mut read = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let query = query().limit(limit);
            let page = match next.take() {
                Some(next) => query.resume(next),
                None => query,
            };
            let page = page.page().await.unwrap();
            assert!(page.items.len() <= limit as usize);
            read.extend(page.items);
            match page.next {
                Some(it) => next = Some(it),
                None => return read,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pages_of_any_size_have_what_one_read_has(
            shelf in "[a-z]{12}",
            books in prop::collection::btree_map(json::text(), 0_u64..3, 0..12),
            (limit, descending, filters) in (1_u32..6, any::<bool>(), any::<bool>()),
        ) {
            let world = &*WORLD;
            let books = books.into_iter().map(|(name, size)| Book { shelf: shelf.clone(), name, size });
            let mut expected: Vec<Book> = books.collect();
            let (one, pages) = world.runtime.block_on(async {
                for book in &expected {
                    world.dynamo.put(book).await;
                }
                let query = || {
                    let query = world.tables.query(Book::partition(&shelf));
                    let query = if descending { query.descending() } else { query };
                    if filters { query.only_if(|it| it.size.gt(0)) } else { query }
                };
                (query().all().await.unwrap(), by_pages(query, limit).await)
            });
            if filters {
                expected.retain(|it| it.size > 0);
            }
            if descending {
                expected.reverse();
            }
            prop_assert_eq!(&one, &expected, "texts are sorted by their bytes");
            prop_assert_eq!(&pages, &expected);
        }

        #[test]
        fn pages_of_an_index_have_what_one_read_has(
            size in any::<u64>(),
            shelves in prop::collection::btree_set(("[a-z]{3}", "[a-z]{3}"), 0..12),
            limit in 1_u32..6,
        ) {
            let world = &*WORLD;
            let (one, pages) = world.runtime.block_on(async {
                for (shelf, name) in &shelves {
                    let (shelf, name) = (shelf.clone(), name.clone());
                    world.dynamo.put(&Book { shelf, name, size }).await;
                }
                let query = || world.tables.query(Book::by_size(size));
                (query().all().await.unwrap(), by_pages(query, limit).await)
            });
            prop_assert_eq!(one.len(), shelves.len());
            prop_assert_eq!(pages, one);
        }
    }
}
