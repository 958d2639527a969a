//! What was there, what was taken, and what is left.

use std::collections::BTreeMap;

use super::books::{Books, Chapter};
use crate::commands::demo::plan::Fate;

impl<'a> Books<'a> {
    pub(super) fn scarce(&self) -> Vec<String> {
        let reserved: Vec<&str> = self
            .reserved()
            .filter(|(_, order)| order.fate == Fate::Contested)
            .map(|(id, _)| id)
            .collect();
        if reserved.len() as u64 == self.plan.scarce() {
            return Vec::new();
        }
        let (is, ought) = (reserved.len(), self.plan.scarce());
        vec![format!(
            "{is} orders instead of {ought}: {}",
            reserved.join(", ")
        )]
    }

    pub(super) fn stock(&self) -> Vec<String> {
        let mut taken = BTreeMap::<&str, u64>::new();
        for line in self.reserved().flat_map(|(_, order)| &order.lines) {
            *taken.entry(&line.sku).or_default() += line.quantity;
        }
        let mended = (&self.plan.corrupt, &self.plan.mended);
        let mended = (self.chapter == Chapter::Redriven).then_some(mended);
        self.plan
            .stock
            .iter()
            .chain(mended)
            .filter_map(|(sku, initial)| {
                let taken = taken.get(sku.as_str()).copied().unwrap_or_default();
                let left = self.seen.rows.stock.get(sku).copied();
                let adds_up = left.is_some_and(|left| left + taken == *initial);
                (!adds_up).then(|| {
                    let left = left.map_or("nothing readable".to_owned(), |left| left.to_string());
                    format!("{sku}: {initial} - {taken} reserved, but {left} left")
                })
            })
            .collect()
    }
}
