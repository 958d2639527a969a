//! Publishing what transactions left to publish.
//!
//! The events that a [`Transaction`](crate::Transaction) publishes are written with its claim. Two functions of
//! yours publish them, both with an [`Outbox`]: one on the table's stream, with the source [`OutboxStream`], and one
//! on a schedule, which [sweeps](Outbox::sweep) up what the first could not publish.

mod parking;
mod stream;
mod table;
mod waiting;

pub use stream::OutboxStream;
pub(crate) use table::Table;

use crate::{
    Clock, Error, Publisher, Result, clock::epoch_ms, dead_letter::DeadLetters, description::Use,
    envelope::Outgoing, publish::PublishError, stage::Item,
};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use futures_util::{StreamExt, future::join_all};
use lru::LruCache;
use parking::Parking;
use serde::Serialize;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
pub(crate) use table::Failure;
use table::{DynamoDbTable, FAILURES, PUBLISHED, RETRY_AT};
use waiting::{Waiting, number};

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
/// and, once not all of them could be published:
///
/// | attribute | type | |
/// |---|---|---|
/// | `outbox_failures` | N | how many tries to publish them failed |
/// | `outbox_error` | S | why the last one did |
/// | `outbox_retry_at` | N | when a sweep tries again, in milliseconds since the epoch |
/// | `outbox_parked` | L of S | the ids of the events that were parked |
///
/// Events that were accepted leave the item at once, also if others were refused. They wait for 14
/// days at least, however soon the claim expires: if that is sooner, they have an item of their own.
/// Events in items of their own may change places with the others of their commit.
///
/// Two functions publish them. One is on the table's stream, an [`OutboxStream`], and hands every new
/// image to [`publish_item`](Self::publish_item), a moment after the commit. The other runs on a schedule and
/// [sweeps](Self::sweep) up what the first could not. An event is published at least once, and has
/// the same id each time: twice if the process dies between the bus's answer and the mark, or a change
/// is delivered to another process within 3 s of its commit, after a try in which some of its events were
/// accepted.
///
/// An event that is refused for good is parked with the reason, if there is a [destination](Self::dead_letters) for
/// that: at once where the event itself is refused, such as for a detail that EventBridge cannot read, and after a
/// day where its destination is gone or may not be used, which can be mended. It has left the item then, the events
/// behind it go on, also those of its partition key, and `surehand dlq` puts it on the bus. Without a dead-letter
/// destination, and as long as that does not take it, it stays in the item with the reason (`outbox_error`), is tried
/// each hour, and counts as [failed](Swept::failed) in each of those sweeps. Watch that: whoever is called can mend the
/// bus's policy, or correct the item. With its item it is gone in the end: after 30 days with the claim, or 14 if
/// claims expire sooner.
#[derive(Clone, Debug)]
pub struct Outbox {
    table: Arc<dyn Table>,
    publisher: Publisher,
    parking: Option<Parking>,
    clock: Clock,
    /// The items whose events could not all be published, as far as this process remembers: what the
    /// stream delivers again is their first image. After a while they are read in any case.
    failed: Arc<Mutex<LruCache<String, ()>>>,
}

/// The events that wait in this item of the table.
#[cfg(feature = "testing-dynamodb")]
pub(crate) fn waiting_in(item: &Item) -> Result<Vec<Outgoing>> {
    Ok(Waiting::read(item)?
        .map(|waiting| waiting.events)
        .unwrap_or_default())
}

/// How long events wait at least: as long as SQS keeps a message, for whoever mends the way out.
pub(crate) const RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// How old a change is, in milliseconds, when it is probably delivered again, maybe to another process
/// than that whose try failed: its item is then read, which costs less than what is published twice.
const LATE_MS: u64 = 3_000;

/// An index partition takes 1,000 writes a second; so many of them share the load.
pub(crate) const SHARDS: u8 = 8;

