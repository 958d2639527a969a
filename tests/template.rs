//! What the templates must hold, or events are lost, stay for ever, or fail without a word.
//!
//! Linters say whether CloudFormation accepts a template. This says whether it keeps its promises:
//! each rule below is a function from the templates to what is wrong with them.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod template {
    mod binaries;
    mod operations;
    pub(crate) mod project;
    mod revisions;
    pub(crate) mod rules;
}

use serde_json::json;
use template::{project::Project, rules};

#[test]
fn the_templates_keep_every_rule() {
    let project = Project::read();
    // Rules that find no resource to check find no mistake either.
    assert!(project.functions().count() >= 7);
    assert!(project.queues().count() >= 3);
    assert_eq!(rules::broken(&project), [""; 0]);
}

fn change_dashboard(project: &mut Project, from: &str, to: &str) {
    let dashboard = &mut project.nested("observability")["Resources"]["Dashboard"];
    let body = &mut dashboard["Properties"]["DashboardBody"]["Fn::Sub"][0];
    *body = json!(body.as_str().unwrap().replace(from, to));
}

/// Removes the condition of a statement in a role.
fn change_statement(project: &mut Project, role: &str, sid: &str) {
    let policy = &mut project.resources()[role]["Properties"]["Policies"][0]["PolicyDocument"];
    let mut statements = policy["Statement"].as_array_mut().unwrap().iter_mut();
    let statement = statements.find(|it| it["Sid"] == sid).unwrap();
    let statement = statement.as_object_mut().unwrap();
    assert!(statement.remove("Condition").is_some());
}

