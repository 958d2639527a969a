//! What functions do with the entities of their tables, as they say of themselves. What they write without entities they
//! do not say, and nothing is found of it.

use std::collections::{BTreeMap, BTreeSet};

use surehand::description::{EntityUse, KeyDescription, TableAction};

use super::tables::has_key;
use crate::{
    application::{
        resource::{Resource, TABLES},
        yaml::Node,
    },
    check::{
        app::{App, Function},
        finding::{Findings, rule},
        policy::{Statement, allow},
    },
};

/// SAM's form of a table with a partition key and nothing else.
const SIMPLE: &str = "AWS::Serverless::SimpleTable";

/// The entities of a function whose tables are in the templates, each with its table.
type Used<'a> = Vec<(&'a EntityUse, &'a Resource)>;

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    let mut tables: BTreeMap<&str, (&Resource, Vec<&EntityUse>)> = BTreeMap::new();
    for function in &app.functions {
        let used = used(app, function);
        if let Some(statements) = function.statements(app).filter(|_| !used.is_empty()) {
            rights(app, function, &used, &statements, findings);
        }
        for (entity, table) in used {
            let (_, entities) = tables
                .entry(&table.id)
                .or_insert_with(|| (table, Vec::new()));
            entities.push(entity);
        }
    }
    for (table, entities) in tables.values() {
        key(table, entities, findings);
        indexes(table, entities, findings);
        definitions(table, findings);
    }
}

fn used<'a>(app: &App<'a>, function: &Function<'a>) -> Used<'a> {
    let entities = function.description.map_or(&[][..], |it| &it.tables).iter();
    entities
        .filter_map(|it| {
            let name = function.variable(&it.variable)?.text()?;
            Some((it, app.named(name, &TABLES)?))
        })
        .collect()
}

/// What a role must allow for an action, and what the function does by it. None for an action that only a newer library
/// knows.
///
/// The writes of a transaction need the same: DynamoDB authorises it write by write
/// ([its permissions](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html)).
fn right(action: TableAction) -> Option<(&'static str, &'static str)> {
    Some(match action {
        TableAction::BatchGetItem => ("dynamodb:BatchGetItem", "reads"),
        TableAction::ConditionCheckItem => ("dynamodb:ConditionCheckItem", "checks"),
        TableAction::DeleteItem => ("dynamodb:DeleteItem", "deletes"),
        TableAction::GetItem => ("dynamodb:GetItem", "reads"),
        TableAction::PutItem => ("dynamodb:PutItem", "puts"),
        TableAction::Query => ("dynamodb:Query", "queries"),
        TableAction::UpdateItem => ("dynamodb:UpdateItem", "updates"),
        _ => return None,
    })
}

