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
    /// The publisher, if known. Of an event from a bus it is the bus's, which has allowed it to the sender.
    pub source: Option<String>,
    /// What happened, if known. Of an event from a bus it is the bus's.
    pub detail_type: Option<String>,
    /// The source that the event names itself, if it is not that of the bus which carried it, as with a
    /// CloudEvent that a bridge puts on a bus. It is only what the sender wrote.
    pub own_source: Option<String>,
    /// The type that the event names itself, if it is not that of the bus which carried it.
    pub own_type: Option<String>,
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
            own_source: None,
            own_type: None,
            version: 1,
            subject: None,
            partition_key: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            producer: None,
        }
    }

    /// Returns what says which event it is: its source, its type and its id. If it names another source or type
    /// than the bus that carried it, these follow, since its id is unique only within them.
    ///
    /// As JSON it is a list by which no two events are one.
    pub fn identity(&self) -> Vec<Option<&str>> {
        let mut identity = vec![
            self.source.as_deref(),
            self.detail_type.as_deref(),
            Some(&*self.id),
        ];
        let own = [self.own_source.as_deref(), self.own_type.as_deref()];
        if own != [None, None] {
            identity.extend(own);
        }
        identity
    }

    /// Returns the correlation id; the event's own id if it starts a story.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.id)
    }
}
