//! Which groups are fixed, which fail as before, and which fail otherwise.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;
use surehand::{
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
    rehearsal::Ending,
};
use surehand_redrive::{Group, Letter, Origin};

use super::process::Answer;
use crate::dlq::grid::Grid;

/// How many of a group's effects are shown.
const SHOWN: usize = 3;

/// What is known of a letter after its rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Now {
    Fixed,
    /// It failed for a condition of what it staged, which a rehearsal does not look at.
    NotChecked,
    /// With the reason that it had before.
    AsBefore,
    /// With another reason.
    Otherwise(String),
    NotRun,
}

#[derive(Default)]
pub(super) struct Tally(BTreeMap<String, Row>);

struct Row {
    before: Group,
    fixed: u64,
    not_checked: u64,
    as_before: u64,
    not_run: u64,
    /// The new reasons, and how often each.
    otherwise: BTreeMap<String, u64>,
    /// What the first letters of the group would do.
    staged: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, letter: &Letter, answer: Answer) {
        let before = Group::of(letter);
        let now = now(letter, &before, &answer);
        let row = self.0.entry(before.id.clone()).or_insert_with(|| Row {
            before,
            fixed: 0,
            not_checked: 0,
            as_before: 0,
            not_run: 0,
            otherwise: BTreeMap::new(),
            staged: Vec::new(),
        });
        match now {
            Now::Fixed => row.fixed += 1,
            Now::NotChecked => row.not_checked += 1,
            Now::AsBefore => row.as_before += 1,
            Now::NotRun => row.not_run += 1,
            Now::Otherwise(reason) => *row.otherwise.entry(reason).or_default() += 1,
        }
        if let (Answer::Found(finding), true) = (answer, row.staged.is_empty()) {
            row.staged = finding.staged;
        }
    }

    /// Whether every letter would be handled now.
    pub(super) fn is_fixed(&self) -> bool {
        let rows = &mut self.0.values();
        rows.all(|row| {
            row.as_before + row.not_checked + row.not_run == 0 && row.otherwise.is_empty()
        })
    }

    pub(super) fn summary(&self) -> String {
        let sum = |count: fn(&Row) -> u64| self.0.values().map(count).sum::<u64>();
        format!(
            "{} fixed, {} not checked, {} still failing, {} newly failing, {} not run",
            sum(|row| row.fixed),
            sum(|row| row.not_checked),
            sum(|row| row.as_before),
            sum(|row| row.otherwise.values().sum()),
            sum(|row| row.not_run)
        )
    }

    pub(super) fn report(&self) -> String {
        let mut table = Grid::new(
            [
                "group",
                "fixed",
                "not checked",
                "still failing",
                "newly failing",
                "not run",
                "reason before",
                "reason now",
            ],
            &[1, 2, 3, 4, 5],
            &[6, 7],
        );
        for (id, row) in &self.0 {
            let mut reasons: Vec<String> = row
                .otherwise
                .iter()
                .map(|(reason, count)| format!("{count} x {reason}"))
                .collect();
            if row.as_before > 0 {
                reasons.push("as before".to_owned());
            }
            if row.not_checked > 0 {
                reasons.push("its condition is only checked by a commit".to_owned());
            }
            if row.not_run > 0 {
                reasons.push("takes no transaction: --allow-effects runs it".to_owned());
            }
            table.add_row([
                id.clone(),
                row.fixed.to_string(),
                row.not_checked.to_string(),
                row.as_before.to_string(),
                row.otherwise.values().sum::<u64>().to_string(),
                row.not_run.to_string(),
                format!("{}: {}", row.before.kind, row.before.message),
                reasons.join("\n"),
            ]);
        }
        let mut text = table.to_string();
        for (id, row) in self.0.iter().filter(|(_, row)| !row.staged.is_empty()) {
            text.push_str(&format!("\na letter of {id} would commit:"));
            for line in row.staged.iter().take(SHOWN) {
                text.push_str(&format!("\n  {line}"));
            }
            if row.staged.len() > SHOWN {
                text.push_str(&format!("\n  and {} more", row.staged.len() - SHOWN));
            }
        }
        text
    }
}

/// One letter for programs.
pub(super) fn json(letter: &Letter, answer: &Answer) -> Result<String> {
    let before = Group::of(letter);
    let verdict = match now(letter, &before, answer) {
        Now::Fixed => "fixed",
        Now::NotChecked => "not_checked",
        Now::AsBefore => "still_failing",
        Now::Otherwise(_) => "newly_failing",
        Now::NotRun => "not_run",
    };
    let mut line = json!({"id": letter.id, "group_id": before.id, "verdict": verdict});
    match answer {
        Answer::Found(finding) => line["finding"] = serde_json::to_value(finding)?,
        Answer::Died(why) => line["died"] = why.as_str().into(),
    }
    Ok(line.to_string())
}

