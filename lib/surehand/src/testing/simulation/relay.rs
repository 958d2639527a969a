//! What a relay talks to: the table with waiting events, and the bus.

use super::{
    fault::Fault,
    process::{Process, latency},
    world::Published,
};
use crate::{
    Error, ErrorKind, Result,
    envelope::Outgoing,
    idempotency::memory::Waiting,
    outbox::{self, Failure, SHARDS, Table},
    publish::{PublishError, Transport, Unpublished},
    stage::Item,
};
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use std::time::Duration;

/// The outbox of the store in memory, with a network in front of it.
#[derive(Clone, Debug)]
pub(super) struct SimulatedTable(Process);

/// Writes the item of a commit's waiting events.
pub(super) fn image(waiting: &Waiting) -> Item {
    let id = waiting.key.as_str();
    let events = waiting.events.iter();
    let left = events.filter(|event| !waiting.accepted.contains(event.id()));
    let events = left.map(outbox::event_value).collect();
    let mut item = outbox::attributes(id, events, waiting.since);
    item.insert("id".into(), AttributeValue::S(id.to_owned()));
    item
}

impl SimulatedTable {
    pub(super) fn new(process: Process) -> Self {
        Self(process)
    }

    async fn call<T>(&self, what: &str, apply: impl FnOnce() -> T) -> Result<T> {
        let world = &self.0.world;
        let note = |outcome: &str| {
            let id = self.0.id;
            world.note(format_args!("process {id}: {what} {outcome}"));
        };
        let unavailable = |problem: &str| Err(Error::new(ErrorKind::Store, problem));
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::StoreSlow) {
            let takes = Duration::from_millis(world.state().rng.u64(100..40_000));
            note(&format!("takes {takes:?}"));
            tokio::time::sleep(takes).await;
        }
        if world.meets(Fault::StoreRefuses) {
            note("is refused");
            return unavailable("the table refused the call");
        }
        if world.meets(Fault::StoreHangs) {
            note("hangs");
            return std::future::pending().await;
        }
        let answer = apply();
        note("is done");
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::StoreAnswerLost) {
            note("gets no answer");
            return unavailable("the table's answer was lost");
        }
        Ok(answer)
    }

    async fn keys(&self, shard: u8, before_ms: u64) -> Vec<Result<Item>> {
        let found = self.call("the query of an index", || {
            let all = self.0.memory.outbox().into_iter();
            all.filter(|it| !it.is_published && it.since < before_ms)
                .map(|it| image(&it))
                .filter(|item| shard_of(item) == shard.to_string())
                .collect::<Vec<Item>>()
        });
        match found.await {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    }
}

fn shard_of(item: &Item) -> &str {
    let shard = item.get("outbox_shard").and_then(|it| it.as_s().ok());
    shard.map_or("", String::as_str)
}

impl Table for SimulatedTable {
    fn waiting(&self, shard: u8, before_ms: u64) -> BoxStream<'_, Result<Item>> {
        debug_assert!(shard < SHARDS);
        stream::once(self.keys(shard, before_ms))
            .flat_map(stream::iter)
            .boxed()
    }

    fn item<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Item>>> {
        Box::pin(self.call("the read of an item", move || {
            let all = self.0.memory.outbox();
            let mut waiting = all.iter().filter(|it| !it.is_published);
            waiting.find(|it| it.key.as_str() == id).map(image)
        }))
    }

    fn fail<'a>(
        &'a self,
        id: &'a str,
        since: &'a str,
        failure: Failure,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call("the removal of accepted events", move || {
            let since = since.parse().unwrap_or_default();
            let gone = failure.accepted.into_iter().chain(failure.parked);
            self.0.memory.accepted(id, since, gone.collect());
        }))
    }

    fn mark<'a>(&'a self, id: &'a str, since: &'a str, _: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call("the mark of published events", move || {
            let since = since.parse().unwrap_or_default();
            self.0.memory.mark_published(id, since);
        }))
    }
}

/// A bus with a network in front of it. The events that it accepts are in
/// [`Report::published`](super::Report::published).
#[derive(Clone, Debug)]
pub struct SimulatedTransport {
    process: Process,
    is_sweeping: bool,
}

impl SimulatedTransport {
    pub(super) fn new(process: Process, is_sweeping: bool) -> Self {
        Self {
            process,
            is_sweeping,
        }
    }

    async fn publish(&self, events: &[Outgoing]) -> Result<(), PublishError> {
        let (world, process) = (&self.process.world, self.process.id);
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::PublishHangs) {
            world.note(format_args!("process {process}: publishing hangs"));
            return std::future::pending().await;
        }
        let mut accepted = Vec::new();
        let mut unpublished = Vec::new();
        for (place, event) in events.iter().enumerate() {
            if self.is_refused_for_good(event) {
                world.note(format_args!(
                    "process {process}: {} is refused for good",
                    event.id()
                ));
                unpublished.push(Unpublished::new(event, "MalformedDetail", "simulated"));
                continue;
            }
            if world.meets(Fault::PublishRefused) {
                world.note(format_args!("process {process}: {} is refused", event.id()));
                unpublished.extend(all_unpublished(&events[place..], "Refused"));
                break;
            }
            let line = format!("process {process}: {} PUBLISHED", event.id());
            world.note(line);
            world.state().published.push(Published {
                event: event.clone(),
                is_swept: self.is_sweeping,
            });
            accepted.push(event.id().to_owned());
        }
        tokio::time::sleep(latency(world)).await;
        if world.meets(Fault::PublishAnswerLost) {
            world.note(format_args!("process {process}: but gets no answer"));
            let unpublished = all_unpublished(events, "NoAnswer");
            return Err(PublishError::new(Vec::new(), unpublished.collect()));
        }
        match unpublished.is_empty() {
            true => Ok(()),
            false => Err(PublishError::new(accepted, unpublished)),
        }
    }

    /// What the bus thinks of an event does not change.
    fn is_refused_for_good(&self, event: &Outgoing) -> bool {
        let world = &self.process.world;
        let known = world.state().refused.get(event.id()).copied();
        known.unwrap_or_else(|| {
            let refused = world.meets(Fault::PublishRefusedForGood);
            world.state().refused.insert(event.id().to_owned(), refused);
            refused
        })
    }
}

fn all_unpublished<'a>(
    events: &'a [Outgoing],
    code: &'a str,
) -> impl Iterator<Item = Unpublished> + 'a {
    let all = events.iter();
    all.map(move |event| Unpublished::new(event, code, "simulated"))
}

impl Transport for SimulatedTransport {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(self.publish(events))
    }
}
