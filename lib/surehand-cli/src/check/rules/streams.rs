//! Functions on a DynamoDB stream.

use crate::{
    application::yaml::Node,
    check::{
        app::{App, Function, Trigger},
        attempts,
        finding::{Findings, rule},
    },
};
use surehand::description::Use;

/// A stream of DynamoDB keeps its records for so long, in seconds.
const A_DAY: u64 = 24 * 60 * 60;

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        for trigger in function.streams() {
            event_source(function, trigger, findings);
            view(function, trigger, findings);
        }
    }
}

fn event_source(function: &Function<'_>, trigger: &Trigger<'_>, findings: &mut Findings) {
    let id = function.id();
    let says = |name: &str, text: &str| {
        let value = trigger.property(&[name]);
        value.is_some_and(|it| it.is(text) || it.is_unknown())
    };
    if !says("StartingPosition", "TRIM_HORIZON") {
        findings.add(
            &rule::NOT_FROM_START,
            trigger.place_of(&["StartingPosition"]),
            id,
            "it misses the changes between the table's first and its own deployment",
        );
    }
    if !trigger.reports_failures() {
        findings.add(
            &rule::NO_STREAM_FAILURES,
            trigger.place_of(&["FunctionResponseTypes"]),
            id,
            "its stream event source does not report batch item failures: Lambda ignores what the function returns, and passes the whole batch",
        );
    }
    if !says("BisectBatchOnFunctionError", "true") {
        findings.add(
            &rule::NO_BISECT,
            trigger.place_of(&["BisectBatchOnFunctionError"]),
            id,
            "a change that crashes it takes its whole batch with it",
        );
    }
    let age = trigger.property(&["MaximumRecordAgeInSeconds"]);
    // -1 is for ever, as is its absence.
    if age.is_none_or(|it| !it.is_unknown() && it.number().is_none_or(|age| age >= A_DAY)) {
        findings.add(
            &rule::STREAM_FOREVER,
            trigger.place_of(&["MaximumRecordAgeInSeconds"]),
            id,
            "a change that it cannot handle expires in the stream before Lambda gives it up, and leaves no trace",
        );
    }
    let retries = trigger.property(&["MaximumRetryAttempts"]);
    if let Some(retries) = retries
        && let Some(count) = retries.number()
        && let Some(attempts) = attempts::attempts(function)
        && count + 1 < u64::from(attempts)
    {
        findings.add(
            &rule::STREAM_FEW_TRIES,
            &retries.place,
            id,
            format!(
                "Lambda gives a change up after {} tries, before its {attempts} attempts are made, and counts those that no handler saw",
                count + 1
            ),
        );
    }
    if trigger.on_failure().is_none() {
        findings.add(
            &rule::STREAM_NO_DESTINATION,
            trigger.place_of(&["DestinationConfig"]),
            id,
            "the changes that it gives up are not recorded anywhere",
        );
    }
}

/// The relay of an outbox reads the events in the new image.
fn view(function: &Function<'_>, trigger: &Trigger<'_>, findings: &mut Findings) {
    let Some(table) = trigger.source else {
        return;
    };
    let view = table.property(&["StreamSpecification", "StreamViewType"]);
    let has_image = view.is_some_and(|it| it.text().is_none_or(|view| view.starts_with("NEW_")));
    if !has_image && !function.variables_for(Use::OutboxTable).is_empty() {
        findings.add(
            &rule::STREAM_VIEW,
            &table.place_of(&["StreamSpecification", "StreamViewType"]),
            &table.id,
            format!(
                "{} does not see what is to be published: the stream carries {}",
                function.id(),
                view.and_then(Node::text).unwrap_or("nothing")
            ),
        );
    }
}