fn rights(
    app: &App<'_>,
    function: &Function<'_>,
    used: &Used<'_>,
    statements: &[Statement<'_>],
    findings: &mut Findings,
) {
    let mut missing: BTreeMap<(String, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (entity, table) in used {
        let mut statements = statements.to_vec();
        statements.extend(policies(table).filter(Statement::is_allow));
        let is_allowed = |action: &str, arn: &str| allow(&statements, action, arn);
        for (action, verb) in entity.actions.iter().filter_map(|it| right(*it)) {
            let of_index =
                |name: &String| is_allowed(action, &format!("{}/index/{name}", table.arn));
            let mut lacks = |what: String| {
                let names = missing.entry((what, action, verb)).or_default();
                names.insert(&entity.entity);
            };
            let (with, without): (Vec<_>, Vec<_>) = match action {
                "dynamodb:Query" => entity.indexes.keys().partition(|name| of_index(name)),
                _ => Default::default(),
            };
            // Who may query an index need not query the table.
            if with.is_empty() && !is_allowed(action, &table.arn) {
                lacks(table.id.clone());
            }
            for index in without {
                lacks(format!("the index {index} of {}", table.id));
            }
        }
    }
    let place = function.place_of_permissions(app);
    for ((what, action, verb), entities) in missing {
        findings.add(
            &rule::MISSING_PERMISSION,
            &place,
            function.id(),
            format!(
                "its role does not allow {action} on {what}, where it {verb} {}",
                listed(entities)
            ),
        );
    }
}

/// What the policies of a table, or of its replicas, say: a role needs no permission for what they allow it.
fn policies(table: &Resource) -> impl Iterator<Item = Statement<'_>> {
    let replicas = table.property(&["Replicas"]).map_or(&[][..], Node::items);
    let of = [&table.properties].into_iter().chain(replicas);
    of.filter_map(|it| it.at(&["ResourcePolicy", "PolicyDocument"]))
        .flat_map(Statement::of)
}

fn key(table: &Resource, entities: &[&EntityUse], findings: &mut Findings) {
    let mut keys: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for entity in entities {
        let names = keys.entry(attributes(&entity.key)).or_default();
        names.insert(&entity.entity);
    }
    let path = match table.kind == SIMPLE {
        true => ["PrimaryKey"],
        false => ["KeySchema"],
    };
    let schema = table.property(&path);
    for (key, names) in keys {
        let (has, own) = match table.kind == SIMPLE {
            true => {
                let name = table.property(&["PrimaryKey", "Name"]);
                let has = match name.map(Node::text) {
                    None => key == ["id"],
                    Some(name) => name.is_none_or(|name| key == [name]),
                };
                (has, vec![name.and_then(Node::text).unwrap_or("id")])
            }
            false => (has_key(schema, &roles(&key)), named(schema)),
        };
        if !has {
            findings.add(
                &rule::ENTITY_KEY,
                &table.place_of(&path),
                &table.id,
                format!(
                    "its key is {}, and that of {} is {}: DynamoDB refuses every read and write of them",
                    listed(own),
                    listed(names),
                    listed(key)
                ),
            );
        }
    }
}

fn indexes(table: &Resource, entities: &[&EntityUse], findings: &mut Findings) {
    let mut expected: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for entity in entities {
        for (index, key) in &entity.indexes {
            let names = expected.entry((index, attributes(key))).or_default();
            names.insert(&entity.entity);
        }
    }
    for ((name, key), names) in expected {
        let mut of_name = (of_table(table))
            .filter(|it| it.get("IndexName").is_some_and(|it| it.may_be(name)))
            .peekable();
        let (place, what) = match of_name.peek() {
            Some(index) => (
                index.get("KeySchema").unwrap_or(index).place.clone(),
                format!("the key of its index {name} is not"),
            ),
            None => (
                table.place_of(&["GlobalSecondaryIndexes"]),
                format!("it has no index {name} with the key"),
            ),
        };
        if !of_name.any(|it| has_key(it.get("KeySchema"), &roles(&key))) {
            findings.add(
                &rule::ENTITY_INDEX,
                &place,
                &table.id,
                format!(
                    "{what} {}, which queries of {} need",
                    listed(key),
                    listed(names)
                ),
            );
        }
    }
}

/// CloudFormation makes no table with a key whose attributes have no type.
fn definitions(table: &Resource, findings: &mut Findings) {
    let defined = table.property(&["AttributeDefinitions"]);
    let is_defined = |name: &str| {
        let mut names = defined.map_or(&[][..], Node::items).iter();
        names.any(|it| it.get("AttributeName").is_some_and(|it| it.may_be(name)))
    };
    let of_indexes = of_table(table).filter_map(|it| it.get("KeySchema"));
    let schemas = table.property(&["KeySchema"]).into_iter().chain(of_indexes);
    let names: BTreeSet<&str> = schemas.flat_map(|it| named(Some(it))).collect();
    for name in names.into_iter().filter(|it| !is_defined(it)) {
        findings.add(
            &rule::UNDEFINED_ATTRIBUTE,
            &table.place_of(&["AttributeDefinitions"]),
            &table.id,
            format!("{name} is a part of a key, and has no type"),
        );
    }
}

/// The table's indexes.
fn of_table(table: &Resource) -> impl Iterator<Item = &Node> {
    ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"]
        .into_iter()
        .filter_map(|kind| table.property(&[kind]))
        .flat_map(Node::items)
}

fn attributes(key: &KeyDescription) -> Vec<&str> {
    let sort = key.sort.as_deref();
    [key.partition.as_str()].into_iter().chain(sort).collect()
}

/// The attributes of a key with their roles.
fn roles<'a>(key: &[&'a str]) -> Vec<(&'a str, &'static str)> {
    key.iter().copied().zip(["HASH", "RANGE"]).collect()
}

/// The names in a key, as far as they are known.
fn named(schema: Option<&Node>) -> Vec<&str> {
    let parts = schema.map_or(&[][..], Node::items).iter();
    parts
        .filter_map(|part| part.get("AttributeName")?.text())
        .collect()
}

/// `a, b and c`.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match &names[..] {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        [one] => (*one).to_owned(),
        _ => "none".to_owned(),
    }
}