/// A change, and a part of the rules' finding about it.
type Mistake = (fn(&mut Project), &'static str);

const MISTAKES: &[Mistake] = &[
    (
        |p| drop(p.resources().remove("Audit")),
        "no function is made from the binary `audit`",
    ),
    (
        |p| p.function("Audit")["Metadata"]["BuildProperties"]["Binary"] = json!("audits"),
        "Audit: there is no binary `audits`",
    ),
    (
        |p| p.function("Audit")["Metadata"]["BuildProperties"]["Binary"] = json!("audits"),
        "Audit: there is no event to try it with",
    ),
    (
        |p| p.event("ReserveStock")["ScalingConfig"] = json!({}),
        "ReserveStock: its SQS event may take all of the account's concurrency",
    ),
    (
        |p| p.document()["Globals"]["Function"]["DeploymentPreference"]["Enabled"] = json!(true),
        "the template has no parameter that makes a deployment shift traffic",
    ),
    (
        |p| {
            p.function("Audit")["Properties"]["DeploymentPreference"]["Alarms"]["Fn::If"][1] =
                json!([{"Fn::GetAtt": ["PlaceOrderCanary", "Outputs.ErrorsAlarmName"]}])
        },
        "Audit: its errors do not stop its deployment",
    ),
    (
        |p| {
            p.function("Audit")["Properties"]["DeploymentPreference"]["Alarms"]["Fn::If"][1] =
                json!([{"Fn::GetAtt": ["AuditCanary", "Outputs.ErrorsAlarmName"]}])
        },
        "Audit: records that fail do not stop its deployment",
    ),
    (
        |p| p.resources()["AuditCanary"]["Properties"]["Parameters"]["Version"] = json!("1"),
        "Audit: records that fail do not stop its deployment",
    ),
    (
        |p| {
            let preference = &mut p.function("ReserveStock")["Properties"]["DeploymentPreference"];
            preference["Alarms"]["Fn::If"][1][2] =
                json!({"Fn::GetAtt": ["RedriveQueue", "Outputs.DeadLetterGrowthAlarmName"]})
        },
        "ReserveStock: dead letters do not stop its deployment",
    ),
    (
        |p| {
            drop(
                p.nested("canary")["Resources"]["ErrorsAlarm"]["Properties"]["Dimensions"]
                    .as_array_mut()
                    .unwrap()
                    .pop(),
            )
        },
        "AuditCanary: it counts other versions' errors",
    ),
    (
        |p| {
            let metrics =
                &mut p.nested("canary")["Resources"]["RecordsAlarm"]["Properties"]["Metrics"];
            metrics[2]["MetricStat"]["Metric"]["MetricName"] = json!("VersionRecords")
        },
        "AuditCanary: it does not see a version's records",
    ),
    (
        |p| {
            drop(
                p.resources()["AuditCanary"]
                    .as_object_mut()
                    .unwrap()
                    .remove("Condition"),
            )
        },
        "AuditCanary: it costs something where no deployment looks at it",
    ),
    (
        |p| drop(p.resources().remove("AuditRuleWatch")),
        "AuditRule: what it loses is not told of",
    ),
    (
        |p| {
            p.nested("rule-watch")["Resources"]["LostAlarm"]["Properties"]["MetricName"] =
                json!("Invocations")
        },
        "OutboxSweepRule: what it loses is not told of",
    ),
    (
        |p| {
            p.resources()["RedriveWatch"]["Properties"]["Parameters"]["Asynchronous"] =
                json!("false")
        },
        "Redrive: nothing tells of AsyncEventsDropped",
    ),
    (
        |p| {
            drop(
                p.nested("function-watch")["Resources"]
                    .as_object_mut()
                    .unwrap()
                    .remove("SlowAlarm"),
            )
        },
        "ReserveStock: nothing tells of Duration",
    ),
    (
        |p| {
            drop(
                p.nested("tables")["Resources"]
                    .as_object_mut()
                    .unwrap()
                    .remove("ShopWriteThrottlesAlarm"),
            )
        },
        "ShopTable: nothing tells of its throttles",
    ),
    (
        |p| p.resources()["OutboxAgeAlarm"]["Properties"]["TreatMissingData"] = json!("ignore"),
        "nothing tells how long committed events have waited",
    ),
    (
        |p| {
            let statement = &mut p.resources()["EventBusPolicy"]["Properties"]["Statement"];
            statement["Effect"] = json!("Allow")
        },
        "the bus takes the shop's events from anybody in the account",
    ),
    (
        |p| change_statement(p, "OutboxSweepRole", "Publish"),
        "OutboxSweepRole: it may publish under any source",
    ),
    (
        |p| change_statement(p, "NotifyCustomerRole", "Idempotency"),
        "NotifyCustomerRole: it may change others' items",
    ),
    (
        |p| change_statement(p, "AuditRole", "ShopTable"),
        "AuditRole: it may change others' items",
    ),
    (
        |p| p.resources()["AuditRole"]["Properties"]["Path"] = json!("/"),
        "AuditRole: an account cannot set its limits",
    ),
    (
        |p| p.function("Audit")["Properties"]["AutoPublishAlias"] = json!("other"),
        "Audit: it has no alias that a deployment moves on",
    ),
    (
        |p| p.target("AuditRule")["Arn"] = json!({"Fn::GetAtt": ["Audit", "Arn"]}),
        "AuditRule: it goes past the alias",
    ),
    (
        |p| p.document()["Parameters"]["CustomerManagedKey"]["Default"] = json!("true"),
        "the parameter CustomerManagedKey is not off by default",
    ),
    (
        |p| change_dashboard(p, "{\"min\": 0}}", "{\"min\": 0}"),
        "the dashboard is not JSON",
    ),
    (
        |p| change_dashboard(p, "\"auto\"", "\"inherit\""),
        "the dashboard is blank beyond 15 days",
    ),
    (
        |p| {
            drop(
                p.resources()["AuditRule"]
                    .as_object_mut()
                    .unwrap()
                    .remove("DependsOn"),
            )
        },
        "AuditRule: it does not wait for the permission to invoke its target",
    ),
    (
        |p| {
            p.nested("reliable-queue")["Resources"]["DeadLetterExpiryAlarm"]["Properties"]["MetricName"] =
                json!("ApproximateNumberOfMessagesVisible")
        },
        "DeadLetterQueue: what it holds expires unseen",
    ),
    (
        |p| {
            p.nested("dead-letter-queue")["Resources"]["GrowthAlarm"]["Properties"]["Metrics"][0]
                ["Expression"] = json!("waiting")
        },
        "Queue: after the first dead letter no other is told of",
    ),
    (
        |p| {
            p.resources()["OutboxRelayWatch"]["Properties"]["Parameters"]["FailureDestination"] =
                json!("false")
        },
        "OutboxRelay: what does not reach its failure destination is lost unseen",
    ),
    (
        |p| change_dashboard(p, "${Queues}", "${Cues}"),
        "the dashboard has a placeholder that nothing replaces",
    ),
    (
        |p| change_dashboard(p, "Duplicates", "Doublets"),
        "the dashboard does not show Duplicates",
    ),
    (
        |p| change_dashboard(p, "\"QueueName\", ", ""),
        "is not a list of metrics",
    ),
    (
        |p| {
            p.resources()["Observability"]["Properties"]["Parameters"]["FunctionNames"] =
                json!({"Ref": "Audit"})
        },
        "PlaceOrder: the dashboard does not show it",
    ),
    (
        |p| {
            p.resources()["Observability"]["Properties"]["Parameters"]["DeadLetterQueueNames"] =
                json!({"Fn::GetAtt": ["AuditDeadLetters", "Outputs.QueueName"]})
        },
        "CustomerLedgerQueue: the dashboard does not show its DeadLetterQueueName",
    ),
    (
        |p| {
            p.document()["Globals"]["Function"]["Environment"]["Variables"]["SUREHAND_SERVICE_NAME"] =
                json!("shop")
        },
        "Audit: its SUREHAND_SERVICE_NAME is not what the dashboard looks for",
    ),
    (
        |p| p.event("ReserveStock")["FunctionResponseTypes"] = json!([]),
        "ReserveStock: its SQS event must report batch item failures",
    ),
    (
        |p| p.event("CustomerLedger")["FilterCriteria"] = json!({"Filters": []}),
        "CustomerLedger: its SQS event filters",
    ),
    (
        |p| p.event("CustomerLedger")["MaximumBatchingWindowInSeconds"] = json!(1),
        "CustomerLedger: a FIFO queue has no batching window",
    ),
    (
        |p| p.event("OutboxRelay")["StartingPosition"] = json!("LATEST"),
        "OutboxRelay: its stream is not read from its oldest change",
    ),
    (
        |p| p.event("OutboxRelay")["FunctionResponseTypes"] = json!([]),
        "OutboxRelay: its stream event must report batch item failures",
    ),
    (
        |p| p.event("OutboxRelay")["BisectBatchOnFunctionError"] = json!(false),
        "OutboxRelay: a change that crashes it takes its batch with it",
    ),
    (
        |p| p.event("OutboxRelay")["MaximumRecordAgeInSeconds"] = json!(86_400),
        "OutboxRelay: a change that it cannot handle expires in the stream",
    ),
    (
        |p| p.event("OutboxRelay")["MaximumRetryAttempts"] = json!(10),
        "OutboxRelay: tries that no handler saw use up those of a change",
    ),
    (
        |p| {
            p.nested("function-watch")["Resources"]["RetriesAlarm"]["Properties"]["Metrics"][2]["MetricStat"]
                ["Metric"]["MetricName"] = json!("Parked")
        },
        "ReserveStock: nothing tells that its records fail",
    ),
    (
        |p| p.resources()["AuditWatch"]["Properties"]["Parameters"]["Service"] = json!(""),
        "Audit: nothing tells that its records fail",
    ),
    (
        |p| p.nested("reliable-queue")["Mappings"]["Lag"]["300"]["Seconds"] = json!(3_600),
        "with a timeout of 300 s a message in backoff counts as lag",
    ),
    (
        |p| p.event("OutboxRelay")["DestinationConfig"] = json!({}),
        "OutboxRelay: records that it gives up are lost without a notice",
    ),
    (
        |p| {
            p.event("OutboxRelay")["DestinationConfig"]["OnFailure"]["Destination"] =
                json!({"Fn::GetAtt": ["AuditDeadLetters", "Outputs.QueueArn"]})
        },
        "OutboxRelay: its role does not let it send to AuditDeadLetters",
    ),
    (
        |p| drop(p.resources().remove("OutboxRelayLagAlarm")),
        "OutboxRelay: there is no alarm for its lag behind its stream",
    ),
    (
        |p| p.event("ReserveStock")["MaximumBatchingWindowInSeconds"] = json!(10),
        "visibility timeout of 23 s is less than 6 x 3 s + 10 s",
    ),
    (
        |p| p.function("ReserveStock")["Properties"]["Timeout"] = json!(900),
        "ReserveStock: its timeout is not the one that its queue counts with",
    ),
    (
        |p| {
            p.nested("reliable-queue")["Mappings"]["VisibilityTimeout"]["60"]["Seconds"] =
                json!(359)
        },
        "visibility timeout of 359 s is less than 6 x 60 s",
    ),
    (
        |p| {
            p.nested("reliable-queue")["Resources"]["Queue"]["Properties"]["VisibilityTimeout"] =
                json!(30)
        },
        "the visibility timeout is not looked up",
    ),
    (
        |p| p.document()["Parameters"]["FunctionTimeout"]["AllowedValues"] = json!([30, 31]),
        "no visibility timeout is known for a function timeout of 31 s",
    ),
    (
        |p| drop(p.queue("reliable-queue", "Queue").remove("RedrivePolicy")),
        "Queue keeps messages that cannot be handled",
    ),
    (
        |p| p.queue("reliable-queue", "DeadLetterQueue")["MessageRetentionPeriod"] = json!(345_600),
        "DeadLetterQueue keeps dead letters for less than 14 days",
    ),
    (
        |p| p.nested("dead-letter-queue")["Resources"]["Queue"]["DeletionPolicy"] = json!("Delete"),
        "Queue is deleted with its stack",
    ),
    (
        |p| {
            drop(
                p.queue("reliable-queue", "Queue")
                    .remove("SqsManagedSseEnabled"),
            )
        },
        "Queue is not encrypted",
    ),
    (
        |p| {
            drop(
                p.queue("dead-letter-queue", "Queue")
                    .remove("KmsMasterKeyId"),
            )
        },
        "Queue is not encrypted",
    ),
    (
        |p| p.resources()["AuditWatch"]["Properties"]["Parameters"]["KeyArn"] = json!(""),
        "AuditWatch: it is not given the application's key",
    ),
    (
        |p| {
            drop(
                p.nested("reliable-queue")["Resources"]
                    .as_object_mut()
                    .unwrap()
                    .remove("DeadLetterAlarm"),
            )
        },
        "there is no alarm for dead letters in DeadLetterQueue",
    ),
    (
        |p| drop(p.properties("NotifyCustomer").remove("Role")),
        "NotifyCustomer: it has no role of its own",
    ),
    (
        |p| {
            p.resources()["AuditRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
                [0]["Action"] = json!("dynamodb:*")
        },
        "AuditRole: it may do anything that matches `dynamodb:*`",
    ),
    (
        |p| {
            p.resources()["AuditRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
                [0]["Resource"] = json!("*")
        },
        "AuditRole: it may do `dynamodb:PutItem` to anything",
    ),
    (
        |p| drop(p.properties("PlaceOrder").remove("LoggingConfig")),
        "PlaceOrder: it does not log into a group with a retention",
    ),
    (
        |p| {
            drop(
                p.nested("function-watch")["Resources"]["LogGroup"]["Properties"]
                    .as_object_mut()
                    .unwrap()
                    .remove("RetentionInDays"),
            )
        },
        "Audit: it does not log into a group with a retention",
    ),
    (
        |p| drop(p.target("AuditRule").remove("DeadLetterConfig")),
        "AuditRule: an event that cannot be delivered is lost",
    ),
    (
        |p| drop(p.target("ReserveStockRule").remove("RetryPolicy")),
        "ReserveStockRule: its target has no retry policy",
    ),
    (
        |p| {
            p.resources()["AuditRule"]["Properties"]["Name"] =
                json!({"Fn::Sub": "${AWS::StackName}-other"})
        },
        "AuditRule: EventBusDeadLetters does not let it send",
    ),
    (
        |p| drop(p.properties("Audit").remove("EventInvokeConfig")),
        "Audit: events that it fails on are lost",
    ),
    (
        |p| {
            drop(
                p.document()["Parameters"]
                    .as_object_mut()
                    .unwrap()
                    .remove("Stage"),
            )
        },
        "the parameter Stage is missing",
    ),
    (
        |p| p.document()["Globals"]["Function"]["Architectures"] = json!(["arm64"]),
        "the functions' architecture is not the parameter's",
    ),
    (
        |p| {
            drop(
                p.document()["Globals"]["Function"]["Environment"]["Variables"]
                    .as_object_mut()
                    .unwrap()
                    .remove("AWS_ENDPOINT_URL"),
            )
        },
        "the functions do not get the emulator's address",
    ),
    (
        |p| drop(p.variables("OutboxRelay").remove("EVENT_BUS_NAME")),
        "OutboxRelay: its code reads EVENT_BUS_NAME",
    ),
    (
        |p| {
            drop(
                p.variables("CustomerLedger")
                    .remove("DEAD_LETTER_QUEUE_URL"),
            )
        },
        "CustomerLedger: its code reads DEAD_LETTER_QUEUE_URL",
    ),
    (
        |p| {
            p.variables("CustomerLedger")["DEAD_LETTER_QUEUE_URL"] =
                json!({"Fn::GetAtt": ["ReserveStockQueue", "Outputs.DeadLetterQueueUrl"]})
        },
        "CustomerLedger: it parks in a queue that is not its source's dead-letter queue",
    ),
    (
        |p| drop(p.variables("CustomerLedger").remove("MAX_ATTEMPTS")),
        "CustomerLedger: its code reads MAX_ATTEMPTS",
    ),
    (
        |p| {
            p.resources()["CustomerLedgerQueue"]["Properties"]["Parameters"]["MaxReceiveCount"] =
                json!({"Ref": "MaxAttempts"})
        },
        "CustomerLedger: its queue gives up on a message that would be tried again",
    ),
    (
        |p| p.document()["Parameters"]["OrderMaxAttempts"]["Default"] = json!(11),
        "ReserveStock: its queue gives up on a message that would be tried again",
    ),
    (
        |p| {
            p.nested("tables")["Resources"]["IdempotencyTable"]["Properties"]["TimeToLiveSpecification"]
                ["AttributeName"] = json!("ttl")
        },
        "IdempotencyTable: nothing ever expires",
    ),
    (
        |p| {
            p.nested("tables")["Resources"]["IdempotencyTable"]["Properties"]["StreamSpecification"]
                ["StreamViewType"] = json!("KEYS_ONLY")
        },
        "IdempotencyTable: the relay does not see what is to be published",
    ),
    (
        |p| {
            p.nested("tables")["Resources"]["IdempotencyTable"]["Properties"]["GlobalSecondaryIndexes"]
                [0]["IndexName"] = json!("waiting")
        },
        "IdempotencyTable: a sweep does not find what waits",
    ),
    (
        |p| {
            p.resources()["RedriveTable"]["Properties"]["TimeToLiveSpecification"]["Enabled"] =
                json!(false)
        },
        "RedriveTable: nothing ever expires",
    ),
    (
        |p| {
            let policy = &mut p.resources()["AuditRole"]["Properties"]["Policies"][0];
            policy["PolicyDocument"]["Statement"][0]["Resource"] =
                json!({"Fn::GetAtt": ["RedriveTable", "Arn"]})
        },
        "AuditRole may read the journals of redrives",
    ),
    (
        |p| p.nested("tables")["Resources"]["ShopTable"]["DeletionPolicy"] = json!("Delete"),
        "ShopTable is deleted with its stack",
    ),
    (
        |p| {
            drop(
                p.nested("function-watch")["Outputs"]
                    .as_object_mut()
                    .unwrap()
                    .remove("LogStreamsArn"),
            )
        },
        "Outputs.LogStreamsArn is not an output of infra/function-watch.yaml",
    ),
];

/// Each rule can fail: one mistake at a time, and a rule says so.
#[test]
fn every_mistake_is_found() {
    let good = Project::read();
    for (make, expected) in MISTAKES {
        let mut project = good.clone();
        make(&mut project);
        let found = rules::broken(&project);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "`{expected}` was expected, but the findings are {found:#?}"
        );
    }
}
