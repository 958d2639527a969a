//! Values as attributes, and entities as items.

use super::{TableError, condition::Operand, entity::Entity};
use crate::stage::Item;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

/// What a field whose values are of type `T` can be compared with or set to: a `T`, a `&str` for a
/// `String`, a `T` for an `Option<T>`, or another field of the entity `E`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value of this field, which has the type `{T}`",
    label = "the field takes a `{T}`, or another field of that type"
)]
pub trait Value<E, T> {
    #[doc(hidden)]
    fn operand(self) -> Result<Operand, String>;
}

impl<E, T: Serialize> Value<E, T> for T {
    fn operand(self) -> Result<Operand, String> {
        attribute(&self).map(Operand::Value)
    }
}

impl<E, T: Serialize> Value<E, Option<T>> for T {
    fn operand(self) -> Result<Operand, String> {
        attribute(&self).map(Operand::Value)
    }
}

impl<E> Value<E, String> for &str {
    fn operand(self) -> Result<Operand, String> {
        Ok(Operand::Value(AttributeValue::S(self.to_owned())))
    }
}

impl<E> Value<E, String> for &String {
    fn operand(self) -> Result<Operand, String> {
        Ok(Operand::Value(AttributeValue::S(self.clone())))
    }
}

impl<E> Value<E, Option<String>> for &str {
    fn operand(self) -> Result<Operand, String> {
        Ok(Operand::Value(AttributeValue::S(self.to_owned())))
    }
}

/// The value as an attribute.
pub(super) fn attribute(value: &impl Serialize) -> Result<AttributeValue, String> {
    let mut value = serde_dynamo::to_attribute_value(value)
        .map_err(|error| format!("a value does not serialize: {error}"))?;
    drop_empty_sets(&mut value);
    Ok(value)
}

/// Whether DynamoDB has no such attribute: it keeps no empty set.
pub(super) fn is_empty_set(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::Ss(texts) => texts.is_empty(),
        AttributeValue::Ns(numbers) => numbers.is_empty(),
        AttributeValue::Bs(blobs) => blobs.is_empty(),
        _ => false,
    }
}

/// Whether an attribute with this value is one that is not there: `None`, or an empty set.
pub(super) fn is_nothing(value: &AttributeValue) -> bool {
    matches!(value, AttributeValue::Null(_)) || is_empty_set(value)
}

fn drop_empty_sets(value: &mut AttributeValue) {
    match value {
        AttributeValue::M(map) => {
            map.retain(|_, value| !is_empty_set(value));
            map.values_mut().for_each(drop_empty_sets);
        }
        AttributeValue::L(values) => values.iter_mut().for_each(drop_empty_sets),
        _ => {}
    }
}

/// The entity as an item, with its key. Fields without a value are attributes that are not there: a
/// `None` could not be an index's key, and an empty set cannot be at all. Another null is a value.
pub(crate) fn to_item<E: Entity>(entity: &E) -> Result<Item, String> {
    let not_valid = |problem: String| format!("an item of {} is not valid: {problem}", E::NAME);
    let mut item: Item = serde_dynamo::to_item(entity)
        .map_err(|error| not_valid(format!("it does not serialize: {error}")))?;
    item.retain(|name, value| {
        let is_none =
            matches!(value, AttributeValue::Null(_)) && E::OPTIONAL.contains(&name.as_str());
        !is_none && !is_empty_set(value)
    });
    item.values_mut().for_each(drop_empty_sets);
    for part in entity.composed() {
        part.put_into(&mut item).map_err(not_valid)?;
    }
    // The fields that are the key were serialized with the rest; this finds what is wrong with them.
    item.extend(entity.to_key().to_item()?);
    Ok(item)
}

/// The entity that the item is.
pub(crate) fn from_item<E: Entity>(mut item: Item) -> Result<E, TableError> {
    let key = crate::stage::key_text(&item, E::KEY.partition.name, E::KEY.sort.map(|it| it.name));
    // What is composed is no field, also of a type that refuses others or gathers them.
    for key in [&E::KEY]
        .into_iter()
        .chain(E::INDEXES.iter().map(|it| &it.key))
    {
        for part in [Some(key.partition), key.sort].into_iter().flatten() {
            if !E::ATTRIBUTES.contains(&part.name) {
                item.remove(part.name);
            }
        }
    }
    let item = AttributeValue::M(item);
    let deserializer = serde_dynamo::Deserializer::from_attribute_value(item.into());
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| TableError::unreadable::<E>(&key, &error))
}
