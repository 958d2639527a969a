//! Templates as others write them: full of intrinsic functions, macros, and stacks that are elsewhere. What cannot be
//! told is no error, and what was not looked at is said.

use std::{collections::BTreeMap, path::Path};

use surehand::description::Description;

use super::{Binaries, Checked, Descriptions, Sources, check};

const MANIFEST: &str = "[profile.release]\npanic = 'unwind'\n";

/// What is found in these files, the first of which is the template, each in one line.
fn found(files: &[(&str, &str)], worker: Option<&str>) -> Vec<String> {
    let found = checked(files, worker);
    let lines = found.findings.iter().map(|it| {
        let place = format!("{}:{}", it.place.file, it.place.line);
        format!("{place} {} {}", it.rule.id, it.sentence())
    });
    lines.collect()
}

fn checked(files: &[(&str, &str)], worker: Option<&str>) -> Checked {
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
    check(&sources, Some(&binaries), &descriptions).unwrap()
}

/// A function that takes messages, keeps its claims in a table, and parks.
const WORKER: &str = r#"{
    "surehand": "0.1.0", "source": "sqs",
    "handlers": [{"name": "work", "consumes": {"source": "a", "detail-type": "B", "version": 1}, "claim": "lease"}],
    "publishes": [],
    "batch": {"concurrency": 10, "on_park": "proceed", "max_attempts": 5, "backoff_base_ms": 10000,
        "backoff_cap_ms": 3600000, "backoff_factor": 6, "backoff_least_percent": 75, "margin_ms": null},
    "idempotency": {"store": "dynamodb", "key": "event_id", "style": "sha256", "scope": null, "expires_after_s": 2678400},
    "dead_letters": {"destination": "sqs"}, "redelivery": "sqs",
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

/// What SQS moves without a reason is to be what the function could not count.
#[test]
fn the_queues_limit_is_several_times_the_attempts() {
    let of_template = |change: &[(&str, &str)], worker: &str| {
        let mut template = include_str!("foreign/orders.yaml").to_owned();
        for (from, to) in change {
            assert!(template.contains(from), "{from}");
            template = template.replacen(from, to, 1);
        }
        let parameters = [
            ("{Type: String}", "{Type: String, Default: ''}"),
            (
                "CommaDelimitedList}",
                "CommaDelimitedList, Default: 'a, b'}",
            ),
        ];
        for (from, to) in parameters {
            template = template.replace(from, to);
        }
        let mut lines = found(&[("template.yaml", &template)], Some(worker));
        lines.retain(|line| {
            ["SH303", "SH312", "SH313", "SH314", "SH326"]
                .iter()
                .any(|rule| line.contains(rule))
        });
        lines
    };
    assert_eq!(of_template(&[], WORKER), [""; 0]);
    let of_count = |count: &str, worker: &str| {
        of_template(
            &[("maxReceiveCount: 50", &format!("maxReceiveCount: {count}"))],
            worker,
        )
    };
    assert_eq!(
        of_count("24", WORKER),
        [
            "template.yaml:16 SH303 Queue: its maxReceiveCount of 24 is less than 25, 5 receives for each of the 5 attempts of Worker"
        ]
    );
    assert_eq!(of_count("25", WORKER), [""; 0]);
    assert_eq!(
        of_count("4", WORKER),
        [
            "template.yaml:16 SH312 Queue: SQS moves a message after 4 receives, without a reason, before Worker has made its 5 attempts"
        ]
    );
    // The code's own limit.
    let patient = WORKER.replace("\"max_attempts\": 5", "\"max_attempts\": 11");
    assert_eq!(
        of_count("50", &patient),
        [
            "template.yaml:16 SH303 Queue: its maxReceiveCount of 50 is less than 55, 5 receives for each of the 11 attempts of Worker"
        ]
    );
    // In a FIFO batch every record waits for those before it.
    let fifo = [
        (
            "VisibilityTimeout: 60",
            "VisibilityTimeout: 60\n      FifoQueue: true",
        ),
        ("maxReceiveCount: 50", "maxReceiveCount: 49"),
    ];
    assert_eq!(
        of_template(&fifo, WORKER)[0],
        "template.yaml:17 SH303 Queue: its maxReceiveCount of 49 is less than 50, 10 receives for each of the 5 attempts of Worker"
    );
    let slow = [fifo[0], ("maxReceiveCount: 50", "maxReceiveCount: 13")];
    let found = of_template(&slow, WORKER);
    assert!(found[1].ends_with("SH326 Worker: a slow FIFO lane may use up receives: 10 records of one group share 10 s, and SQS moves one after 13 receives, of which its 5 attempts need some"), "{found:?}");
    let late = [("VisibilityTimeout: 60", "VisibilityTimeout: 6913")];
    assert_eq!(
        of_template(&late, WORKER),
        [
            "template.yaml:16 SH313 Queue: a message that ends each process before it is claimed expires, and is lost: 50 receives with 6913 s after each take longer than the 345600 s for which it keeps messages"
        ]
    );
}

