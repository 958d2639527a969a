//! What is known of an event beside its data.

use std::time::SystemTime;

/// What is known about an event besides its data.
///
/// The names follow [CloudEvents 1.0](https://github.com/cloudevents/spec) and its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The event's identity. Its producer made it, and neither a replay, nor another bus, nor a
    /// redrive changes it. For an event without one it is the transport's id.
    pub id: String,
    /// When the event happened.
    pub time: Option<SystemTime>,
    /// The publisher, if known.
    pub source: Option<String>,
    /// What happened, if known.
    pub detail_type: Option<String>,
    /// The version of `data`, from 1.
    pub version: u32,
    /// What the event is about, for example `order/42`.
    pub subject: Option<String>,
    /// The partition key. Events of one key are handled in order.
    pub partition_key: Option<String>,
    /// The id of the first event of a story, which all events of the story share.
    pub correlation_id: Option<String>,
    /// The id of the event whose handling published this one.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The service that published it, for example `shop.checkout`.
    pub producer: Option<String>,
}

impl Metadata {
    /// Makes the metadata of an event of which only the id is known.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            time: None,
            source: None,
            detail_type: None,
            version: 1,
            subject: None,
            partition_key: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            producer: None,
        }
    }

    /// Returns the correlation id; the event's own id if it starts a story.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.id)
    }
}
