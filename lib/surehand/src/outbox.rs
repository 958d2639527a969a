//! Publishing what transactions left to publish.

mod stream;

pub use stream::OutboxStream;

use crate::{
    Clock, Error, ErrorKind, Outgoing, Publisher, Result, clock::epoch_ms, description::Use,
    transaction::Item,
};
use aws_sdk_dynamodb::{
    Client, error::SdkError, operation::update_item::UpdateItemError, types::AttributeValue,
};
use serde::Serialize;
use std::time::Duration;

/// The events that transactions committed and nobody has published yet.
///
/// They stand in the idempotency table, in the claim's item, or beside it where there was no room:
///
/// | attribute | type | |
/// |---|---|---|
/// | `outbox` | L of M | the events: `body`, as [`Outgoing::body`] writes it, and `trace_header` |
/// | `outbox_since` | N | since when they wait, in milliseconds since the epoch; gone once published |
/// | `outbox_shard` | S | the partition of the index `outbox`, over `outbox_shard` and `outbox_since`; gone once published |
///
/// Two functions publish them. One is on the table's stream, an [`OutboxStream`], and hands every new
/// image to [`publish_item`](Self::publish_item), a moment after the commit. The other runs on a schedule and
/// [sweeps](Self::sweep) up what the first could not. An event is published at least once, and has
/// the same id each time.
#[derive(Clone, Debug)]
pub struct Outbox {
    client: Client,
    table: String,
    publisher: Publisher,
    clock: Clock,
}

/// The name of the index in which items with waiting events are found.
pub(crate) const INDEX: &str = "outbox";
/// An index partition takes 1,000 writes a second; so many of them share the load.
const SHARDS: u8 = 8;

/// What a [sweep](Outbox::sweep) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// Items whose events were published.
    pub published: usize,
    /// Items whose events could not be published; the next sweep finds them again.
    pub failed: usize,
}

impl Outbox {
    /// The events in `table`, to be published by `publisher`.
    pub fn new(client: Client, table: impl Into<String>, publisher: Publisher) -> Self {
        Self {
            client,
            table: table.into(),
            publisher,
            clock: Clock::system(),
        }
    }

    /// The events in the table that `IDEMPOTENCY_TABLE` names, with the environment's AWS
    /// configuration.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env(publisher: Publisher) -> Result<Self> {
        let table = crate::environment::used("IDEMPOTENCY_TABLE", Use::OutboxTable)?;
        let client = Client::new(crate::aws::config().await);
        Ok(Self::new(client, table, publisher))
    }

    /// The same outbox, with another clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Publishes the events of an item of the table, and marks them as published. Returns how many
    /// there were; an item without waiting events has none.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] if not all events were accepted; some may have been. Then the item
    /// stays as it is. [`ErrorKind::Store`] if they were, but could not be marked.
    pub async fn publish_item(&self, item: &Item) -> Result<usize> {
        let Some(waiting) = Waiting::read(item)? else {
            return Ok(0);
        };
        self.publisher.send(&waiting.events).await?;
        self.mark(&waiting).await?;
        Ok(waiting.events.len())
    }

    /// Publishes what has waited for longer than `age`.
    ///
    /// It looks at the items oldest first, and stops when `until` says so, so that it can run inside
    /// a deadline.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the table does not answer.
    pub async fn sweep(&self, age: Duration, until: impl Fn() -> bool) -> Result<Swept> {
        let before = epoch_ms(self.clock.now() - age);
        let mut swept = Swept::default();
        for shard in 0..SHARDS {
            let mut pages = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .key_condition_expression("outbox_shard = :shard AND outbox_since < :before")
                .expression_attribute_values(":shard", AttributeValue::S(shard.to_string()))
                .expression_attribute_values(":before", AttributeValue::N(before.to_string()))
                .into_paginator()
                .items()
                .send();
            while let Some(found) = pages.next().await {
                if until() {
                    return Ok(swept);
                }
                let found = found.map_err(|error| unavailable(&error))?;
                match self.publish_found(&found).await {
                    Ok(0) => {}
                    Ok(_) => swept.published += 1,
                    Err(error) => {
                        tracing::warn!(error = %format!("{error:#}"), "waiting events not published");
                        swept.failed += 1;
                    }
                }
            }
        }
        Ok(swept)
    }

    /// The index has the keys alone, and may be behind: the item itself says what still waits.
    async fn publish_found(&self, keys: &Item) -> Result<usize> {
        let Some(id) = keys.get("id") else {
            return Ok(0);
        };
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", id.clone())
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        match &output.item {
            Some(item) => self.publish_item(item).await,
            None => Ok(0),
        }
    }

    async fn mark(&self, waiting: &Waiting) -> Result<()> {
        let marked = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", AttributeValue::S(waiting.id.clone()))
            // The events go with the mark: an item that is read again is small, and costs less.
            .update_expression(
                "SET outbox_published = :now REMOVE outbox, outbox_since, outbox_shard",
            )
            // A key that expired and was claimed again may have other events by now.
            .condition_expression("outbox_since = :since")
            .expression_attribute_values(":since", AttributeValue::N(waiting.since.clone()))
            .expression_attribute_values(
                ":now",
                AttributeValue::N(epoch_ms(self.clock.now()).to_string()),
            )
            .send()
            .await;
        match marked {
            Ok(_) => Ok(()),
            // The stream and a sweep met at the item, and the other one was first.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }
}

/// The attributes that put events into an item's outbox.
pub(crate) fn attributes(id: &str, events: Vec<AttributeValue>, now_ms: u64) -> Item {
    let shard = id.bytes().fold(0_u8, u8::wrapping_add) % SHARDS;
    Item::from([
        ("outbox".into(), AttributeValue::L(events)),
        ("outbox_since".into(), AttributeValue::N(now_ms.to_string())),
        ("outbox_shard".into(), AttributeValue::S(shard.to_string())),
    ])
}

/// An event as it stands in an item.
pub(crate) fn event_value(event: &Outgoing) -> AttributeValue {
    let mut fields = Item::from([("body".into(), AttributeValue::S(event.body()))]);
    if let Some(header) = event.trace_header() {
        fields.insert("trace_header".into(), AttributeValue::S(header.to_owned()));
    }
    AttributeValue::M(fields)
}

/// The waiting events of an item.
struct Waiting {
    id: String,
    since: String,
    events: Vec<Outgoing>,
}

impl Waiting {
    /// The key of the first event that has one.
    fn partition_key(&self) -> Option<String> {
        self.events
            .iter()
            .find_map(|event| event.metadata().partition_key.clone())
    }

    fn read(item: &Item) -> Result<Option<Self>> {
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
        }))
    }
}

fn event(value: &AttributeValue) -> Result<Outgoing> {
    let field = |name: &str| value.as_m().ok()?.get(name)?.as_s().ok();
    let body = field("body").ok_or_else(|| Error::malformed("a waiting event without a body"))?;
    let mut event = Outgoing::from_body(body)?;
    event.set_trace_header(field("trace_header").cloned());
    Ok(event)
}

fn unavailable<E: std::error::Error + Send + Sync + 'static>(error: &SdkError<E>) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the outbox did not answer: {}", crate::aws::describe(error)),
    )
}
