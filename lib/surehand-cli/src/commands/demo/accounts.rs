//! Accounts for every order: what was sent, against what can be seen. Pure, so that each way of going wrong is a
//! test.

mod books;
mod events;
mod ledger;
mod letters;
mod orders;
mod stock;
#[cfg(test)]
mod tests;

use self::books::Books;
pub(crate) use self::books::Chapter;
use super::{observation::Observation, plan::Plan, traffic::Replies};

/// A statement about the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) statement: String,
    /// What contradicts it, each with the id that it is about.
    pub(crate) offenders: Vec<String>,
}

impl Check {
    pub(crate) fn holds(&self) -> bool {
        self.offenders.is_empty()
    }
}

/// Every check, in the order of an order's life.
pub(crate) fn check(
    plan: &Plan,
    replies: &Replies,
    seen: &Observation,
    chapter: Chapter,
) -> Vec<Check> {
    let books = Books::new(plan, replies, seen, chapter);
    let check = |statement: &str, offenders: Vec<String>| Check {
        statement: statement.to_owned(),
        offenders,
    };
    let mut checks = vec![
        check("every request was answered", books.unanswered()),
        check(
            "a repeated request got the first reply, and no second order",
            books.repeated(),
        ),
        check("every order is stored once", books.stored()),
        check("every order ended once, and as it must", books.ends()),
        check(
            "the scarce item went to as many orders as there was stock for",
            books.scarce(),
        ),
        check("the stock adds up", books.stock()),
        check("one mail per decided order, none for others", books.mails()),
        check("the ledger holds each order once", books.entries()),
        check("each balance is the sum of its orders", books.balances()),
        check("one event of each type per order", books.events()),
        check("audit has each event", books.audit()),
        check(
            match chapter {
                Chapter::Failed => "every dead letter is expected and has its reason",
                Chapter::Redriven => "no dead letter is left",
            },
            books.dead_letters(),
        ),
    ];
    if chapter == Chapter::Redriven {
        let statement = "the archive holds the events that are not orders, and nothing else";
        checks.push(check(statement, books.archive()));
    }
    checks
}
