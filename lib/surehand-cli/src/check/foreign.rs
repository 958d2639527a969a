//! Templates as others write them: full of intrinsic functions, macros, and stacks that are elsewhere. What cannot be
//! told is no error, and what was not looked at is said.

use std::{collections::BTreeMap, path::Path};

use surehand::description::Description;

use super::{Binaries, Descriptions, Sources, check};

const MANIFEST: &str = "[profile.release]\npanic = 'unwind'\n";

/// What is found in these files, the first of which is the template, each in one line.
fn found(files: &[(&str, &str)], worker: Option<&str>) -> Vec<String> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let read = |file: &str| {
        let text = match file {
            "Cargo.toml" => Some(MANIFEST),
            file => files.get(file).copied(),
        };
        Ok(text.map(str::to_owned))
    };
    let sources = Sources::read_by(Path::new(""), "template.yaml", read).unwrap();
    let mut descriptions = Descriptions::new();
    if let Some(json) = worker {
        let description: Description = serde_json::from_str(json).unwrap();
        descriptions.insert("worker".to_owned(), Ok(description));
    }
    let binary = crate::application::project::Binary {
        package: "handlers".to_owned(),
        manifest: "handlers/Cargo.toml".to_owned(),
    };
    let binaries = Binaries::from([("worker".to_owned(), vec![binary])]);
    let found = check(&sources, Some(&binaries), &descriptions).unwrap();
    let lines = found.iter().map(|it| {
        let place = format!("{}:{}", it.place.file, it.place.line);
        format!("{place} {} {}", it.rule.id, it.sentence())
    });
    lines.collect()
}

/// A function that takes messages, keeps its claims in a table, and parks.
const WORKER: &str = r#"{
    "surehand": "0.1.0", "source": "sqs",
    "handlers": [{"name": "work", "consumes": {"source": "a", "detail-type": "B", "version": 1}, "claim": "lease"}],
    "publishes": [],
    "batch": {"concurrency": 10, "on_park": "proceed", "backoff_base_ms": 1, "backoff_cap_ms": 2, "margin_ms": null},
    "idempotency": {"store": "dynamodb", "key": "event_id", "style": "sha256", "scope": null, "expires_after_s": 2678400},
    "dead_letters": {"destination": "sqs", "max_receive_count": null}, "redelivery": "sqs",
    "variables": [
        {"name": "IDEMPOTENCY_TABLE", "required": true, "uses": ["idempotency_table"]},
        {"name": "DEAD_LETTER_QUEUE_URL", "required": true, "uses": ["dead_letter_queue"]}
    ]
}"#;

/// Everything that the function needs is somewhere else, and only its stack knows.
#[test]
fn what_is_elsewhere_is_no_error() {
    let found = found(
        &[("template.yaml", include_str!("foreign/elsewhere.yaml"))],
        Some(WORKER),
    );
    assert_eq!(
        found,
        [
            "template.yaml:28 SH002 Tables: its template is elsewhere, and what it makes was not looked at",
            "template.yaml:34 SH002 Queues: its template is elsewhere, and what it makes was not looked at",
            "template.yaml:39 SH002 Alarms: there is no ./build/alarms.yaml, and what it makes was not looked at",
        ]
    );
}

/// Every property that a rule looks at is known only when it is deployed.
#[test]
fn what_a_deployment_decides_is_no_error() {
    let found = found(
        &[("template.yaml", include_str!("foreign/undecided.yaml"))],
        Some(WORKER),
    );
    assert_eq!(found, [""; 0]);
}

/// Macros and loops make resources that are nowhere written down.
#[test]
fn what_macros_make_is_no_error() {
    let found = found(
        &[("template.yaml", include_str!("foreign/macros.yaml"))],
        None,
    );
    assert_eq!(
        found,
        [
            "template.yaml:3 SH002 Company::Defaults may make resources and change others, and is only applied when it is deployed",
            "template.yaml:16 SH002 what Fn::ForEach::Topics makes was not looked at",
        ]
    );
}

/// A function of a nested application is checked as any other, under its full name.
#[test]
fn an_application_in_an_application_is_checked() {
    let main = include_str!("foreign/main.yaml");
    let nested = include_str!("foreign/orders.yaml");
    let files = [("template.yaml", main), ("apps/orders.yaml", nested)];
    assert_eq!(found(&files, Some(WORKER)), [""; 0]);

    let nested = nested.replace("[ReportBatchItemFailures]", "[]");
    let files = [("template.yaml", main), ("apps/orders.yaml", &nested)];
    let found = found(&files, Some(WORKER));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("apps/orders.yaml:"), "{found:?}");
    assert!(
        found[0].contains(" SH321 Orders/Worker: its SQS event source does not report"),
        "{found:?}"
    );
}

