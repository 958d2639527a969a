//! Writes of entities.

use super::Transaction;
use crate::{
    Error,
    description::TableAction,
    stage::{Item, Refused, Stage, StagedWrite},
    tables::{
        Change, Changeable, Condition, Draft, Entity, Field, Key, Number, Operand, Set, SetElement,
        Snapshot, Tables, Value, first_version, from_item, is_absent, is_present, is_unchanged,
        is_version, to_item,
    },
};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use std::{fmt, marker::PhantomData};

/// A write of an item of `E`, which [`or`](Self::or), [`or_else`](Self::or_else) or [`stage`](Self::stage) ends.
///
/// One that is dropped before, because a `?` has left its statement for example, is not staged, and the record is
/// rejected: half of a write, maybe without its condition, would be worse.
///
/// `A` is [`Updating`] for an update, which changes attributes.
#[must_use = "a write ends with `.or(…)`, `.or_else(…)` or `.stage()`"]
pub struct Write<'a, E: Entity, A = ()> {
    stage: &'a Stage,
    /// None if it cannot be staged, and once it is.
    draft: Option<Draft>,
    types: PhantomData<fn() -> (E, A)>,
}

/// Marks the [`Write`] that [`Transaction::update`] makes.
#[derive(Debug)]
pub struct Updating(());

/// Writes of entities: see [`tables`](crate::tables). What they do must be in the
/// [`Access`](crate::tables::Access) of the tables that they name.
impl Transaction {
    /// Stages a new item. The condition is that there is none with its key.
    ///
    /// An entity with a version has version 1 then.
    pub fn insert<E: Entity>(&self, tables: &Tables, entity: &E) -> Write<'_, E> {
        self.written(tables, TableAction::PutItem, |table| {
            let mut item = to_item(entity)?;
            if let Some(version) = E::VERSION {
                item.insert(version.to_owned(), first_version());
            }
            let mut draft = Draft::put(table, item);
            draft.only_if(is_absent::<E>());
            Ok(draft)
        })
    }

    /// Stages an item, whatever was there before.
    ///
    /// An entity with a version replaces only the version that it has, or, with version 0, nothing. The
    /// item then has the next version.
    pub fn put<E: Entity>(&self, tables: &Tables, entity: &E) -> Write<'_, E> {
        self.written(tables, TableAction::PutItem, |table| {
            let mut item = to_item(entity)?;
            let condition = E::VERSION.map(|name| is_version::<E>(name, &mut item));
            let mut draft = Draft::put(table, item);
            if let Some(condition) = condition {
                draft.only_if(condition?);
            }
            Ok(draft)
        })
    }

    /// Stages changes of the item with this key. The condition is that there is one, unless
    /// [`or_create`](Write::or_create) is set. The version of an entity that has one is counted up.
    ///
    /// An update that changes nothing is not valid, and one that changes an attribute twice.
    pub fn update<E: Entity>(&self, tables: &Tables, key: Key<E>) -> Write<'_, E, Updating> {
        self.written(tables, TableAction::UpdateItem, |table| {
            let mut draft = Draft::update(table, key.to_item()?);
            // For an item that the update creates.
            for (name, value) in key.implied()? {
                draft.if_created(name, value);
            }
            Ok(draft)
        })
    }

    /// Stages the deletion of the item with this key, if there is one.
    pub fn delete<E: Entity>(&self, tables: &Tables, key: Key<E>) -> Write<'_, E> {
        self.written(tables, TableAction::DeleteItem, |table| {
            Ok(Draft::delete(table, key.to_item()?))
        })
    }

    /// Makes the commit depend on the item with this key, which is not written. Without another condition it must
    /// be there.
    pub fn check<E: Entity>(&self, tables: &Tables, key: Key<E>) -> Write<'_, E> {
        self.written(tables, TableAction::ConditionCheckItem, |table| {
            Ok(Draft::check(table, key.to_item()?))
        })
    }

    fn written<E: Entity, A>(
        &self,
        tables: &Tables,
        action: TableAction,
        draft: impl FnOnce(&str) -> Result<Draft, String>,
    ) -> Write<'_, E, A> {
        let table = tables
            .allowed::<E>(action)
            .map_err(|error| error.to_string());
        let draft = match table.and_then(draft) {
            Ok(draft) => Some(draft),
            Err(problem) => {
                self.staged.fail(problem);
                None
            }
        };
        Write {
            stage: &self.staged,
            draft,
            types: PhantomData,
        }
    }
}

