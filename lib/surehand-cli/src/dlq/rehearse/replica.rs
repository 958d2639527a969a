//! What staged transactions would meet: the items that they touch, in a DynamoDB inside this command.
//!
//! An item is read when a transaction first touches it. What a transaction does to it happens here, so that the
//! letters of one run meet each other's effects.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, anyhow, bail};
use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata,
    types::{KeySchemaElement, TableDescription},
};
use dynoxide::{
    AttributeValue, Database, DynoxideError, actions::put_item::PutItemRequest, errors,
};
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use surehand::{
    DynamoDbStore, IdempotencyKey,
    idempotency::{Claim, Completion, Store as _},
    rehearsal::{Proposal, ProposedWrite, Ruling},
};

use crate::cloud::{Cloud, reason};

/// The code of a write that was not done because its condition does not hold.
const REFUSED: &str = "ConditionalCheckFailed";

/// Tables as the transactions have found and left them.
pub(super) struct Replica {
    client: aws_sdk_dynamodb::Client,
    /// Where the real tables are, for messages.
    cloud: String,
    /// Where the function keeps what it has handled, if it says so.
    claims: Option<DynamoDbStore>,
    database: Database,
    /// By what the transactions call them, which can be a name or an ARN.
    tables: HashMap<String, Table>,
    /// The items that were read, also those that do not exist.
    known: HashSet<Item>,
    /// The idempotency keys of what was committed, with the payloads' digests. A process that has died since does not
    /// know them.
    committed: HashMap<String, String>,
}

#[derive(Clone)]
struct Table {
    arn: Option<String>,
    /// Its name in the database.
    copy: String,
    /// The attributes of its key.
    key: Vec<String>,
}

/// An item, by the name of its table's copy, and its key as the database writes it: two ways to write a number are one
/// key.
type Item = (String, Vec<String>);

/// What came of a transaction.
#[derive(Debug)]
pub(super) enum Outcome {
    Committed,
    /// The key was completed before, for the payload with this digest.
    Completed(Option<String>),
    Refused(Box<Refusal>),
    /// With the reason.
    NotChecked(String),
}

/// A write whose condition does not hold.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its number in the transaction, from 0.
    number: usize,
    pub(super) write: ProposedWrite,
    /// The item as it was; none if there was none.
    pub(super) item: Option<Value>,
    /// In words.
    pub(super) text: String,
}

impl Outcome {
    pub(super) fn ruling(&self) -> Ruling {
        match self {
            Self::Committed => Ruling::Committed,
            Self::Completed(fingerprint) => Ruling::Completed {
                fingerprint: fingerprint.clone(),
            },
            Self::Refused(refusal) => Ruling::Refused {
                write: refusal.number,
                item: refusal.item.clone().filter(|_| refusal.write.wants_item()),
            },
            Self::NotChecked(reason) => Ruling::Unknown {
                reason: reason.clone(),
            },
        }
    }
}

impl Replica {
    /// `claims` is the function's idempotency table.
    pub(super) fn new(cloud: &Cloud, claims: Option<&String>) -> Result<Self> {
        let client = aws_sdk_dynamodb::Client::new(&cloud.config);
        Ok(Self {
            claims: claims.map(|table| DynamoDbStore::new(client.clone(), table)),
            client,
            cloud: cloud.name(),
            database: Database::memory().context("cannot make a database in memory")?,
            tables: HashMap::new(),
            known: HashSet::new(),
            committed: HashMap::new(),
        })
    }

    /// Carries a transaction out here, all of it or nothing, unless the function has committed it already.
    pub(super) async fn decide(&mut self, proposal: &Proposal) -> Outcome {
        if let Some(fingerprint) = self.committed.get(&proposal.key) {
            return Outcome::Completed(Some(fingerprint.clone()));
        }
        let unknown = match self.completion(&proposal.key).await {
            Ok(Some(completion)) => return Outcome::Completed(completion.fingerprint),
            Ok(None) => None,
            Err(error) => Some(format!(
                "whether its event was handled before is not known: {error:#}"
            )),
        };
        match (self.transact(&proposal.writes).await, unknown) {
            // The key may stand for another payload.
            (Ok(None), Some(unknown)) => Outcome::NotChecked(unknown),
            (Ok(None), None) => {
                let (key, fingerprint) = (proposal.key.clone(), proposal.fingerprint.clone());
                self.committed.insert(key, fingerprint);
                Outcome::Committed
            }
            (Ok(Some(mut refusal)), unknown) => {
                // What is refused may be so by what the event itself has done.
                if let Some(unknown) = unknown {
                    refusal.text.push_str(&format!("; {unknown}"));
                }
                Outcome::Refused(Box::new(refusal))
            }
            (Err(error), _) => Outcome::NotChecked(format!("{error:#}")),
        }
    }

