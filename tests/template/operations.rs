//! The rules for what runs the application: keys, deployments, the dashboard, and what costs extra.

use super::{
    project::{Project, Resource, get_att, is_ref, list, root, walk},
    rules::binary,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Returns all mistakes.
pub(crate) fn broken(project: &Project) -> Vec<String> {
    let rules = [
        the_key_reaches_everything,
        functions_can_be_tried,
        deployments_can_be_stopped,
        extras_are_off,
        the_dashboard_is_readable,
        the_dashboard_shows_everything,
        dead_letters_do_not_expire_unseen,
        rules_wait_for_their_permission,
        what_a_rule_loses_is_told,
        what_is_dropped_or_late_is_told,
        an_outage_is_told_early,
        backoff_is_no_lag,
        canaries_look_at_the_new_version,
        only_the_shop_speaks_for_it,
        roles_can_be_bounded,
    ];
    rules.iter().flat_map(|rule| rule(project)).collect()
}

/// The application's key is for all that it stores: a nested stack that does not get it would go on
/// with the services' keys, and it would not be noticed.
fn the_key_reaches_everything(project: &Project) -> Vec<String> {
    let key =
        json!({"Fn::If": ["HasKey", {"Fn::GetAtt": ["EncryptionKey", "Outputs.KeyArn"]}, ""]});
    let mut broken = Vec::new();
    for stack in project.of_type("AWS::CloudFormation::Stack") {
        let Some((_, template)) = project.stack(stack.name) else {
            broken.push(format!("{}: there is no such template", stack.name));
            continue;
        };
        let takes_it = !template["Parameters"]["KeyArn"].is_null();
        if takes_it && stack.properties()["Parameters"]["KeyArn"] != key {
            broken.push(format!(
                "{}: it is not given the application's key",
                stack.name
            ));
        }
    }
    broken
}

/// `sam local invoke` takes an event from a file.
fn functions_can_be_tried(project: &Project) -> Vec<String> {
    let has_event = |function: &Resource<'_>| {
        let name = format!("tests/data/events/local/{}.json", binary(function));
        root().join(name).is_file()
    };
    let functions = project.functions();
    functions
        .filter(|function| !has_event(function))
        .map(|function| format!("{}: there is no event to try it with", function.name))
        .collect()
}

/// A deployment that shifts traffic needs an alias, which all callers invoke, and an alarm of the
/// function's own at which it stops.
fn deployments_can_be_stopped(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let globals = &project.main()["Globals"]["Function"];
    if !is_ref(
        &globals["DeploymentPreference"]["Enabled"],
        "SafeDeployments",
    ) {
        broken
            .push("the template has no parameter that makes a deployment shift traffic".to_owned());
    }
    for function in project.functions() {
        let name = function.name;
        if project.property(&function, "AutoPublishAlias") != "live" {
            broken.push(format!(
                "{name}: it has no alias that a deployment moves on"
            ));
        }
        let alarms = list(&function.properties()["DeploymentPreference"]["Alarms"]["Fn::If"][1]);
        let stops_at = |wanted: &str, is_its_own: &dyn Fn(&Value) -> bool| {
            alarms.iter().any(|alarm| {
                get_att(alarm).is_some_and(|(stack, output)| {
                    let stack = project.stack(stack);
                    output == format!("Outputs.{wanted}")
                        && stack.is_some_and(|(stack, template)| {
                            let has_it = !template["Outputs"][wanted].is_null();
                            has_it && is_its_own(&stack["Properties"]["Parameters"])
                        })
                })
            })
        };
        let version = json!({"Fn::GetAtt": [name, "Version.Version"]});
        let of_version = |parameters: &Value| {
            is_ref(&parameters["FunctionName"], name) && parameters["Version"] == version
        };
        if !stops_at("ErrorsAlarmName", &of_version) {
            broken.push(format!("{name}: its errors do not stop its deployment"));
        }
        if !stops_at("RecordsAlarmName", &of_version) {
            broken.push(format!(
                "{name}: records that fail do not stop its deployment"
            ));
        }
        let own_queue =
            |parameters: &Value| parameters["QueueName"] == function.properties()["FunctionName"];
        let has_queue = function.properties()["Events"]["EventSource"]["Type"] == "SQS";
        if has_queue && !stops_at("DeadLetterGrowthAlarmName", &own_queue) {
            broken.push(format!("{name}: dead letters do not stop its deployment"));
        }
    }
    for rule in project.of_type("AWS::Events::Rule") {
        for target in list(&rule.properties()["Targets"]) {
            let mut is_direct = false;
            walk(&target["Arn"], &mut |arn| {
                is_direct |= get_att(arn).is_some_and(|(name, _)| {
                    project.main()["Resources"][name]["Type"] == "AWS::Serverless::Function"
                });
            });
            let alias = &target["Arn"]["Fn::If"][1]["Ref"];
            let is_alias = alias.as_str().is_some_and(|name| name.ends_with(".Alias"));
            if is_direct && !is_alias {
                broken.push(format!(
                    "{}: it goes past the alias, for which alone the failure destination is set",
                    rule.name
                ));
            }
        }
    }
    broken
}