#[test]
fn an_outage_that_fills_the_dead_letters_soon_is_told() {
    let of_variables = |variables: &str, worker: &str| {
        let template = include_str!("foreign/orders.yaml").replace(
            "          IDEMPOTENCY_TABLE: !Ref Table\n",
            &format!("          IDEMPOTENCY_TABLE: !Ref Table\n{variables}"),
        );
        let mut lines = found(&[("template.yaml", &template)], Some(worker));
        lines.retain(|line| line.contains("SH314"));
        lines
    };
    let reads = WORKER.replace(
        "\"variables\": [",
        "\"variables\": [{\"name\": \"MAX_ATTEMPTS\", \"required\": false, \"uses\": [\"max_attempts\"]}, \
         {\"name\": \"MAX_BACKOFF_S\", \"required\": false, \"uses\": [\"max_backoff\"]},",
    );
    assert_eq!(of_variables("", &reads), [""; 0]);
    let soon = "          MAX_BACKOFF_S: 300\n";
    assert_eq!(
        of_variables(soon, &reads),
        [
            "template.yaml:63 SH314 Worker: when what it calls is out for 8 min, its messages become dead letters: so long are its 5 attempts apart"
        ]
    );
    // What the code sets after it has read the environment overrides that.
    let patient = reads.replace("\"max_attempts\": 5", "\"max_attempts\": 10");
    assert_eq!(of_variables(soon, &patient), [""; 0]);
    let often = "          MAX_BACKOFF_S: 300\n          MAX_ATTEMPTS: 10\n";
    assert_eq!(of_variables(often, &reads), [""; 0]);
    // Only a deployment knows.
    let unknown = "          MAX_BACKOFF_S: !ImportValue backoff\n";
    assert_eq!(of_variables(unknown, &reads), [""; 0]);
}

/// SQS deletes a message whose time is up, and makes no dead letter of it.
#[test]
fn attempts_that_a_message_does_not_live_to_see_are_told() {
    let of_template = |variables: &[(&str, &str)], queue: &str, change: (&str, &str)| {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| format!("          {name}: {value}\n"));
        let template = include_str!("foreign/orders.yaml")
            .replace(
                "          IDEMPOTENCY_TABLE: !Ref Table\n",
                &format!(
                    "          IDEMPOTENCY_TABLE: !Ref Table\n{}",
                    variables.collect::<String>()
                ),
            )
            .replacen(
                "VisibilityTimeout: 60\n",
                &format!("VisibilityTimeout: 60\n{queue}"),
                1,
            )
            .replace(change.0, change.1);
        let worker = WORKER.replace(
            "\"variables\": [",
            "\"variables\": [{\"name\": \"MAX_ATTEMPTS\", \"required\": false, \"uses\": [\"max_attempts\"]}, \
             {\"name\": \"MAX_BACKOFF_S\", \"required\": false, \"uses\": [\"max_backoff\"]},",
        );
        let checked = checked(&[("template.yaml", &template)], Some(&worker));
        let lines = checked.findings.iter().filter(|it| it.rule.id == "SH315");
        let lines: Vec<String> = lines.map(|it| it.sentence()).collect();
        let outages = checked.outages.iter().map(|it| it.sentence());
        (lines, outages.collect::<Vec<_>>())
    };
    let (attempts, backoff) = (("MAX_ATTEMPTS", "20"), ("MAX_BACKOFF_S", "43200"));
    let as_it_is = ("", "");
    let bears = |time: &str, attempts: u32| {
        vec![format!(
            "Worker bears an outage of {time}: {attempts} attempts, 50 receives"
        )]
    };
    let long = |retention: &str| {
        let what = "Worker: a message that keeps failing expires, and is lost: its 20 attempts may take 172 h";
        vec![format!("{what}, and Queue keeps messages for {retention}")]
    };
    let none = Vec::<String>::new();
    // SQS's own four days.
    assert_eq!(
        of_template(&[attempts, backoff], "", as_it_is),
        (long("96 h"), bears("96 h", 20))
    );
    let keeps = |seconds: &str| format!("      MessageRetentionPeriod: {seconds}\n");
    assert_eq!(
        of_template(&[attempts, backoff], &keeps("1209600"), as_it_is),
        (none.clone(), bears("129 h", 20))
    );
    assert_eq!(
        of_template(&[attempts], "", as_it_is),
        (none.clone(), bears("11 h", 20))
    );
    // With ten seconds for each attempt, the five take 2,640 s at most.
    assert_eq!(
        of_template(&[], &keeps("2640"), as_it_is),
        (none.clone(), bears("32 min", 5))
    );
    let lost = |time: &str| {
        let what =
            "Worker: a message that keeps failing expires, and is lost: its 5 attempts may take";
        vec![format!(
            "{what} {time}, and Queue keeps messages for 43 min"
        )]
    };
    assert_eq!(
        of_template(&[], &keeps("2639"), as_it_is),
        (lost("44 min"), bears("32 min", 5))
    );
    // Only a deployment knows.
    let unknown = keeps("!ImportValue retention");
    assert_eq!(
        of_template(&[attempts, backoff], &unknown, as_it_is),
        (none.clone(), none.clone())
    );
    let timeout = ("Timeout: 10", "Timeout: !ImportValue timeout");
    assert_eq!(
        of_template(&[], &keeps("2639"), timeout),
        (none, bears("32 min", 5))
    );
    let (found, _) = of_template(&[], &keeps("2589"), timeout);
    assert_eq!(found, lost("43 min"), "the delays alone are too long");
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

