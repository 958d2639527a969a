//! What holds of published events.

use super::{Stream, shard_of};
use crate::idempotency::memory::Waiting;
use std::collections::{BTreeMap, BTreeSet};

impl<So> Stream<'_, So> {
    /// Whether no event waits any more: each is published, or parked.
    pub(super) fn is_done(&self, waiting: &Waiting) -> bool {
        let state = self.world.state();
        let mut events = waiting.events.iter();
        events.all(|event| {
            let mut published = state.published.iter();
            published.any(|it| it.event.id() == event.id()) || state.parked.contains_key(event.id())
        })
    }

    /// Checks what holds in the end.
    pub(super) fn check(&self, committed: &[Waiting]) {
        let mut problems = Vec::new();
        {
            let state = self.world.state();
            let mut bodies = BTreeMap::new();
            let mut first = BTreeMap::new();
            for (at, published) in state.published.iter().enumerate() {
                let id = published.event.id();
                first.entry(id).or_insert((at, published.is_swept));
                bodies
                    .entry(id)
                    .or_insert_with(BTreeSet::new)
                    .insert(published.event.body());
            }
            let mut latest: BTreeMap<(usize, &str), (usize, &str)> = BTreeMap::new();
            for (number, waiting) in committed.iter().enumerate() {
                for event in &waiting.events {
                    let id = event.id();
                    let bodies = bodies.remove(id).unwrap_or_default();
                    let Some((at, is_swept)) = first.get(id) else {
                        match state.parked.get(id) {
                            None => problems.push(format!(
                                "{id} was committed, but is neither published nor parked"
                            )),
                            Some(body) if *body != event.body() => problems.push(format!(
                                "{id} is parked with other content than was committed"
                            )),
                            Some(_) => {}
                        }
                        continue;
                    };
                    if bodies != BTreeSet::from([event.body()]) {
                        problems.push(format!(
                            "{id} is published with other content than was committed"
                        ));
                    }
                    let Some(key) = event.metadata().partition_key.as_deref() else {
                        continue;
                    };
                    if *is_swept || self.given_up.borrow().contains(&number) {
                        continue;
                    }
                    let lane = (shard_of(waiting), key);
                    match latest.get(&lane) {
                        Some((before, other)) if before > at => problems.push(format!(
                            "{id} is published before {other}, which was committed before it"
                        )),
                        _ => drop(latest.insert(lane, (*at, id))),
                    }
                }
            }
            for id in bodies.keys() {
                problems.push(format!("{id} is published, but was not committed"));
            }
        }
        let left = self.memory.outbox();
        for waiting in left.iter().filter(|it| !it.is_published) {
            problems.push(format!(
                "the events of {} are left in the outbox",
                waiting.key
            ));
        }
        for problem in problems {
            self.world.violation(problem);
        }
    }
}
