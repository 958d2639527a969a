//! What was published, and what audit has of it.

use std::collections::{BTreeMap, BTreeSet};

use super::books::{Books, End, differences};
use crate::commands::demo::{traffic::ORDER_PLACED, witness::order_id};

impl<'a> Books<'a> {
    pub(super) fn events(&self) -> Vec<String> {
        let mut ids = BTreeMap::<(&str, &str), BTreeSet<&str>>::new();
        for event in &self.seen.events {
            if let Some(order) = order_id(&event.detail) {
                ids.entry((order, &event.detail_type))
                    .or_default()
                    .insert(&event.id);
            }
        }
        let mut offenders = Vec::new();
        for id in self.placed.keys() {
            let ends = self.ends_of(id);
            for (detail_type, expected) in [
                (ORDER_PLACED, true),
                ("StockReserved", ends.contains(&End::Reserved)),
                ("OrderRejected", ends.contains(&End::Rejected)),
            ] {
                let count = ids.get(&(*id, detail_type)).map_or(0, BTreeSet::len);
                if count != usize::from(expected) {
                    offenders.push(format!("order {id}: {count} different {detail_type}"));
                }
            }
        }
        offenders
    }

    pub(super) fn audit(&self) -> Vec<String> {
        let expected = self
            .seen
            .events
            .iter()
            .map(|event| event.id.clone())
            .collect();
        differences("event", &expected, &self.seen.rows.audited)
    }
}
