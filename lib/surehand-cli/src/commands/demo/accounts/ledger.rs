//! What customers owe.

use std::collections::{BTreeMap, BTreeSet};

use super::books::{Books, differences};

impl<'a> Books<'a> {
    pub(super) fn entries(&self) -> Vec<String> {
        let expected: BTreeSet<String> = self
            .placed
            .iter()
            .map(|(id, (order, _))| format!("{} {id} {}", order.customer_id, order.total_cents()))
            .collect();
        let booked = &self.seen.rows.entries;
        let actual = booked
            .iter()
            .map(|((customer, id), amount)| format!("{customer} {id} {amount}"))
            .collect();
        differences("entry", &expected, &actual)
    }

    pub(super) fn balances(&self) -> Vec<String> {
        let mut sums = BTreeMap::<&str, (u64, u64)>::new();
        for (order, _) in self.placed.values() {
            let (balance, entries) = sums.entry(&order.customer_id).or_default();
            *balance += order.total_cents();
            *entries += 1;
        }
        let expected = sums
            .iter()
            .map(|(customer, (balance, entries))| format!("{customer}: {balance} in {entries}"))
            .collect();
        let kept = &self.seen.rows.balances;
        let actual = kept
            .iter()
            .map(|(customer, (balance, entries))| format!("{customer}: {balance} in {entries}"))
            .collect();
        differences("balance", &expected, &actual)
    }
}
