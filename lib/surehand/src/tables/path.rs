//! Where in an item a value is.

use std::{borrow::Cow, sync::Arc};

/// The place of a value in an item, such as `address.lines[0]`.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    parent: Option<Arc<Path>>,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(Cow<'static, str>),
    Index(usize),
}

impl Path {
    /// An attribute of the item, or of the map at `parent`.
    pub(super) fn new(parent: Option<&Arc<Path>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            parent: parent.cloned(),
            step: Step::Name(name.into()),
        }
    }

    /// An entry of the map here.
    pub(super) fn entry(&self, name: String) -> Self {
        Self::new(Some(&Arc::new(self.clone())), name)
    }

    /// An element of the list here.
    pub(super) fn index(&self, index: usize) -> Self {
        Self {
            parent: Some(Arc::new(self.clone())),
            step: Step::Index(index),
        }
    }

    /// Whether this is an element of a list.
    pub(super) fn is_element(&self) -> bool {
        matches!(self.step, Step::Index(_))
    }

    /// The steps from the item to here.
    pub(super) fn steps(&self) -> Vec<&Step> {
        let mut steps = match &self.parent {
            Some(parent) => parent.steps(),
            None => Vec::new(),
        };
        steps.push(&self.step);
        steps
    }

    /// Whether one place is within the other, or the same.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.steps(), other.steps());
        mine.iter()
            .zip(&theirs)
            .all(|(mine, theirs)| mine == theirs)
    }
}
