//! What the library knows of an attempt at a record, and hands along with it.

#[cfg(feature = "dynamodb")]
use crate::stage::Stage;
use crate::{IdempotencyKey, Metrics};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Travels with a record from the batch to its handler. A record that no function handles has an
/// empty one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Companion {
    /// The invocation's metrics.
    pub(crate) metrics: Metrics,
    /// Whether the claim is committed together with the handler's effects, rather than made before.
    #[cfg_attr(
        not(feature = "dynamodb"),
        expect(dead_code, reason = "only a DynamoDB transaction commits")
    )]
    pub(crate) commits: bool,
    /// The key that the record is claimed under, once it is known.
    pub(crate) key: Option<IdempotencyKey>,
    /// What the attempt has published.
    pub(crate) published: Option<Published>,
    /// What the handler stages, where it commits.
    #[cfg(feature = "dynamodb")]
    pub(crate) stage: Option<Stage>,
}

impl Companion {
    /// The companion of an attempt that begins.
    pub(crate) fn new(metrics: Metrics, commits: bool) -> Self {
        Self {
            metrics,
            commits,
            published: Some(Published::default()),
            ..Self::default()
        }
    }
}

/// How many events of each source and type an attempt at a record has published. All publishers of
/// the attempt share it, so that no two of its events get one id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Arc<Mutex<HashMap<EventType, u32>>>);

/// Source and detail-type.
type EventType = (String, String);

impl Published {
    /// The ordinal, from 0, of the next event of a type.
    pub(crate) fn next(&self, source: &str, detail_type: &str) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts
            .entry((source.to_owned(), detail_type.to_owned()))
            .or_default();
        let ordinal = *count;
        *count += 1;
        ordinal
    }
}
