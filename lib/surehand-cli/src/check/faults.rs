//! Each rule can fail: one fault at a time in copies of the shop's files, and `check` names the rule and the place.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock};

use serde_json::{Value, json};

use super::{
    Binaries, Checked, Descriptions, Finding, Sources, check,
    finding::{ALL, Severity},
};
use crate::{
    application::{describe, project::Project},
    progress::Progress,
};

/// Replaces `from`, the first after `after`, by `to`; the rule is found at the first `at` after `after`.
struct Fault {
    rule: &'static str,
    file: &'static str,
    after: &'static str,
    from: &'static str,
    to: &'static str,
    at: Place,
}

enum Place {
    /// In the file of the change, after its anchor.
    Here(&'static str),
    /// In another file, or from another anchor on.
    There(&'static str, &'static str, &'static str),
}

use Place::{Here, There};

const MAIN: &str = "template.yaml";
const QUEUE: &str = "infra/reliable-queue.yaml";
const DEAD: &str = "infra/dead-letter-queue.yaml";
const WATCH: &str = "infra/function-watch.yaml";
const TABLES: &str = "infra/tables.yaml";

macro_rules! faults {
    ($($rule:literal $file:ident [$after:literal] $from:literal => $to:literal, $at:expr;)*) => {
        &[$(Fault { rule: $rule, file: $file, after: $after, from: $from, to: $to, at: $at }),*]
    };
}

const CARGO: &str = "Cargo.toml";
const SAM: &str = "samconfig.toml";

static FAULTS: &[Fault] = faults! {
    "SH001" MAIN ["\n  ReserveStock:\n"] "Outputs.DeadLetterQueueUrl" => "Outputs.DeadLettersUrl", Here("DEAD_LETTER_QUEUE_URL");
    "SH001" WATCH ["\nOutputs:"] "LogStreamsArn:" => "StreamsArn:", There(MAIN, "\n  PlaceOrderRole:\n", "Resource: !GetAtt PlaceOrderWatch");
    "SH001" QUEUE ["\nMappings:"] "'60': {Seconds: 365}" => "'61': {Seconds: 365}", There(QUEUE, "\n  Queue:\n", "VisibilityTimeout:");
    "SH002" MAIN ["\n  AlarmTopic:\n"] "  AlarmTopic:\n" => "  Elsewhere: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: https://example.com/t.yaml}}\n  AlarmTopic:\n", There(MAIN, "", "  Elsewhere:");
    "SH101" MAIN ["\n  Audit:\n"] "Binary: audit" => "Binary: audits", Here("BuildProperties:");
    "SH103" MAIN ["\n  Audit:\n"] "Binary: audit" => "Binary: place-order", There("handlers/Cargo.toml", "", "");
    "SH104" CARGO ["[profile.release]"] "panic = \"unwind\"" => "panic = \"abort\"", Here("panic =");
    "SH105" SAM ["[prod.build.parameters]"] "parallel = false" => "parallel = false\ncached = true", Here("cached");
    "SH107" MAIN ["\n  OutboxSweep:\n"] "Binary: outbox-sweep" => "Binary: outbox-relay", Here("OutboxSweep:");
    "SH108" MAIN ["\n  CustomerLedger:\n"] "Type: SQS\n" => "Type: Api\n", Here("CustomerLedger:");
    "SH201" MAIN ["\n  OutboxRelay:\n"] "EVENT_BUS_NAME:" => "EVENT_BUS:", Here("Variables:");
    "SH203" MAIN ["\n  CustomerLedger:\n"] "CustomerLedgerQueue.Outputs.DeadLetterQueueUrl" => "ReserveStockQueue.Outputs.DeadLetterQueueUrl", Here("DEAD_LETTER_QUEUE_URL");
    "SH205" MAIN ["\nGlobals:"] "AWS_ENDPOINT_URL:" => "ENDPOINT_URL:", There(MAIN, "", "  PlaceOrder:");
    "SH206" MAIN ["\nGlobals:"] "[!Ref Architecture]" => "[arm64]", Here("Architectures:");
    "SH301" QUEUE ["\nMappings:"] "'60': {Seconds: 365}" => "'60': {Seconds: 359}", There(QUEUE, "\n  Queue:\n", "VisibilityTimeout:");
    "SH301" QUEUE ["\n  Queue:\n"] "VisibilityTimeout: !FindInMap" => "Visibility: !FindInMap", Here("Queue:");
    "SH301" MAIN ["\n  ReserveStock:\n"] "FunctionName:" => "Timeout: 31\n      FunctionName:", There(QUEUE, "\n  Queue:\n", "VisibilityTimeout:");
    "SH301" MAIN ["\n  ReserveStock:\n"] "BatchSize: 10" => "BatchSize: 10\n            MaximumBatchingWindowInSeconds: 6", There(QUEUE, "\n  Queue:\n", "VisibilityTimeout:");
    "SH302" QUEUE ["\n  Queue:\n"] "RedrivePolicy:" => "OtherPolicy:", Here("Queue:");
    "SH302" QUEUE ["\n  Queue:\n"] "maxReceiveCount:" => "maxReceives:", Here("RedrivePolicy:");
    "SH303" MAIN ["\n  NotifyCustomerQueue:\n"] "FunctionTimeout:" => "MaxReceiveCount: 24\n        FunctionTimeout:", There(QUEUE, "\n  Queue:\n", "maxReceiveCount:");
    "SH303" MAIN ["\n  ReserveStock:\n"] "MAX_ATTEMPTS: !Ref OrderMaxAttempts" => "MAX_ATTEMPTS: 11", There(QUEUE, "\n  Queue:\n", "maxReceiveCount:");
    "SH304" QUEUE ["\n  DeadLetterQueue:\n"] "MessageRetentionPeriod: 1209600" => "MessageRetentionPeriod: 345600", Here("MessageRetentionPeriod");
    "SH305" DEAD ["\n  Queue:\n"] "DeletionPolicy: RetainExceptOnCreate" => "DeletionPolicy: Delete", Here("Queue:");
    "SH306" QUEUE ["\n  DeadLetterQueue:\n"] "SqsManagedSseEnabled: !If [HasKey, !Ref AWS::NoValue, true]" => "SqsManagedSseEnabled: false", Here("SqsManagedSseEnabled");
    "SH307" DEAD ["\n  QueuePolicy:\n"] "Bool: {aws:SecureTransport: 'false'}" => "Bool: {aws:SecureTransport: 'true'}", There(DEAD, "", "  Queue:");
    "SH308" MAIN ["\n  AuditRule:\n"] "${AWS::StackName}-audit" => "${AWS::StackName}-other", Here("DeadLetterConfig:");
    "SH308" MAIN ["\n  ReserveStockQueue:\n"] "${AWS::StackName}-bus/${AWS::StackName}-reserve-stock" => "${AWS::StackName}-bus/${AWS::StackName}-notify-customer", There(MAIN, "\n  ReserveStockRule:\n", "Arn: ");
    "SH309" QUEUE ["Sid: AllowRule"] "Condition: {ArnEquals: {aws:SourceArn: !Ref RuleArn}}" => "NoCondition: {}", There(QUEUE, "Sid: DenyInsecureTransport", "- !If");
    "SH310" DEAD ["\n  Queue:\n"] "redrivePermission: denyAll" => "redrivePermission: allowAll", Here("RedriveAllowPolicy");
    "SH311" QUEUE ["\n  DeadLetterQueue:\n"] "FifoQueue: !If [IsFifo, true," => "FifoQueue: !If [IsFifo, false,", There(QUEUE, "\n  Queue:\n", "RedrivePolicy:");
    "SH312" QUEUE ["\n  MaxReceiveCount:\n"] "Default: 50" => "Default: 9", There(QUEUE, "\n  Queue:\n", "maxReceiveCount:");
    "SH313" QUEUE ["\nMappings:"] "'60': {Seconds: 365}" => "'60': {Seconds: 6913}", There(QUEUE, "\n  Queue:\n", "maxReceiveCount:");
    "SH314" MAIN ["\n  ReserveStock:\n"] "MAX_ATTEMPTS: !Ref OrderMaxAttempts" => "MAX_ATTEMPTS: !Ref MaxAttempts", Here("MAX_BACKOFF_S:");
    "SH315" QUEUE ["\n  Queue:\n"] "MessageRetentionPeriod: 345600" => "MessageRetentionPeriod: 1800", There(MAIN, "\n  ReserveStock:\n", "MAX_BACKOFF_S:");
    "SH321" MAIN ["\n  ReserveStock:\n"] "[ReportBatchItemFailures]" => "[]", Here("FunctionResponseTypes");
    "SH322" MAIN ["\n  CustomerLedger:\n"] "BatchSize: 10" => "BatchSize: 10\n            FilterCriteria: {Filters: []}", Here("FilterCriteria");
    "SH323" MAIN ["\n  NotifyCustomer:\n"] "ScalingConfig:" => "Scaling:", Here("EventSource:");
    "SH324" MAIN ["\n  CustomerLedger:\n"] "BatchSize: 10" => "BatchSize: 11", Here("BatchSize");
    "SH324" MAIN ["\n  CustomerLedger:\n"] "BatchSize: 10" => "BatchSize: 10\n            MaximumBatchingWindowInSeconds: 1", Here("MaximumBatchingWindowInSeconds");
    "SH325" MAIN ["\n  ReserveStock:\n"] "BatchSize: 10" => "BatchSize: 100", Here("BatchSize");
    "SH331" MAIN ["\n  OutboxRelay:\n"] "TRIM_HORIZON" => "LATEST", Here("StartingPosition");
    "SH332" MAIN ["\n  OutboxRelay:\n"] "[ReportBatchItemFailures]" => "[]", Here("FunctionResponseTypes");
    "SH333" MAIN ["\n  OutboxRelay:\n"] "BisectBatchOnFunctionError: true" => "BisectBatchOnFunctionError: false", Here("BisectBatchOnFunctionError");
    "SH334" MAIN ["\n  OutboxRelay:\n"] "MaximumRecordAgeInSeconds: 82800" => "MaximumRecordAgeInSeconds: -1", Here("MaximumRecordAgeInSeconds");
    "SH334" MAIN ["\n  OutboxRelay:\n"] "MaximumRecordAgeInSeconds: 82800" => "MaximumRecordAgeInSeconds: 86400", Here("MaximumRecordAgeInSeconds");
    "SH335" MAIN ["\n  OutboxRelay:\n"] "DestinationConfig:" => "Destinations:", Here("EventSource:");
    "SH336" TABLES ["\n  IdempotencyTable:\n"] "NEW_IMAGE" => "KEYS_ONLY", Here("StreamSpecification");
    "SH337" MAIN ["\n  OutboxRelay:\n"] "MaximumRetryAttempts: -1" => "MaximumRetryAttempts: 3", Here("MaximumRetryAttempts");
    "SH401" MAIN ["\n  AuditRule:\n"] "DeadLetterConfig:" => "DeadLetters:", Here("- Id: audit");
    "SH402" MAIN ["\n  ReserveStockRule:\n"] "RetryPolicy:" => "Retries:", Here("- Id: reserve-stock");
    "SH403" MAIN ["\n  EventBus:\n"] "KmsKeyIdentifier: !If [HasBusKey, !GetAtt EncryptionKey.Outputs.KeyArn, !Ref AWS::NoValue]\n      # For what the bus cannot encrypt or decrypt with that key; without a key it is not used.\n      DeadLetterConfig:" => "KmsKeyIdentifier: alias/events\n      DeadLetters:", Here("EventBus:");
    "SH404" MAIN ["\n  EventArchive:\n"] "AWS::Events::Archive" => "AWS::Events::Connection", There(MAIN, "", "  EventBus:\n");
    "SH405" MAIN ["\n  Audit:\n"] "EventInvokeConfig:" => "InvokeConfig:", Here("Audit:");
    "SH406" MAIN ["\n  ReserveStockRule:\n"] "detail-type: [OrderPlaced]" => "detail-type: [OrderPlacd]", Here("detail-type");
    "SH406" MAIN ["\n  NotifyCustomerRule:\n"] "source: [shop.stock]" => "source: [shop.stocks]", Here("detail-type");
    "SH407" MAIN ["\n  NotifyCustomerRule:\n"] "[StockReserved, OrderRejected]" => "[StockReserved, OrderRejected, StockCounted]", Here("detail-type");
    "SH407" MAIN ["\n  ReserveStockRule:\n"] "source: [shop.orders]\n        detail-type: [OrderPlaced]" => "$or: [{source: [shop.orders]}, {source: [shop.stock]}]\n        detail-type: [{prefix: Order}]", Here("detail-type");
    "SH407" MAIN ["\n  ReserveStockRule:\n"] "source: [shop.orders]\n        detail-type: [OrderPlaced]" => "source: [{prefix: shop}]", Here("EventPattern:");
    "SH409" MAIN ["\n  AuditPermission:\n"] "rule/${AWS::StackName}-bus/${AWS::StackName}-audit" => "rule/${AWS::StackName}-outbox-sweep", There(MAIN, "\n  AuditRule:\n", "- Id: audit");
    "SH410" MAIN ["\n  AuditRule:\n"] "source: [{prefix: shop.}]" => "source: [{prefix: shop.}, aws.s3]", Here("source:");
    "SH411" MAIN ["\n  ReserveStockRule:\n"] "detail-type: [OrderPlaced]" => "detailtype: [OrderPlaced]", Here("detailtype");
    "SH412" MAIN ["\n  OutboxSweep:\n"] "Binary: outbox-sweep" => "Binary: redrive", There(MAIN, "", "  PlaceOrder:\n");
    "SH413" MAIN ["\n  EventArchive:\n"] "RetentionDays: !Ref ArchiveDays" => "RetentionDays: 30", Here("RetentionDays");
    "SH413" MAIN ["\n  EventArchive:\n"] "RetentionDays: !Ref ArchiveDays" => "Description: !Ref ArchiveDays", Here("EventArchive:");
    "SH501" MAIN ["\n  NotifyCustomerRole:\n"] "dynamodb:UpdateItem, " => "", Here("Policies:");
    "SH501" MAIN ["\n  ReserveStockRole:\n"] "Resource: !GetAtt ReserveStockQueue.Outputs.DeadLetterQueueArn" => "Resource: !GetAtt NotifyCustomerQueue.Outputs.DeadLetterQueueArn", Here("Policies:");
    "SH501" MAIN ["\n  OutboxSweepRole:\n"] "[events:PutEvents]" => "[events:DescribeEventBus]", Here("Policies:");
    "SH501" MAIN ["\n  CustomerLedgerRole:\n"] ", sqs:ChangeMessageVisibility*" => "", Here("Policies:");
    "SH501" MAIN ["\n  AuditRole:\n"] "Resource: !GetAtt Tables.Outputs.ShopTableArn" => "Resource: !GetAtt Tables.Outputs.IdempotencyTableArn", Here("Policies:");
    "SH501" MAIN ["\n  ReserveStockRole:\n"] "dynamodb:PutItem, dynamodb:UpdateItem]\n                Resource: !GetAtt Tables.Outputs.ShopTableArn" => "dynamodb:PutItem]\n                Resource: !GetAtt Tables.Outputs.ShopTableArn", Here("Policies:");
    "SH501" MAIN ["\n  CustomerLedgerRole:\n"] "- Sid: ShopTable\n                Effect: Allow" => "- Sid: ShopTable\n                Effect: Deny", Here("Policies:");
    "SH502" MAIN ["\n  AuditRole:\n"] "[dynamodb:PutItem]" => "dynamodb:*", Here("Action: dynamodb:*");
    "SH503" MAIN ["\n  AuditRole:\n"] "Resource: !GetAtt Tables.Outputs.ShopTableArn" => "Resource: '*'", Here("Resource: '*'");
    "SH504" MAIN ["\n  NotifyCustomer:\n"] "Role: !GetAtt NotifyCustomerRole.Arn" => "RoleLess: true", Here("NotifyCustomer:");
    "SH504" MAIN ["\n  NotifyCustomer:\n"] "Role: !GetAtt NotifyCustomerRole.Arn" => "Role: !GetAtt ReserveStockRole.Arn", Here("Role:");
    "SH505" MAIN ["\n  AuditRole:\n"] "      Policies:" => "      ManagedPolicyArns: [x]\n      Policies:", Here("ManagedPolicyArns");
    "SH506" MAIN ["\n  RedriveRole:\n"] "Resource: !GetAtt RedriveTable.Arn" => "Resource: !GetAtt Tables.Outputs.IdempotencyTableArn", There(MAIN, "\n  Redrive:\n", "REDRIVE_TABLE:");
    "SH601" TABLES ["\n  IdempotencyTable:\n"] "AttributeName: expiration" => "AttributeName: ttl", Here("TimeToLiveSpecification");
    "SH602" TABLES ["\n  IdempotencyTable:\n"] "KeySchema: [{AttributeName: id," => "KeySchema: [{AttributeName: pk,", Here("KeySchema");
    "SH603" TABLES ["\n  ShopTable:\n"] "PointInTimeRecoveryEnabled: true" => "PointInTimeRecoveryEnabled: false", Here("PointInTimeRecoverySpecification");
    "SH604" TABLES ["\n  ShopTable:\n"] "SSEEnabled: true" => "SSEEnabled: false", Here("SSEEnabled: false");
    "SH605" TABLES ["\n  ShopTable:\n"] "UpdateReplacePolicy: Retain" => "UpdateReplacePolicy: Delete", Here("ShopTable:");
    "SH606" QUEUE ["\n  Queue:\n"] "MessageRetentionPeriod: 345600" => "MessageRetentionPeriod: 1468800", There(QUEUE, "\n  DeadLetterQueue:\n", "MessageRetentionPeriod");
    "SH607" TABLES ["\n  IdempotencyTable:\n"] "IndexName: outbox" => "IndexName: waiting", Here("GlobalSecondaryIndexes");
    "SH609" TABLES ["\n  ShopTable:\n"] "AttributeName: sk, KeyType: RANGE" => "AttributeName: sort, KeyType: RANGE", Here("KeySchema:");
    "SH611" TABLES ["\n  ShopTable:\n"] "AttributeName: sk, AttributeType: S" => "AttributeName: sort, AttributeType: S", Here("AttributeDefinitions:");
    "SH701" WATCH ["\n  LogGroup:\n"] "RetentionInDays:" => "Retention:", There(MAIN, "\n  Audit:\n", "LoggingConfig:");
    "SH701" MAIN ["\n  PlaceOrder:\n"] "!GetAtt PlaceOrderWatch.Outputs.LogGroupName" => "/shop/all", Here("LoggingConfig:");
    "SH702" QUEUE ["\n  DeadLetterAlarm:\n"] "MetricName: ApproximateNumberOfMessagesVisible" => "MetricName: NumberOfMessagesSent", There(QUEUE, "", "  DeadLetterQueue:\n");
    "SH703" QUEUE ["\n  LagAlarm:\n"] "!GetAtt Queue.QueueName" => "!GetAtt DeadLetterQueue.QueueName", There(QUEUE, "\nResources:", "  Queue:\n");
    "SH704" WATCH ["\n  ErrorsAlarm:\n"] "MetricName: Errors" => "MetricName: Invocations", There(MAIN, "", "  Audit:\n");
    "SH705" WATCH ["\n  ThrottlesAlarm:\n"] "Value: !Ref FunctionName" => "Value: other", There(MAIN, "", "  Audit:\n");
    "SH706" MAIN ["\n  OutboxRelayLagAlarm:\n"] "MetricName: IteratorAge" => "MetricName: Duration", There(MAIN, "", "  OutboxRelay:\n");
    "SH707" WATCH ["\n  ErrorsAlarm:\n"] "AlarmActions:" => "Actions:", Here("ErrorsAlarm:");
};

/// What the shop's functions say of themselves, asked once.
fn shop() -> &'static (Project, Binaries, Descriptions) {
    static SHOP: OnceLock<(Project, Binaries, Descriptions)> = OnceLock::new();
    SHOP.get_or_init(|| {
        let project = Project::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let sources = Sources::read(&project).unwrap();
        let progress = Progress::new();
        let output = project.state().unwrap().join("check");
        let functions =
            describe::functions(&project, &sources.templates, output, |it| progress.step(it));
        let (binaries, descriptions) = runtime.block_on(functions).unwrap();
        assert!(descriptions.len() >= 7);
        assert!(descriptions.values().all(Result::is_ok));
        (project, binaries, descriptions)
    })
}

fn text(file: &str) -> String {
    fs::read_to_string(shop().0.root().join(file)).unwrap()
}

/// What is found with these files in place of the shop's own.
fn found(changed: &BTreeMap<&str, String>, descriptions: &Descriptions) -> Vec<Finding> {
    checked(changed, descriptions).findings
}

fn checked(changed: &BTreeMap<&str, String>, descriptions: &Descriptions) -> Checked {
    let (project, binaries, _) = shop();
    let read = |file: &str| {
        let changed = changed.get(file).cloned();
        Ok(changed.or_else(|| fs::read_to_string(project.root().join(file)).ok()))
    };
    let sources = Sources::read_by(project.root(), MAIN, read).unwrap();
    check(&sources, Some(binaries), descriptions).unwrap()
}

/// Where `needle` first is, from `after` on.
fn find(text: &str, after: &str, needle: &str) -> usize {
    // An anchor begins with the end of the line before, which the needle may be on as well.
    let start = text.find(after).unwrap_or_else(|| panic!("no `{after}`"));
    let found = text[start..].find(needle);
    start + found.unwrap_or_else(|| panic!("no `{needle}` after `{after}`"))
}

fn line(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[test]
fn every_fault_is_found_where_it_is() {
    let (_, _, descriptions) = shop();
    let mut missed = Vec::new();
    for fault in FAULTS {
        let mut changed = text(fault.file);
        let from = find(&changed, fault.after, fault.from);
        changed.replace_range(from..from + fault.from.len(), fault.to);
        let changed = BTreeMap::from([(fault.file, changed)]);
        let (file, after, needle) = match fault.at {
            Here(needle) => (fault.file, fault.after, needle),
            There(file, after, needle) => (file, after, needle),
        };
        let in_file = changed.get(file).cloned().unwrap_or_else(|| text(file));
        let expected = (
            file.to_owned(),
            line(&in_file, find(&in_file, after, needle)),
        );
        let all = found(&changed, descriptions);
        let places: Vec<(String, usize)> = (all.iter())
            .filter(|finding| finding.rule.id == fault.rule)
            .map(|finding| (finding.place.file.to_string(), finding.place.line))
            .collect();
        let sentences: Vec<String> = (all.iter())
            .map(|it| format!("{} {:?} {}", it.rule.id, it.place, it.sentence()))
            .collect();
        if !places.contains(&expected) {
            missed.push(format!(
                "{} was expected at {expected:?} after {:?} => {:?}, and found was {sentences:#?}",
                fault.rule, fault.from, fault.to,
            ));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn nothing_is_wrong_with_the_shop() {
    let (_, _, descriptions) = shop();
    let all = found(&BTreeMap::new(), descriptions);
    let sentences: Vec<String> = all.iter().map(Finding::sentence).collect();
    assert_eq!(sentences, [""; 0]);
}

/// An operator asks this first: for how long may what the functions call be out?
#[test]
fn the_check_says_how_long_an_outage_is_borne() {
    let (_, _, descriptions) = shop();
    let checked = checked(&BTreeMap::new(), descriptions);
    let sentences: Vec<String> = checked.outages.iter().map(|it| it.sentence()).collect();
    assert_eq!(
        sentences,
        [
            "ReserveStock bears an outage of 27 min: 10 attempts, 50 receives",
            "CustomerLedger bears an outage of 32 min: 5 attempts, 50 receives",
            "NotifyCustomer bears an outage of 32 min: 5 attempts, 50 receives",
        ]
    );
}

/// Who deploys with `sam deploy` must know what it leaves as it is.
#[test]
fn aliases_are_worth_a_note() {
    let note_of = |template: String| {
        let read = |file: &str| Ok((file == MAIN).then(|| template.clone()));
        super::note(&Sources::read_by(shop().0.root(), MAIN, read).unwrap())
    };
    assert!(note_of(text(MAIN)).unwrap().contains("`surehand deploy`"));
    let without = text(MAIN).replace("    AutoPublishAlias: live\n", "");
    assert_eq!(note_of(without.clone()), None);
    let own = "      FunctionName: !Sub ${AWS::StackName}-audit\n";
    let own_alias = format!("{own}      AutoPublishAlias: live\n");
    assert!(note_of(without.replacen(own, &own_alias, 1)).is_some());
}

/// The schedule that the page on the redrive function shows, put into the template as the page says.
#[test]
fn the_documented_schedule_is_right() {
    let (_, _, descriptions) = shop();
    let page = text("docs/redrive-function.md");
    let blocks: Vec<&str> = (page.split("```yaml\n").skip(1))
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let [schedule, source] = blocks[..] else {
        panic!("the schedule and its SourceArn");
    };
    let template = text(MAIN).replace("\n  # ---- Dashboard\n", &format!("\n{schedule}\n"));
    let changed = |template| found(&BTreeMap::from([(MAIN, template)]), descriptions);
    let ids = |found: Vec<Finding>| -> Vec<&str> { found.iter().map(|it| it.rule.id).collect() };
    // Without its place among the sources its failures are lost.
    assert_eq!(ids(changed(template.clone())), ["SH308"]);
    let sweep = "rule/${AWS::StackName}-outbox-sweep\n";
    let template = template.replacen(sweep, &format!("{sweep}{source}"), 1);
    assert_eq!(ids(changed(template)), [""; 0]);
}

/// A change of what a function says of itself, and the rule that finds it.
type Change = (&'static str, fn(&mut Value), &'static str);

#[test]
fn a_function_that_says_otherwise_is_found() {
    let changes: &[Change] = &[
        (
            "reserve-stock",
            |it| it["source"] = json!("eventbridge"),
            "SH107",
        ),
        (
            "reserve-stock",
            |it| it["idempotency"]["expires_after_s"] = json!(86_400),
            "SH606",
        ),
        (
            "reserve-stock",
            |it| it["idempotency"]["store"] = json!("memory"),
            "SH608",
        ),
        (
            "notify-customer",
            |it| it["handlers"][0]["claim"] = json!("transaction"),
            "SH000",
        ),
        (
            "place-order",
            |it| it["handlers"][0]["claim"] = json!("lease"),
            "SH501",
        ),
        ("place-order", |it| it["idempotency"] = json!(null), "SH109"),
        (
            "place-order",
            |it| it["tables"][0]["actions"] = json!(["PutItem", "DeleteItem"]),
            "SH501",
        ),
        (
            "place-order",
            |it| it["tables"][0]["actions"] = json!(["PutItem", "Teleport"]),
            "SH000",
        ),
        // What it does without entities it does not say.
        ("place-order", |it| it["tables"] = json!([]), "SH000"),
        (
            "place-order",
            |it| {
                let key = json!({"partition": "customer_id", "sort": "order_id"});
                it["tables"][0]["indexes"] = json!({"by_customer": key});
            },
            "SH610",
        ),
        ("outbox-sweep", |it| it["variables"] = json!([]), "SH412"),
        (
            "place-order",
            |it| it["publishes"][0]["source"] = json!("shops"),
            "SH408",
        ),
        (
            "audit",
            |it| {
                it["variables"][0]["name"] = json!("AUDIT_TABLE");
            },
            "SH201",
        ),
        (
            "audit",
            |it| it["dead_letters"] = json!({"destination": "sqs"}),
            "SH414",
        ),
    ];
    let (_, _, shop) = shop();
    for (binary, change, rule) in changes {
        let mut description = serde_json::to_value(shop[*binary].as_ref().unwrap()).unwrap();
        change(&mut description);
        let mut descriptions = shop.clone();
        let changed = serde_json::from_value(description).unwrap();
        descriptions.insert((*binary).to_owned(), Ok(changed));
        let found = found(&BTreeMap::new(), &descriptions);
        let ids: Vec<&str> = found.iter().map(|it| it.rule.id).collect();
        if *rule == "SH000" {
            assert_eq!(ids, [""; 0], "{binary}");
        } else {
            assert!(
                ids.contains(rule),
                "{binary}: {rule} was expected, found were {ids:?}"
            );
        }
    }
    let mut descriptions = shop.clone();
    descriptions.insert("audit".to_owned(), Err("Error: no network".to_owned()));
    let found = found(&BTreeMap::new(), &descriptions);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule.id, "SH106");
    assert!(
        found[0]
            .sentence()
            .ends_with("were checked: Error: no network")
    );
}

/// The page that says why has every rule, and no other.
#[test]
fn every_rule_is_documented() {
    let page = text("docs/check.md");
    let documented: Vec<(&str, &str)> = (page.lines())
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| SH")?.split(" | ");
            cells.next()?;
            let id = &line[2..7];
            Some((id, cells.next()?))
        })
        .collect();
    let rules: Vec<(&str, &str)> = (ALL.iter())
        .map(|rule| (rule.id, rule.severity.as_str()))
        .collect();
    assert_eq!(documented, rules);
    assert!(ALL.iter().any(|rule| rule.severity == Severity::Hint));
}

/// Only those that one changed text cannot show are tested elsewhere.
#[test]
fn every_rule_has_a_fault() {
    let elsewhere = [
        "SH102", "SH106", "SH109", "SH326", "SH408", "SH414", "SH608", "SH610",
    ];
    for rule in ALL {
        let is_tried = FAULTS.iter().any(|fault| fault.rule == rule.id);
        assert!(is_tried || elsewhere.contains(&rule.id), "{}", rule.id);
    }
}
