//! What delivers to a function must be what it takes.

use surehand::description::ClaimKind;

use crate::{
    application::yaml::Node,
    check::{
        app::{App, Function, TriggerKind},
        finding::{Findings, rule},
    },
};

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        let Some(description) = function.description else {
            continue;
        };
        let mut handlers = description.handlers.iter();
        if let Some(handler) = handlers.find(|it| it.claim == ClaimKind::Transaction)
            && description.idempotency.is_none()
        {
            findings.add(
                &rule::NOT_IDEMPOTENT,
                &function.resource.place,
                function.id(),
                format!(
                    "{} takes a transaction, and fails on each event: the function has no claims to commit it with",
                    handler.name
                ),
            );
        }
        let triggers: Vec<&str> = function
            .triggers
            .iter()
            .map(|trigger| match trigger.kind {
                TriggerKind::Queue => "sqs",
                TriggerKind::Stream => "dynamodb_stream",
            })
            .chain(by_rules(app, function).then_some("eventbridge"))
            .collect();
        let source = description.source.as_str();
        // A direct function takes any JSON, and what a custom source takes is unknown.
        let takes = |trigger: &str| {
            source == trigger
                || source == "custom"
                || (source == "direct" && trigger == "eventbridge")
        };
        if let Some(wrong) = triggers.iter().find(|trigger| !takes(trigger)) {
            findings.add(
                &rule::WRONG_SOURCE,
                &function.resource.place,
                function.id(),
                format!(
                    "its code takes what {} delivers, and {} delivers to it",
                    spoken(source),
                    spoken(wrong)
                ),
            );
        }
        let may_have_more = function.resource.property(&["Events"]);
        // What a pipe delivers depends on what it reads and on how it changes it.
        let may_have_more = may_have_more.is_some_and(Node::is_unknown)
            || app.pipes_to(&function.resource.arn).next().is_some();
        if triggers.is_empty() && !may_have_more && !["direct", "custom"].contains(&source) {
            findings.add(
                &rule::NO_TRIGGER,
                &function.resource.place,
                function.id(),
                format!(
                    "its code waits for {}, and nothing delivers to it",
                    spoken(source)
                ),
            );
        }
    }
}

fn by_rules(app: &App<'_>, function: &Function<'_>) -> bool {
    app.rules_to(&function.resource.arn).next().is_some()
}

fn spoken(source: &str) -> &str {
    match source {
        "sqs" => "SQS",
        "dynamodb_stream" => "a DynamoDB stream",
        "eventbridge" => "EventBridge",
        other => other,
    }
}