    /// What the letter's redrive would find under its key.
    async fn completion(&self, key: &str) -> Result<Option<Completion>, surehand::Error> {
        let Some(claims) = &self.claims else {
            return Ok(None);
        };
        Ok(match claims.find(&IdempotencyKey::new(key)).await? {
            Some(Claim::Completed(completion)) => Some(completion),
            _ => None,
        })
    }

    /// None if it was committed.
    async fn transact(&mut self, writes: &[ProposedWrite]) -> Result<Option<Refusal>> {
        // The claim alone, or with events.
        if writes.is_empty() {
            return Ok(None);
        }
        let mut keys = Vec::with_capacity(writes.len());
        let mut actions = Vec::with_capacity(writes.len());
        for write in writes {
            let table = self.table(write.table()).await?;
            keys.push(table.key_of(write));
            actions.push(action(write, &table.copy));
        }
        self.read(writes, &keys).await?;
        let request = json!({"TransactItems": actions});
        let request = serde_json::from_value(request).map_err(|it| unsupported(&it))?;
        let reasons = match self.database.transact_write_items(request) {
            Ok(_) => return Ok(None),
            Err(DynoxideError::TransactionCanceledException(_, reasons)) => reasons,
            Err(error) => return Err(unsupported(&error)),
        };
        for (number, (reason, (write, key))) in
            reasons.into_iter().zip(writes.iter().zip(keys)).enumerate()
        {
            match &*reason.code {
                "None" => {}
                REFUSED => return refusal(number, write, &key, reason).map(Some),
                code => bail!(
                    "{write}: the DynamoDB inside this command refuses it with {code}: {}",
                    reason.message.unwrap_or_default()
                ),
            }
        }
        bail!("the transaction was cancelled without a reason")
    }

    /// The table, which is described when it is first asked for.
    async fn table(&mut self, name: &str) -> Result<Table> {
        if let Some(known) = self.tables.get(name) {
            return Ok(known.clone());
        }
        let described = self.client.describe_table().table_name(name).send().await;
        let described = described
            .map_err(|error| self.unreadable("dynamodb:DescribeTable", name, error))?
            .table
            .with_context(|| format!("DynamoDB does not describe the table {name}"))?;
        let is_same = |it: &&Table| it.arn.is_some() && it.arn == described.table_arn;
        let table = match self.tables.values().find(is_same) {
            Some(known) => known.clone(),
            None => {
                let copy = format!("table-{}", self.tables.len());
                let request = serde_json::from_value(definition(&copy, &described))
                    .map_err(|it| anyhow!("{it}"));
                request
                    .and_then(|it| Ok(self.database.create_table(it)?))
                    .map_err(|it| it.context(format!("{name} cannot be copied")))?;
                Table {
                    key: attributes(described.key_schema()),
                    arn: described.table_arn,
                    copy,
                }
            }
        };
        self.tables.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    /// Reads the items that no transaction has touched before.
    async fn read(&mut self, writes: &[ProposedWrite], keys: &[Map<String, Value>]) -> Result<()> {
        let mut missing = Vec::new();
        for (write, key) in writes.iter().zip(keys) {
            let Some(table) = self.tables.get(write.table()) else {
                continue;
            };
            // What is no key is refused by the transaction itself, in DynamoDB's words.
            if let Some(item) = table.item(key).filter(|item| !self.known.contains(item)) {
                missing.push((write.table(), item, key));
            }
        }
        let this = &*self;
        let read = missing.into_iter().map(async |(name, item, key)| {
            let found = this.get(name, key).await?;
            anyhow::Ok((name, item, found))
        });
        for (name, item, found) in try_join_all(read).await? {
            if let Some(found) = found {
                let request = PutItemRequest {
                    table_name: item.0.clone(),
                    item: serde_json::from_value(found)?,
                    ..PutItemRequest::default()
                };
                let put = self.database.put_item(request);
                put.with_context(|| format!("an item of {name} cannot be copied"))?;
            }
            self.known.insert(item);
        }
        Ok(())
    }

    async fn get(&self, table: &str, key: &Map<String, Value>) -> Result<Option<Value>> {
        let key: serde_dynamo::Item = serde_json::from_value(Value::Object(key.clone()))?;
        let request = self
            .client
            .get_item()
            .table_name(table)
            .set_key(Some(key.into()))
            .consistent_read(true);
        let found = request.send().await;
        let found = found.map_err(|error| self.unreadable("dynamodb:GetItem", table, error))?;
        let json = |item| serde_json::to_value(serde_dynamo::Item::from(item));
        Ok(found.item.map(json).transpose()?)
    }

    fn unreadable<E>(&self, action: &str, table: &str, error: E) -> anyhow::Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error.code() {
            Some("ResourceNotFoundException") => {
                anyhow!("there is no table {table} at {}", self.cloud)
            }
            Some("AccessDeniedException" | "AccessDenied") => {
                reason(error).context(format!("no right to {action} on {table}"))
            }
            _ => reason(error).context(format!("{action} on {table} failed")),
        }
    }
}

