//! What a handler has staged, on its way to the commit.

use crate::{Error, Result, envelope::Outgoing};
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// An item, as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// What was staged, shared between the handler and the layer that commits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage(Arc<Mutex<Staged>>);

/// Everything that a handler staged.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) writes: Vec<StagedWrite>,
    pub(crate) events: Vec<Outgoing>,
    /// What could not be staged. Staging does not fail by itself, so that a handler reads as a list
    /// of effects; the commit does.
    problem: Option<Error>,
    /// What was staged when the handler was first called.
    begun: Option<Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    writes: usize,
    events: usize,
    has_problem: bool,
}

#[derive(Debug)]
pub(crate) struct StagedWrite {
    pub(crate) write: TransactWriteItem,
    pub(crate) refused: Option<Refused>,
}

/// Makes the error of a write whose condition did not hold, from the item as it was.
pub(crate) struct Refused(Box<dyn FnOnce(Option<Item>) -> Error + Send>);

impl Refused {
    pub(crate) fn new(make: impl FnOnce(Option<Item>) -> Error + Send + 'static) -> Self {
        Self(Box::new(make))
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refused")
    }
}

impl Stage {
    /// The handler is called: what an earlier call of it has staged is gone.
    pub(crate) fn begin(&self) {
        let staged = &mut *self.lock();
        let Some(begun) = staged.begun else {
            staged.begun = Some(Begun {
                writes: staged.writes.len(),
                events: staged.events.len(),
                has_problem: staged.problem.is_some(),
            });
            return;
        };
        staged.writes.truncate(begun.writes);
        staged.events.truncate(begun.events);
        if !begun.has_problem {
            staged.problem = None;
        }
    }

    /// Takes what was staged, and leaves nothing behind.
    ///
    /// # Errors
    /// If something could not be staged.
    pub(crate) fn take(&self) -> Result<Staged> {
        let mut staged = std::mem::take(&mut *self.lock());
        match staged.problem.take() {
            Some(problem) => Err(problem),
            None => Ok(staged),
        }
    }

    pub(crate) fn fail(&self, problem: String) {
        self.lock()
            .problem
            .get_or_insert_with(|| Error::rejected(problem));
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Staged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of an item in words: `{pk: "STOCK#book", sk: "STOCK"}`.
pub(crate) fn key_text(item: &Item, partition: &str, sort: Option<&str>) -> String {
    let part = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => format!("{name}: {text:?}"),
        Some(AttributeValue::N(digits)) => format!("{name}: {digits}"),
        Some(_) => format!("{name}: bytes"),
        None => format!("{name}: none"),
    };
    let parts = [Some(partition), sort].into_iter().flatten().map(part);
    format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
}

/// The table that an action concerns.
pub(crate) fn table(write: &TransactWriteItem) -> &str {
    None.or_else(|| write.put().map(|w| w.table_name()))
        .or_else(|| write.update().map(|w| w.table_name()))
        .or_else(|| write.delete().map(|w| w.table_name()))
        .or_else(|| write.condition_check().map(|w| w.table_name()))
        .unwrap_or("a table")
}

impl StagedWrite {
    /// What to tell of a write whose condition did not hold.
    pub(crate) fn refuse(self, item: Option<Item>) -> Error {
        let error = match self.refused {
            Some(Refused(make)) => make(item),
            None => Error::transient(format!(
                "the condition of a staged write to {} did not hold",
                self.table()
            )),
        };
        error.of_condition()
    }

    pub(crate) fn table(&self) -> &str {
        table(&self.write)
    }

    pub(crate) fn return_old_item(&mut self) {
        let all_old = Some(ReturnValuesOnConditionCheckFailure::AllOld);
        let write = &mut self.write;
        if let Some(put) = &mut write.put {
            put.return_values_on_condition_check_failure = all_old;
        } else if let Some(update) = &mut write.update {
            update.return_values_on_condition_check_failure = all_old;
        } else if let Some(delete) = &mut write.delete {
            delete.return_values_on_condition_check_failure = all_old;
        } else if let Some(check) = &mut write.condition_check {
            check.return_values_on_condition_check_failure = all_old;
        }
    }
}
