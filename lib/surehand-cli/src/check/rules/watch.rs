//! Logs that go away, and alarms that somebody hears.

use crate::check::{
    app::App,
    finding::{Findings, rule},
    resource::Resource,
    yaml::Node,
};

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        let (id, name) = (function.id(), function.resource.name.as_str());
        logs(app, function.resource, findings);
        if !has_alarm(app, "Errors", "FunctionName", name) {
            findings.add(
                &rule::ERRORS_ALARM,
                &function.resource.place,
                id,
                "nobody is told when it fails as a whole",
            );
        }
        if !has_alarm(app, "Throttles", "FunctionName", name) {
            findings.add(
                &rule::THROTTLES_ALARM,
                &function.resource.place,
                id,
                "nobody is told when it is throttled",
            );
        }
        if function.streams().next().is_some()
            && !has_alarm(app, "IteratorAge", "FunctionName", name)
        {
            findings.add(
                &rule::ITERATOR_ALARM,
                &function.resource.place,
                id,
                "nobody is told when it lags behind its stream",
            );
        }
        for (_, queue) in function.queues() {
            if !has_alarm(
                app,
                "ApproximateAgeOfOldestMessage",
                "QueueName",
                &queue.name,
            ) {
                findings.add(
                    &rule::LAG_ALARM,
                    &queue.place,
                    &queue.id,
                    format!("nobody is told when {id} lags behind"),
                );
            }
        }
    }
    for queue in app.dead_letter_queues() {
        let metric = "ApproximateNumberOfMessagesVisible";
        if !has_alarm(app, metric, "QueueName", &queue.name) {
            findings.add(
                &rule::DEAD_LETTER_ALARM,
                &queue.place,
                &queue.id,
                "nobody is told of its dead letters",
            );
        }
    }
    for alarm in app.of_kind("AWS::CloudWatch::Alarm") {
        // An alarm for a composite or for a deployment may tell nobody by itself.
        let actions = alarm.property(&["AlarmActions"]);
        if actions.is_none_or(|it| it.items().is_empty() && !it.is_unknown()) {
            findings.add(
                &rule::SILENT_ALARM,
                &alarm.place_of(&["AlarmActions"]),
                &alarm.id,
                "nobody hears it",
            );
        }
    }
}

fn logs(app: &App<'_>, function: &Resource, findings: &mut Findings) {
    let group = function.property(&["LoggingConfig", "LogGroup"]);
    if group.is_some_and(Node::is_unknown) {
        return;
    }
    // Without a group Lambda makes this one.
    let default = format!("/aws/lambda/{}", function.name);
    let name = group.and_then(Node::text).unwrap_or(&default);
    let mut groups = app.of_kind("AWS::Logs::LogGroup");
    let retention = groups
        .find(|it| it.name == name)
        .and_then(|it| it.property(&["RetentionInDays"]));
    if retention.is_none() {
        findings.add(
            &rule::LOG_RETENTION,
            &function.place_of(&["LoggingConfig"]),
            &function.id,
            "its logs are kept for ever",
        );
    }
}

/// Whether an alarm looks at a metric of this resource.
fn has_alarm(app: &App<'_>, metric: &str, dimension: &str, name: &str) -> bool {
    app.of_kind("AWS::CloudWatch::Alarm").any(|alarm| {
        let says = |path: &[&str], text: &str| {
            let value = alarm.property(path);
            value.is_some_and(|it| it.is(text))
        };
        let has = |node: &Node| {
            node.get("Name").is_some_and(|it| it.is(dimension))
                && node.get("Value").and_then(Node::text) == Some(name)
        };
        let dimensions = alarm.property(&["Dimensions"]).map_or(&[][..], Node::items);
        says(&["MetricName"], metric) && dimensions.iter().any(has)
    })
}
