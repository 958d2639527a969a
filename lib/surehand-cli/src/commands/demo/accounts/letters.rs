//! What could not be handled, and why.

use serde_json::Value;

use super::books::{Books, Chapter, NOTIFY};
use crate::commands::demo::{observation::NO_NOTE, plan::Fate};

/// The reason of a message whose process died in each attempt.
const INTERRUPTED: &str = "interrupted";

impl Books<'_> {
    /// Checks that before the redrive there is each expected dead letter with its reason, and after
    /// it none.
    pub(super) fn dead_letters(&self) -> Vec<String> {
        let letters = &self.seen.dead_letters;
        if self.chapter == Chapter::Redriven {
            let left = letters.iter();
            return left
                .map(|letter| format!("{}: {}: {}", letter.queue, letter.reason, letter.message))
                .collect();
        }
        let mut offenders: Vec<String> = letters
            .iter()
            .filter(|letter| letter.reason == NO_NOTE)
            .map(|letter| format!("{}: {NO_NOTE}", letter.queue))
            .collect();
        let without_order = || letters.iter().filter(|letter| letter.order_id.is_none());
        let mut count = |what: &str, is: usize, ought: usize| {
            if is != ought {
                offenders.push(format!("{is} {what} instead of {ought}"));
            }
        };
        let malformed = without_order().filter(|letter| letter.reason == "malformed");
        count(
            "malformed events parked",
            malformed.count(),
            self.plan.malformed.len(),
        );
        let struck = self.plan.orders.iter().filter(|it| it.fate == Fate::Struck);
        let interrupted = letters
            .iter()
            .filter(|letter| letter.queue == NOTIFY && letter.reason == INTERRUPTED);
        count(
            "mails whose attempts never ended",
            interrupted.count(),
            struck.count(),
        );
        let others = letters.iter().filter(|letter| match &letter.order_id {
            None => letter.reason != "malformed" && letter.reason != NO_NOTE,
            Some(_) => (letter.queue == NOTIFY) != (letter.reason == INTERRUPTED),
        });
        offenders.extend(others.map(|letter| {
            let (queue, reason) = (&letter.queue, &letter.reason);
            format!("{queue}: {reason}: {}", letter.message)
        }));
        offenders
    }

    /// Checks that the archive holds each event that is not an order.
    pub(super) fn archive(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.plan.malformed.iter().map(Value::to_string).collect();
        let mut extra = Vec::new();
        for event in self.seen.archived.iter().map(Value::to_string) {
            match missing.iter().position(|wanted| *wanted == event) {
                Some(index) => drop(missing.swap_remove(index)),
                None => extra.push(format!("{event}: not expected")),
            }
        }
        let missing = missing.into_iter().map(|event| format!("{event}: missing"));
        missing.chain(extra).collect()
    }
}
