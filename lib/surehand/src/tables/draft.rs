//! A write of an item, before it is one of DynamoDB's.

use super::{
    condition::{Condition, Operand, Tree, all},
    entity::{Entity, Key},
    expression::Expression,
    field::Field,
    path::Path,
    read::Snapshot,
    update::{Change, Changes},
};
use crate::stage::Item;
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};

/// A write of one item.
#[derive(Debug)]
pub(crate) struct Draft {
    action: Action,
    table: String,
    /// A whole item, or its key.
    item: Item,
    condition: Option<Tree>,
    returns_old: bool,
}

#[derive(Debug)]
enum Action {
    Put,
    Update(Updated),
    Delete,
    Check,
}

#[derive(Debug, Default)]
struct Updated {
    changes: Changes,
    may_be_created: bool,
    /// What an item has that is created.
    created: Changes,
}

impl Draft {
    fn new(action: Action, table: &str, item: Item) -> Self {
        Self {
            action,
            table: table.to_owned(),
            item,
            condition: None,
            returns_old: false,
        }
    }

    pub(crate) fn put(table: &str, item: Item) -> Self {
        Self::new(Action::Put, table, item)
    }

    /// An update of the item with this key, which must exist.
    pub(crate) fn update(table: &str, key: Item) -> Self {
        Self::new(Action::Update(Updated::default()), table, key)
    }

    pub(crate) fn delete(table: &str, key: Item) -> Self {
        Self::new(Action::Delete, table, key)
    }

    pub(crate) fn check(table: &str, key: Item) -> Self {
        Self::new(Action::Check, table, key)
    }

    pub(crate) fn only_if<E: Entity>(&mut self, condition: Condition<E>) {
        self.condition = Some(match self.condition.take() {
            Some(before) => all(before, condition.tree),
            None => condition.tree,
        });
    }

    /// Whether the write is of the item with this key.
    pub(crate) fn is_of<E: Entity>(&self, key: &Key<E>) -> bool {
        let key = key.to_item().unwrap_or_default();
        key.iter()
            .all(|(name, part)| self.item.get(name) == Some(part))
    }

    /// The failure of a condition tells how the item was.
    pub(crate) fn returns_old(&mut self) {
        self.returns_old = true;
    }

    pub(crate) fn change<E, T>(&mut self, field: &Field<E, T>, change: Change) {
        if let Action::Update(update) = &mut self.action {
            update.changes.push(field.path.clone(), change);
        }
    }

    /// The update creates the item if there is none.
    pub(crate) fn may_be_created(&mut self) {
        if let Action::Update(update) = &mut self.action {
            update.may_be_created = true;
        }
    }

    /// An attribute that an item has which the update creates.
    pub(crate) fn if_created(&mut self, name: &'static str, value: AttributeValue) {
        if let Action::Update(update) = &mut self.action {
            let value = Change::SetIfAbsent(Operand::Value(value));
            update.created.push(Path::new(None, name), value);
        }
    }

    /// Makes the write.
    pub(crate) fn write<E: Entity>(self) -> Result<TransactWriteItem, String> {
        let Self {
            action,
            table,
            item,
            condition,
            returns_old,
        } = self;
        let of_entity = |problem: String| format!("a write of {} is not valid: {problem}", E::NAME);
        let incomplete = |error: BuildError| of_entity(error.to_string());
        let mut expression = Expression::default();
        let mut changed = String::new();
        let mut condition = condition;
        match &action {
            Action::Update(update) => {
                let mut changes = update.changes.clone();
                if changes.is_empty() && !update.may_be_created {
                    return Err(of_entity("the update changes nothing".to_owned()));
                }
                if let Some(version) = E::VERSION {
                    let one = Operand::Value(first_version());
                    changes.push(Path::new(None, version), Change::Add(one));
                }
                match update.may_be_created {
                    true => changes.extend(&update.created),
                    false => {
                        let exists = is_present::<E>().tree;
                        condition = Some(match condition {
                            Some(condition) => all(exists, condition),
                            None => exists,
                        });
                    }
                }
                changed = changes.text(&mut expression).map_err(of_entity)?;
            }
            // A check must ask for something.
            Action::Check if condition.is_none() => condition = Some(is_present::<E>().tree),
            _ => {}
        }
        let condition = match &condition {
            Some(tree) => Some(expression.condition(tree).map_err(of_entity)?),
            None => None,
        };
        let (names, values) = (expression.take_names(), expression.take_values());
        let old = returns_old.then_some(ReturnValuesOnConditionCheckFailure::AllOld);
        let write = TransactWriteItem::builder();
        Ok(match action {
            Action::Put => write.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(item))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(old)
                    .build()
                    .map_err(incomplete)?,
            ),
            Action::Update(_) => write.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(item))
                    .update_expression(changed)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(old)
                    .build()
                    .map_err(incomplete)?,
            ),
            Action::Delete => write.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(item))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(old)
                    .build()
                    .map_err(incomplete)?,
            ),
            Action::Check => write.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(item))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(old)
                    .build()
                    .map_err(incomplete)?,
            ),
        }
        .build())
    }
}

