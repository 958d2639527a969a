//! What can be seen after the run: rows, mails, dead letters, events and log lines.

mod letters;
mod pages;
mod rows;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::Select;
use serde_json::{Map, Value};

pub(crate) use self::{
    letters::{DeadLetter, NO_NOTE, dead_letters},
    pages::mails,
    rows::{Rows, rows},
};
use super::{clients::Clients, witness::Sighting};
use crate::local::logs;

/// How often a function had an outcome: by function, outcome and, for errors, their kind.
pub(crate) type Outcomes = BTreeMap<(String, String, String), usize>;

/// Everything that was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) rows: Rows,
    /// The addresses of all mails, once per mail.
    pub(crate) mails: Vec<String>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// The events in the archive of purged dead letters.
    pub(crate) archived: Vec<Value>,
    pub(crate) events: Vec<Sighting>,
    pub(crate) outcomes: Outcomes,
}

/// Returns how many messages a queue holds, including those in flight and delayed ones.
///
/// The emulator's own page is exact, while SQS's attributes are approximate by contract.
pub(crate) async fn depth(clients: &Clients, url: &str) -> Result<usize> {
    Ok(pages::messages(clients, url).await?.len())
}

/// Returns how many items have events that wait to be published.
pub(crate) async fn outbox(clients: &Clients) -> Result<usize> {
    let scan = clients
        .dynamodb
        .scan()
        .table_name(&clients.idempotency_table)
        .index_name("outbox")
        .select(Select::Count);
    let mut pages = scan.into_paginator().send();
    let mut waiting = 0;
    while let Some(page) = pages.next().await {
        waiting += page.context("cannot read the outbox")?.count();
    }
    Ok(usize::try_from(waiting)?)
}

/// Counts the log lines with the verdict of a record.
pub(crate) fn outcomes(lines: &[logs::Line]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in lines {
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&line.message) else {
            continue;
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        if let Some(outcome) = text("outcome") {
            let kind = text("kind").unwrap_or_default();
            let key = (line.function.clone(), outcome.to_owned(), kind.to_owned());
            *outcomes.entry(key).or_default() += 1;
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_function_and_kind() {
        let line = |message: &str| logs::Line {
            function: "audit".to_owned(),
            time: 0,
            message: message.to_owned(),
        };
        let lines = [
            line(r#"{"message":"record handled","outcome":"ok"}"#),
            line(r#"{"message":"record handled","outcome":"retry","kind":"transient"}"#),
            line(r#"{"message":"record handled","outcome":"ok"}"#),
            line("START RequestId: 1"),
        ];
        let key =
            |outcome: &str, kind: &str| ("audit".to_owned(), outcome.to_owned(), kind.to_owned());
        assert_eq!(
            outcomes(&lines),
            BTreeMap::from([(key("ok", ""), 2), (key("retry", "transient"), 1)])
        );
    }
}
