//! An event as it is sent.

use std::time::SystemTime;

use surehand::aws::events::Entry;

/// An event of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) source: String,
    pub(crate) detail_type: String,
    /// JSON.
    pub(crate) detail: String,
    pub(crate) time: Option<SystemTime>,
    pub(crate) resources: Vec<String>,
}

impl Event {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            source: &self.source,
            detail_type: &self.detail_type,
            detail: self.detail.as_str().into(),
            time: self.time,
            resources: &self.resources,
            ..Entry::default()
        }
    }
}
