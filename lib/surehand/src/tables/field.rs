//! The fields of an entity, in conditions and updates.

use super::{
    Set,
    condition::{Condition, Operand, Tree},
    entity::Document,
    path::Path,
    set::SetElement,
    value::{Value, is_nothing},
};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    marker::PhantomData,
    ops::Deref,
    sync::Arc,
};

/// A field of the entity `E` whose values are of type `T`, in conditions and updates.
///
/// The derive makes a struct of them, with the entity's own field names. What a method compares with is
/// a value of the field's type (a `&str` for a `String`, a `T` for an `Option<T>`), or another field of
/// the same type.
pub struct Field<E, T> {
    pub(super) path: Path,
    types: PhantomData<fn() -> (E, T)>,
}

/// A field that an update cannot change: one of the key, or the version. It has the conditions of a
/// [`Field`].
pub struct KeyField<E, T>(Field<E, T>);

/// A field that an update can change: a [`Field`], and no [`KeyField`].
#[diagnostic::on_unimplemented(
    message = "an update cannot change a field of a key, or the version",
    label = "`{Self}` is for conditions alone",
    note = "an item of another key is another item: `insert` it, and `delete` this one; the version is counted up by itself"
)]
pub trait Changeable<E> {
    /// The type of its values.
    type Value;

    #[doc(hidden)]
    fn field(self) -> Field<E, Self::Value>;
}

impl<E, T> Changeable<E> for Field<E, T> {
    type Value = T;

    fn field(self) -> Self {
        self
    }
}

/// The size of an attribute: a text's code units in UTF-16, or the elements of a list, a set or a map.
pub struct Size<E> {
    path: Path,
    entity: PhantomData<fn() -> E>,
}

impl<E, T> Field<E, T> {
    /// The attribute of this name.
    #[doc(hidden)]
    pub fn new(at: Option<&Arc<Path>>, name: &'static str) -> Self {
        Self::at(Path::new(at, name))
    }

    fn at(path: Path) -> Self {
        Self {
            path,
            types: PhantomData,
        }
    }

    fn operand(&self) -> Result<Operand, String> {
        Ok(Operand::Path(self.path.clone()))
    }

    fn compare(&self, operator: &'static str, value: impl Value<E, T>) -> Condition<E> {
        let value = value.operand().and_then(something);
        Condition::of([self.operand(), value], |[left, right]| {
            Tree::Compare(left, operator, right)
        })
    }

    /// Whether it is what is not there, for which DynamoDB has no value to compare with.
    fn is_nothing(&self) -> Tree {
        let absent = Tree::Function("attribute_not_exists", self.path.clone(), None);
        // `None` inside a list or a document is written as such.
        let null = Operand::Value(AttributeValue::S("NULL".to_owned()));
        let is_null = Tree::Function("attribute_type", self.path.clone(), Some(null));
        Tree::Any(vec![absent, is_null])
    }

    fn function(&self, name: &'static str, value: Option<Operand>) -> Condition<E> {
        Condition::new(Tree::Function(name, self.path.clone(), value))
    }

    /// It is equal to this. An attribute that is not there is equal to `None` and to an empty set.
    pub fn eq(&self, value: impl Value<E, T>) -> Condition<E> {
        Condition::of([value.operand()], |[value]| match &value {
            Operand::Value(it) if is_nothing(it) => self.is_nothing(),
            _ => Tree::Compare(Operand::Path(self.path.clone()), "=", value),
        })
    }

    /// It is not equal to this. Of a value that holds as well if there is no such attribute.
    pub fn ne(&self, value: impl Value<E, T>) -> Condition<E> {
        Condition::of([value.operand()], |[value]| match &value {
            Operand::Value(it) if is_nothing(it) => Tree::Not(Box::new(self.is_nothing())),
            _ => Tree::Compare(Operand::Path(self.path.clone()), "<>", value),
        })
    }

