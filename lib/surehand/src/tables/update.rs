//! What an update changes in an item.

use super::{
    condition::Operand,
    expression::{Expression, within_limits},
    path::Path,
    value::{is_empty_set, is_nothing},
};
use aws_sdk_dynamodb::types::AttributeValue;

/// The changes of one update.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Vec<(Path, Change)>);

/// What happens to the value at a place.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Set(Operand),
    SetIfAbsent(Operand),
    /// To a number, or elements to a set.
    Add(Operand),
    /// Elements of a list.
    Append(Operand),
    Prepend(Operand),
    Remove,
    /// Elements of a set.
    Delete(Operand),
}

impl Changes {
    pub(super) fn push(&mut self, path: Path, change: Change) {
        let change = match change {
            // An element of a list that were removed would move those behind it.
            Change::Set(Operand::Value(value)) if is_nothing(&value) && !path.is_element() => {
                Change::Remove
            }
            Change::SetIfAbsent(Operand::Value(value)) if is_nothing(&value) => return,
            Change::Add(Operand::Value(value)) | Change::Delete(Operand::Value(value))
                if is_empty_set(&value) =>
            {
                return;
            }
            change => change,
        };
        self.0.push((path, change));
    }

    /// These changes as well, unless the place is changed already.
    pub(super) fn extend(&mut self, other: &Self) {
        for (path, change) in &other.0 {
            if !self.0.iter().any(|(it, _)| it == path) {
                self.0.push((path.clone(), change.clone()));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of the update expression.
    pub(super) fn text(&self, expression: &mut Expression) -> Result<String, String> {
        for (at, (path, _)) in self.0.iter().enumerate() {
            if let Some((other, _)) = self.0[..at].iter().find(|(it, _)| it.overlaps(path)) {
                let mut names = Expression::default();
                let (mut one, mut two) = (String::new(), String::new());
                names.path(other, &mut one);
                names.path(path, &mut two);
                return Err(format!(
                    "an update changes `{one}` and `{two}`, which overlap: change it once"
                ));
            }
        }
        let mut text = String::new();
        type Clause = (&'static str, fn(&Change) -> bool);
        let clauses: [Clause; 4] = [
            ("SET", |it| {
                matches!(
                    it,
                    Change::Set(_)
                        | Change::SetIfAbsent(_)
                        | Change::Append(_)
                        | Change::Prepend(_)
                )
            }),
            ("ADD", |it| matches!(it, Change::Add(_))),
            ("REMOVE", |it| matches!(it, Change::Remove)),
            ("DELETE", |it| matches!(it, Change::Delete(_))),
        ];
        for (clause, is_of) in clauses {
            let mut before = match text.is_empty() {
                true => format!("{clause} "),
                false => format!(" {clause} "),
            };
            for (path, change) in self.0.iter().filter(|(_, change)| is_of(change)) {
                text.push_str(&before);
                before = ", ".to_owned();
                write(path, change, expression, &mut text)?;
            }
        }
        within_limits(text)
    }
}

fn write(
    path: &Path,
    change: &Change,
    expression: &mut Expression,
    text: &mut String,
) -> Result<(), String> {
    expression.path(path, text);
    // A list that is not there is one without elements.
    let list = |expression: &mut Expression, text: &mut String| {
        text.push_str("if_not_exists(");
        expression.path(path, text);
        text.push_str(", ");
        expression.value(AttributeValue::L(Vec::new()), text);
        text.push(')');
    };
    match change {
        Change::Remove => Ok(()),
        Change::Set(value) => {
            text.push_str(" = ");
            expression.operand(value, text)
        }
        Change::SetIfAbsent(value) => {
            text.push_str(" = if_not_exists(");
            expression.path(path, text);
            text.push_str(", ");
            expression.operand(value, text)?;
            text.push(')');
            Ok(())
        }
        Change::Add(value) | Change::Delete(value) => {
            text.push(' ');
            expression.operand(value, text)
        }
        Change::Append(value) => {
            text.push_str(" = list_append(");
            list(expression, text);
            text.push_str(", ");
            expression.operand(value, text)?;
            text.push(')');
            Ok(())
        }
        Change::Prepend(value) => {
            text.push_str(" = list_append(");
            expression.operand(value, text)?;
            text.push_str(", ");
            list(expression, text);
            text.push(')');
            Ok(())
        }
    }
}