fn now(letter: &Letter, before: &Group, answer: &Answer) -> Now {
    let finding = match answer {
        Answer::Died(why) => return Now::Otherwise(why.clone()),
        Answer::Found(finding) => finding,
    };
    match (finding.verdict, &finding.failure) {
        // Without a reason it may have been a condition.
        (Ending::Handled, _)
            if finding.conditions > 0 && failed_for_a_condition(letter) != Some(false) =>
        {
            Now::NotChecked
        }
        // Another letter of its event came before it, and what that staged was not checked.
        (Ending::Duplicate, _) if failed_for_a_condition(letter) == Some(true) => Now::NotChecked,
        (Ending::Handled | Ending::Duplicate, _) => Now::Fixed,
        (Ending::NotRun, _) => Now::NotRun,
        (_, Some(failure)) => {
            let after = regrouped(letter, failure);
            match after.id == before.id {
                true => Now::AsBefore,
                false => Now::Otherwise(format!("{}: {}", after.kind, after.message)),
            }
        }
        _ => Now::Otherwise("failed without a reason".to_owned()),
    }
}

/// None if nothing says why it failed.
fn failed_for_a_condition(letter: &Letter) -> Option<bool> {
    match letter.origin() {
        Origin::Parked { note, .. } => Some(note.condition),
        Origin::MovedBySqs { earlier, .. } => earlier.map(|note| note.condition),
        _ => None,
    }
}

/// The group that the letter would be of, had it failed like this.
fn regrouped(letter: &Letter, failure: &FailureNote) -> Group {
    let mut again = letter.clone();
    if let Ok(note) = serde_json::to_string(failure) {
        let note = Attribute {
            data_type: "String".to_owned(),
            value: AttributeValue::Text(note),
        };
        again
            .attributes
            .insert(FailureNote::ATTRIBUTE.to_owned(), note);
    }
    Group::of(&again)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(condition: bool) -> Letter {
        let mut failure = FailureNote::about("rejected", "sold out", std::time::SystemTime::now());
        failure.condition = condition;
        let mut letter = Letter::new("a", "{}");
        letter.attributes.insert(
            FailureNote::ATTRIBUTE.to_owned(),
            Attribute {
                data_type: "String".to_owned(),
                value: AttributeValue::Text(serde_json::to_string(&failure).unwrap()),
            },
        );
        letter
    }

    fn handled(conditions: usize) -> Answer {
        let finding = json!({
            "record": "a", "verdict": "handled", "handler": "h", "staged": ["put t"],
            "conditions": conditions, "failure": null,
        });
        Answer::Found(Box::new(serde_json::from_value(finding).unwrap()))
    }

    /// Nothing is committed, so that a condition which did not hold may not hold again.
    #[test]
    fn what_failed_for_a_condition_is_not_fixed_by_a_rehearsal() {
        for (was_condition, conditions, is_fixed) in [
            (true, 1, false),
            // The new build has no condition.
            (true, 0, true),
            // The reason was another one, and is gone.
            (false, 1, true),
        ] {
            let mut tally = Tally::default();
            tally.add(&parked(was_condition), handled(conditions));
            assert_eq!(tally.is_fixed(), is_fixed, "{was_condition} {conditions}");
            let says = match is_fixed {
                true => "1 fixed, 0 not checked",
                false => "0 fixed, 1 not checked",
            };
            assert!(tally.summary().starts_with(says), "{}", tally.summary());
        }
    }

    #[test]
    fn what_failed_for_an_unknown_reason_may_have_failed_for_a_condition() {
        for (conditions, is_fixed) in [(0, true), (1, false)] {
            let mut tally = Tally::default();
            tally.add(&Letter::new("a", "{}"), handled(conditions));
            assert_eq!(tally.is_fixed(), is_fixed, "{conditions}");
        }
    }

    /// Two letters of one event, and one that SQS moved after its condition had failed.
    #[test]
    fn what_was_not_checked_is_not_fixed_by_another_letter_of_its_event() {
        let Answer::Found(mut duplicate) = handled(0) else {
            panic!("it is found");
        };
        duplicate.verdict = Ending::Duplicate;
        let mut moved = parked(true);
        moved.source_arn = Some("arn:aws:sqs:r:1:orders".to_owned());
        let mut tally = Tally::default();
        tally.add(&parked(true), handled(1));
        tally.add(&parked(true), Answer::Found(duplicate));
        tally.add(&moved, handled(1));
        assert_eq!(
            tally.summary(),
            "0 fixed, 3 not checked, 0 still failing, 0 newly failing, 0 not run"
        );
    }
}
