//! What came of it, for people and for programs.

use std::path::Path;

use serde_json::json;
use surehand_redrive::{DryRun, Report, Stop, Undone};

use crate::dlq::grid::Grid;
use crate::progress::number_of;
use crate::terminal::say;

/// How many letters are named one by one.
const SHOWN: usize = 10;

/// What is said around it.
pub(super) struct Words<'a> {
    /// What goes on.
    pub(super) title: String,
    pub(super) journal: &'a Path,
    /// How to go on after a stop.
    pub(super) hint: &'a str,
}

pub(super) fn dry(dry: &DryRun, json: bool) {
    if json {
        let sends: Vec<_> = dry
            .sends
            .iter()
            .map(|(to, count)| json!({"to": to, "letters": count}))
            .collect();
        let line = json!({
            "dry_run": true, "sends": sends, "drops": dry.drops, "holds": dry.holds,
            "without_lists": dry.without_lists, "finished": dry.finished, "problems": dry.problems, "missing": dry.missing,
        });
        say!("{line}");
        return;
    }
    for (to, count) in &dry.sends {
        say!("{} would be put back to {to}", number_of(*count, "letter"));
    }
    let or_nothing = |count: u64, what: &str| {
        if count > 0 {
            say!("{} {what}", number_of(count, "letter"));
        }
    };
    or_nothing(dry.drops, "would be deleted, and kept in the journal");
    or_nothing(dry.holds, "would stay");
    or_nothing(
        dry.finished,
        match dry.finished {
            1 => "was put back before",
            _ => "were put back before",
        },
    );
    or_nothing(dry.without_lists, "would lose attributes that hold lists");
    or_nothing(
        dry.missing,
        match dry.missing {
            1 => "of the plan was not seen: it is not in the queue, or another reader holds it",
            _ => {
                "of the plan were not seen: they are not in the queue, or another reader holds them"
            }
        },
    );
    named(dry.problems.iter());
    say!("nothing was changed; --yes does it");
}

/// All of it in one line.
fn line(report: &Report) -> String {
    let done = [
        (report.redriven, "put back"),
        (report.edited, "edited"),
        (report.dropped, "deleted"),
        (report.finished, "finished"),
        (report.failed.len() as u64, "failed"),
        (report.missing.len() as u64, "missing"),
        (
            report.held_back.len() as u64,
            "behind a letter of their group that stays",
        ),
        (report.not_deleted, "not deleted yet"),
    ];
    let known = |counts: &[(u64, &str)]| -> Vec<String> {
        let known = counts.iter().filter(|(count, _)| *count > 0);
        known
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    };
    let mut words = known(&done);
    if words.is_empty() {
        words.push("nothing to do".to_owned());
    }
    words.extend(known(&[(report.left, "left")]));
    words.join(", ")
}

/// `deployed` is what is known of the code that did not handle what was put back.
pub(super) fn applied(report: &Report, words: &Words<'_>, deployed: Option<&str>, json: bool) {
    let stopped = report.stopped.map(|stop| match stop {
        Stop::Asked => "asked",
        Stop::Failures => "failures",
        Stop::NotFixed => "not_fixed",
        _ => "other",
    });
    if json {
        let not_fixed: Vec<_> = report
            .not_fixed
            .iter()
            .map(|it| json!({"group": it.group, "returned": it.returned, "unanswered": it.unanswered}))
            .collect();
        let line = json!({
            "redriven": report.redriven, "edited": report.edited, "dropped": report.dropped,
            "finished": report.finished, "without_lists": report.without_lists, "failed": report.failed,
            "missing": report.missing, "held_back": report.held_back, "not_deleted": report.not_deleted,
            "not_deleted_because": report.not_deleted_because, "left": report.left,
            "not_fixed": not_fixed, "stopped": stopped, "deployed": deployed,
            "journal": words.journal,
        });
        say!("{line}");
        return;
    }
    say!("{}", line(report));
    named(report.failed.iter());
    if let Some(why) = report
        .not_deleted_because
        .as_ref()
        .filter(|_| report.not_deleted > 0)
    {
        say!("not deleted: {why}");
    }
    if !report.not_fixed.is_empty() {
        say!("not fixed:");
        let mut table = Grid::new(
            [
                "group",
                "put back",
                "came back",
                "no outcome",
                "kind",
                "message",
            ],
            &[1, 2, 3],
            &[5],
        );
        for it in &report.not_fixed {
            table.add_row([
                it.group.id.clone(),
                it.group.count.to_string(),
                it.returned.to_string(),
                it.unanswered.to_string(),
                it.group.kind.clone(),
                it.group.message.clone(),
            ]);
        }
        say!("{table}");
        if let Some(deployed) = deployed {
            say!("{deployed}");
        }
    }
    let hint = words.hint;
    match stopped {
        Some("asked") => say!("stopped as asked; {hint}"),
        Some("failures") => {
            say!("stopped: too many letters could not be sent, or not be deleted; {hint}")
        }
        Some(_) => say!("stopped: too many letters of the step are not fixed; {hint}"),
        None => {}
    }
}

/// `hint` is how to go on, if it was stopped.
pub(super) fn undone(undone: &Undone, hint: Option<&str>, json: bool) {
    if json {
        let line = json!({
            "restored": undone.restored, "untouched": undone.untouched, "failed": undone.failed,
            "stopped": hint.map(|_| "asked"),
        });
        say!("{line}");
        return;
    }
    match undone.restored {
        0 => say!("no letters"),
        1 => say!("1 letter is in the dead-letter queue again; what its consumers did stays done"),
        count => say!(
            "{count} letters are in the dead-letter queue again; what their consumers did stays done"
        ),
    }
    named(undone.failed.iter());
    if let Some(hint) = hint {
        say!("stopped as asked; {hint}");
    }
}

fn named<'a>(letters: impl ExactSizeIterator<Item = (&'a String, &'a String)>) {
    let more = letters.len().saturating_sub(SHOWN);
    for (id, why) in letters.take(SHOWN) {
        say!("  {id}: {why}");
    }
    if more > 0 {
        say!("  and {more} more");
    }
}
