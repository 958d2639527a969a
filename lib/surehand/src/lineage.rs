//! What an event inherits from the record whose handling published it.

use crate::{IdempotencyKey, Record, companion::Published, envelope::Outgoing};
use std::fmt;

/// What events are published for: a record, or a request without one.
pub(crate) struct Lineage {
    key: IdempotencyKey,
    /// None for a request, whose cause is not an event.
    event_id: Option<String>,
    correlation_id: String,
    traceparent: Option<String>,
    trace_header: Option<String>,
    published: Published,
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event_id {
            Some(event_id) => write!(f, "Lineage({event_id})"),
            None => write!(f, "Lineage({})", self.key),
        }
    }
}

impl Lineage {
    pub(crate) fn new(record: &Record) -> Self {
        let metadata = record.event().ok().map(|event| &event.metadata);
        let event_id = metadata.map_or(record.id(), |m| &m.id).to_owned();
        let context = record.context();
        let key = record.companion().key.clone();
        Self {
            // Two functions that handle one event publish events of their own.
            key: key.unwrap_or_else(|| {
                let function = &context.env_config.function_name;
                match metadata {
                    Some(metadata) => IdempotencyKey::of_event(function, metadata),
                    None => IdempotencyKey::new(format!("{function}#{event_id}")),
                }
            }),
            correlation_id: metadata
                .map_or(&*event_id, |m| m.correlation_id())
                .to_owned(),
            traceparent: metadata.and_then(|m| m.traceparent.clone()),
            trace_header: context.xray_trace_id.clone(),
            published: record.companion().published.clone().unwrap_or_default(),
            event_id: Some(event_id),
        }
    }

    /// The lineage of a request of this key. Its events are one story, which begins with the
    /// request.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn of_request(key: IdempotencyKey) -> Self {
        Self {
            correlation_id: key.uuid("request").to_string(),
            key,
            event_id: None,
            traceparent: None,
            trace_header: None,
            published: Published::default(),
        }
    }

    pub(crate) fn mark(&self, outgoing: &mut Outgoing) {
        let (source, detail_type) = (outgoing.source(), outgoing.detail_type());
        let ordinal = self.published.next(source, detail_type);
        let id = self
            .key
            .uuid(&format!("{source}\n{detail_type}\n{ordinal}"));
        let metadata = outgoing.metadata_mut();
        metadata.id = id.to_string();
        metadata.correlation_id = Some(self.correlation_id.clone());
        metadata.causation_id.clone_from(&self.event_id);
        metadata.traceparent = self.traceparent.clone();
        outgoing.set_trace_header(self.trace_header.clone());
    }
}
