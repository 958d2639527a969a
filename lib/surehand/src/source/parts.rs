//! The parts of a JSON object, read one by one: what is odd in one of them does not affect the others.

use crate::redact;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The fields of an object, and what could not be read of them.
#[derive(Default)]
pub(super) struct Parts<'a> {
    /// Where the object is, with a dot at the end; empty for the outermost.
    place: String,
    /// The fields, sorted by name. Of a name that is there twice the last one counts.
    pub(super) fields: BTreeMap<String, &'a RawValue>,
    /// What is odd, and where.
    pub(super) problems: Vec<String>,
}

impl<'a> Parts<'a> {
    /// Takes an object apart; none if it is not one.
    pub(super) fn of(json: &'a str) -> Option<Self> {
        Some(Self {
            fields: serde_json::from_str(json).ok()?,
            ..Self::default()
        })
    }

    /// Reads a field; none if it is absent, null or odd.
    pub(super) fn read<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        match redact::decoded(self.fields.get(name)?.get()) {
            Ok(read) => read,
            Err(problem) => {
                self.is_odd(name, &problem);
                None
            }
        }
    }

    /// Takes a field apart that is an object itself; it is empty if it is absent, null or odd.
    pub(super) fn inside(&mut self, name: &str) -> Self {
        let json = self.fields.get(name).map_or("null", |field| field.get());
        let parts = Self::of(json);
        if parts.is_none() && json != "null" {
            self.is_odd(name, "it is not an object");
        }
        Self {
            place: format!("{}{name}.", self.place),
            ..parts.unwrap_or_default()
        }
    }

    fn is_odd(&mut self, name: &str, problem: &str) {
        let (place, name) = (&self.place, redact::name(name));
        self.problems.push(format!("`{place}{name}`: {problem}"));
    }

    /// Returns what is odd, in one text; none if nothing is.
    pub(super) fn problem(&self, of: &str) -> Option<String> {
        const SHOWN: usize = 3;
        let more = match self.problems.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let shown = &self.problems[..self.problems.len().min(SHOWN)];
        (!shown.is_empty()).then(|| format!("{of} cannot be read: {}{more}", shown.join("; ")))
    }
}
