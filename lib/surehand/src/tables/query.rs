//! The items of a partition, in the order of their sort key.

use super::{
    TableError, Tables,
    condition::{Condition, Operand, Tree, all},
    entity::{Entity, KeyAttribute, Partition},
    expression::Expression,
    field::Ordered,
    path::Path,
    value::{Value, from_item},
};
use crate::{description::TableAction, stage::Item};
use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::marker::PhantomData;

/// What the sort keys of a query are.
#[derive(Clone, Debug, Default)]
enum Range {
    #[default]
    All,
    BeginsWith(Operand),
    Least(Operand),
    Most(Operand),
    Between(Operand, Operand),
    Invalid(String),
}

impl Range {
    /// This one and another bound; a query has one range.
    fn and(
        self,
        value: Result<Operand, String>,
        narrow: impl FnOnce(Self, Operand) -> Option<Self>,
    ) -> Self {
        match (self, value) {
            (Self::Invalid(problem), _) | (_, Err(problem)) => Self::Invalid(problem),
            (range, Ok(value)) => narrow(range, value).unwrap_or_else(|| {
                Self::Invalid(
                    "a query has one range: `begins_with`, or `at_least` and `at_most` once each"
                        .to_owned(),
                )
            }),
        }
    }
}

/// A read of a partition's items: see [`Tables::query`].
#[derive(Debug)]
#[must_use = "a query reads nothing before `page` or `all`"]
pub struct Query<'a, E, S> {
    tables: &'a Tables,
    partition: Partition<E, S>,
    range: Range,
    filter: Option<Tree>,
    descending: bool,
    limit: Option<u32>,
    consistent: bool,
    resume: Option<String>,
    sort: PhantomData<fn() -> S>,
}

/// A part of a query's items.
#[derive(Debug)]
#[non_exhaustive]
pub struct Page<E> {
    /// The items. There may be none, and more to come.
    pub items: Vec<E>,
    /// Where the next page begins; none if this was the last. It holds the keys at which this page ended, in
    /// Base64 that URLs take: a client that gets it can read them.
    pub next: Option<String>,
}

impl Tables {
    /// Reads the entity's items of a partition, or those of a partition of an index, in the order of their
    /// sort key: `tables.query(Entry::partition("customer-7")).all().await?`.
    ///
    /// Of several entities in one partition it gives those whose sort key begins as the entity's own. The
    /// table is read consistently, an index never is.
    pub fn query<E: Entity, S>(&self, partition: Partition<E, S>) -> Query<'_, E, S> {
        Query {
            tables: self,
            partition,
            range: Range::All,
            filter: None,
            descending: false,
            limit: None,
            consistent: true,
            resume: None,
            sort: PhantomData,
        }
    }
}

impl<E: Entity, S: Ordered> Query<'_, E, S> {
    /// Those whose sort key is at least this. Of a composed sort key it is what follows the text that the
    /// key begins with.
    pub fn at_least(mut self, value: impl Value<E, S>) -> Self {
        let value = self.operand(value);
        self.range = self.range.and(value, |range, value| match range {
            Range::All => Some(Range::Least(value)),
            Range::Most(most) => Some(Range::Between(value, most)),
            _ => None,
        });
        self
    }

    /// Those whose sort key is at most this; see [`at_least`](Self::at_least).
    pub fn at_most(mut self, value: impl Value<E, S>) -> Self {
        let value = self.operand(value);
        self.range = self.range.and(value, |range, value| match range {
            Range::All => Some(Range::Most(value)),
            Range::Least(least) => Some(Range::Between(least, value)),
            _ => None,
        });
        self
    }

    fn operand(&self, value: impl Value<E, S>) -> Result<Operand, String> {
        let prefix = self.sort().map_or("", |sort| sort.prefix);
        Ok(match value.operand()? {
            Operand::Value(AttributeValue::S(text)) => {
                Operand::Value(AttributeValue::S(format!("{prefix}{text}")))
            }
            Operand::Value(value) => Operand::Value(value),
            _ => return Err("a query's range needs values".to_owned()),
        })
    }
}