/// The version of a new item.
pub(crate) fn first_version() -> AttributeValue {
    AttributeValue::N("1".to_owned())
}

fn key<E: Entity>() -> Path {
    Path::new(None, E::KEY.partition.name)
}

/// The condition that there is such an item.
pub(crate) fn is_present<E: Entity>() -> Condition<E> {
    Condition::new(Tree::Function("attribute_exists", key::<E>(), None))
}

/// The condition that there is no such item.
pub(crate) fn is_absent<E: Entity>() -> Condition<E> {
    Condition::new(Tree::Function("attribute_not_exists", key::<E>(), None))
}

/// The condition that the item has the version that this one has, which then has the next one.
pub(crate) fn is_version<E: Entity>(
    name: &'static str,
    item: &mut Item,
) -> Result<Condition<E>, String> {
    let version = match item.get(name) {
        Some(AttributeValue::N(digits)) => digits.clone(),
        _ => return Err(format!("the version `{name}` of {} is no number", E::NAME)),
    };
    let next = version.parse::<u64>().ok().and_then(|it| it.checked_add(1));
    let next =
        next.ok_or_else(|| format!("the version `{name}` of {} has no next one", E::NAME))?;
    item.insert(name.to_owned(), AttributeValue::N(next.to_string()));
    Ok(match version.as_str() {
        "0" => is_absent::<E>(),
        _ => has(name, AttributeValue::N(version)),
    })
}

/// The condition that the item is as it was read.
pub(crate) fn is_unchanged<E: Entity>(read: &Snapshot<E>) -> Condition<E> {
    let Some(item) = &read.item else {
        return is_absent::<E>();
    };
    if let Some(name) = E::VERSION
        && let Some(version) = item.get(name)
    {
        return has(name, version.clone());
    }
    // DynamoDB cannot be asked whether there are attributes that nobody names.
    if E::HAS_UNNAMED {
        return Condition::new(Tree::Invalid(
            "whether an item is unchanged is not known where the type has a flattened or a skipped field: give the entity a version".to_owned(),
        ));
    }
    let mut condition = is_present::<E>();
    let is_key = |name: &str| {
        name == E::KEY.partition.name || E::KEY.sort.is_some_and(|sort| sort.name == name)
    };
    // Sorted, so that every try of a commit sends the same bytes.
    let mut attributes: Vec<_> = item.iter().filter(|(name, _)| !is_key(name)).collect();
    attributes.sort_by_key(|(name, _)| *name);
    for (name, value) in attributes {
        condition = condition.and(has(name.clone(), value.clone()));
    }
    for name in E::ATTRIBUTES
        .iter()
        .filter(|name| !item.contains_key(**name))
    {
        let absent = Tree::Function("attribute_not_exists", Path::new(None, *name), None);
        condition = condition.and(Condition::new(absent));
    }
    condition
}

fn has<E>(name: impl Into<std::borrow::Cow<'static, str>>, value: AttributeValue) -> Condition<E> {
    let path = Operand::Path(Path::new(None, name));
    Condition::new(Tree::Compare(path, "=", Operand::Value(value)))
}
