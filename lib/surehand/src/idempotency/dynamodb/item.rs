//! An item of the table, whoever wrote it.

use crate::{
    Error, ErrorKind, IdempotencyKey, Result,
    clock::{epoch_ms, from_epoch_ms},
    idempotency::{
        attempts::Attempts,
        claim::{AttemptEnd, AttemptHistory, Claim, Completion},
    },
};
use aws_sdk_dynamodb::types::AttributeValue;
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};
/// An item of the table, whoever wrote it.
#[derive(Default)]
pub(super) struct StoredItem(pub(super) HashMap<String, AttributeValue>);

/// What changes with each attempt, and with its end.
const CHANGING: [&str; 7] = [
    "status",
    "in_progress_expiration",
    "sending",
    "attempt",
    "ended",
    "attempted_at",
    "open",
];

impl StoredItem {
    pub(super) fn text(&self, name: &str) -> Option<&String> {
        self.0.get(name)?.as_s().ok()
    }

    /// The digest of the payload; none if its writer kept none.
    fn validation(&self) -> Option<&String> {
        self.text("validation").filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_n().ok()?.parse().ok()
    }

    pub(super) fn count(&self, name: &str) -> u32 {
        let count = self.number(name).unwrap_or_default();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.number("expiration")
            .is_some_and(|then| then < epoch_ms(now) / 1000)
    }

    /// What [`CLAIMABLE`] asks.
    pub(super) fn is_claimable(&self, now: SystemTime) -> bool {
        let is_in_progress = self.text("status").is_some_and(|it| it == "INPROGRESS");
        let until = self.number("in_progress_expiration");
        let is_over = until.is_some_and(|then| then < epoch_ms(now));
        self.0.is_empty() || self.is_expired(now) || (is_in_progress && is_over)
    }

    /// The attempts that count for one that is made now.
    pub(super) fn attempts(&self, now: SystemTime) -> Attempts {
        match self.is_expired(now) {
            true => Attempts::default(),
            false => self.kept(),
        }
    }

    /// Those that were counted, also if that is over.
    pub(super) fn kept(&self) -> Attempts {
        Attempts {
            sending: self.text("sending").cloned(),
            fingerprint: self.validation().cloned(),
            begun: self.count("attempt"),
            ended: self.count("ended"),
            at_ms: self.number("attempted_at").unwrap_or_default(),
            open: self.open().unwrap_or_default(),
        }
    }

    fn open(&self) -> Option<BTreeMap<u64, u64>> {
        let open = self.0.get("open")?.as_ss().ok()?.iter();
        let both = |entry: &String| {
            let (at, until) = entry.split_once('-')?;
            Some((at.parse().ok()?, until.parse().ok()?))
        };
        Some(open.filter_map(both).collect())
    }

    /// When the last lease ends or ended, unless its owner ended it.
    pub(super) fn lease_until(&self) -> Option<SystemTime> {
        let until = self.number("in_progress_expiration");
        until.filter(|ms| *ms > 0).map(from_epoch_ms)
    }

    /// A condition that holds as long as the item is this one, and its values.
    pub(super) fn unchanged(&self) -> (String, HashMap<String, AttributeValue>) {
        let mut values = HashMap::new();
        let parts = CHANGING.map(|name| match self.0.get(name) {
            Some(value) => {
                values.insert(format!(":was_{name}"), value.clone());
                format!("#{name} = :was_{name}")
            }
            None => format!("attribute_not_exists(#{name})"),
        });
        (parts.join(" AND "), values)
    }

    pub(super) fn history(&self) -> AttemptHistory {
        let is_completed = self.text("status").is_some_and(|s| s == "COMPLETED");
        let (attempts, lease) = (self.kept(), self.lease_until());
        let goes_on = attempts.open.contains_key(&attempts.at_ms);
        AttemptHistory {
            attempts: attempts.begun,
            unended: attempts.deaths(),
            started_at: self.number("attempted_at").map(from_epoch_ms),
            deadline: attempts.suspect(lease).until.filter(|_| !is_completed),
            last_error: self.text("last_error").cloned(),
            end: match lease {
                _ if is_completed => AttemptEnd::Completed,
                None if !goes_on => AttemptEnd::Released,
                _ => AttemptEnd::Unknown,
            },
        }
    }

    /// Why the key could not be claimed.
    pub(super) fn taken(&self, key: &IdempotencyKey) -> Result<Claim> {
        let expires_at = from_epoch_ms(
            self.number("expiration")
                .unwrap_or_default()
                .saturating_mul(1000),
        );
        match self.text("status").map(String::as_str) {
            Some("COMPLETED") => Ok(Claim::Completed(Completion {
                data: self.text("data").cloned(),
                fingerprint: self.validation().cloned(),
                expires_at,
            })),
            Some("INPROGRESS") => Ok(Claim::Held {
                until: self.number("in_progress_expiration").map(from_epoch_ms),
            }),
            status => Err(Error::new(
                ErrorKind::Store,
                format!(
                    "the item {} in the idempotency table has the status {status:?}, and INPROGRESS or COMPLETED was expected",
                    key
                ),
            )),
        }
    }
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Attempts without a lease that have not ended: when each began, and when it has to end.
pub(super) fn open(attempts: &BTreeMap<u64, u64>) -> AttributeValue {
    let entries = attempts.iter();
    AttributeValue::Ss(entries.map(|(at, until)| entry(*at, *until)).collect())
}

/// One of them.
pub(super) fn entry(at_ms: u64, until_ms: u64) -> String {
    format!("{at_ms}-{until_ms}")
}