/// Features that cost extra are off by default.
fn extras_are_off(project: &Project) -> Vec<String> {
    let extras = [
        "SafeDeployments",
        "ProvisionedPollers",
        "SchemaDiscovery",
        "CustomerManagedKey",
    ];
    let is_off = |name: &&str| project.main()["Parameters"][name]["Default"] == "false";
    extras
        .iter()
        .filter(|name| !is_off(name))
        .map(|name| format!("the parameter {name} is not off by default"))
        .collect()
}

/// The dashboard with each list of names as one name, as CloudWatch would get it.
fn dashboard(project: &Project) -> Result<Value, String> {
    let mut dashboards = project.all_of_type("AWS::CloudWatch::Dashboard");
    let dashboard = dashboards.next().ok_or("there is no dashboard")?;
    let body = &dashboard.properties()["DashboardBody"]["Fn::Sub"];
    let mut text = body[0]
        .as_str()
        .ok_or("the dashboard is not a text")?
        .to_owned();
    let names = body[1].as_object().into_iter().flatten();
    for (name, list) in names {
        // The text between two names must keep the JSON valid too.
        let between = list["Fn::Join"][0].as_str().unwrap_or_default();
        text = text.replace(&format!("${{{name}}}"), &["a", "b"].join(between));
    }
    for name in ["Namespace", "Service", "AWS::Region"] {
        text = text.replace(&format!("${{{name}}}"), name);
    }
    if text.contains("${") {
        return Err("the dashboard has a placeholder that nothing replaces".to_owned());
    }
    serde_json::from_str(&text).map_err(|error| format!("the dashboard is not JSON: {error}"))
}

fn the_dashboard_is_readable(project: &Project) -> Vec<String> {
    let dashboard = match dashboard(project) {
        Ok(dashboard) => dashboard,
        Err(error) => return vec![error],
    };
    // The dashboard must show flow, lag, failures by kind, dead letters and duplicates.
    let mut missing = BTreeSet::from([
        "RecordsProcessed",
        "ApproximateAgeOfOldestMessage",
        "SUM(RecordsFailed)",
        "MAX(EventLag)",
        "Parked",
        "ApproximateNumberOfMessagesVisible",
        "Duplicates",
        "HandlerDuration",
        "BatchSize",
        "ColdStart",
        "IteratorAge",
        "EventsPublished",
        "CommitsWaiting",
    ]);
    if dashboard["periodOverride"] != "auto" {
        // A minute's points are gone after 15 days.
        return vec!["the dashboard is blank beyond 15 days".to_owned()];
    }
    let mut broken = Vec::new();
    for widget in list(&dashboard["widgets"]) {
        let title = widget["properties"]["title"].as_str().unwrap_or("?");
        let metrics = list(&widget["properties"]["metrics"]);
        for metric in metrics {
            let text = metric.to_string();
            missing.retain(|name| !text.contains(name));
        }
        let rows: Vec<usize> = metrics.iter().map(|metric| list(metric).len()).collect();
        let is_search = rows == [1];
        // The first row is complete, and later ones only have what differs.
        let is_list = matches!(rows[..], [first, 2] if first % 2 == 0);
        if !is_search && !is_list {
            broken.push(format!(
                "the dashboard's `{title}` is not a list of metrics"
            ));
        }
    }
    broken.extend(
        missing
            .iter()
            .map(|name| format!("the dashboard does not show {name}")),
    );
    broken
}