impl<E: Entity, A> Write<'_, E, A> {
    /// Does it only if this holds for the item as it is then. Of several conditions all must hold.
    pub fn only_if(mut self, condition: impl FnOnce(E::Fields<E>) -> Condition<E>) -> Self {
        if let Some(draft) = &mut self.draft {
            draft.only_if(condition(E::fields(None)));
        }
        self
    }

    /// Does it only if there is no such item.
    pub fn only_if_absent(mut self) -> Self {
        if let Some(draft) = &mut self.draft {
            draft.only_if(is_absent::<E>());
        }
        self
    }

    /// Does it only if there is such an item.
    pub fn only_if_present(mut self) -> Self {
        if let Some(draft) = &mut self.draft {
            draft.only_if(is_present::<E>());
        }
        self
    }

    /// Does it only if the item is as it was read: still of its version, if the entity has one, and otherwise
    /// still with the values that its attributes had; or still not there.
    pub fn unchanged(mut self, read: &Snapshot<E>) -> Self {
        if let Some(draft) = &mut self.draft {
            draft.only_if(is_unchanged(read));
            if !draft.is_of(read.key()) {
                self.stage.fail(format!(
                    "`unchanged` got the snapshot of another item than {} is written to",
                    E::NAME
                ));
            }
        }
        self
    }

    /// Stages it. If a condition does not hold, the record is tried again, and parked in the end.
    pub fn stage(mut self) {
        self.end(None);
    }

    /// Stages it. The record fails with `error` if a condition does not hold.
    pub fn or(mut self, error: impl Into<Error>) {
        let error = error.into();
        self.end(Some(Refused::new(move |_| error)));
    }

    /// Stages it. The record fails with the error that `make` makes of the item as it was: `None` if there was
    /// none, or if it is not what the entity says.
    pub fn or_else(mut self, make: impl FnOnce(Option<E>) -> Error + Send + 'static) {
        if let Some(draft) = &mut self.draft {
            draft.returns_old();
        }
        let entity = |item: Option<Item>| item.and_then(|item| from_item::<E>(item).ok());
        self.end(Some(Refused::new(move |item| make(entity(item)))));
    }

    fn end(&mut self, refused: Option<Refused>) {
        let Some(draft) = self.draft.take() else {
            return;
        };
        match draft.write::<E>() {
            Ok(write) => self
                .stage
                .lock()
                .writes
                .push(StagedWrite { write, refused }),
            Err(problem) => self.stage.fail(problem),
        }
    }
}

