//! Which groups are fixed, which fail as before, and which fail otherwise.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use surehand::{
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
    rehearsal::Ending,
};
use surehand_redrive::{Group, Letter};

use super::{process::Answer, replica::Outcome};
use crate::dlq::grid::Grid;

/// How many of a group's effects, and how many of its reasons, are shown.
const SHOWN: usize = 3;

const AS_BEFORE: &str = "as before";
const NOT_RUN: &str = "takes no transaction: --allow-effects runs it";
const OLD: &str = "the build is of a version of surehand whose answers cannot be told from what its handlers print: \
                   update it";

/// What is known of a letter after its rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Fixed,
    /// A condition of what its handler has staged does not hold.
    Refused,
    /// Whether what its handler has staged would be committed is not known.
    NotChecked,
    /// With the reason that it had before.
    StillFailing,
    /// With another reason.
    NewlyFailing,
    NotRun,
}

impl Verdict {
    const ALL: [(Self, &str); 6] = [
        (Self::Fixed, "fixed"),
        (Self::Refused, "refused"),
        (Self::NotChecked, "not checked"),
        (Self::StillFailing, "still failing"),
        (Self::NewlyFailing, "newly failing"),
        (Self::NotRun, "not run"),
    ];
}

#[derive(Default)]
pub(super) struct Tally {
    rows: BTreeMap<String, Row>,
}

struct Row {
    before: Group,
    counts: BTreeMap<Verdict, u64>,
    /// Why letters are not fixed, and how many.
    reasons: HashMap<String, u64>,
    /// What the first letters of the group would do.
    staged: Vec<String>,
}

impl Tally {
    /// Counts a letter, and returns what programs are told of it.
    pub(super) fn add(&mut self, letter: &Letter, answer: Answer) -> Result<Value> {
        let before = Group::of(letter);
        let (verdict, reason) = judge(letter, &before, &answer);
        let mut line = json!({"id": letter.id, "group_id": before.id, "verdict": verdict});
        let row = self.rows.entry(before.id.clone()).or_insert_with(|| Row {
            before,
            counts: BTreeMap::new(),
            reasons: HashMap::new(),
            staged: Vec::new(),
        });
        *row.counts.entry(verdict).or_default() += 1;
        if let Some(reason) = reason {
            line["reason"] = reason.as_str().into();
            *row.reasons.entry(reason).or_default() += 1;
        }
        match answer {
            Answer::Died(why) => line["died"] = why.into(),
            Answer::Old => {}
            Answer::Found { finding, outcome } => {
                line["finding"] = serde_json::to_value(&finding)?;
                if let Some(Outcome::Refused(refusal)) = outcome {
                    line["refusal"] = json!({"write": refusal.write, "item": refusal.item});
                }
                if row.staged.is_empty() {
                    row.staged = finding.staged;
                }
            }
        }
        Ok(line)
    }

    /// Whether every letter would be handled now.
    pub(super) fn is_fixed(&self) -> bool {
        let verdicts = &mut self.rows.values().flat_map(|row| row.counts.keys());
        verdicts.all(|verdict| *verdict == Verdict::Fixed)
    }

    pub(super) fn summary(&self) -> String {
        let sum = |verdict| -> u64 {
            self.rows
                .values()
                .filter_map(|it| it.counts.get(&verdict))
                .sum()
        };
        Verdict::ALL
            .map(|(verdict, words)| format!("{} {words}", sum(verdict)))
            .join(", ")
    }

    pub(super) fn report(&self) -> String {
        let mut table = Grid::new(
            ["group", "now", "reason before", "reason now"],
            &[],
            &[2, 3],
        );
        for (id, row) in &self.rows {
            let now = Verdict::ALL.iter().filter_map(|(verdict, words)| {
                let count = row.counts.get(verdict)?;
                Some(format!("{count} {words}"))
            });
            let reasons = row.reasons();
            let mut shown: Vec<String> = reasons
                .iter()
                .take(SHOWN)
                .map(|(reason, count)| format!("{count} x {reason}"))
                .collect();
            if reasons.len() > SHOWN {
                shown.push(format!("and {} more", reasons.len() - SHOWN));
            }
            table.add_row([
                id.clone(),
                now.collect::<Vec<_>>().join("\n"),
                format!("{}: {}", row.before.kind, row.before.message),
                shown.join("\n"),
            ]);
        }
        let mut text = table.to_string();
        for (id, row) in self.rows.iter().filter(|(_, row)| !row.staged.is_empty()) {
            text.push_str(&format!("\na letter of {id} stages:"));
            for line in row.staged.iter().take(SHOWN) {
                text.push_str(&format!("\n  {line}"));
            }
            if row.staged.len() > SHOWN {
                text.push_str(&format!("\n  and {} more", row.staged.len() - SHOWN));
            }
        }
        text
    }

    /// What programs are told of each group.
    pub(super) fn groups(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().map(|(id, row)| {
            let reasons = row.reasons().into_iter();
            let reasons = reasons.map(|(reason, count)| json!({"reason": reason, "count": count}));
            json!({"group": {
                "id": id,
                "kind": row.before.kind,
                "message": row.before.message,
                "result": row.result(),
                "letters": row.counts,
                "reasons": reasons.collect::<Value>(),
            }})
        })
    }
}

