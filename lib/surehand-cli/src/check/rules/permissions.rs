//! What functions may do: all that they are made to do, and nothing else.

use std::collections::BTreeMap;

use surehand::description::{ClaimKind, Use};

use crate::{
    application::yaml::Node,
    check::{
        app::{App, Function},
        finding::{Findings, rule},
        policy::Statement,
    },
};

/// AWS authorises a batch as the single action, and emulators ask for the batch's own name.
const WITH_BATCHES: [&str; 3] = [
    "sqs:SendMessage*",
    "sqs:ChangeMessageVisibility*",
    "sqs:DeleteMessage*",
];
/// Actions that know no finer resource than everything.
const ON_EVERYTHING: [&str; 12] = [
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:GetSamplingStatisticSummaries",
    "cloudwatch:PutMetricData",
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
    "sqs:ListQueues",
];

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    let mut functions_by_role: BTreeMap<&str, Vec<&Function<'_>>> = BTreeMap::new();
    for function in &app.functions {
        let Some(role) = function.role(app) else {
            let given = function.resource.property(&["Role"]);
            if given.is_none_or(|role| !role.is_unknown()) {
                findings.add(
                    &rule::NO_OWN_ROLE,
                    given.map_or(&function.resource.place, |role| &role.place),
                    function.id(),
                    "it has no role in this template that says what it may do",
                );
            }
            continue;
        };
        functions_by_role
            .entry(&role.id)
            .or_default()
            .push(function);
        match function.statements(app) {
            Some(statements) => needed(app, function, &statements, findings),
            None => findings.add(
                &rule::MANAGED_POLICY,
                &role.place_of(&["ManagedPolicyArns"]),
                &role.id,
                "it has managed policies",
            ),
        }
    }
    for functions in functions_by_role.values() {
        if let [first, second, ..] = functions[..] {
            findings.add(
                &rule::NO_OWN_ROLE,
                &second.resource.place_of(&["Role"]),
                second.id(),
                format!("it shares its role with {}", first.id()),
            );
        }
    }
    for role in app.of_kind("AWS::IAM::Role") {
        let policies = role.property(&["Policies"]).map_or(&[][..], Node::items);
        let documents = policies.iter().filter_map(|it| it.get("PolicyDocument"));
        for statement in documents.flat_map(Statement::of).filter(|it| it.is_allow()) {
            wildcards(&role.id, &statement, findings);
        }
    }
}

fn wildcards(role: &str, statement: &Statement<'_>, findings: &mut Findings) {
    let everything = statement.resources().iter().find(|it| it.is("*"));
    for action in statement.actions() {
        let Some(name) = action.text() else {
            continue;
        };
        if name.contains('*') && !WITH_BATCHES.contains(&name) {
            findings.add(
                &rule::WILDCARD_ACTION,
                &action.place,
                role,
                format!("it allows whatever matches {name}"),
            );
        }
        if let Some(everything) = everything
            && !ON_EVERYTHING.contains(&name)
        {
            findings.add(
                &rule::WILDCARD_RESOURCE,
                &everything.place,
                role,
                format!("it allows {name} on everything"),
            );
        }
    }
}

/// An action, on what, and what for.
struct Need {
    action: &'static str,
    arn: String,
    what_for: String,
}

