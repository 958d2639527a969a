//! What functions may do: all that they are made to do, and nothing else.

use std::collections::BTreeMap;

use surehand::description::{ClaimKind, Use};

use crate::{
    application::yaml::Node,
    check::{
        app::{App, Function},
        finding::{Findings, rule},
        policy::{Statement, allow},
        resourceless,
    },
};

/// AWS authorises a batch as the single action, and emulators ask for the batch's own name.
const WITH_BATCHES: [&str; 3] = [
    "sqs:SendMessage*",
    "sqs:ChangeMessageVisibility*",
    "sqs:DeleteMessage*",
];
/// Actions that a function in a VPC needs on everything, as Lambda documents them: it makes the interfaces before
/// their ARNs are known.
const OF_VPC_FUNCTIONS: [&str; 5] = [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
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
        if let Some(managed) = role.property(&["ManagedPolicyArns"]) {
            findings.add(
                &rule::MANAGED_POLICY,
                &managed.place,
                &role.id,
                "it has managed policies",
            );
        }
        if let Some(statements) = function.statements(app) {
            needed(app, function, &statements, findings);
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
                format!("it allows everything that matches {name}"),
            );
        }
        if let Some(everything) = everything
            && !OF_VPC_FUNCTIONS.contains(&name)
            && !resourceless::is_without_resource(name)
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

/// Actions that a function's role must allow.
struct Need {
    actions: &'static [&'static str],
    /// The ARNs that the function needs them on.
    on: fn(&App<'_>, &Function<'_>) -> Vec<String>,
    what_for: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        actions: &[
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
        ],
        on: |_, function| queues(function),
        what_for: "its event source",
    },
    Need {
        actions: &[
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
        ],
        on: |_, function| {
            let tables = function.streams().filter_map(|it| it.source);
            tables.map(|it| format!("{}/stream/0", it.arn)).collect()
        },
        what_for: "its event source",
    },
    Need {
        actions: &["sqs:SendMessage"],
        on: |app, function| {
            let failures = function.streams().filter_map(|it| it.on_failure()?.text());
            failures.filter_map(|arn| queue(app, arn)).collect()
        },
        what_for: "where its event source reports failures",
    },
    Need {
        actions: &["sqs:SendMessage"],
        on: |app, function| {
            let path = [
                "EventInvokeConfig",
                "DestinationConfig",
                "OnFailure",
                "Destination",
            ];
            let failures = function.resource.property(&path).and_then(Node::text);
            failures
                .and_then(|arn| queue(app, arn))
                .into_iter()
                .collect()
        },
        what_for: "where Lambda sends what it failed on",
    },
    Need {
        actions: &["logs:CreateLogStream", "logs:PutLogEvents"],
        on: |app, function| {
            let group = function.resource.property(&["LoggingConfig", "LogGroup"]);
            let name = group.and_then(Node::text);
            let mut groups = app.of_kind("AWS::Logs::LogGroup");
            let group = groups.find(|it| name == Some(&it.name));
            group.map(|it| it.arn.clone()).into_iter().collect()
        },
        what_for: "its log group",
    },
    Need {
        actions: &["sqs:ChangeMessageVisibility"],
        on: |_, function| match function.description {
            Some(it) if it.redelivery.as_deref() == Some("sqs") => queues(function),
            _ => Vec::new(),
        },
        what_for: "for the delay of retries",
    },
    Need {
        actions: &["dynamodb:UpdateItem"],
        on: |app, function| claims(app, function, ClaimKind::Lease),
        what_for: "for leases",
    },
    Need {
        actions: &["dynamodb:PutItem", "dynamodb:GetItem"],
        on: |app, function| claims(app, function, ClaimKind::Transaction),
        what_for: "for claims in transactions",
    },
    Need {
        actions: &["dynamodb:UpdateItem"],
        // What comes again begins with writing down that it does.
        on: |app, function| match function.triggers.is_empty() {
            true => Vec::new(),
            false => claims(app, function, ClaimKind::Transaction),
        },
        what_for: "for later attempts",
    },
    Need {
        actions: &["dynamodb:UpdateItem"],
        on: |app, function| named(app, function, Use::OutboxTable),
        what_for: "to mark events as published",
    },
    Need {
        actions: &["dynamodb:GetItem"],
        on: swept,
        what_for: "to sweep its outbox",
    },
    Need {
        actions: &["dynamodb:Query"],
        on: |app, function| {
            let tables = swept(app, function).into_iter();
            tables.map(|arn| format!("{arn}/index/outbox")).collect()
        },
        what_for: "to sweep its outbox",
    },
    Need {
        actions: &["sqs:SendMessage"],
        on: |app, function| named(app, function, Use::DeadLetterQueue),
        what_for: "to park what it cannot handle",
    },
    Need {
        actions: &["events:PutEvents"],
        on: |app, function| named(app, function, Use::EventBus),
        what_for: "to publish",
    },
    Need {
        actions: &["sqs:SendMessage"],
        on: |app, function| named(app, function, Use::EventQueue),
        what_for: "to publish",
    },
];

