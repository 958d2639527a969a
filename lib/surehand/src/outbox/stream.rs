//! The outbox's table as a source.

use super::waiting::Waiting;
use crate::{
    Change, Deadline, DynamoDbStream, Record, Result,
    extract::FromRecord,
    record::{Batch, Outcome},
    source::{Needs, Source, StreamEvent},
};
use aws_lambda_events::streams::DynamoDbEventResponse;
use std::collections::HashMap;

/// The stream of a table with an outbox: a [`DynamoDbStream`] in which changes whose events share a
/// partition key are handled in order: any of the keys, and also by way of a third change.
///
/// The order is that of the stream, which has one for each partition of the table: of two commits
/// that follow one another closely, and for different keys, the events may change places. So may the
/// events of one commit that are in items of their own, since there was no room in the claim's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxStream;

/// What two changes can have in common.
#[derive(PartialEq, Eq, Hash)]
enum Name<'a> {
    Item(&'a str),
    Partition(&'a str),
}

/// The partition keys of the events in a change. Whatever cannot be read has none, stays in its item's
/// lane, and fails when it is handled.
fn partition_keys(record: &Record) -> Vec<String> {
    let waiting = Change::from_record(record, &())
        .ok()
        .and_then(|change| Waiting::read(&change.new_image?).ok()?);
    waiting.map_or_else(Vec::new, |it| {
        it.partition_keys().map(str::to_owned).collect()
    })
}

/// For each change the first one that it shares a name with, be it by way of others.
fn shared<'a>(changes: impl Iterator<Item = impl Iterator<Item = Name<'a>>>) -> Vec<usize> {
    fn first(lanes: &[usize], mut change: usize) -> usize {
        while lanes[change] != change {
            change = lanes[change];
        }
        change
    }
    let mut lanes: Vec<usize> = Vec::new();
    let mut by_name: HashMap<Name<'a>, usize> = HashMap::new();
    for (change, names) in changes.enumerate() {
        lanes.push(change);
        for name in names {
            let other = *by_name.entry(name).or_insert(change);
            let (one, other) = (first(&lanes, change), first(&lanes, other));
            lanes[one.max(other)] = one.min(other);
        }
    }
    (0..lanes.len())
        .map(|change| first(&lanes, change))
        .collect()
}

impl Source for OutboxStream {
    type Event = StreamEvent;
    type Response = DynamoDbEventResponse;

    fn kind(&self) -> &'static str {
        "dynamodb_stream"
    }

    /// Consumers absorb an event that is published again, and claims would be changes of the very table
    /// whose stream this is.
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn split(
        &self,
        event: StreamEvent,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let mut batch = DynamoDbStream.split(event, context, deadline)?;
        let keys: Vec<Vec<String>> = batch.records.iter().map(partition_keys).collect();
        let named = batch.records.iter().zip(&keys).map(|(record, keys)| {
            let item = record.lane().map(Name::Item);
            let keys = keys.iter().map(|key| Name::Partition(key));
            item.into_iter().chain(keys)
        });
        let lanes = shared(named);
        // A lane is called after the first partition key in it.
        let mut names: HashMap<usize, &String> = HashMap::new();
        for (lane, keys) in lanes.iter().zip(&keys) {
            if let Some(key) = keys.first() {
                names.entry(*lane).or_insert(key);
            }
        }
        for (record, lane) in batch.records.iter_mut().zip(&lanes) {
            if let Some(name) = names.get(lane) {
                *record = record.clone().with_lane(Some((*name).clone()));
            }
        }
        Ok(batch)
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<DynamoDbEventResponse> {
        DynamoDbStream.join(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_any_key_shares_a_lane_also_by_way_of_a_third() {
        let lanes = |changes: &[&[&'static str]]| {
            let names = changes
                .iter()
                .map(|keys| keys.iter().map(|key| Name::Partition(key)));
            shared(names)
        };
        assert_eq!(lanes(&[&["a", "b"], &["c", "b"], &["d"]]), [0, 0, 2]);
        assert_eq!(lanes(&[&["a"], &["b"], &["b", "a"], &["b"]]), [0, 0, 0, 0]);
        assert_eq!(lanes(&[&[], &[], &["a"], &["a", "a"]]), [0, 1, 2, 2]);
        let item_and_partition = [Name::Item("a"), Name::Partition("a")];
        let apart = shared(item_and_partition.into_iter().map(std::iter::once));
        assert_eq!(apart, [0, 1]);
    }
}
