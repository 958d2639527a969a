//! A DynamoDB with the tables of the entities, commits to it, and writes as text.

use super::entities::everything;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
};
use surehand::{
    DynamoDbStore, Idempotency, MemoryStore, Result, Tables, Transaction, testing::DynamoDb,
};

pub(crate) struct World {
    pub(crate) dynamo: DynamoDb,
    pub(crate) tables: Tables,
    once: Idempotency<DynamoDbStore>,
    commits: AtomicUsize,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dynamo = DynamoDb::start(everything()).await;
        Self {
            tables: dynamo.tables(),
            once: Idempotency::new(dynamo.store()).scope("tests"),
            dynamo,
            commits: AtomicUsize::new(0),
        }
    }

    /// Commits what is staged, under a key of its own.
    pub(crate) async fn commit(&self, stage: impl FnOnce(&Transaction)) -> Result<()> {
        let key = self.commits.fetch_add(1, Ordering::Relaxed).to_string();
        let stage = async |tx: Transaction| {
            stage(&tx);
            Ok(())
        };
        self.once.once(&key, (), stage).await.map(drop)
    }

    /// Commits what is staged, and returns how that failed.
    pub(crate) async fn refused(&self, stage: impl FnOnce(&Transaction)) -> String {
        let committed = self.commit(stage).await;
        committed.expect_err("this is not committed").to_string()
    }
}

/// The only write that is staged, as DynamoDB would get it.
pub(crate) async fn staged(stage: impl FnOnce(&Transaction)) -> TransactWriteItem {
    let store = MemoryStore::new();
    let once = Idempotency::new(store.clone()).scope("tests");
    let stage = async |tx: Transaction| {
        stage(&tx);
        Ok(())
    };
    once.once("1", (), stage).await.unwrap();
    let mut writes = store.writes();
    assert_eq!(writes.len(), 1);
    writes.remove(0)
}

/// An expression with its values, and with the names of the placeholders that are called otherwise:
/// `#n0 > :v0 | #n0 = odd-name | :v0 = N(3)`.
///
/// DynamoDB takes no placeholder that is not defined, and none that is not used.
pub(crate) fn shown(
    expressions: &str,
    names: Option<&HashMap<String, String>>,
    values: Option<&HashMap<String, AttributeValue>>,
) -> String {
    let names: BTreeMap<_, _> = names.into_iter().flatten().collect();
    let values: BTreeMap<_, _> = values.into_iter().flatten().collect();
    let defined = names.keys().chain(values.keys()).map(|it| it.as_str());
    let defined: Vec<&str> = defined.collect();
    let mut used = placeholders(expressions);
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, defined, "{expressions}");
    let mut text = expressions.to_owned();
    for (placeholder, name) in names {
        if placeholder[1..] != **name {
            text += &format!(" | {placeholder} = {name}");
        }
    }
    for (placeholder, value) in values {
        text += &format!(" | {placeholder} = {}", value_text(value));
    }
    text
}

fn placeholders(text: &str) -> Vec<&str> {
    let starts = text.match_indices(['#', ':']).map(|(at, _)| &text[at..]);
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    starts
        .map(|rest| {
            let end = rest[1..].find(is_end).map_or(rest.len(), |at| at + 1);
            &rest[..end]
        })
        .collect()
}

fn value_text(value: &AttributeValue) -> String {
    let list = |values: Vec<String>| values.join(", ");
    match value {
        AttributeValue::S(text) => format!("S({text})"),
        AttributeValue::N(digits) => format!("N({digits})"),
        AttributeValue::Bool(is_so) => format!("BOOL({is_so})"),
        AttributeValue::Null(_) => "NULL".to_owned(),
        AttributeValue::Ss(texts) => format!("SS({})", list(texts.clone())),
        AttributeValue::Ns(digits) => format!("NS({})", list(digits.clone())),
        AttributeValue::L(values) => {
            format!("L({})", list(values.iter().map(value_text).collect()))
        }
        AttributeValue::M(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let entries = sorted.into_iter();
            let entries = entries.map(|(name, value)| format!("{name}: {}", value_text(value)));
            format!("M({})", list(entries.collect()))
        }
        other => format!("{other:?}"),
    }
}