/// A function with an entity that it reads, queries also by an index, and puts.
const ENTITY: &str = r#"{"entity": "Entry", "variable": "TABLE", "key": {"partition": "pk", "sort": "sk"},
    "indexes": {"by_day": {"partition": "day", "sort": null}},
    "actions": ["BatchGetItem", "GetItem", "PutItem", "Query"]}"#;

/// What is found of entities and their tables once the template and the entity are changed.
fn of_entities(template: &[(&str, &str)], entity: &[(&str, &str)]) -> Vec<String> {
    let changed = |text: &str, changes: &[(&str, &str)]| {
        changes.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        })
    };
    let template = changed(include_str!("foreign/tables.yaml"), template);
    let tables = format!(
        "\"tables\": [{}], \"variables\": [",
        changed(ENTITY, entity)
    );
    let worker = WORKER.replace("\"variables\": [", &tables);
    let mut lines = found(&[("template.yaml", &template)], Some(&worker));
    lines.retain(|line| {
        let rules = ["SH501", "SH506", "SH609", "SH610", "SH611"];
        rules.iter().any(|rule| line.contains(rule)) && !line.contains("sqs:")
    });
    lines
}

#[test]
fn a_role_allows_what_a_function_does_with_its_entities() {
    assert_eq!(of_entities(&[], &[]), [""; 0]);
    let role = "template.yaml:33 SH501 Worker: its role does not allow";
    assert_eq!(
        of_entities(
            &[("'dynamodb:GetItem', 'dynamodb:BatchGetItem', ", "")],
            &[(
                "\"PutItem\"",
                "\"DeleteItem\", \"ConditionCheckItem\", \"UpdateItem\""
            )],
        ),
        [
            format!("{role} dynamodb:BatchGetItem on Table, where it reads Entry"),
            format!("{role} dynamodb:ConditionCheckItem on Table, where it checks Entry"),
            format!("{role} dynamodb:DeleteItem on Table, where it deletes Entry"),
            format!("{role} dynamodb:GetItem on Table, where it reads Entry"),
            format!("{role} dynamodb:UpdateItem on Table, where it updates Entry"),
        ]
    );
    // By the index alone, or by all of its names.
    let resources = "[!GetAtt Table.Arn, !Sub '${Table.Arn}/index/*']";
    assert_eq!(
        of_entities(&[(resources, "!GetAtt Table.Arn")], &[]),
        [format!(
            "{role} dynamodb:Query on the index by_day of Table, where it queries Entry"
        )]
    );
    let query = "'dynamodb:Query']\n                Resource: [!GetAtt Table.Arn, !Sub '${Table.Arn}/index/*']";
    let index_alone = "]
                Resource: !GetAtt Table.Arn
              - {Effect: Allow, Action: 'dynamodb:Query', Resource: !Sub '${Table.Arn}/index/by_day'}";
    assert_eq!(
        of_entities(&[(&format!(", {query}"), index_alone)], &[]),
        [""; 0]
    );
    // Two entities of a table need one permission.
    let second = ENTITY.replace("\"Entry\"", "\"Balance\"");
    assert_eq!(
        of_entities(
            &[("'dynamodb:PutItem', ", "")],
            &[("{\"entity\"", &format!("{second}, {{\"entity\""))]
        ),
        [format!(
            "{role} dynamodb:PutItem on Table, where it puts Balance and Entry"
        )]
    );
}