fn needed(
    app: &App<'_>,
    function: &Function<'_>,
    statements: &[Statement<'_>],
    findings: &mut Findings,
) {
    let place = match function.role(app) {
        Some(role) => role.place_of(&["Policies"]),
        None => function.resource.place.clone(),
    };
    for need in needs(app, function) {
        let is_allowed =
            (statements.iter()).any(|it| it.is_allow() && it.covers(need.action, &need.arn));
        if !is_allowed {
            let what = app.by_arn(&need.arn).map_or(need.arn.as_str(), |it| &it.id);
            findings.add(
                &rule::MISSING_PERMISSION,
                &place,
                function.id(),
                format!(
                    "its role does not allow {} on {what}, {}",
                    need.action, need.what_for
                ),
            );
        }
    }
    let variables = function.description.map_or(&[][..], |it| &it.variables);
    for variable in variables.iter().filter(|it| it.uses.is_empty()) {
        let kinds = [
            "AWS::SQS::Queue",
            "AWS::DynamoDB::Table",
            "AWS::Events::EventBus",
        ];
        let Some(value) = function.variable(&variable.name) else {
            continue;
        };
        let named = value.text().and_then(|value| app.named(value, &kinds));
        if let Some(named) = named
            && !statements
                .iter()
                .any(|it| it.is_allow() && it.concerns(&named.arn))
        {
            findings.add(
                &rule::NOTHING_ALLOWED,
                &value.place,
                function.id(),
                format!(
                    "its code reads {}, and its role allows nothing on {}",
                    variable.name, named.id
                ),
            );
        }
    }
}

fn needs(app: &App<'_>, function: &Function<'_>) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |action, arn: &str, what_for: &str| {
        needs.push(Need {
            action,
            arn: arn.to_owned(),
            what_for: what_for.to_owned(),
        });
    };
    for (_, queue) in function.queues() {
        for action in [
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
        ] {
            need(action, &queue.arn, "its event source");
        }
    }
    for trigger in function.streams() {
        if let Some(table) = trigger.source {
            let stream = format!("{}/stream/0", table.arn);
            let actions = [
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
            ];
            for action in actions {
                need(action, &stream, "its event source");
            }
        }
        if let Some(queue) = trigger.on_failure().and_then(|it| app.queue(it.text()?)) {
            need(
                "sqs:SendMessage",
                &queue.arn,
                "where its event source reports failures",
            );
        }
    }
    let destination = [
        "EventInvokeConfig",
        "DestinationConfig",
        "OnFailure",
        "Destination",
    ];
    let destination = function.resource.property(&destination);
    if let Some(queue) = destination.and_then(|it| app.queue(it.text()?)) {
        need(
            "sqs:SendMessage",
            &queue.arn,
            "where Lambda sends what it failed on",
        );
    }
    let group = function.resource.property(&["LoggingConfig", "LogGroup"]);
    let mut groups = app.of_kind("AWS::Logs::LogGroup");
    if let Some(group) = groups.find(|it| group.is_some_and(|own| own.text() == Some(&it.name))) {
        need("logs:CreateLogStream", &group.arn, "its log group");
        need("logs:PutLogEvents", &group.arn, "its log group");
    }
    if let Some(description) = function.description {
        if description.redelivery.as_deref() == Some("sqs") {
            for (_, queue) in function.queues() {
                need(
                    "sqs:ChangeMessageVisibility",
                    &queue.arn,
                    "for the delay of retries",
                );
            }
        }
        let named = |what: Use, kind: &str| {
            let names = function.variables_for(what).into_iter();
            let values = names.filter_map(|name| function.variable(name)?.text());
            let named: Vec<&str> = values
                .filter_map(|value| Some(app.named(value, &[kind])?.arn.as_str()))
                .collect();
            named
        };
        let claims = |kind: ClaimKind| description.handlers.iter().any(|it| it.claim == kind);
        if description.idempotency.is_some() {
            for table in named(Use::IdempotencyTable, "AWS::DynamoDB::Table") {
                if claims(ClaimKind::Lease) {
                    need("dynamodb:UpdateItem", table, "for leases");
                }
                if claims(ClaimKind::Transaction) {
                    need("dynamodb:PutItem", table, "for claims in transactions");
                    need("dynamodb:GetItem", table, "for claims in transactions");
                    // What comes again begins with writing down that it does.
                    if !function.triggers.is_empty() {
                        need("dynamodb:UpdateItem", table, "for later attempts");
                    }
                }
            }
        }
        for table in named(Use::OutboxTable, "AWS::DynamoDB::Table") {
            need("dynamodb:UpdateItem", table, "to mark events as published");
            if description.source != "dynamodb_stream" {
                need("dynamodb:GetItem", table, "to sweep its outbox");
                need(
                    "dynamodb:Query",
                    &format!("{table}/index/outbox"),
                    "to sweep its outbox",
                );
            }
        }
        for queue in named(Use::DeadLetterQueue, "AWS::SQS::Queue") {
            need("sqs:SendMessage", queue, "to park what it cannot handle");
        }
        for bus in named(Use::EventBus, "AWS::Events::EventBus") {
            need("events:PutEvents", bus, "to publish");
        }
        for queue in named(Use::EventQueue, "AWS::SQS::Queue") {
            need("sqs:SendMessage", queue, "to publish");
        }
    }
    needs
}