fn the_dashboard_shows_everything(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let shown = &project.main()["Resources"]["Observability"]["Properties"]["Parameters"];
    let is_shown = |list: &str, resource: &str, output: Option<&str>| {
        let mut found = false;
        walk(&shown[list], &mut |value| {
            found |= match output {
                None => is_ref(value, resource),
                Some(output) => get_att(value) == Some((resource, output)),
            };
        });
        found
    };
    for function in project.functions() {
        if !is_shown("FunctionNames", function.name, None) {
            broken.push(format!("{}: the dashboard does not show it", function.name));
        }
        let reports = [
            ("SUREHAND_SERVICE_NAME", &shown["Service"]),
            ("SUREHAND_METRICS_NAMESPACE", &json!("Surehand")),
        ];
        for (variable, expected) in reports {
            if project.variable(&function, variable) != expected {
                broken.push(format!(
                    "{}: its {variable} is not what the dashboard looks for",
                    function.name
                ));
            }
        }
    }
    for stack in project.of_type("AWS::CloudFormation::Stack") {
        let Some((_, template)) = project.stack(stack.name) else {
            continue;
        };
        let outputs = &template["Outputs"];
        let is_queue = !outputs["DeadLetterQueueName"].is_null();
        let needed = [
            ("QueueNames", "QueueName", is_queue),
            ("DeadLetterQueueNames", "DeadLetterQueueName", is_queue),
            ("DeadLetterQueueNames", "QueueName", !is_queue),
        ];
        for (list, output, applies) in needed {
            let applies = applies && !outputs[output].is_null();
            if applies && !is_shown(list, stack.name, Some(&format!("Outputs.{output}"))) {
                broken.push(format!(
                    "{}: the dashboard does not show its {output}",
                    stack.name
                ));
            }
        }
    }
    broken
}

/// A depth alarm tells of the first dead letter alone, and of none that SQS deletes.
fn dead_letters_do_not_expire_unseen(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let alarms: Vec<Resource<'_>> = project.all_of_type("AWS::CloudWatch::Alarm").collect();
    for queue in project.queues() {
        if !queue.properties()["RedrivePolicy"].is_null() {
            continue;
        }
        let name = json!({"Fn::GetAtt": [queue.name, "QueueName"]});
        let of_queue = |metric: &Value, wanted: &str| {
            metric["MetricName"] == wanted && metric["Dimensions"][0]["Value"] == name
        };
        let own = || {
            let own = alarms.iter().filter(|it| it.template == queue.template);
            own.map(Resource::properties)
        };
        if !own().any(|it| of_queue(it, "ApproximateAgeOfOldestMessage")) {
            broken.push(format!("{}: what it holds expires unseen", queue.name));
        }
        let grows = |alarm: &Value| {
            let metrics = list(&alarm["Metrics"]);
            let is_of = |metric: &Value| {
                let metric = &metric["MetricStat"]["Metric"];
                of_queue(metric, "ApproximateNumberOfMessagesVisible")
            };
            let differs = |metric: &Value| {
                let expression = metric["Expression"].as_str();
                expression.is_some_and(|text| text.starts_with("DIFF("))
            };
            metrics.iter().any(is_of) && metrics.iter().any(differs)
        };
        if !own().any(grows) {
            broken.push(format!(
                "{}: after the first dead letter no other is told of",
                queue.name
            ));
        }
    }
    let watches = project.of_type("AWS::CloudFormation::Stack");
    let watched: Vec<&Value> = watches
        .map(|stack| &stack.value["Properties"]["Parameters"])
        .filter(|parameters| parameters["FailureDestination"] == "true")
        .map(|parameters| &parameters["FunctionName"])
        .collect();
    for function in project.functions() {
        let mut has_destination = false;
        walk(function.properties(), &mut |value| {
            has_destination |= !value["OnFailure"].is_null();
        });
        if has_destination && !watched.contains(&&function.properties()["FunctionName"]) {
            broken.push(format!(
                "{}: what does not reach its failure destination is lost unseen",
                function.name
            ));
        }
    }
    broken
}

