//! What an entity is: a type whose values are items of a table.

use super::path::Path;
use crate::stage::Item;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, marker::PhantomData, sync::Arc};

/// A type whose values are items of a DynamoDB table. Derive it: see [`Entity`](derive@crate::Entity).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    note = "derive it: `#[derive(Serialize, Deserialize, Entity)] #[entity(table = \"SHOP_TABLE\", key(order_id))]`"
)]
pub trait Entity: Document + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The type's name, as errors and descriptions have it.
    const NAME: &'static str;
    /// The environment variable that names the table.
    const TABLE: &'static str;
    /// The table's key.
    const KEY: KeySchema;
    /// The indexes by which the entity is read.
    const INDEXES: &'static [IndexSchema] = &[];
    /// The attributes that the type's fields have.
    const ATTRIBUTES: &'static [&'static str];
    /// Those of them that are not there where the field is `None`.
    const OPTIONAL: &'static [&'static str] = &[];
    /// Whether items may have attributes of this type besides: those of a flattened field, or of one that is only
    /// read.
    const HAS_UNNAMED: bool = false;
    /// The attribute that counts the changes of an item, if the type has one.
    const VERSION: Option<&'static str> = None;

    /// Returns the key of this item.
    fn to_key(&self) -> Key<Self>
    where
        Self: Sized;

    /// Returns the attributes that are composed of fields and are no fields themselves: those of the
    /// key, and of the indexes.
    fn composed(&self) -> Vec<KeyPart>;
}

/// A type that items or their attributes have, with its fields as they are named in conditions and
/// updates. Derive it for a type inside an entity; an [`Entity`] is one as well.
pub trait Document {
    /// A struct with a [`Field`](super::Field) for each field, in items of the entity `R`.
    type Fields<R>;

    /// Returns the fields at this place of an item; none for those of the item itself.
    fn fields<R>(at: Option<&Arc<Path>>) -> Self::Fields<R>;
}

/// The key of a table or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySchema {
    /// The partition key.
    pub partition: KeyAttribute,
    /// The sort key, if there is one.
    pub sort: Option<KeyAttribute>,
}

/// One attribute of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAttribute {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: KeyKind,
    /// What its values begin with: the text before the first field of a composed key.
    pub prefix: &'static str,
    /// Whether that is all of the value: a text without fields.
    pub is_whole: bool,
}

impl KeyAttribute {
    /// Whether the attribute can be one of the entity's.
    pub(crate) fn fits(&self, value: Option<&AttributeValue>) -> bool {
        match value {
            Some(AttributeValue::S(text)) if self.is_whole => text == self.prefix,
            Some(AttributeValue::S(text)) => text.starts_with(self.prefix),
            _ => self.prefix.is_empty(),
        }
    }
}

impl KeySchema {
    /// Whether an item of the table can be one of the entity, by its key. Others share the table.
    pub(crate) fn fits(&self, item: &Item) -> bool {
        let parts = [Some(self.partition), self.sort];
        let mut parts = parts.into_iter().flatten();
        parts.all(|part| part.fits(item.get(part.name)))
    }
}

/// The type of an attribute of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A text, DynamoDB's `S`.
    Text,
    /// A number, DynamoDB's `N`.
    Number,
    /// Bytes, DynamoDB's `B`.
    Bytes,
}

/// A secondary index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSchema {
    /// Its name.
    pub name: &'static str,
    /// Its key.
    pub key: KeySchema,
}

/// A type that a key attribute can have by itself: texts, integers and bytes.
///
/// Implement it for a type of your own that serializes as one of them:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use surehand::tables::{KeyKind, KeyValue};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct OrderId(String);
///
/// impl KeyValue for OrderId {
///     const KIND: KeyKind = KeyKind::Text;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an attribute of a key",
    label = "a key's attributes are texts, integers and bytes",
    note = "compose a text of it, as in `key(pk = \"PRICE#{{price}}\")`, or implement `KeyValue` for a type that serializes as one of them"
)]
pub trait KeyValue: Serialize {
    /// The type of the attribute.
    const KIND: KeyKind;
}

