//! What applying a plan would do.

use super::{Apply, order::Order};
use crate::{
    destination::Destination,
    journal::{Ledger, Progress},
    plan::Action,
};
use std::collections::BTreeMap;
use surehand::Result;

/// What applying a plan would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryRun {
    /// How many letters go where.
    pub sends: BTreeMap<Destination, u64>,
    /// How many are dropped.
    pub drops: u64,
    /// How many stay.
    pub holds: u64,
    /// How many lose attributes that hold lists.
    pub without_lists: u64,
    /// The letters that cannot be put back, with the reason.
    pub problems: BTreeMap<String, String>,
    /// How many letters need nothing but to be deleted, since an earlier run sent them; or are dealt
    /// with already.
    pub finished: u64,
    /// How many letters of the plan were not found.
    pub missing: u64,
}

impl Apply<'_> {
    /// Reads the queue, and says what would be done. `ledger` is what the journal says; empty if there
    /// is none.
    ///
    /// # Errors
    /// If the queue cannot be read. If the journal belongs to another plan, or the plan to another
    /// queue.
    pub async fn dry_run(&self, ledger: &Ledger) -> Result<DryRun> {
        self.check(ledger)?;
        let mut reader = self.open().await?;
        let is_sent = |id: &str| ledger.progress(id) >= Some(Progress::Sent);
        let steps = self.plan.steps().iter();
        let finished = steps.filter(|step| is_sent(&step.message_id)).count() as u64;
        let mut dry = DryRun {
            finished,
            ..DryRun::default()
        };
        let mut found = 0;
        let mut order = Order::new(reader.info().fifo);
        let result = loop {
            let letters = match reader.next().await {
                Ok(letters) if letters.is_empty() => break Ok(()),
                Ok(letters) => letters,
                Err(error) => break Err(error),
            };
            for received in letters {
                let letter = received.letter;
                if is_sent(&letter.id) {
                    continue;
                }
                found += u64::from(self.plan.step(&letter.id).is_some());
                // It stays behind what stays before it in its group.
                if order.is_closed(letter.group.as_deref()) {
                    dry.holds += 1;
                    continue;
                }
                match self.action(&letter) {
                    Err(problem) => {
                        order.close(letter.group.as_deref());
                        dry.problems.insert(letter.id, problem);
                    }
                    Ok(Action::Hold) => {
                        order.close(letter.group.as_deref());
                        dry.holds += 1;
                    }
                    Ok(Action::Drop) => dry.drops += 1,
                    Ok(action) => match self.plan.prepare(&letter, action) {
                        Err(problem) => {
                            order.close(letter.group.as_deref());
                            dry.problems.insert(letter.id, problem);
                        }
                        Ok(None) => dry.holds += 1,
                        Ok(Some((to, _))) => {
                            dry.without_lists += u64::from(!letter.dropped_attributes.is_empty());
                            *dry.sends.entry(to).or_default() += 1;
                        }
                    },
                }
            }
        };
        reader.close().await;
        result?;
        dry.missing = self.plan.steps().len() as u64 - finished - found;
        Ok(dry)
    }
}
