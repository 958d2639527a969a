//! What was sent and what was seen, by order.

use std::collections::{BTreeMap, BTreeSet};

use crate::commands::demo::{
    observation::Observation,
    plan::{Order, Plan},
    traffic::{Placed, Replies},
};

pub(super) const RESERVED: &str = "RESERVED";
pub(super) const REJECTED: &str = "REJECTED";

/// The queue whose dead letters are about mails, as they name it.
pub(super) const NOTIFY: &str = "NotifyCustomer";

/// What has happened when the accounts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chapter {
    /// Messages that could not be handled are in the dead-letter queues.
    Failed,
    /// The causes of the failures were removed, and the dead letters redriven.
    Redriven,
}

/// How an order ended, as far as it can be observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Reserved,
    Rejected,
    Parked(String),
    Unknown(String),
}

pub(super) struct Books<'a> {
    pub(super) plan: &'a Plan,
    pub(super) replies: &'a Replies,
    pub(super) seen: &'a Observation,
    /// Whether the dead letters were redriven.
    pub(super) chapter: Chapter,
    /// The placed orders by their ids.
    pub(super) placed: BTreeMap<&'a str, (&'a Order, &'a Placed)>,
    /// All ends of an order; there should be one.
    pub(super) ends: BTreeMap<&'a str, Vec<End>>,
}

impl<'a> Books<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        replies: &'a Replies,
        seen: &'a Observation,
        chapter: Chapter,
    ) -> Self {
        let placed: BTreeMap<&str, (&Order, &Placed)> = plan
            .orders
            .iter()
            .filter_map(|order| {
                let reply = replies.first.get(&order.request_id)?;
                Some((reply.order_id.as_str(), (order, reply)))
            })
            .collect();
        let mut ends = BTreeMap::<&str, Vec<End>>::new();
        for (id, status) in &seen.rows.reservations {
            ends.entry(id).or_default().push(match status.as_str() {
                RESERVED => End::Reserved,
                REJECTED => End::Rejected,
                other => End::Unknown(other.to_owned()),
            });
        }
        for letter in &seen.dead_letters {
            // A dead letter about an order's mail does not affect the order itself.
            if let (Some(id), false) = (&letter.order_id, letter.queue == NOTIFY) {
                ends.entry(id)
                    .or_default()
                    .push(End::Parked(letter.reason.clone()));
            }
        }
        Self {
            plan,
            replies,
            seen,
            chapter,
            placed,
            ends,
        }
    }

    pub(super) fn ends_of(&self, id: &str) -> &[End] {
        self.ends.get(id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn reserved(&self) -> impl Iterator<Item = (&'a str, &'a Order)> {
        self.placed
            .iter()
            .filter(|(id, _)| self.ends_of(id).contains(&End::Reserved))
            .map(|(id, (order, _))| (*id, *order))
    }
}

/// Returns what is missing, and what is not expected.
pub(super) fn differences(
    what: &str,
    expected: &BTreeSet<String>,
    actual: &BTreeSet<String>,
) -> Vec<String> {
    let missing = expected
        .difference(actual)
        .map(|id| format!("{what} {id}: missing"));
    let extra = actual
        .difference(expected)
        .map(|id| format!("{what} {id}: not expected"));
    missing.chain(extra).collect()
}