/// What is written elsewhere, or decided later, may allow it.
#[test]
fn a_role_that_is_not_all_here_may_allow_more() {
    let nothing = (
        "['dynamodb:GetItem', 'dynamodb:BatchGetItem', 'dynamodb:PutItem', 'dynamodb:Query']",
        "'dynamodb:Scan'",
    );
    assert_eq!(of_entities(&[nothing], &[]).len(), 5);
    for more in [
        // Only what is known is a table of the template, or a role of it.
        ("TABLE: !Ref Table", "TABLE: !Ref Elsewhere"),
        ("TABLE: !Ref Table", "TABLE: somewhere-else"),
        ("TABLE: !Ref Table", "OTHER: !Ref Table"),
        ("Role: !GetAtt Role.Arn", "Role: !Ref Elsewhere"),
        ("'dynamodb:Scan'", "!Ref Elsewhere"),
        (
            "      Policies:",
            "      ManagedPolicyArns: [!Ref Elsewhere]\n      Policies:",
        ),
        (
            "  Role:\n",
            "  More:\n    Type: AWS::IAM::Policy\n    Properties: {Roles: [!Ref Role], PolicyDocument: !Ref Elsewhere}\n  Role:\n",
        ),
        (
            "  Role:\n",
            "  Connector:\n    Type: AWS::Serverless::Connector\n    Properties: {Source: {Id: Worker}, Destination: {Id: Table}, Permissions: [Read, Write]}\n  Role:\n",
        ),
        (
            "      KeySchema:\n        - {AttributeName: pk",
            "      ResourcePolicy: {PolicyDocument: {Statement: {Effect: Allow, Principal: !Ref Elsewhere, Action: 'dynamodb:*', Resource: '*'}}}\n      KeySchema:\n        - {AttributeName: pk",
        ),
    ] {
        assert_eq!(of_entities(&[nothing, more], &[]), [""; 0], "{more:?}");
    }
    assert_eq!(
        of_entities(&[("Effect: Allow", "Effect: !Ref Elsewhere")], &[]),
        [""; 0]
    );
    // Another function's connector does not.
    let other = (
        "  Role:\n",
        "  Connector:\n    Type: AWS::Serverless::Connector\n    Properties: {Source: {Id: Other}, Destination: {Id: Table}, Permissions: [Read, Write]}\n  Role:\n",
    );
    assert_eq!(of_entities(&[nothing, other], &[]).len(), 5);
}

/// SAM makes a role of a function's policies, and statements of policy templates.
#[test]
fn policy_templates_allow_what_they_stand_for() {
    let all = "[\"BatchGetItem\", \"ConditionCheckItem\", \"DeleteItem\", \"GetItem\", \"PutItem\", \"Query\", \"UpdateItem\"]";
    let actions = (
        "[\"BatchGetItem\", \"GetItem\", \"PutItem\", \"Query\"]",
        all,
    );
    let lacks = |policies: &str| -> Vec<String> {
        let policies = format!("Policies: {policies}");
        let found = of_entities(&[("Role: !GetAtt Role.Arn", &policies)], &[actions]);
        let lines = found.iter().map(|line| {
            assert!(
                line.starts_with("template.yaml:27 SH501 Worker: its role"),
                "{line}"
            );
            let rest = line.split("dynamodb:").nth(1).unwrap();
            rest.split(", where").next().unwrap().to_owned()
        });
        lines.collect()
    };
    let on_table = |actions: &str| -> Vec<String> {
        let actions = actions.split(' ').filter(|it| !it.is_empty());
        actions.map(|it| format!("{it} on Table")).collect()
    };
    for (policies, missing) in [
        ("[DynamoDBCrudPolicy: {TableName: !Ref Table}]", ""),
        ("{DynamoDBCrudPolicy: {TableName: !Ref Table}}", ""),
        (
            "[DynamoDBReadPolicy: {TableName: !Ref Table}]",
            "ConditionCheckItem DeleteItem PutItem UpdateItem",
        ),
        (
            "[DynamoDBReadPolicy: {TableName: !Ref Table}, DynamoDBWritePolicy: {TableName: !Ref Table}]",
            "ConditionCheckItem DeleteItem",
        ),
        (
            "[DynamoDBReadPolicy: {TableName: !Ref Table}, Statement: [{Effect: Allow, Action: ['dynamodb:*Item'], Resource: !GetAtt Table.Arn}]]",
            "",
        ),
        // What cannot be told.
        ("[DynamoDBCrudPolicy: {TableName: !Ref Elsewhere}]", ""),
        ("[DynamoDBTeleportPolicy: {TableName: !Ref Table}]", ""),
        ("[AmazonDynamoDBFullAccess]", ""),
        ("[!Ref Elsewhere]", ""),
        ("!Ref Elsewhere", ""),
    ] {
        assert_eq!(lacks(policies), on_table(missing), "{policies}");
    }
    let nothing =
        lacks("[S3ReadPolicy: {BucketName: b}, DynamoDBCrudPolicy: {TableName: another}]");
    assert_eq!(nothing.len(), 8, "{nothing:?}");
    let by_index = lacks(
        "[DynamoDBWritePolicy: {TableName: !Ref Table}, DynamoDBRestoreFromBackupPolicy: {TableName: !Ref Table}, DynamoDBReconfigurePolicy: {TableName: !Ref Table}, DynamoDBBackupFullAccessPolicy: {TableName: !Ref Table}]",
    );
    assert_eq!(
        by_index,
        [
            "BatchGetItem on Table",
            "ConditionCheckItem on Table",
            "Query on the index by_day of Table",
        ]
    );
}

