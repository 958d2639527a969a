//! What the library knows of an attempt at a record, and hands along with it.

#[cfg(feature = "dynamodb")]
use crate::stage::Stage;
use crate::{IdempotencyKey, Metrics};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What accompanies a record from the batch to its handler. It is empty for a record outside a
/// function.
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
    /// How many events the attempt has published.
    pub(crate) published: Option<Published>,
    /// The handler's stage, if the handler commits.
    #[cfg(feature = "dynamodb")]
    pub(crate) stage: Option<Stage>,
}

impl Companion {
    /// Makes the companion of an attempt that begins.
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
/// the attempt share it, so that no two of its events get the same id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published(Arc<Mutex<HashMap<EventType, u32>>>);

/// Source and detail-type.
type EventType = (String, String);

impl Published {
    /// Returns the ordinal, from 0, of the next event of a type.
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
