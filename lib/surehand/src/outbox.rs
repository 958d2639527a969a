//! Publishing what transactions left to publish.
//!
//! The events that a [`Transaction`](crate::Transaction) publishes are written with its claim. Two functions of
//! yours publish them, both with an [`Outbox`]: one on the table's stream, with the source [`OutboxStream`], and one
//! on a schedule, which [sweeps](Outbox::sweep) up what the first could not publish.

mod stream;
mod table;

pub use stream::OutboxStream;
pub(crate) use table::Table;

use crate::{
    Clock, Error, Publisher, Result, clock::epoch_ms, description::Use, envelope::Outgoing,
    stage::Item,
};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use futures_util::StreamExt;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use table::DynamoDbTable;

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
    table: Arc<dyn Table>,
    publisher: Publisher,
    clock: Clock,
}

/// An index partition takes 1,000 writes a second; so many of them share the load.
pub(crate) const SHARDS: u8 = 8;

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
    /// The events in `table`, to be published by `publisher`. The client keeps its own time limits.
    pub fn new(client: Client, table: impl Into<String>, publisher: Publisher) -> Self {
        Self::over(DynamoDbTable::new(client, table.into()), publisher)
    }

    pub(crate) fn over(table: impl Table, publisher: Publisher) -> Self {
        Self {
            table: Arc::new(table),
            publisher,
            clock: Clock::system(),
        }
    }

    /// The events in the table that `IDEMPOTENCY_TABLE` names, with the environment's AWS
    /// configuration. A call that gets no answer in 2 s is repeated, as
    /// [`aws::with_time_limits`](crate::aws::with_time_limits) says.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env(publisher: Publisher) -> Result<Self> {
        let table = crate::environment::used("IDEMPOTENCY_TABLE", Use::OutboxTable)?;
        let client = Client::new(crate::aws::limited_config().await);
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
    /// [`ErrorKind::Publish`](crate::ErrorKind::Publish) if not all events were accepted; some may have been. Then the item
    /// stays as it is. [`ErrorKind::Store`](crate::ErrorKind::Store) if they were, but could not be marked.
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
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the table does not answer.
    pub async fn sweep(&self, age: Duration, until: impl Fn() -> bool) -> Result<Swept> {
        let before = epoch_ms(self.clock.now() - age);
        let mut swept = Swept::default();
        for shard in 0..SHARDS {
            let mut waiting = self.table.waiting(shard, before);
            while let Some(found) = waiting.next().await {
                if until() {
                    return Ok(swept);
                }
                match self.publish_found(&found?).await {
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
        let Some(AttributeValue::S(id)) = keys.get("id") else {
            return Ok(0);
        };
        match self.table.item(id).await? {
            Some(item) => self.publish_item(&item).await,
            None => Ok(0),
        }
    }

    async fn mark(&self, waiting: &Waiting) -> Result<()> {
        let now = epoch_ms(self.clock.now());
        self.table.mark(&waiting.id, &waiting.since, now).await
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