#[test]
fn a_table_has_the_keys_of_its_entities() {
    // The key, also where it is a table's in another form.
    let simple = |key: &str| {
        let text = include_str!("foreign/tables.yaml");
        let end = text.find("  Worker:\n").unwrap();
        let table = &text[text.find("  Table:\n").unwrap()..end];
        let as_simple = format!(
            "  Table:\n    Type: AWS::Serverless::SimpleTable\n    Properties: {{{key}}}\n"
        );
        of_entities(
            &[(table, &as_simple)],
            &[
                ("\"sort\": \"sk\"", "\"sort\": null"),
                ("\"by_day\": {\"partition\": \"day\", \"sort\": null}", ""),
            ],
        )
    };
    assert_eq!(simple("PrimaryKey: {Name: pk, Type: String}"), [""; 0]);
    assert_eq!(
        simple("PrimaryKey: {Name: !Ref Elsewhere, Type: String}"),
        [""; 0]
    );
    assert_eq!(
        simple(""),
        [
            "template.yaml:6 SH609 Table: its key is id, and that of Entry is pk: DynamoDB refuses every read and write of them"
        ]
    );
    let global = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable");
    assert_eq!(of_entities(&[global], &[]), [""; 0]);
    assert_eq!(
        of_entities(
            &[global],
            &[(
                "\"partition\": \"pk\", \"sort\": \"sk\"",
                "\"partition\": \"id\", \"sort\": null"
            )]
        ),
        [
            "template.yaml:13 SH609 Table: its key is pk and sk, and that of Entry is id: DynamoDB refuses every read and write of them"
        ]
    );
    let by_deployment = (
        "- {AttributeName: pk, KeyType: HASH}",
        "- {AttributeName: !Ref Elsewhere, KeyType: HASH}",
    );
    assert_eq!(of_entities(&[by_deployment], &[]), [""; 0]);
}

#[test]
fn a_table_has_the_indexes_of_its_entities() {
    assert_eq!(
        of_entities(&[("IndexName: by_day", "IndexName: by_week")], &[]),
        [
            "template.yaml:16 SH610 Table: it has no index by_day with the key day, which queries of Entry need"
        ]
    );
    assert_eq!(
        of_entities(
            &[],
            &[("\"day\", \"sort\": null", "\"day\", \"sort\": \"sk\"")]
        ),
        [
            "template.yaml:18 SH610 Table: the key of its index by_day is not day and sk, which queries of Entry need"
        ]
    );
    let local = ("GlobalSecondaryIndexes", "LocalSecondaryIndexes");
    assert_eq!(of_entities(&[local], &[]), [""; 0]);
    let by_deployment = ("IndexName: by_day", "IndexName: !Ref Elsewhere");
    assert_eq!(of_entities(&[by_deployment], &[]), [""; 0]);
    assert_eq!(
        of_entities(
            &[("\n        - {AttributeName: day, AttributeType: S}", "")],
            &[]
        ),
        ["template.yaml:9 SH611 Table: day is a part of a key, and has no type"]
    );
}