    /// It is one of these, of which there are 1 to 100.
    pub fn is_in<V: Value<E, T>>(&self, values: impl IntoIterator<Item = V>) -> Condition<E> {
        let values = values.into_iter().map(Value::operand);
        let values: Result<Vec<_>, _> = values.map(|value| value.and_then(something)).collect();
        Condition::new(match values {
            Ok(values) if (1..=100).contains(&values.len()) => {
                Tree::In(Operand::Path(self.path.clone()), values)
            }
            Ok(values) => Tree::Invalid(format!(
                "`is_in` has {} values: DynamoDB takes 1 to 100",
                values.len()
            )),
            Err(problem) => Tree::Invalid(problem),
        })
    }

    /// The item has this attribute.
    pub fn exists(&self) -> Condition<E> {
        self.function("attribute_exists", None)
    }

    /// The item does not have this attribute.
    pub fn absent(&self) -> Condition<E> {
        self.function("attribute_not_exists", None)
    }

    /// The attribute has this type, in DynamoDB's abbreviation: `S`, `N`, `B`, `SS`, `NS`, `BS`, `BOOL`,
    /// `NULL`, `L` or `M`.
    pub fn has_type(&self, kind: &str) -> Condition<E> {
        let kind = Operand::Value(AttributeValue::S(kind.to_owned()));
        self.function("attribute_type", Some(kind))
    }

    /// Its size, for texts, lists, sets and maps.
    pub fn size(&self) -> Size<E> {
        Size {
            path: self.path.clone(),
            entity: PhantomData,
        }
    }
}

impl<E, T: Ordered> Field<E, T> {
    /// It is less than this.
    pub fn lt(&self, value: impl Value<E, T>) -> Condition<E> {
        self.compare("<", value)
    }

    /// It is at most this.
    pub fn le(&self, value: impl Value<E, T>) -> Condition<E> {
        self.compare("<=", value)
    }

    /// It is greater than this.
    pub fn gt(&self, value: impl Value<E, T>) -> Condition<E> {
        self.compare(">", value)
    }

    /// It is at least this.
    pub fn ge(&self, value: impl Value<E, T>) -> Condition<E> {
        self.compare(">=", value)
    }

    /// It is at least the first and at most the second.
    pub fn between(&self, least: impl Value<E, T>, most: impl Value<E, T>) -> Condition<E> {
        let values = [self.operand(), least.operand(), most.operand()];
        Condition::of(values, |[field, least, most]| {
            Tree::Between(field, least, most)
        })
    }
}

impl<E> Field<E, String> {
    /// It begins with this text.
    pub fn begins_with(&self, text: impl Into<String>) -> Condition<E> {
        let text = Operand::Value(AttributeValue::S(text.into()));
        self.function("begins_with", Some(text))
    }

    /// It has this text in it.
    pub fn contains(&self, text: impl Into<String>) -> Condition<E> {
        let text = Operand::Value(AttributeValue::S(text.into()));
        self.function("contains", Some(text))
    }
}

impl<E, T> Field<E, Option<T>> {
    /// The field as it is where it has a value.
    pub fn some(&self) -> Field<E, T> {
        Field::at(self.path.clone())
    }
}

impl<E, T: Document> Field<E, T> {
    /// A field inside this one: `customer.field(|customer| customer.city)`.
    pub fn field<U>(&self, select: impl FnOnce(T::Fields<E>) -> Field<E, U>) -> Field<E, U> {
        select(T::fields(Some(&Arc::new(self.path.clone()))))
    }
}

impl<E, T: Serialize> Field<E, Vec<T>> {
    /// The element at this position, from 0.
    pub fn at_index(&self, index: usize) -> Field<E, T> {
        Field::at(self.path.index(index))
    }

    /// The list has this element.
    pub fn contains(&self, element: impl Value<E, T>) -> Condition<E> {
        contains(&self.path, element.operand())
    }
}

impl<E, T: SetElement> Field<E, Set<T>> {
    /// The set has this element.
    pub fn contains(&self, element: impl Value<E, T>) -> Condition<E> {
        contains(&self.path, element.operand())
    }
}