/// A rule that exists before it may invoke its target loses its first events.
fn rules_wait_for_their_permission(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in project.of_type("AWS::Events::Rule") {
        let name = rule.properties()["Name"]["Fn::Sub"].as_str().unwrap_or("?");
        let end = format!("/{name}");
        let mut permissions = project.of_type("AWS::Lambda::Permission");
        let own = permissions.find(|permission| {
            let source = permission.properties()["SourceArn"]["Fn::Sub"].as_str();
            source.is_some_and(|arn| arn.ends_with(&end))
        });
        let mut is_direct = false;
        walk(&rule.properties()["Targets"][0]["Arn"], &mut |arn| {
            is_direct |= get_att(arn).is_some_and(|(name, _)| {
                project.main()["Resources"][name]["Type"] == "AWS::Serverless::Function"
            });
        });
        let waits = own.is_some_and(|own| rule.value["DependsOn"] == own.name);
        if is_direct && !waits {
            broken.push(format!(
                "{}: it does not wait for the permission to invoke its target",
                rule.name
            ));
        }
    }
    broken
}

/// The alarms of a stack's template that look at these metrics, each with its dimensions' names.
fn told<'a>(template: &'a Value, metric: &str) -> Option<BTreeSet<&'a str>> {
    let resources = template["Resources"].as_object()?;
    let alarm = resources.values().find(|it| {
        it["Type"] == "AWS::CloudWatch::Alarm" && it["Properties"]["MetricName"] == metric
    })?;
    let mut names = BTreeSet::new();
    for dimension in list(&alarm["Properties"]["Dimensions"]) {
        let dimension = match &dimension["Fn::If"][1] {
            Value::Null => dimension,
            inner => inner,
        };
        names.extend(dimension["Name"].as_str());
    }
    Some(names)
}

/// A rule's dead-letter queue has an alarm; what does not get there would be lost unseen.
fn what_a_rule_loses_is_told(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in project.of_type("AWS::Events::Rule") {
        let stacks = project.of_type("AWS::CloudFormation::Stack");
        let is_told = stacks.into_iter().any(|stack| {
            let parameters = &stack.properties()["Parameters"];
            let bus = match rule.properties()["EventBusName"].is_null() {
                true => Value::Null,
                false => json!({"Fn::Sub": "${AWS::StackName}-bus"}),
            };
            let names = BTreeSet::from(["EventBusName", "RuleName"]);
            parameters["RuleName"] == rule.properties()["Name"]
                && parameters["EventBusName"] == bus
                && project.stack(stack.name).is_some_and(|(_, template)| {
                    let metrics = ["FailedInvocations", "InvocationsFailedToBeSentToDlq"];
                    (metrics.iter()).all(|metric| told(template, metric) == Some(names.clone()))
                })
        });
        if !is_told {
            broken.push(format!("{}: what it loses is not told of", rule.name));
        }
    }
    broken
}

/// An alarm on all versions counts the old one's failures, and one on invocations sees no record.
fn canaries_look_at_the_new_version(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for stack in project.of_type("AWS::CloudFormation::Stack") {
        let Some((_, template)) = project.stack(stack.name) else {
            continue;
        };
        if template["Outputs"]["RecordsAlarmName"].is_null() {
            continue;
        }
        if stack.value["Condition"] != "HasSafeDeployments" {
            broken.push(format!(
                "{}: it costs something where no deployment looks at it",
                stack.name
            ));
        }
        let version = BTreeSet::from(["FunctionName", "Resource", "ExecutedVersion"]);
        if told(template, "Errors") != Some(version) {
            broken.push(format!("{}: it counts other versions' errors", stack.name));
        }
        let mut metrics = BTreeSet::new();
        let metric_data = &template["Resources"]["RecordsAlarm"]["Properties"]["Metrics"];
        for metric in list(metric_data) {
            let metric = &metric["MetricStat"]["Metric"];
            let dimensions = list(&metric["Dimensions"]).iter();
            let names: Vec<_> = dimensions.filter_map(|it| it["Name"].as_str()).collect();
            if names == ["service", "function", "version"] {
                metrics.extend(metric["MetricName"].as_str());
            }
        }
        if metrics != BTreeSet::from(["VersionFailures", "VersionRecords"]) {
            broken.push(format!(
                "{}: it does not see a version's records",
                stack.name
            ));
        }
    }
    broken
}

