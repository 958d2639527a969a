//! Sets, as DynamoDB has them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::BTreeSet,
    ops::{Deref, DerefMut},
};

/// A set of texts or integers: DynamoDB's `SS` or `NS`, to which an update can add elements, and
/// remove them, without knowing the others.
///
/// DynamoDB keeps no empty set, so that an empty one is an attribute that is not there. A field with a
/// set therefore has `#[serde(default)]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<T>(BTreeSet<T>);

/// What a [`Set`] can hold: texts and integers.
pub trait SetElement: Serialize + Ord + sealed::Sealed {
    #[doc(hidden)]
    fn serialize_set<S: Serializer>(set: &BTreeSet<Self>, serializer: S) -> Result<S::Ok, S::Error>
    where
        Self: Sized;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($codec:ident: $($type:ty),+) => {
        $(
            impl sealed::Sealed for $type {}
            impl SetElement for $type {
                fn serialize_set<S: Serializer>(
                    set: &BTreeSet<Self>,
                    serializer: S,
                ) -> Result<S::Ok, S::Error> {
                    serde_dynamo::$codec::serialize(set, serializer)
                }
            }
        )+
    };
}
elements!(string_set: String);
elements!(number_set: u8, u16, u32, u64, i8, i16, i32, i64);

impl<T: SetElement> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize_set(&self.0, serializer)
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeSet::deserialize(deserializer).map(Self)
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T> Deref for Set<T> {
    type Target = BTreeSet<T>;

    fn deref(&self) -> &BTreeSet<T> {
        &self.0
    }
}

impl<T> DerefMut for Set<T> {
    fn deref_mut(&mut self) -> &mut BTreeSet<T> {
        &mut self.0
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = std::collections::btree_set::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