impl<E: Entity> Write<'_, E, Updating> {
    fn change<F: Changeable<E>, V>(
        mut self,
        select: impl FnOnce(E::Fields<E>) -> F,
        value: Result<V, String>,
        change: impl FnOnce(V) -> Change,
    ) -> Self {
        match value {
            Ok(value) => {
                if let Some(draft) = &mut self.draft {
                    draft.change(&select(E::fields(None)).field(), change(value));
                }
            }
            Err(problem) => {
                self.stage.fail(problem);
                self.draft = None;
            }
        }
        self
    }

    /// Sets the field to a value. `None` and an empty set remove the attribute.
    pub fn set<F: Changeable<E>>(
        self,
        field: impl FnOnce(E::Fields<E>) -> F,
        value: impl Value<E, F::Value>,
    ) -> Self {
        self.change(field, value.operand(), Change::Set)
    }

    /// Sets the field to the value that another field had before the update, which must be there.
    pub fn set_from<F: Changeable<E>>(
        self,
        field: impl FnOnce(E::Fields<E>) -> F,
        other: impl FnOnce(E::Fields<E>) -> Field<E, F::Value>,
    ) -> Self {
        self.set(field, other(E::fields(None)))
    }

    /// Sets the field if the item does not have the attribute. `None` and an empty set change nothing.
    pub fn set_if_absent<F: Changeable<E>>(
        self,
        field: impl FnOnce(E::Fields<E>) -> F,
        value: impl Value<E, F::Value>,
    ) -> Self {
        self.change(field, value.operand(), Change::SetIfAbsent)
    }

    /// Adds to a number, which is 0 if it is not there.
    pub fn add<F: Changeable<E, Value: Number>>(
        self,
        field: impl FnOnce(E::Fields<E>) -> F,
        value: impl Value<E, F::Value>,
    ) -> Self {
        self.change(field, number(value.operand()), Change::Add)
    }

    /// Takes away from a number, which is 0 if it is not there. Where it must not become negative, as for a
    /// field without a sign, a condition says so.
    pub fn subtract<F: Changeable<E, Value: Number>>(
        self,
        field: impl FnOnce(E::Fields<E>) -> F,
        value: impl Value<E, F::Value>,
    ) -> Self {
        self.change(field, negative(value.operand()), Change::Add)
    }

    /// Adds elements to the end of a list, which is empty if it is not there.
    pub fn append<T: Serialize>(
        self,
        field: impl FnOnce(E::Fields<E>) -> Field<E, Vec<T>>,
        elements: impl IntoIterator<Item = T>,
    ) -> Self {
        let elements: Vec<T> = elements.into_iter().collect();
        self.change(field, Value::<E, Vec<T>>::operand(elements), Change::Append)
    }

    /// Adds elements to the beginning of a list, which is empty if it is not there.
    pub fn prepend<T: Serialize>(
        self,
        field: impl FnOnce(E::Fields<E>) -> Field<E, Vec<T>>,
        elements: impl IntoIterator<Item = T>,
    ) -> Self {
        let elements: Vec<T> = elements.into_iter().collect();
        self.change(
            field,
            Value::<E, Vec<T>>::operand(elements),
            Change::Prepend,
        )
    }

    /// Adds elements to a set, which is empty if it is not there. Without elements it changes nothing.
    pub fn add_to<T: SetElement>(
        self,
        field: impl FnOnce(E::Fields<E>) -> Field<E, Set<T>>,
        elements: impl IntoIterator<Item = T>,
    ) -> Self {
        let elements: Set<T> = elements.into_iter().collect();
        self.change(field, Value::<E, Set<T>>::operand(elements), Change::Add)
    }

    /// Takes elements out of a set. Without elements it changes nothing.
    pub fn remove_from<T: SetElement>(
        self,
        field: impl FnOnce(E::Fields<E>) -> Field<E, Set<T>>,
        elements: impl IntoIterator<Item = T>,
    ) -> Self {
        let elements: Set<T> = elements.into_iter().collect();
        self.change(field, Value::<E, Set<T>>::operand(elements), Change::Delete)
    }

    /// Removes the attribute of a field that may be absent, or an entry of a map.
    pub fn remove<T>(self, field: impl FnOnce(E::Fields<E>) -> Field<E, Option<T>>) -> Self {
        self.change(field, Ok(()), |()| Change::Remove)
    }

    /// Creates the item if there is none: with its key, the fields that the key is made of, and what this
    /// update sets. The entity must be readable with that alone.
    pub fn or_create(mut self) -> Self {
        if let Some(draft) = &mut self.draft {
            draft.may_be_created();
        }
        self
    }
}

/// DynamoDB adds values alone, and not what is in other attributes.
fn number(value: Result<Operand, String>) -> Result<Operand, String> {
    match value? {
        Operand::Value(AttributeValue::N(digits)) => Ok(Operand::Value(AttributeValue::N(digits))),
        _ => Err("an update adds to a number what is no number".to_owned()),
    }
}

fn negative(value: Result<Operand, String>) -> Result<Operand, String> {
    match number(value)? {
        Operand::Value(AttributeValue::N(digits)) => {
            let digits = match digits.strip_prefix('-') {
                Some(digits) => digits.to_owned(),
                None => format!("-{digits}"),
            };
            Ok(Operand::Value(AttributeValue::N(digits)))
        }
        other => Ok(other),
    }
}

impl<E: Entity, A> Drop for Write<'_, E, A> {
    fn drop(&mut self) {
        if self.draft.is_some() {
            self.stage.fail(format!(
                "a write of {} has no end: `.or(…)`, `.or_else(…)` or `.stage()` stages it",
                E::NAME
            ));
        }
    }
}

impl<E: Entity, A> fmt::Debug for Write<'_, E, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Write").field(&self.draft).finish()
    }
}