/// Whoever may publish under the shop's sources can take an event's place.
fn only_the_shop_speaks_for_it(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let mut policies = project.of_type("AWS::Events::EventBusPolicy");
    let refuses = policies.any(|policy| {
        let statement = &policy.properties()["Statement"];
        let condition = &statement["Condition"];
        statement["Effect"] == "Deny"
            && condition["ForAnyValue:StringLike"]["events:source"] == json!(["shop.*"])
            && !condition["ArnNotLike"]["aws:PrincipalArn"].is_null()
            // A replay is no principal's of the account.
            && condition["Bool"]["aws:PrincipalIsAWSService"] == "false"
    });
    if !refuses {
        broken.push("the bus takes the shop's events from anybody in the account".to_owned());
    }
    for role in project.of_type("AWS::IAM::Role") {
        let policies = list(&role.properties()["Policies"]).iter();
        for statement in policies.flat_map(|it| list(&it["PolicyDocument"]["Statement"])) {
            let mut conditions = Vec::new();
            walk(&statement["Condition"], &mut |it| {
                let keys = it.as_object().into_iter().flatten();
                conditions.extend(keys.map(|(key, _)| key.clone()));
            });
            let is_bound_by = |key: &str| conditions.iter().any(|it| it == key);
            let actions = list(&statement["Action"]);
            if actions.contains(&json!("events:PutEvents")) && !is_bound_by("events:source") {
                broken.push(format!("{}: it may publish under any source", role.name));
            }
            let is_of = |sid: &str| statement["Sid"] == sid;
            let of_claims =
                is_of("Idempotency") || (role.name == "AuditRole" && is_of("ShopTable"));
            if of_claims && !is_bound_by("dynamodb:LeadingKeys") {
                broken.push(format!("{}: it may change others' items", role.name));
            }
        }
    }
    broken
}

/// Where an account wants a boundary or a path, a role without it cannot be made.
fn roles_can_be_bounded(project: &Project) -> Vec<String> {
    let roles = project.of_type("AWS::IAM::Role");
    roles
        .filter(|role| {
            let boundary = &role.properties()["PermissionsBoundary"]["Fn::If"][1];
            !is_ref(boundary, "PermissionsBoundary")
                || !is_ref(&role.properties()["Path"], "RolePath")
        })
        .map(|role| format!("{}: an account cannot set its limits", role.name))
        .collect()
}

/// Failed records are tried for half an hour before the first of them is a dead letter.
fn an_outage_is_told_early(project: &Project) -> Vec<String> {
    let service = json!({"Fn::If": ["OnAws", {"Ref": "AWS::StackName"}, ""]});
    let is_told = |function: &Resource<'_>| {
        let (stack, template) = project.stack(&format!("{}Watch", function.name))?;
        let metrics = &template["Resources"]["RetriesAlarm"]["Properties"]["Metrics"];
        let mut names = BTreeSet::new();
        for metric in list(metrics) {
            let metric = &metric["MetricStat"]["Metric"];
            let dimensions = list(&metric["Dimensions"]).iter();
            let of: Vec<_> = dimensions
                .map(|it| (&it["Name"], &it["Value"]["Ref"]))
                .collect();
            if of
                == [
                    (&json!("service"), &json!("Service")),
                    (&json!("function"), &json!("FunctionName")),
                ]
            {
                names.extend(metric["MetricName"].as_str());
            }
        }
        let is_its_own = stack["Properties"]["Parameters"]["Service"] == service;
        (is_its_own && names == BTreeSet::from(["BatchSize", "RecordsFailed"])).then_some(())
    };
    let functions = project.functions();
    functions
        .filter(|function| is_told(function).is_none())
        .map(|function| format!("{}: nothing tells that its records fail", function.name))
        .collect()
}

