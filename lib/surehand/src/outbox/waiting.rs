//! The events that wait in an item.

use super::table::{FAILURES, Failure};
use crate::{Error, Result, envelope::Outgoing, stage::Item};
use aws_sdk_dynamodb::types::AttributeValue;

const MAX_ERROR_CHARS: usize = 1_000;

/// The waiting events of an item.
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) since: String,
    pub(super) events: Vec<Outgoing>,
    /// The events as they stand in the item.
    values: Vec<AttributeValue>,
    pub(super) failures: u64,
}

impl Waiting {
    pub(super) fn since_ms(&self) -> u64 {
        self.since.parse().unwrap_or_default()
    }

    pub(super) fn partition_keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.events.iter();
        keys.filter_map(|event| event.metadata().partition_key.as_deref())
    }

    pub(super) fn read(item: &Item) -> Result<Option<Self>> {
        let (
            Some(AttributeValue::L(values)),
            Some(AttributeValue::N(since)),
            Some(AttributeValue::S(id)),
        ) = (item.get("outbox"), item.get("outbox_since"), item.get("id"))
        else {
            return Ok(None);
        };
        let events = values.iter().map(event).collect::<Result<_>>()?;
        Ok(Some(Self {
            id: id.clone(),
            since: since.clone(),
            events,
            values: values.clone(),
            failures: number(item, FAILURES),
        }))
    }

    /// What is left of it after a try in which these events were accepted, and these parked.
    pub(super) fn failure(
        &self,
        error: &Error,
        accepted: &[String],
        parked: Vec<String>,
        now_ms: u64,
    ) -> (Failure, Self) {
        let failures = self.failures + 1;
        let all = self.events.iter().zip(&self.values);
        let left = all.filter(|(event, _)| {
            let mut gone = accepted.iter().chain(&parked);
            !gone.any(|id| id == event.id())
        });
        let (events, values): (Vec<_>, Vec<_>) = left
            .map(|(event, value)| (event.clone(), value.clone()))
            .unzip();
        let failure = Failure {
            left: values.clone(),
            accepted: accepted.to_vec(),
            parked,
            failures,
            retry_at_ms: now_ms + pause_ms(failures),
            error: format!("{error:#}").chars().take(MAX_ERROR_CHARS).collect(),
        };
        let left = Self {
            id: self.id.clone(),
            since: self.since.clone(),
            events,
            values,
            failures,
        };
        (failure, left)
    }
}

/// How long sweeps leave an item alone after its n-th failure.
fn pause_ms(failures: u64) -> u64 {
    const MINUTE: u64 = 60 * 1_000;
    match failures {
        0 | 1 => 0,
        more => (MINUTE << (more - 2).min(6)).min(60 * MINUTE),
    }
}

fn event(value: &AttributeValue) -> Result<Outgoing> {
    let field = |name: &str| value.as_m().ok()?.get(name)?.as_s().ok();
    let body = field("body").ok_or_else(|| Error::malformed("a waiting event without a body"))?;
    let mut event = Outgoing::from_body(body)?;
    event.set_trace_header(field("trace_header").cloned());
    Ok(event)
}

pub(super) fn number(item: &Item, name: &str) -> u64 {
    let number = item.get(name).and_then(|value| value.as_n().ok());
    number.and_then(|n| n.parse().ok()).unwrap_or_default()
}