macro_rules! key_values {
    ($kind:ident: $($type:ty),+) => {
        $(impl KeyValue for $type { const KIND: KeyKind = KeyKind::$kind; })+
    };
}
key_values!(Text: String, char);
key_values!(Number: u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

/// An attribute of a key, with its value or what is wrong with it.
#[derive(Clone, Debug)]
pub struct KeyPart {
    name: &'static str,
    value: Result<AttributeValue, String>,
}

/// A piece of a composed key.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Piece {
    /// A text that is always there.
    Literal(&'static str),
    /// A field's name and value.
    Field(&'static str, String),
}

impl KeyPart {
    /// A key attribute that is a field. That its type is a [`KeyValue`] is asked for where its kind is.
    #[doc(hidden)]
    pub fn field(name: &'static str, value: &impl Serialize) -> Self {
        let value = match serde_dynamo::to_attribute_value::<_, AttributeValue>(value) {
            Ok(AttributeValue::S(text)) if text.is_empty() => Err(format!(
                "`{name}` is empty, and DynamoDB takes no empty key"
            )),
            Ok(value @ (AttributeValue::S(_) | AttributeValue::N(_) | AttributeValue::B(_))) => {
                Ok(value)
            }
            Ok(_) => Err(format!("`{name}` is neither a text, a number nor bytes")),
            Err(error) => Err(format!("`{name}` does not serialize: {error}")),
        };
        Self { name, value }
    }

    /// A key attribute that is composed.
    ///
    /// Two different items must not have one key. So a field may not hold the text that ends it, nor
    /// begin it: with `{a}#{b}`, `a` has no `#`, and with `{a}::{b}` it does not end in `:`.
    #[doc(hidden)]
    pub fn composed(name: &'static str, pieces: &[Piece]) -> Self {
        let mut text = String::new();
        let mut problem = None;
        for (at, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Field(field, value) => {
                    let mut rest = pieces[at + 1..].iter();
                    // The key has one reading if the field ends where its end is first found.
                    if let Some(Piece::Literal(end)) = rest.next()
                        && rest.any(|it| matches!(it, Piece::Field(..)))
                        && format!("{value}{end}").find(end) != Some(value.len())
                    {
                        problem.get_or_insert_with(|| {
                            format!(
                                "`{field}` ends at `{end}` in the key `{name}`: it must not contain `{end}`, nor end as `{end}` begins"
                            )
                        });
                    }
                    text.push_str(value);
                }
            }
        }
        if text.is_empty() {
            problem.get_or_insert_with(|| {
                format!("`{name}` is empty, and DynamoDB takes no empty key")
            });
        }
        Self {
            name,
            value: problem.map_or(Ok(AttributeValue::S(text)), Err),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn value(&self) -> Result<AttributeValue, String> {
        self.value.clone()
    }

    /// Refuses a longer key, which DynamoDB refuses in a transaction as it does what another attempt can mend.
    fn has_at_most(&self, limit: usize) -> Result<(), String> {
        let bytes = match &self.value {
            Ok(AttributeValue::S(text)) => text.len(),
            Ok(AttributeValue::B(bytes)) => bytes.as_ref().len(),
            _ => 0,
        };
        match bytes <= limit {
            true => Ok(()),
            false => Err(format!(
                "`{}` has {bytes} bytes, and DynamoDB takes {limit}",
                self.name
            )),
        }
    }

    pub(super) fn put_into(&self, item: &mut Item) -> Result<(), String> {
        item.insert(self.name.to_owned(), self.value.clone()?);
        Ok(())
    }
}

/// The key of an item, made by an entity's `key` function.
///
/// What is wrong with it, such as an empty text, is the error of the read or the commit that it is
/// used for.
pub struct Key<E> {
    partition: KeyPart,
    sort: Option<KeyPart>,
    /// The attributes that an item with this key has besides it.
    implied: Vec<KeyPart>,
    entity: PhantomData<fn() -> E>,
}

impl<E: Entity> Key<E> {
    /// The key with these parts.
    #[doc(hidden)]
    pub fn new(partition: KeyPart, sort: Option<KeyPart>) -> Self {
        Self {
            partition,
            sort,
            implied: Vec::new(),
            entity: PhantomData,
        }
    }

    /// The key that is made of this field, with the name of its attribute.
    #[doc(hidden)]
    #[must_use]
    pub fn with(self, name: &'static str, value: &impl Serialize) -> Self {
        let value = serde_dynamo::to_attribute_value(value)
            .map_err(|error| format!("`{name}` does not serialize: {error}"));
        self.with_composed(KeyPart { name, value })
    }

    /// The key of whose fields this attribute of an index is composed.
    #[doc(hidden)]
    #[must_use]
    pub fn with_composed(mut self, part: KeyPart) -> Self {
        self.implied.push(part);
        self
    }

    /// Returns the key's attributes.
    ///
    /// # Errors
    /// What is wrong with the key, in words.
    pub fn to_item(&self) -> Result<Item, String> {
        let mut item = Item::with_capacity(2);
        let parts = [(Some(&self.partition), 2048), (self.sort.as_ref(), 1024)];
        for (part, limit) in parts {
            let Some(part) = part else { continue };
            let fits = part.has_at_most(limit);
            let put = fits.and_then(|()| part.put_into(&mut item));
            put.map_err(|problem| format!("the key of {} is not valid: {problem}", E::NAME))?;
        }
        Ok(item)
    }

    /// The attributes besides the key's own that an item has because of its key.
    ///
    /// # Errors
    /// What is wrong with one, in words.
    pub(crate) fn implied(&self) -> Result<Vec<(&'static str, AttributeValue)>, String> {
        let is_key = |name: &str| {
            name == self.partition.name || self.sort.as_ref().is_some_and(|it| it.name == name)
        };
        let implied = self.implied.iter().filter(|part| !is_key(part.name));
        implied.map(|part| Ok((part.name, part.value()?))).collect()
    }
}

impl<E> Clone for Key<E> {
    fn clone(&self) -> Self {
        Self {
            partition: self.partition.clone(),
            sort: self.sort.clone(),
            implied: self.implied.clone(),
            entity: PhantomData,
        }
    }
}

impl<E> fmt::Debug for Key<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = f.debug_tuple("Key");
        key.field(&self.partition).field(&self.sort).finish()
    }
}

/// The items of one partition of a table or an index, made by an entity's `partition` function or that of
/// an index. `S` is the type of the sort key, or `String` for a composed one.
pub struct Partition<E, S = ()> {
    pub(super) index: Option<&'static IndexSchema>,
    pub(super) part: KeyPart,
    types: PhantomData<fn() -> (E, S)>,
}

impl<E: Entity, S> Partition<E, S> {
    /// The partition of the table.
    #[doc(hidden)]
    pub fn new(part: KeyPart) -> Self {
        Self {
            index: None,
            part,
            types: PhantomData,
        }
    }

    /// The partition of an index.
    #[doc(hidden)]
    pub fn of_index(index: &'static IndexSchema, part: KeyPart) -> Self {
        Self {
            index: Some(index),
            ..Self::new(part)
        }
    }

    pub(super) fn schema(&self) -> &'static KeySchema {
        self.index.map_or(&E::KEY, |index| &index.key)
    }
}

impl<E, S> fmt::Debug for Partition<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Partition").field(&self.part).finish()
    }
}
