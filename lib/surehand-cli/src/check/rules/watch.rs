//! Logs that go away, and alarms that notify someone.

use crate::{
    application::{resource::Resource, yaml::Node},
    check::{
        app::App,
        finding::{Findings, rule},
    },
};

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        let (id, name) = (function.id(), function.resource.name.as_str());
        logs(app, function.resource, findings);
        let is_on_stream = function.streams().next().is_some();
        let alarms = [
            (true, "Errors", &rule::ERRORS_ALARM, "fails as a whole"),
            (true, "Throttles", &rule::THROTTLES_ALARM, "is throttled"),
            (
                is_on_stream,
                "IteratorAge",
                &rule::ITERATOR_ALARM,
                "lags behind its stream",
            ),
        ];
        for (is_needed, metric, rule, what) in alarms {
            if is_needed && !has_alarm(app, metric, "FunctionName", name) {
                findings.add(
                    rule,
                    &function.resource.place,
                    id,
                    format!("no alarm tells when it {what}"),
                );
            }
        }
        for (_, queue) in function.queues() {
            let metric = "ApproximateAgeOfOldestMessage";
            if !has_alarm(app, metric, "QueueName", &queue.name) {
                findings.add(
                    &rule::LAG_ALARM,
                    &queue.place,
                    &queue.id,
                    format!("no alarm tells when {id} lags behind"),
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
                "no alarm tells of its dead letters",
            );
        }
    }
    for alarm in app.of_kind("AWS::CloudWatch::Alarm") {
        let actions = alarm.property(&["AlarmActions"]);
        let is_silent = actions.is_none_or(|it| it.items().is_empty());
        if is_silent && !is_read(app, alarm) {
            findings.add(
                &rule::SILENT_ALARM,
                &alarm.place_of(&["AlarmActions"]),
                &alarm.id,
                "it has no action, so no one is notified",
            );
        }
    }
}

/// Whether an alarm is a part of another, which notifies.
fn is_read(app: &App<'_>, alarm: &Resource) -> bool {
    let mut composites = app.of_kind("AWS::CloudWatch::CompositeAlarm");
    composites.any(|it| {
        let rule = it.property(&["AlarmRule"]);
        rule.is_some_and(|it| it.text().is_none_or(|text| text.contains(&alarm.name)))
    })
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
    if retention.is_none() && !app.is_told_elsewhere(&function.name) {
        findings.add(
            &rule::LOG_RETENTION,
            &function.place_of(&["LoggingConfig"]),
            &function.id,
            "its logs are kept for ever",
        );
    }
}

/// Whether an alarm looks at a metric of this resource. One in a template that is not here may, if that template is
/// told the resource's name.
fn has_alarm(app: &App<'_>, metric: &str, dimension: &str, name: &str) -> bool {
    let looks_at_it = |node: &Node| {
        let is_metric = (node.get("MetricName")).is_some_and(|it| it.may_be(metric));
        let mut dimensions = (node.get("Dimensions")).map_or(&[][..], Node::items).iter();
        is_metric
            && dimensions.any(|it| {
                it.get("Name").is_some_and(|it| it.may_be(dimension))
                    && it.get("Value").is_some_and(|it| it.may_be(name))
            })
    };
    // An alarm on growth is over while what it told of still waits.
    let of_growth = |metric: &Node| {
        let expression = metric.get("Expression").and_then(Node::text);
        expression.is_some_and(|text| text.starts_with("DIFF(") || text.starts_with("RATE("))
    };
    let of_alarm = |alarm: &Resource| {
        let metrics = alarm.property(&["Metrics"]);
        let metrics = metrics.map_or(&[][..], Node::items);
        let mut stats = metrics
            .iter()
            .filter_map(|it| it.at(&["MetricStat", "Metric"]));
        looks_at_it(&alarm.properties) || (stats.any(looks_at_it) && !metrics.iter().any(of_growth))
    };
    app.of_kind("AWS::CloudWatch::Alarm").any(of_alarm) || app.is_told_elsewhere(name)
}
