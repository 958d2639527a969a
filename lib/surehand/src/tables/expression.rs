//! Conditions and updates as DynamoDB's expressions.
//!
//! Every name is a placeholder, so that none can be one of the words that DynamoDB reserves. It is the
//! attribute's own name where that can be one.

use super::{
    condition::{Operand, Tree},
    path::{Path, Step},
    value::is_empty_set,
};
use aws_sdk_dynamodb::types::AttributeValue;
use std::{collections::HashMap, fmt::Write as _};

/// The placeholders of an expression, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

/// What DynamoDB takes of one expression, in bytes.
const MAX_BYTES: usize = 4 * 1024;

/// What it takes of one placeholder, with room for what makes it unique.
const MAX_NAME_BYTES: usize = 200;

impl Expression {
    /// The text of a condition.
    pub(super) fn condition(&mut self, tree: &Tree) -> Result<String, String> {
        let mut text = String::new();
        self.write(tree, &mut text)?;
        within_limits(text)
    }

    /// The placeholders of names, or none.
    pub(super) fn take_names(&mut self) -> Option<HashMap<String, String>> {
        Some(std::mem::take(&mut self.names)).filter(|names| !names.is_empty())
    }

    /// The placeholders of values, or none.
    pub(super) fn take_values(&mut self) -> Option<HashMap<String, AttributeValue>> {
        Some(std::mem::take(&mut self.values)).filter(|values| !values.is_empty())
    }

    fn write(&mut self, tree: &Tree, text: &mut String) -> Result<(), String> {
        match tree {
            Tree::Compare(left, operator, right) => {
                self.operand(left, text)?;
                text.push(' ');
                text.push_str(operator);
                text.push(' ');
                self.operand(right, text)
            }
            Tree::Between(value, least, most) => {
                self.operand(value, text)?;
                text.push_str(" BETWEEN ");
                self.operand(least, text)?;
                text.push_str(" AND ");
                self.operand(most, text)
            }
            Tree::In(value, values) => {
                self.operand(value, text)?;
                text.push_str(" IN (");
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        text.push_str(", ");
                    }
                    self.operand(value, text)?;
                }
                text.push(')');
                Ok(())
            }
            Tree::Function(name, path, value) => {
                text.push_str(name);
                text.push('(');
                self.path(path, text);
                if let Some(value) = value {
                    text.push_str(", ");
                    self.operand(value, text)?;
                }
                text.push(')');
                Ok(())
            }
            Tree::All(parts) => self.join(parts, " AND ", text),
            Tree::Any(parts) => self.join(parts, " OR ", text),
            Tree::Not(inner) => {
                text.push_str("NOT ");
                self.write_apart(inner, text)
            }
            Tree::Invalid(problem) => Err(problem.clone()),
        }
    }

    fn join(&mut self, parts: &[Tree], between: &str, text: &mut String) -> Result<(), String> {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                text.push_str(between);
            }
            self.write_apart(part, text)?;
        }
        Ok(())
    }

    /// Writes a part so that no precedence can join it with what stands beside it.
    fn write_apart(&mut self, tree: &Tree, text: &mut String) -> Result<(), String> {
        let is_one = matches!(tree, Tree::Compare(..) | Tree::In(..) | Tree::Function(..));
        if is_one {
            return self.write(tree, text);
        }
        text.push('(');
        self.write(tree, text)?;
        text.push(')');
        Ok(())
    }

    pub(super) fn operand(&mut self, operand: &Operand, text: &mut String) -> Result<(), String> {
        match operand {
            Operand::Path(path) => self.path(path, text),
            Operand::Size(path) => {
                text.push_str("size(");
                self.path(path, text);
                text.push(')');
            }
            Operand::Value(value) if is_empty_set(value) => {
                return Err("DynamoDB has no empty set to compare with: use `absent`".to_owned());
            }
            Operand::Value(value) => self.value(value.clone(), text),
        }
        Ok(())
    }

    pub(super) fn value(&mut self, value: AttributeValue, text: &mut String) {
        let placeholder = format!(":v{}", self.values.len());
        text.push_str(&placeholder);
        self.values.insert(placeholder, value);
    }

    pub(super) fn path(&mut self, path: &Path, text: &mut String) {
        for (at, step) in path.steps().into_iter().enumerate() {
            match step {
                Step::Name(name) => {
                    if at > 0 {
                        text.push('.');
                    }
                    self.name(name, text);
                }
                Step::Index(index) => {
                    let _ = write!(text, "[{index}]");
                }
            }
        }
    }

    pub(super) fn name(&mut self, name: &str, text: &mut String) {
        let placeholder = self.placeholder(name);
        text.push_str(&placeholder);
        self.names.insert(placeholder, name.to_owned());
    }

    fn placeholder(&self, name: &str) -> String {
        let mut known = self.names.iter();
        if let Some((placeholder, _)) = known.find(|(_, it)| *it == name) {
            return placeholder.clone();
        }
        let usable = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let has_length = (1..=MAX_NAME_BYTES).contains(&name.len());
        let mut placeholder = match has_length && name.chars().all(usable) {
            true => format!("#{name}"),
            false => format!("#n{}", self.names.len()),
        };
        // An attribute may have the name that was made for another.
        while self.names.contains_key(&placeholder) {
            placeholder.push('_');
        }
        placeholder
    }
}

pub(super) fn within_limits(text: String) -> Result<String, String> {
    match text.len() {
        ..=MAX_BYTES => Ok(text),
        size => Err(format!(
            "an expression has {size} bytes: DynamoDB takes {MAX_BYTES}"
        )),
    }
}
