//! Letters that are here for the same reason.

use crate::{filter::Filter, letter::Letter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Letters of one event type, one handler, one kind of failure and one message, whatever ids,
/// numbers and times are in the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// Eight hexadecimal digits, the same in every run.
    pub id: String,
    /// The events' `detail-type`; none if they do not decode.
    pub event_type: Option<String>,
    /// The handler, else the function, that failed.
    pub handler: Option<String>,
    /// The kind of failure.
    pub kind: String,
    /// The message, with `#` for what differs.
    pub message: String,
    /// How many letters there are.
    pub count: u64,
    /// When the oldest was sent, in milliseconds since the epoch.
    pub first_ms: Option<u64>,
    /// When the newest was sent, in milliseconds since the epoch.
    pub last_ms: Option<u64>,
    /// The ids of a few of the letters.
    pub examples: Vec<String>,
}

const EXAMPLES: usize = 5;

impl Group {
    /// The group that a letter belongs to, with nothing counted yet.
    pub fn of(letter: &Letter) -> Self {
        let cause = letter.cause();
        let event_type = letter.event().and_then(|event| event.event_type);
        let handler = cause.handler.or(cause.function);
        let message = without_particulars(&cause.message);
        let parts = [event_type.as_deref(), handler.as_deref()];
        let digest = Sha256::digest(format!("{parts:?}{}\n{message}", cause.kind));
        Self {
            id: hex::encode(&digest[..4]),
            event_type,
            handler,
            kind: cause.kind,
            message,
            count: 0,
            first_ms: None,
            last_ms: None,
            examples: Vec::new(),
        }
    }

    fn count(&mut self, letter: &Letter) {
        self.count += 1;
        if let Some(sent) = letter.sent_at_ms {
            self.first_ms = Some(self.first_ms.map_or(sent, |first| first.min(sent)));
            self.last_ms = Some(self.last_ms.map_or(sent, |last| last.max(sent)));
        }
        if self.examples.len() < EXAMPLES {
            self.examples.push(letter.id.clone());
        }
    }
}

/// The few reasons behind many letters. What it keeps grows with the reasons alone.
#[derive(Clone, Debug, Default)]
pub struct Groups(HashMap<String, Group>);

impl Groups {
    /// Counts a letter.
    pub fn add(&mut self, letter: &Letter) {
        let group = Group::of(letter);
        let group = self.0.entry(group.id.clone()).or_insert(group);
        group.count(letter);
    }

    /// The groups, the largest first.
    pub fn largest_first(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.0.values().collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
        groups
    }
}

/// Which letters are meant. A field that is empty or none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Of one of these groups, by the beginning of its id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Of one of these event types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    /// Of one of these handlers or functions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub handlers: Vec<String>,
    /// Of one of these kinds of failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// With one of these message ids or event ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Sent at this time or later, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Sent before this time, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Whose payload meets all of these.
    #[serde(rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

impl Selection {
    /// Whether nothing restricts it.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the letter is meant.
    pub fn matches(&self, letter: &Letter) -> bool {
        let is_one = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|w| w == value))
        };
        let is_in_time = match letter.sent_at_ms {
            Some(sent) => {
                self.since_ms.is_none_or(|since| sent >= since)
                    && self.until_ms.is_none_or(|until| sent < until)
            }
            None => self.since_ms.is_none() && self.until_ms.is_none(),
        };
        let group = || {
            let id = Group::of(letter).id;
            self.groups
                .iter()
                .any(|wanted| !wanted.is_empty() && id.starts_with(wanted.as_str()))
        };
        let event = letter.event();
        let event_type = event.as_ref().and_then(|event| event.event_type.as_deref());
        let event_id = event.as_ref().map(|event| event.id.as_str());
        let cause = letter.cause();
        is_in_time
            && is_one(&self.event_types, event_type)
            && is_one(&self.kinds, Some(&cause.kind))
            && (is_one(&self.handlers, cause.handler.as_deref())
                || is_one(&self.handlers, cause.function.as_deref()))
            && (is_one(&self.ids, Some(&letter.id)) || is_one(&self.ids, event_id))
            && (self.groups.is_empty() || group())
            && (self.filters.is_empty() || self.is_met(letter))
    }

    fn is_met(&self, letter: &Letter) -> bool {
        let payload = letter.payload();
        let payload = payload.as_deref().unwrap_or(&letter.body);
        let value = serde_json::from_str(payload).unwrap_or_default();
        self.filters.iter().all(|it| it.is_met(payload, &value))
    }
}

/// The message with `#` for every word that has a digit in it: numbers, times, UUIDs, keys.
fn without_particulars(message: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "-_.:+@".contains(c);
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        // Punctuation after a word is the sentence's.
        let core = word.trim_end_matches(['.', ':', '-']);
        if core.chars().any(char::is_numeric) {
            out.push('#');
            out.push_str(&word[core.len()..]);
        } else {
            out.push_str(word);
        }
        let next = tail.find(is_word).unwrap_or(tail.len());
        out.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_letter_to_letter_is_left_out() {
        for (message, expected) in [
            ("order 42 is unknown", "order # is unknown"),
            ("order/42: no stock", "order/#: no stock"),
            (
                "0190a1b2-0000-7000-8000-000000000001 at 2026-11-21T10:00:00.123Z.",
                "# at #.",
            ),
            ("`sku-7` has -3.5 left", "`#` has # left"),
            ("out of stock", "out of stock"),
            ("ü ② 12€", "ü # #€"),
            ("", ""),
        ] {
            assert_eq!(without_particulars(message), expected);
        }
    }

    #[test]
    fn letters_of_one_reason_are_one_group() {
        let mut groups = Groups::default();
        for id in ["a", "b"] {
            groups.add(&Letter::new(id, "{}"));
        }
        let groups = groups.largest_first();
        assert_eq!((groups.len(), groups[0].count), (1, 2));
        assert_eq!(groups[0].examples, ["a", "b"]);
        let selection = Selection {
            groups: vec![groups[0].id[..6].to_owned()],
            ..Selection::default()
        };
        assert!(selection.matches(&Letter::new("c", "{}")));
        let none = Selection {
            kinds: vec!["rejected".into()],
            ..selection
        };
        assert!(!none.matches(&Letter::new("c", "{}")));
    }
}