/// The queues that the function reads.
fn queues(function: &Function<'_>) -> Vec<String> {
    let queues = function.queues();
    queues.map(|(_, queue)| queue.arn.clone()).collect()
}

/// The ARN, if it is that of a queue of the application.
fn queue(app: &App<'_>, arn: &str) -> Option<String> {
    Some(app.queue(arn)?.arn.clone())
}

/// What the function's variables of this use name.
fn named(app: &App<'_>, function: &Function<'_>, what: Use) -> Vec<String> {
    let kind = match what {
        Use::IdempotencyTable | Use::OutboxTable => "AWS::DynamoDB::Table",
        Use::EventBus => "AWS::Events::EventBus",
        _ => "AWS::SQS::Queue",
    };
    let names = function.variables_for(what).into_iter();
    let values = names.filter_map(|name| function.variable(name)?.text());
    values
        .filter_map(|value| Some(app.named(value, &[kind])?.arn.clone()))
        .collect()
}

/// The tables of a function with handlers that claim their records like this.
fn claims(app: &App<'_>, function: &Function<'_>, kind: ClaimKind) -> Vec<String> {
    match function.description {
        Some(it) if it.idempotency.is_some() && it.handlers.iter().any(|it| it.claim == kind) => {
            named(app, function, Use::IdempotencyTable)
        }
        _ => Vec::new(),
    }
}

/// The tables whose outboxes the function publishes by itself, and not from their streams.
fn swept(app: &App<'_>, function: &Function<'_>) -> Vec<String> {
    match function.description {
        Some(it) if it.source != "dynamodb_stream" => named(app, function, Use::OutboxTable),
        _ => Vec::new(),
    }
}

fn needed(
    app: &App<'_>,
    function: &Function<'_>,
    statements: &[Statement<'_>],
    findings: &mut Findings,
) {
    let place = function.place_of_permissions(app);
    for need in NEEDS {
        for arn in (need.on)(app, function) {
            let missing = need.actions.iter();
            for action in missing.filter(|it| !allow(statements, it, &arn)) {
                let what = app.by_arn(&arn).map_or(arn.as_str(), |it| &it.id);
                findings.add(
                    &rule::MISSING_PERMISSION,
                    &place,
                    function.id(),
                    format!(
                        "its role does not allow {action} on {what}, {}",
                        need.what_for
                    ),
                );
            }
        }
    }
    let Some(description) = function.description else {
        return;
    };
    // Of a table of entities it is known what is done there.
    let is_of_entities = |name: &str| description.tables.iter().any(|it| it.variable == name);
    let variables = description.variables.iter();
    for variable in variables.filter(|it| it.uses.is_empty() && !is_of_entities(&it.name)) {
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