impl Row {
    /// The most frequent first.
    fn reasons(&self) -> Vec<(&str, u64)> {
        let reasons = self.reasons.iter();
        let mut reasons: Vec<_> = reasons.map(|(reason, count)| (&**reason, *count)).collect();
        reasons.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        reasons
    }

    /// The verdict of all its letters, or how it is mixed.
    fn result(&self) -> Value {
        let mut verdicts = self.counts.keys();
        match (verdicts.next(), verdicts.next()) {
            (Some(verdict), None) => json!(verdict),
            (Some(Verdict::Fixed), Some(_)) => "partly".into(),
            _ => "not_fixed".into(),
        }
    }
}

fn judge(letter: &Letter, before: &Group, answer: &Answer) -> (Verdict, Option<String>) {
    let (finding, outcome) = match answer {
        Answer::Died(why) => return (Verdict::NewlyFailing, Some(why.clone())),
        Answer::Old => return (Verdict::NotChecked, Some(OLD.to_owned())),
        Answer::Found { finding, outcome } => (finding, outcome),
    };
    match outcome {
        Some(Outcome::Refused(refusal)) => {
            let means = finding.failure.as_ref().map(said).unwrap_or_default();
            return (Verdict::Refused, Some(format!("{means}{}", refusal.text)));
        }
        Some(Outcome::NotChecked(reason)) => {
            return (Verdict::NotChecked, Some(reason.clone()));
        }
        // What a used key means is said by the function.
        Some(Outcome::Committed | Outcome::Completed(_)) | None => {}
    }
    match (finding.verdict, &finding.failure) {
        (Ending::Handled | Ending::Duplicate, _) => (Verdict::Fixed, None),
        (Ending::NotRun, _) => (Verdict::NotRun, Some(NOT_RUN.to_owned())),
        (_, failure) => failing(letter, before, failure.as_ref()),
    }
}

fn failing(
    letter: &Letter,
    before: &Group,
    failure: Option<&FailureNote>,
) -> (Verdict, Option<String>) {
    let Some(failure) = failure else {
        let reason = "failed without a reason".to_owned();
        return (Verdict::NewlyFailing, Some(reason));
    };
    let after = regrouped(letter, failure);
    match after.id == before.id {
        true => (Verdict::StillFailing, Some(AS_BEFORE.to_owned())),
        false => {
            let reason = format!("{}: {}", after.kind, after.message);
            (Verdict::NewlyFailing, Some(reason))
        }
    }
}

/// What a failure means, before where it comes from.
fn said(failure: &FailureNote) -> String {
    format!("{}: {}: ", failure.kind, failure.message)
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

    fn parked() -> Letter {
        let failure = FailureNote::about("rejected", "sold out", std::time::SystemTime::now());
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

    fn found(verdict: Ending, outcome: Option<Outcome>) -> Answer {
        let finding = json!({
            "record": "a", "verdict": verdict, "handler": "h", "staged": ["put t"],
            "conditions": 0, "failure": null,
        });
        Answer::Found {
            finding: serde_json::from_value(finding).unwrap(),
            outcome,
        }
    }

    fn verdicts(answers: Vec<Answer>) -> Vec<Value> {
        let mut tally = Tally::default();
        let lines = answers
            .into_iter()
            .map(|it| tally.add(&parked(), it).unwrap());
        let verdicts: Vec<Value> = lines.map(|mut it| it["verdict"].take()).collect();
        let fixed = verdicts.iter().all(|it| it == "fixed");
        assert_eq!(tally.is_fixed(), fixed, "{verdicts:?}");
        verdicts
    }

    #[test]
    fn a_build_that_cannot_be_believed_is_not_fixed() {
        let found = |ending| found(ending, None);
        assert_eq!(
            verdicts(vec![found(Ending::Handled), found(Ending::Duplicate)]),
            ["fixed", "fixed"]
        );
        assert_eq!(
            verdicts(vec![Answer::Old, found(Ending::Handled)]),
            ["not_checked", "fixed"]
        );
    }

    #[test]
    fn a_group_whose_letters_differ_is_fixed_in_part_or_not_at_all() {
        let fixed = || found(Ending::Handled, Some(Outcome::Committed));
        let unknown = || {
            let outcome = Outcome::NotChecked("no right".to_owned());
            found(Ending::Failed, Some(outcome))
        };
        let died = || Answer::Died("the process ended".to_owned());
        for (answers, result) in [
            (vec![fixed(), fixed()], "fixed"),
            (vec![fixed(), unknown()], "partly"),
            (vec![unknown(), unknown()], "not_checked"),
            (vec![unknown(), died()], "not_fixed"),
        ] {
            let mut tally = Tally::default();
            for answer in answers {
                tally.add(&parked(), answer).unwrap();
            }
            let groups: Vec<Value> = tally.groups().collect();
            assert_eq!(groups[0]["group"]["result"], result);
        }
    }

    #[test]
    fn of_many_reasons_the_most_frequent_are_shown() {
        let mut tally = Tally::default();
        for (reason, count) in [("a", 1), ("b", 3), ("c", 2), ("d", 1)] {
            for _ in 0..count {
                let answer = Answer::Died(reason.to_owned());
                tally.add(&parked(), answer).unwrap();
            }
        }
        let report = tally.report();
        let shown: Vec<usize> = ["3 x b", "2 x c", "1 x a", "and 1 more"]
            .map(|it| report.find(it).unwrap_or_else(|| panic!("{it}: {report}")))
            .to_vec();
        assert!(shown.is_sorted(), "{report}");
    }
}