#[test]
fn a_template_that_nests_itself_is_an_error_and_ends() {
    let nest = |file: &str| {
        format!(
            "Resources:\n  Next:\n    Type: AWS::CloudFormation::Stack\n    Properties:\n      TemplateURL: {file}\n"
        )
    };
    let (main, inner) = (nest("./infra/inner.yaml"), nest("../template.yaml"));
    let files = [("template.yaml", &*main), ("infra/inner.yaml", &*inner)];
    assert_eq!(
        found(&files, None)
            .into_iter()
            .filter(|line| line.contains("SH001"))
            .collect::<Vec<_>>(),
        ["infra/inner.yaml:5 SH001 template.yaml nests itself"]
    );
}

/// SQS encrypts every queue since 2023, unless it is told not to.
#[test]
fn a_queue_is_encrypted_without_a_word_about_it() {
    let of_queue = |properties: &str| {
        let template = format!(
            "Resources:\n  Plain:\n    Type: AWS::SQS::Queue\n    Properties: {properties}\n"
        );
        let found = found(&[("template.yaml", &template)], None);
        found.iter().any(|line| line.contains(" SH306 "))
    };
    assert!(
        !of_queue("{}"),
        "a queue that says nothing of encryption is encrypted"
    );
    assert!(!of_queue("{SqsManagedSseEnabled: true}"));
    assert!(!of_queue(
        "{SqsManagedSseEnabled: false, KmsMasterKeyId: alias/queues}"
    ));
    assert!(of_queue("{SqsManagedSseEnabled: false}"));
    assert!(of_queue("{SqsManagedSseEnabled: 'False'}"));
}

#[test]
fn an_action_that_knows_no_resource_is_allowed_on_all() {
    let template = include_str!("foreign/no_resource.yaml");
    let of_template = |template: &str| {
        let found = found(&[("template.yaml", template)], None);
        let mut lines = found.into_iter();
        lines.find(|line| line.contains(" SH503 "))
    };
    assert_eq!(
        of_template(template),
        None,
        "actions that know no resource must be allowed on all"
    );
    let with_resource = template.replace("ecr:GetAuthorizationToken", "ecr:BatchGetImage");
    let found = of_template(&with_resource).unwrap();
    assert!(
        found.ends_with("it allows ecr:BatchGetImage on everything"),
        "{found}"
    );
}

/// What is found of these rules in the templates, with a function that takes EventBridge's events.
fn found_of(rules: &[&str], template: &str) -> Vec<String> {
    let worker = WORKER.replace("\"source\": \"sqs\"", "\"source\": \"eventbridge\"");
    let mut lines = found(&[("template.yaml", template)], Some(&worker));
    lines.retain(|line| rules.iter().any(|rule| line.contains(rule)));
    lines
}

const DELIVERY: [&str; 5] = ["SH108", "SH401", "SH402", "SH409", "SH302"];

#[test]
fn a_schedule_is_a_trigger() {
    let template = include_str!("foreign/scheduler.yaml");
    // It delivers to its target, with a role in place of a permission.
    assert_eq!(
        found_of(&DELIVERY, template),
        [
            "template.yaml:27 SH401 EveryFiveMinutes: an event that it cannot deliver is lost",
            "template.yaml:27 SH402 EveryFiveMinutes: it does not say how long delivery is retried",
        ]
    );
    let kept = format!(
        "{template}        DeadLetterConfig: {{Arn: 'arn:aws:sqs:us-east-1:123456789012:x'}}
        RetryPolicy: {{MaximumRetryAttempts: 3}}
"
    );
    assert_eq!(found_of(&DELIVERY, &kept), [""; 0]);
}

#[test]
fn a_pipe_is_a_trigger() {
    let template = include_str!("foreign/pipes.yaml");
    assert_eq!(
        found_of(&DELIVERY, template),
        [
            "template.yaml:16 SH302 Orders: a message that crashes its function comes back until it expires: there is no redrive policy",
            "template.yaml:29 SH402 OfChanges: a change that it cannot deliver stops its shard until it expires: MaximumRecordAgeInSeconds is not limited",
            "template.yaml:36 SH401 OfChanges: a change that it cannot deliver is lost",
        ]
    );
}