impl<E: Entity> Query<'_, E, String> {
    /// Those whose sort key begins with this; see [`at_least`](Self::at_least).
    pub fn begins_with(mut self, text: impl Value<E, String>) -> Self {
        let text = self.operand(text);
        self.range = self.range.and(text, |range, text| match range {
            Range::All => Some(Range::BeginsWith(text)),
            _ => None,
        });
        self
    }
}

impl<E: Entity, S> Query<'_, E, S> {
    fn sort(&self) -> Option<KeyAttribute> {
        self.partition.schema().sort
    }

    /// The last ones first.
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// At most so many items a page, before they are filtered.
    pub fn limit(mut self, items: u32) -> Self {
        self.limit = Some(items);
        self
    }

    /// Those for which the condition holds. DynamoDB reads, and charges for, the others as well.
    pub fn only_if(mut self, condition: impl FnOnce(E::Fields<E>) -> Condition<E>) -> Self {
        let tree = condition(E::fields(None)).tree;
        self.filter = Some(match self.filter {
            Some(filter) => all(filter, tree),
            None => tree,
        });
        self
    }

    /// Reads at half the price what may be as old as a second or so.
    pub fn eventually_consistent(mut self) -> Self {
        self.consistent = false;
        self
    }

    /// Begins where an earlier page of the same query ended.
    pub fn resume(mut self, page: impl Into<String>) -> Self {
        self.resume = Some(page.into());
        self
    }

    /// Reads one page: up to 1 MB, or the [limit](Self::limit).
    ///
    /// # Errors
    /// If DynamoDB does not answer, an item is not what the entity says, or [`resume`](Self::resume) got what is
    /// no page of this partition.
    pub async fn page(self) -> Result<Page<E>, TableError> {
        let start = self
            .resume
            .as_deref()
            .map(|page| self.start(page))
            .transpose()?;
        let (items, last) = self.call(start).await?;
        Ok(Page {
            items: own::<E>(items).map(from_item).collect::<Result<_, _>>()?,
            next: last.map(|last| encode(&last)).transpose()?,
        })
    }

    /// Reads all pages from here on. They must fit in memory.
    ///
    /// # Errors
    /// As for [`page`](Self::page).
    pub async fn all(self) -> Result<Vec<E>, TableError> {
        let mut start = self
            .resume
            .as_deref()
            .map(|page| self.start(page))
            .transpose()?;
        let mut all = Vec::new();
        loop {
            let (items, last) = self.call(start).await?;
            for item in own::<E>(items) {
                all.push(from_item(item)?);
            }
            match last {
                Some(last) => start = Some(last),
                None => return Ok(all),
            }
        }
    }

    async fn call(&self, start: Option<Item>) -> Result<(Vec<Item>, Option<Item>), TableError> {
        let table = self.tables.allowed::<E>(TableAction::Query)?;
        let mut expression = Expression::default();
        let keys = self.keys(&mut expression)?;
        let filter = self
            .filter
            .as_ref()
            .map(|tree| expression.condition(tree))
            .transpose()?;
        let index = self.partition.index.map(|index| index.name.to_owned());
        let request = self.tables.client().query().table_name(table);
        let sent = request
            .consistent_read(self.consistent && index.is_none())
            .set_index_name(index)
            .key_condition_expression(keys)
            .set_filter_expression(filter)
            .set_expression_attribute_names(expression.take_names())
            .set_expression_attribute_values(expression.take_values())
            .scan_index_forward(!self.descending)
            .set_limit(
                self.limit
                    .map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            )
            .set_exclusive_start_key(start)
            .send()
            .await;
        let output =
            sent.map_err(|error| TableError::of_call("read", table, error.into_service_error()))?;
        let last = output.last_evaluated_key.filter(|last| !last.is_empty());
        Ok((output.items.unwrap_or_default(), last))
    }

    /// The condition on the keys.
    fn keys(&self, expression: &mut Expression) -> Result<String, String> {
        let part = &self.partition.part;
        let name = |name: &'static str| Operand::Path(Path::new(None, name));
        let mut tree = Tree::Compare(name(part.name()), "=", Operand::Value(part.value()?));
        if let Some(sort) = self.sort() {
            let place = Path::new(None, sort.name);
            let field = Operand::Path(place.clone());
            let text = |text: String| Operand::Value(AttributeValue::S(text));
            // With one bound alone, the other is where the entity's own keys end.
            let first = || text(sort.prefix.to_owned());
            let last = || text(format!("{}{}", sort.prefix, char::MAX));
            let begins = |with| Tree::Function("begins_with", place.clone(), Some(with));
            let range = match self.range.clone() {
                Range::All if sort.prefix.is_empty() => None,
                Range::All if sort.is_whole => Some(Tree::Compare(field, "=", first())),
                Range::All => Some(begins(first())),
                Range::BeginsWith(text) => Some(begins(text)),
                Range::Least(least) if sort.prefix.is_empty() => {
                    Some(Tree::Compare(field, ">=", least))
                }
                Range::Most(most) if sort.prefix.is_empty() => {
                    Some(Tree::Compare(field, "<=", most))
                }
                Range::Least(least) => Some(Tree::Between(field, least, last())),
                Range::Most(most) => Some(Tree::Between(field, first(), most)),
                Range::Between(least, most) => Some(Tree::Between(field, least, most)),
                Range::Invalid(problem) => return Err(problem),
            };
            if let Some(range) = range {
                tree = all(tree, range);
            }
        }
        expression.condition(&tree)
    }

    fn start(&self, page: &str) -> Result<Item, TableError> {
        let item = decode(page)?;
        let part = &self.partition.part;
        // What a client sends must not lead into another partition.
        match item.get(part.name()) == Some(&part.value()?) {
            true => Ok(item),
            false => Err(TableError::from(
                "the page to resume from is of another partition".to_owned(),
            )),
        }
    }
}