/// What a [sweep](Outbox::sweep) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// Items whose events were published.
    pub published: usize,
    /// Items whose events could not all be published, and shards that could not be read. A later sweep
    /// finds them again: the next one after the first failure, then one after a minute, after two and
    /// so on, up to an hour.
    pub failed: usize,
    /// Events that were refused for good and [parked](Outbox::dead_letters), of items of which no event
    /// waits any more.
    pub parked: usize,
    /// For how many milliseconds the oldest item that was found had waited; 0 if there was none.
    pub oldest_ms: u64,
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
            parking: None,
            clock: Clock::system(),
            failed: Arc::new(Mutex::new(LruCache::new(REMEMBERED))),
        }
    }

    /// The events in the table that `IDEMPOTENCY_TABLE` names, with the environment's AWS
    /// configuration. What is refused for good is parked in the queue whose URL is in
    /// `DEAD_LETTER_QUEUE_URL`, if that is set (feature `sqs`). A call that gets no answer in 2 s is repeated, as
    /// [`aws::with_time_limits`](crate::aws::with_time_limits) says.
    ///
    /// # Errors
    /// If `IDEMPOTENCY_TABLE` is not set, or `DEAD_LETTER_QUEUE_URL` is not a URL.
    pub async fn from_env(publisher: Publisher) -> Result<Self> {
        let table = crate::environment::used("IDEMPOTENCY_TABLE", Use::OutboxTable)?;
        let client = Client::new(crate::aws::limited_config().await);
        let this = Self::new(client, table, publisher);
        #[cfg(feature = "sqs")]
        if let Some(queue) =
            crate::environment::used_url_if_set("DEAD_LETTER_QUEUE_URL", Use::DeadLetterQueue)?
        {
            let client = aws_sdk_sqs::Client::new(crate::aws::limited_config().await);
            let letters = crate::dead_letter::SqsDeadLetters::new(client, queue);
            return Ok(this.dead_letters(letters));
        }
        Ok(this)
    }

    /// Parks events that are refused for good, with the reason, as EventBridge would deliver them. An
    /// event leaves its item once the destination has it: if the process dies in between, the destination
    /// gets it twice, with one id.
    pub fn dead_letters(mut self, destination: impl DeadLetters) -> Self {
        self.parking = Some(Parking::new(destination));
        self
    }

    /// The same outbox, with another clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Publishes the events of an item of the table, and marks them as published. Returns how many
    /// there were; an item without waiting events has none. Nor has one that says that a try has
    /// failed (`outbox_failures`): the record of its commit is delivered again, or a sweep finds it.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`](crate::ErrorKind::Publish) if not all events were accepted or parked. Those
    /// that were are no longer in the item. [`ErrorKind::Store`](crate::ErrorKind::Store) if all were, but
    /// could not be marked.
    pub async fn publish_item(&self, item: &Item) -> Result<usize> {
        if item.contains_key(FAILURES) {
            return Ok(0);
        }
        let Some(image) = Waiting::read(item)? else {
            return Ok(0);
        };
        let age = epoch_ms(self.clock.now()).saturating_sub(image.since_ms());
        let was_tried = self.failed().contains(&image.id) || age > LATE_MS;
        let waiting = match was_tried {
            true => self.as_it_is_now(image).await?,
            false => Some(image),
        };
        match waiting {
            Some(waiting) => Ok(self.publish(waiting, false).await?.published),
            None => Ok(0),
        }
    }

    /// What still waits of an image. None if all of it was published.
    async fn as_it_is_now(&self, image: Waiting) -> Result<Option<Waiting>> {
        let item = match self.table.item(&image.id).await {
            Ok(Some(item)) => item,
            Ok(None) => return Ok(Some(image)),
            // What was accepted is then published again, and that is better than not at all.
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the outbox item was not read");
                return Ok(Some(image));
            }
        };
        Ok(match Waiting::read(&item)? {
            Some(waiting) if waiting.since == image.since => Some(waiting),
            None if item.contains_key(PUBLISHED) => None,
            // The key has other events by now.
            _ => Some(image),
        })
    }

    async fn publish(&self, mut waiting: Waiting, is_sweep: bool) -> Result<Done> {
        let mut done = Done::default();
        loop {
            let now = epoch_ms(self.clock.now());
            let Err(error) = self.publisher.send(&waiting.events).await else {
                self.table.mark(&waiting.id, &waiting.since, now).await?;
                self.failed().pop(&waiting.id);
                done.published += waiting.events.len();
                return Ok(done);
            };
            self.failed().put(waiting.id.clone(), ());
            let refused: Option<&PublishError> = error.downcast_ref();
            let accepted = refused.map_or(&[][..], PublishError::accepted);
            let parked = match (&self.parking, refused) {
                (Some(parking), Some(refused)) => {
                    parking
                        .park(&waiting, refused, &self.publisher, &self.clock)
                        .await
                }
                _ => Vec::new(),
            };
            done.published += accepted.len();
            done.parked += parked.len();
            let may_go_on = !parked.is_empty();
            let (failure, left) = waiting.failure(&error, accepted, parked, now);
            if is_sweep || left.events.len() < waiting.events.len() {
                let (id, since) = (&waiting.id, &waiting.since);
                if let Err(late) = self.table.fail(id, since, failure).await {
                    tracing::warn!(error = %format!("{late:#}"), "events that were published or parked stay in the outbox");
                }
            }
            if !may_go_on {
                return Err(error);
            }
            // Those that were held up by what is parked now. Without any, what remains is the mark.
            waiting = left;
        }
    }

    fn failed(&self) -> MutexGuard<'_, LruCache<String, ()>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what has waited for longer than `age`.
    ///
    /// It looks at the items oldest first, whatever shard they are in, and stops when `until` says so,
    /// so that it can run inside a deadline. What cannot be published or read is passed by and
    /// counted.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the table does not answer for any shard.
    pub async fn sweep(&self, age: Duration, until: impl Fn() -> bool) -> Result<Swept> {
        let before = self.clock.now().checked_sub(age);
        let before = before.unwrap_or(SystemTime::UNIX_EPOCH);
        let waiting = |shard| self.table.waiting(shard, epoch_ms(before));
        let mut shards: Vec<_> = (0..SHARDS).map(waiting).collect();
        let mut swept = Swept::default();
        let mut heads = join_all(shards.iter_mut().map(StreamExt::next)).await;
        if heads.iter().all(|head| matches!(head, Some(Err(_)))) {
            return Err(heads
                .swap_remove(0)
                .and_then(Result::err)
                .unwrap_or_else(never));
        }
        loop {
            // A shard that cannot be read ends there.
            for head in &mut heads {
                if let Some(Err(error)) = head.take_if(|head| head.is_err()) {
                    tracing::warn!(error = %format!("{error:#}"), "waiting events not found");
                    swept.failed += 1;
                }
            }
            let found = heads.iter().enumerate();
            let found = found.filter_map(|(shard, head)| {
                let item = head.as_ref()?.as_ref().ok()?;
                Some((waits_since(item), shard))
            });
            let Some((since, shard)) = found.min() else {
                return Ok(swept);
            };
            let waited = epoch_ms(self.clock.now()).saturating_sub(since);
            swept.oldest_ms = swept.oldest_ms.max(waited);
            if until() {
                return Ok(swept);
            }
            if let Some(Ok(keys)) = heads[shard].take() {
                match self.publish_found(&keys).await {
                    Ok(done) => {
                        swept.published += usize::from(done.published > 0);
                        swept.parked += done.parked;
                    }
                    Err(error) => {
                        tracing::warn!(error = %format!("{error:#}"), "waiting events not published");
                        swept.failed += 1;
                    }
                }
            }
            heads[shard] = shards[shard].next().await;
        }
    }

    /// The index has the keys alone, and may be behind: the item itself says what still waits.
    async fn publish_found(&self, keys: &Item) -> Result<Done> {
        let Some(AttributeValue::S(id)) = keys.get("id") else {
            return Ok(Done::default());
        };
        let Some(item) = self.table.item(id).await? else {
            return Ok(Done::default());
        };
        if number(&item, RETRY_AT) > epoch_ms(self.clock.now()) {
            return Ok(Done::default());
        }
        match Waiting::read(&item)? {
            Some(waiting) => self.publish(waiting, true).await,
            None => Ok(Done::default()),
        }
    }
}

fn never() -> Error {
    Error::new(crate::ErrorKind::Store, "the outbox did not answer")
}

fn waits_since(item: &Item) -> u64 {
    number(item, "outbox_since")
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

/// How many of an item's events need not wait any more.
#[derive(Default)]
struct Done {
    published: usize,
    parked: usize,
}
