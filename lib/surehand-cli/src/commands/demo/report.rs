//! The demo's tables.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use console::style;

use super::{accounts::Check, observation::Observation, traffic::Replies};
use crate::terminal::plain;

/// How many offenders of a check are shown.
const SHOWN: usize = 10;

/// How much of each is shown: errors of services can be long.
const WIDTH: usize = 240;

/// Makes the table of what happened, in numbers.
pub(crate) fn summary(replies: &Replies, seen: &Observation) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["what happened", "count", ""]);
    let with_status = |wanted: &str| {
        let statuses = seen.rows.reservations.values();
        statuses.filter(|status| *status == wanted).count()
    };
    let mut row = |what: &str, count: usize, remark: String| {
        table.add_row([what.to_owned(), count.to_string(), remark]);
    };
    row("orders placed", seen.rows.orders.len(), String::new());
    row(
        "requests repeated",
        replies.second.len(),
        "answered with the first reply".to_owned(),
    );
    row("reservations", with_status("RESERVED"), String::new());
    row(
        "rejections",
        with_status("REJECTED"),
        "out of stock".to_owned(),
    );
    row("e-mails", seen.mails.len(), String::new());
    row("ledger entries", seen.rows.entries.len(), String::new());
    row("audit records", seen.rows.audited.len(), String::new());
    let (count, remark) = outcomes(seen, "duplicate");
    row("duplicates absorbed", count, remark);
    let (count, remark) = outcomes(seen, "retry");
    row("retries", count, remark);
    let mut first = "dead letters";
    for (reason, count) in letters(seen) {
        row(first, count, reason);
        first = "";
    }
    if seen.dead_letters.is_empty() {
        row(first, 0, String::new());
    }
    if !seen.archived.is_empty() {
        let remark = "no orders, purged".to_owned();
        row("archived letters", seen.archived.len(), remark);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns the sum, and its parts.
fn outcomes(seen: &Observation, wanted: &str) -> (usize, String) {
    let mut sum = 0;
    let mut parts = BTreeMap::<String, usize>::new();
    for ((function, outcome, kind), count) in &seen.outcomes {
        if outcome != wanted {
            continue;
        }
        sum += count;
        let part = match kind.as_str() {
            "" => function.clone(),
            kind => format!("{function} ({kind})"),
        };
        *parts.entry(part).or_default() += count;
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(part, count)| format!("{part} {count}"))
        .collect();
    (sum, parts.join(", "))
}

/// Returns how many dead letters there are for each reason.
fn letters(seen: &Observation) -> BTreeMap<String, usize> {
    let mut letters = BTreeMap::new();
    for letter in &seen.dead_letters {
        let (queue, reason) = (&letter.queue, &letter.reason);
        *letters.entry(format!("{queue}: {reason}")).or_default() += 1;
    }
    letters
}

/// Writes each check with a mark, and what contradicts it.
pub(crate) fn checks(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = if check.holds() {
            style("✓").green()
        } else {
            style("✗").red()
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark} {}", check.statement);
        for offender in check.offenders.iter().take(SHOWN) {
            let offender = plain(offender);
            let offender = console::truncate_str(&offender, WIDTH, "...");
            let _ = writeln!(text, "    {offender}");
        }
        if let Some(more) = check.offenders.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            let _ = writeln!(text, "    and {more} more");
        }
    }
    text
}
