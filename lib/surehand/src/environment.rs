//! What the template gives to a function: its environment variables.
//!
//! A variable that is read here is known to `surehand check`, which asks the function for its
//! [description](crate::description) and says so when the template does not declare it. Functions
//! are described without any environment: each variable has a placeholder then, so that `main`
//! reaches [`Function::run`](crate::Function::run).
//!
//! ```
//! # fn main() -> surehand::Result<()> {
//! use surehand::environment;
//!
//! # if false {
//! let table = environment::var("SHOP_TABLE")?;
//! let batch: usize = environment::var_like("MAIL_BATCH", "50")?.parse()?;
//! # }
//! let greeting = environment::optional("GREETING").unwrap_or_else(|| "hello".to_owned());
//! # Ok(())
//! # }
//! ```

mod mode;

pub(crate) use mode::Mode;

use crate::{
    Error, ErrorKind, Result,
    description::{EntityUse, Use, Variable},
};
use std::{
    collections::BTreeMap,
    env::VarError,
    sync::{Mutex, PoisonError},
};

/// Returns the value of a variable that the function requires.
///
/// # Errors
/// [`ErrorKind::Invocation`] if it is not set, empty, or not UTF-8; the error says which.
pub fn var(name: &str) -> Result<String> {
    read(name, None, name)
}

/// Returns the value of a required variable that `main` parses: while the function is described,
/// the value is `example`.
///
/// # Errors
/// As [`var`].
pub fn var_like(name: &str, example: &str) -> Result<String> {
    read(name, None, example)
}

/// Returns the value of an optional variable; none if it is not set or empty, and while the
/// function is described.
pub fn optional(name: &str) -> Option<String> {
    read_optional(name, None)
}

/// Returns true while the process only describes the function. No service can be reached then: skip
/// what `main` does before the function runs, such as fetching a secret.
pub fn describing() -> bool {
    Mode::current() == Mode::Describe
}

/// Returns the value of a required variable, as [`var`], and records its use.
#[cfg(any(feature = "dynamodb", feature = "sqs", feature = "eventbridge"))]
pub(crate) fn used(name: &str, for_what: Use) -> Result<String> {
    read(name, Some(for_what), name)
}

/// Returns the URL of a queue, as [`used`]. With anything else, such as an ARN, the first call would fail,
/// and that of a dead-letter queue comes when there is a record to lose its reason.
#[cfg(feature = "sqs")]
pub(crate) fn used_url(name: &str, for_what: Use) -> Result<String> {
    as_url(name, used(name, for_what)?)
}

/// Returns the URL of a queue, as [`used_url`], or none if the variable is not set.
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
pub(crate) fn used_url_if_set(name: &str, for_what: Use) -> Result<Option<String>> {
    let value = read_optional(name, Some(for_what));
    value.map(|value| as_url(name, value)).transpose()
}

#[cfg(feature = "sqs")]
fn as_url(name: &str, value: String) -> Result<String> {
    let is_url = value.starts_with("https://") || value.starts_with("http://");
    if is_url || Mode::current() != Mode::Serve {
        return Ok(value);
    }
    Err(Error::new(
        ErrorKind::Invocation,
        format!(
            "the environment variable {name} is `{value}`, which is not a URL: set it to the queue's URL (`!Ref` of the queue), not to its ARN or name"
        ),
    ))
}

/// Returns the positive number that an optional variable holds, and records its use.
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
pub(crate) fn number_if_set(name: &str, what: &str, for_what: Use) -> Result<Option<u32>> {
    let Some(value) = read_optional(name, Some(for_what)) else {
        return Ok(None);
    };
    let number = value.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::Invocation,
            format!(
                "the environment variable {name} is `{value}`, which is not a positive number: set it to {what}"
            ),
        )
    })
}

/// Returns every variable that was read so far, sorted by name.
pub(crate) fn recorded() -> Vec<Variable> {
    let recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    recorded.values().cloned().collect()
}

/// Returns what the function does with entities, as far as it has opened their tables.
pub(crate) fn recorded_entities() -> Vec<EntityUse> {
    let entities = ENTITIES.lock().unwrap_or_else(PoisonError::into_inner);
    entities.clone()
}

/// Records what the function does with entities.
#[cfg(feature = "dynamodb")]
pub(crate) fn record_entities(uses: Vec<EntityUse>) {
    if !describing() {
        return;
    }
    let mut entities = ENTITIES.lock().unwrap_or_else(PoisonError::into_inner);
    for used in uses {
        let same = |it: &&mut EntityUse| {
            (&it.entity, &it.variable, &it.key) == (&used.entity, &used.variable, &used.key)
        };
        match entities.iter_mut().find(same) {
            Some(known) => {
                known.actions.extend(used.actions);
                known.actions.sort();
                known.actions.dedup();
            }
            None => entities.push(used),
        }
    }
    entities.sort_by(|a, b| (&a.variable, &a.entity).cmp(&(&b.variable, &b.entity)));
}

/// Filled only while the function is described.
static ENTITIES: Mutex<Vec<EntityUse>> = Mutex::new(Vec::new());

/// Filled only while the function is described.
static RECORDED: Mutex<BTreeMap<String, Variable>> = Mutex::new(BTreeMap::new());

fn read(name: &str, used_for: Option<Use>, placeholder: &str) -> Result<String> {
    if describing() {
        record(name, true, used_for);
        return Ok(placeholder.to_owned());
    }
    let problem = match std::env::var(name) {
        Ok(value) if !value.is_empty() => return Ok(value),
        Ok(_) => "is empty: give it a value",
        Err(VarError::NotPresent) => "is not set: declare it",
        Err(VarError::NotUnicode(_)) => "is not UTF-8: correct it",
    };
    Err(Error::new(
        ErrorKind::Invocation,
        format!("the environment variable {name} {problem} in the function's template"),
    ))
}

fn read_optional(name: &str, used_for: Option<Use>) -> Option<String> {
    if describing() {
        record(name, false, used_for);
        return None;
    }
    set(name)
}

/// Returns the name that the function's metrics, log and traces share.
pub(crate) fn service(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    variable("SUREHAND_SERVICE_NAME").or_else(|| variable("OTEL_SERVICE_NAME"))
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable may be required in one place and optional in another.
fn record(name: &str, required: bool, used_for: Option<Use>) {
    let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    let variable = recorded.entry(name.to_owned()).or_insert_with(|| Variable {
        name: name.to_owned(),
        required: false,
        uses: Vec::new(),
    });
    variable.required |= required;
    if let Some(used_for) = used_for
        && !variable.uses.contains(&used_for)
    {
        variable.uses.push(used_for);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_missing_is_named() {
        let error = var("SUREHAND_NO_SUCH_VARIABLE").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the environment variable SUREHAND_NO_SUCH_VARIABLE is not set: declare it in the function's template"
        );
        assert_eq!(optional("SUREHAND_NO_SUCH_VARIABLE"), None);
        assert!(
            recorded()
                .iter()
                .all(|v| v.name != "SUREHAND_NO_SUCH_VARIABLE")
        );
    }

    #[test]
    fn a_variable_that_is_read_twice_has_both_uses() {
        record("A_TABLE", false, Some(Use::OutboxTable));
        record("A_TABLE", true, Some(Use::IdempotencyTable));
        record("A_TABLE", false, Some(Use::OutboxTable));
        let recorded = recorded();
        let variable = recorded.iter().find(|v| v.name == "A_TABLE").unwrap();
        assert!(variable.required);
        assert_eq!(variable.uses, [Use::OutboxTable, Use::IdempotencyTable]);
    }
}