/// A message that is tried again and again is as old as one that nobody takes.
fn backoff_is_no_lag(project: &Project) -> Vec<String> {
    // What five attempts have between them at most: 10 s, and six times as much after each.
    let between: u64 = [10, 60, 360, 2_160].iter().sum();
    let mut broken = Vec::new();
    let stacks = project.of_type("AWS::CloudFormation::Stack");
    let queues = stacks.into_iter().filter_map(|it| project.stack(it.name));
    for (_, template) in queues {
        let Some(lag) = template["Mappings"]["Lag"].as_object() else {
            continue;
        };
        for (timeout, threshold) in lag {
            let attempts = 5 * timeout.parse::<u64>().unwrap_or(u64::MAX / 5);
            if threshold["Seconds"].as_u64() < Some(between.saturating_add(attempts)) {
                broken.push(format!(
                    "with a timeout of {timeout} s a message in backoff counts as lag"
                ));
            }
        }
        let metrics = &template["Resources"]["WaitAlarm"]["Properties"]["Metrics"];
        let metrics = list(metrics).iter();
        let names: BTreeSet<_> = metrics
            .filter_map(|it| it["MetricStat"]["Metric"]["MetricName"].as_str())
            .collect();
        if names
            != BTreeSet::from([
                "ApproximateNumberOfMessagesVisible",
                "NumberOfMessagesReceived",
            ])
        {
            broken.push("nothing tells that messages wait".to_owned());
        }
    }
    broken.sort();
    broken.dedup();
    broken
}

/// Final loss that no queue shows, and what comes before it.
fn what_is_dropped_or_late_is_told(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let function = |project: &Project, name: &str| {
        let stack = project.stack(&format!("{name}Watch"));
        stack.map(|(stack, template)| (stack["Properties"]["Parameters"].clone(), template.clone()))
    };
    for (name, parameter, value, metric) in [
        (
            "PlaceOrder",
            "Asynchronous",
            json!("true"),
            "AsyncEventsDropped",
        ),
        (
            "Redrive",
            "Asynchronous",
            json!("true"),
            "AsyncEventsDropped",
        ),
        (
            "ReserveStock",
            "FunctionTimeout",
            json!({"Ref": "FunctionTimeout"}),
            "Duration",
        ),
    ] {
        let is_told = function(project, name).is_some_and(|(parameters, template)| {
            parameters[parameter] == value && told(&template, metric).is_some()
        });
        if !is_told {
            broken.push(format!("{name}: nothing tells of {metric}"));
        }
    }
    for table in ["IdempotencyTable", "ShopTable"] {
        let tables = project.stack("Tables");
        let is_told = |kind: &str| {
            let (stack, template) = tables?;
            let alarms = template["Resources"].as_object()?.values();
            let mut alarms = alarms.filter(|it| {
                let it = &it["Properties"];
                it["MetricName"] == format!("{kind}ThrottleEvents")
                    && is_ref(&it["Dimensions"][0]["Value"], table)
            });
            let topic = &stack["Properties"]["Parameters"]["AlarmTopicArn"];
            (is_ref(topic, "AlarmTopic") && alarms.next().is_some()).then_some(())
        };
        if is_told("Read").is_none() || is_told("Write").is_none() {
            broken.push(format!("{table}: nothing tells of its throttles"));
        }
    }
    let mut alarms = project.of_type("AWS::CloudWatch::Alarm");
    let waits = alarms.any(|it| {
        let it = it.properties();
        // A sweep that does not run reports nothing.
        it["MetricName"] == "OutboxAge" && it["TreatMissingData"] == "breaching"
    });
    if !waits {
        broken.push("nothing tells how long committed events have waited".to_owned());
    }
    broken
}
