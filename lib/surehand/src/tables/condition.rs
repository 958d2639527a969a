//! Conditions on an item.

use super::path::Path;
use aws_sdk_dynamodb::types::AttributeValue;
use std::{fmt, marker::PhantomData, ops::Not};

/// A condition on an item of the entity `E`, made of its [`Field`](super::Field)s.
///
/// Conditions are combined by [`and`](Self::and), [`or`](Self::or) and `!`.
#[must_use]
pub struct Condition<E> {
    pub(super) tree: Tree,
    entity: PhantomData<fn() -> E>,
}

/// What a condition says. The names are those of DynamoDB's condition expressions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Compare(Operand, &'static str, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    /// A function of a place, and of a value.
    Function(&'static str, Path, Option<Operand>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
    /// Why it cannot be said to DynamoDB.
    Invalid(String),
}

/// What is compared.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Path(Path),
    Size(Path),
    Value(AttributeValue),
}

impl<E> Condition<E> {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            entity: PhantomData,
        }
    }

    /// A condition of values, the first of which may be one that no attribute can have.
    pub(super) fn of<const N: usize>(
        values: [Result<Operand, String>; N],
        make: impl FnOnce([Operand; N]) -> Tree,
    ) -> Self {
        let values: Result<Vec<_>, _> = values.into_iter().collect();
        Self::new(match values.map(<[Operand; N]>::try_from) {
            Ok(Ok(values)) => make(values),
            Ok(Err(_)) => Tree::Invalid("a condition lacks a value".to_owned()),
            Err(problem) => Tree::Invalid(problem),
        })
    }

    /// Both must hold.
    pub fn and(self, other: Self) -> Self {
        Self::new(all(self.tree, other.tree))
    }

    /// One of the two must hold.
    pub fn or(self, other: Self) -> Self {
        Self::new(match self.tree {
            Tree::Any(mut parts) => {
                parts.push(other.tree);
                Tree::Any(parts)
            }
            tree => Tree::Any(vec![tree, other.tree]),
        })
    }
}

/// The condition that both hold.
pub(super) fn all(one: Tree, other: Tree) -> Tree {
    match one {
        Tree::All(mut parts) => {
            parts.push(other);
            Tree::All(parts)
        }
        one => Tree::All(vec![one, other]),
    }
}

impl<E> Not for Condition<E> {
    type Output = Self;

    fn not(self) -> Self {
        Self::new(Tree::Not(Box::new(self.tree)))
    }
}

impl<E> Clone for Condition<E> {
    fn clone(&self) -> Self {
        Self::new(self.tree.clone())
    }
}

impl<E> fmt::Debug for Condition<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.tree).finish()
    }
}