/// The items of the entity: an index may have those of others as well.
fn own<E: Entity>(items: Vec<Item>) -> impl Iterator<Item = Item> {
    items.into_iter().filter(|item| E::KEY.fits(item))
}

/// Keys hold texts, numbers and bytes alone.
fn encode(key: &Item) -> Result<String, TableError> {
    let mut parts = serde_json::Map::new();
    for (name, value) in key {
        let (kind, text) = match value {
            AttributeValue::S(text) => ("S", text.clone()),
            AttributeValue::N(digits) => ("N", digits.clone()),
            AttributeValue::B(bytes) => ("B", URL_SAFE_NO_PAD.encode(bytes)),
            _ => {
                return Err(TableError::from(
                    "DynamoDB gave a key of another type".to_owned(),
                ));
            }
        };
        parts.insert(name.clone(), serde_json::json!([kind, text]));
    }
    Ok(URL_SAFE_NO_PAD.encode(serde_json::Value::from(parts).to_string()))
}

fn decode(page: &str) -> Result<Item, TableError> {
    let parts = || -> Option<Item> {
        let json = URL_SAFE_NO_PAD.decode(page).ok()?;
        let parts: std::collections::HashMap<String, (String, String)> =
            serde_json::from_slice(&json).ok()?;
        let parts = parts.into_iter().map(|(name, (kind, text))| {
            let value = match kind.as_str() {
                "S" => AttributeValue::S(text),
                "N" => AttributeValue::N(text),
                "B" => AttributeValue::B(URL_SAFE_NO_PAD.decode(text).ok()?.into()),
                _ => return None,
            };
            Some((name, value))
        });
        parts.collect()
    };
    parts()
        .ok_or_else(|| TableError::from("the page to resume from is not one of a query".to_owned()))
}