impl Table {
    fn key_of(&self, write: &ProposedWrite) -> Map<String, Value> {
        let item = write.item();
        let attribute = |name: &String| Some((name.clone(), item?.get(name)?.clone()));
        self.key.iter().filter_map(attribute).collect()
    }

    /// None if that is no key of the table.
    fn item(&self, key: &Map<String, Value>) -> Option<Item> {
        let text = |name: &String| {
            let value: AttributeValue = serde_json::from_value(key.get(name)?.clone()).ok()?;
            value.to_key_string()
        };
        let key: Option<Vec<String>> = self.key.iter().map(text).collect();
        Some((self.copy.clone(), key?))
    }
}

/// The write for the table's copy. What it meets is always wanted, to be shown.
fn action(write: &ProposedWrite, table: &str) -> Value {
    let mut action = write.json().clone();
    let all = action.as_object_mut().into_iter().flat_map(Map::values_mut);
    for members in all.filter_map(Value::as_object_mut) {
        for (name, value) in [
            ("TableName", table),
            ("ReturnValuesOnConditionCheckFailure", "ALL_OLD"),
        ] {
            members.insert(name.to_owned(), value.into());
        }
    }
    action
}

fn refusal(
    number: usize,
    write: &ProposedWrite,
    key: &Map<String, Value>,
    reason: errors::CancellationReason,
) -> Result<Refusal> {
    let item = reason.item.map(serde_json::to_value).transpose()?;
    let text = write.refusal(key, item.as_ref().and_then(Value::as_object));
    Ok(Refusal {
        number,
        write: write.clone(),
        item,
        text,
    })
}

fn unsupported(error: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow!("the DynamoDB inside this command does not take the transaction: {error}")
}

/// The request that makes the table's copy. Its indexes are there because a write is refused that does not fit them;
/// nothing is read from them.
fn definition(copy: &str, table: &TableDescription) -> Value {
    let schema = |schema: &[KeySchemaElement]| -> Value {
        let element = |it: &KeySchemaElement| json!({"AttributeName": it.attribute_name, "KeyType": it.key_type.as_str()});
        schema.iter().map(element).collect()
    };
    let index = |name: Option<&str>, keys: &[KeySchemaElement]| {
        json!({
            "IndexName": name, "KeySchema": schema(keys), "Projection": {"ProjectionType": "KEYS_ONLY"},
        })
    };
    let attributes = table.attribute_definitions().iter();
    let attributes = attributes.map(
        |it| json!({"AttributeName": it.attribute_name, "AttributeType": it.attribute_type.as_str()}),
    );
    let mut definition = json!({
        "TableName": copy,
        "AttributeDefinitions": attributes.collect::<Value>(),
        "KeySchema": schema(table.key_schema()),
        "BillingMode": "PAY_PER_REQUEST",
    });
    let global = table.global_secondary_indexes().iter();
    let global: Vec<Value> = global
        .map(|it| index(it.index_name(), it.key_schema()))
        .collect();
    let local = table.local_secondary_indexes().iter();
    let local: Vec<Value> = local
        .map(|it| index(it.index_name(), it.key_schema()))
        .collect();
    for (name, indexes) in [
        ("GlobalSecondaryIndexes", global),
        ("LocalSecondaryIndexes", local),
    ] {
        if !indexes.is_empty() {
            definition[name] = indexes.into();
        }
    }
    definition
}

fn attributes(schema: &[KeySchemaElement]) -> Vec<String> {
    schema.iter().map(|it| it.attribute_name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_to_write_a_number_are_one_key() {
        let table = Table {
            arn: None,
            copy: "table-0".to_owned(),
            key: vec!["pk".to_owned(), "n".to_owned()],
        };
        let item = |n: Value| {
            let key = json!({"pk": {"S": "a"}, "n": n});
            table.item(key.as_object().unwrap())
        };
        let one = item(json!({"N": "1"}));
        assert!(one.is_some());
        assert_eq!(item(json!({"N": "1.0"})), one);
        assert_ne!(item(json!({"N": "10"})), one);
        // What the real table would not take as a key is not read.
        assert_eq!(item(json!({"BOOL": true})), None);
        assert_eq!(table.item(&Map::new()), None);
    }
}
