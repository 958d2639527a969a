//! Each order: answered, stored, ended, and mailed about, once.

use std::collections::{BTreeMap, BTreeSet};

use super::books::{Books, Chapter, End, differences};
use crate::commands::demo::plan::Fate;

impl<'a> Books<'a> {
    pub(super) fn unanswered(&self) -> Vec<String> {
        self.plan
            .orders
            .iter()
            .filter(|order| !self.replies.first.contains_key(&order.request_id))
            .map(|order| {
                let id = &order.request_id;
                let error = self.replies.errors.get(id);
                format!("{id}: {}", error.map_or("not sent", String::as_str))
            })
            .collect()
    }

    pub(super) fn repeated(&self) -> Vec<String> {
        self.plan
            .repeated
            .iter()
            .filter_map(|index| self.plan.orders.get(*index))
            .map(|order| order.request_id.as_str())
            .filter(|id| {
                let second = self.replies.second.get(*id);
                second.is_none() || second != self.replies.first.get(*id)
            })
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn stored(&self) -> Vec<String> {
        let expected: BTreeSet<String> = self.placed.keys().map(|id| (*id).to_owned()).collect();
        let mut offenders = differences("order", &expected, &self.seen.rows.orders);
        offenders.extend(
            self.placed
                .iter()
                .filter(|(_, (order, reply))| order.total_cents() != reply.total_cents)
                .map(|(id, (order, reply))| {
                    let (is, ought) = (reply.total_cents, order.total_cents());
                    format!("order {id}: total {is} instead of {ought}")
                }),
        );
        offenders
    }

    pub(super) fn ends(&self) -> Vec<String> {
        let mut offenders: Vec<String> = self
            .placed
            .iter()
            .filter(|(id, (order, _))| !is_end(order.fate, self.chapter, self.ends_of(id)))
            .map(|(id, (order, _))| {
                format!("order {id} ({:?}): {:?}", order.fate, self.ends_of(id))
            })
            .collect();
        offenders.extend(
            self.ends
                .keys()
                .filter(|id| !self.placed.contains_key(*id))
                .map(|id| format!("order {id}: ended, but was never placed")),
        );
        offenders
    }

    pub(super) fn mails(&self) -> Vec<String> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for address in &self.seen.mails {
            *counts.entry(address).or_default() += 1;
        }
        let mut offenders = Vec::new();
        for (id, (order, _)) in &self.placed {
            let is_decided = self
                .ends_of(id)
                .iter()
                .any(|end| matches!(end, End::Reserved | End::Rejected));
            let is_struck = order.fate == Fate::Struck && self.chapter == Chapter::Failed;
            let expected = usize::from(is_decided && !is_struck);
            let count = counts.remove(order.email.as_str()).unwrap_or_default();
            if count != expected {
                offenders.push(format!("order {id}: {count} mails instead of {expected}"));
            }
        }
        offenders.extend(counts.iter().map(|(address, count)| {
            format!("{address}: {count} mails that are not about an order")
        }));
        offenders
    }
}

/// Returns true if these are all ends of an order with this fate.
fn is_end(fate: Fate, chapter: Chapter, ends: &[End]) -> bool {
    match (fate, chapter, ends) {
        (Fate::Reserved | Fate::Struck, _, [End::Reserved])
        | (Fate::Contested, _, [End::Reserved | End::Rejected]) => true,
        (Fate::Refused, Chapter::Failed, [End::Parked(reason)]) => reason == "rejected",
        (Fate::Poisoned, Chapter::Failed, [End::Parked(reason)]) => reason == "transient",
        (Fate::Refused, Chapter::Redriven, [End::Rejected])
        | (Fate::Poisoned, Chapter::Redriven, [End::Reserved]) => true,
        _ => false,
    }
}