fn contains<E>(path: &Path, element: Result<Operand, String>) -> Condition<E> {
    Condition::of([element], |[element]| {
        Tree::Function("contains", path.clone(), Some(element))
    })
}

/// The value, unless an attribute with it is not there, which is in no order and in no list of values.
fn something(value: Operand) -> Result<Operand, String> {
    match value {
        Operand::Value(value) if is_nothing(&value) => Err(
            "a condition compares with `None` or an empty set: use `absent`, or `eq`".to_owned(),
        ),
        value => Ok(value),
    }
}

impl<E, T> Field<E, HashMap<String, T>> {
    /// The entry with this key, which may not be there.
    pub fn entry(&self, key: impl Into<String>) -> Field<E, Option<T>> {
        Field::at(self.path.entry(key.into()))
    }
}

impl<E, T> Field<E, BTreeMap<String, T>> {
    /// The entry with this key, which may not be there.
    pub fn entry(&self, key: impl Into<String>) -> Field<E, Option<T>> {
        Field::at(self.path.entry(key.into()))
    }
}

impl<E> Size<E> {
    fn compare(&self, operator: &'static str, size: u64) -> Condition<E> {
        Condition::new(Tree::Compare(
            Operand::Size(self.path.clone()),
            operator,
            Operand::Value(AttributeValue::N(size.to_string())),
        ))
    }

    /// It is equal to this.
    pub fn eq(&self, size: u64) -> Condition<E> {
        self.compare("=", size)
    }

    /// It is less than this.
    pub fn lt(&self, size: u64) -> Condition<E> {
        self.compare("<", size)
    }

    /// It is at most this.
    pub fn le(&self, size: u64) -> Condition<E> {
        self.compare("<=", size)
    }

    /// It is greater than this.
    pub fn gt(&self, size: u64) -> Condition<E> {
        self.compare(">", size)
    }

    /// It is at least this.
    pub fn ge(&self, size: u64) -> Condition<E> {
        self.compare(">=", size)
    }
}

impl<E, T> KeyField<E, T> {
    /// The attribute of this name.
    #[doc(hidden)]
    pub fn new(at: Option<&Arc<Path>>, name: &'static str) -> Self {
        Self(Field::new(at, name))
    }
}

impl<E, T> KeyField<E, Option<T>> {
    /// The field as it is where it has a value.
    pub fn some(&self) -> KeyField<E, T> {
        KeyField(self.0.some())
    }
}

impl<E, T> Deref for KeyField<E, T> {
    type Target = Field<E, T>;

    fn deref(&self) -> &Field<E, T> {
        &self.0
    }
}

impl<E, T> Clone for Field<E, T> {
    fn clone(&self) -> Self {
        Self::at(self.path.clone())
    }
}

impl<E, T> fmt::Debug for Field<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.path).finish()
    }
}

impl<E, T> Clone for KeyField<E, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E, T> fmt::Debug for KeyField<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E> fmt::Debug for Size<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Size").field(&self.path).finish()
    }
}

/// A type whose values DynamoDB puts in order: texts by their bytes, and numbers.
#[diagnostic::on_unimplemented(
    message = "values of `{Self}` have no order in DynamoDB",
    note = "texts and numbers have one; a type of your own that serializes as one of them implements `Ordered`"
)]
pub trait Ordered: Serialize {}

/// A type whose values serialize as numbers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number that an update can add to",
    note = "integers and floats are; a type of your own that serializes as one of them implements `Number`"
)]
pub trait Number: Ordered {}

macro_rules! numbers {
    ($($type:ty),+) => { $(impl Ordered for $type {} impl Number for $type {})+ };
}
numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);
impl Ordered for String {}
impl<T: Ordered> Ordered for Option<T> {}
impl<T: Number> Number for Option<T> {}

impl<E, T> Value<E, T> for Field<E, T> {
    fn operand(self) -> Result<Operand, String> {
        Ok(Operand::Path(self.path))
    }
}

impl<E, T> Value<E, T> for &Field<E, T> {
    fn operand(self) -> Result<Operand, String> {
        Ok(Operand::Path(self.path.clone()))
    }
}
