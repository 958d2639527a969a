//! The rules, each of which says what is wrong.

use super::{
    binaries, operations,
    project::{Project, Resource, get_att, is_ref, list, walk},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// AWS authorises a batch as the single action, and emulators ask for the batch's own name.
const WITH_BATCHES: [&str; 3] = [
    "sqs:SendMessage*",
    "sqs:ChangeMessageVisibility*",
    "sqs:DeleteMessage*",
];
/// A stream keeps a change for so long, in seconds.
const A_DAY: u64 = 24 * 60 * 60;
const FOURTEEN_DAYS: u64 = 14 * 24 * 60 * 60;

/// Returns all mistakes.
pub(crate) fn broken(project: &Project) -> Vec<String> {
    let rules = [
        binaries_and_functions_belong_together,
        queue_events_report_what_failed,
        stream_events_lose_nothing,
        queues_hold_messages_until_they_are_handled,
        visibility_outlasts_the_function,
        functions_park_where_their_queue_does,
        roles_allow_what_is_needed,
        logs_go_away,
        rules_lose_nothing,
        parameters_reach_the_functions,
        variables_are_declared,
        tables_keep_what_they_hold,
        journals_are_read_by_redrives_alone,
        outputs_exist,
    ];
    let broken = rules.iter().flat_map(|rule| rule(project));
    broken.chain(operations::broken(project)).collect()
}

pub(crate) fn binary(function: &Resource<'_>) -> String {
    let binary = &function.value["Metadata"]["BuildProperties"]["Binary"];
    binary.as_str().unwrap_or_default().to_owned()
}

fn binaries_and_functions_belong_together(project: &Project) -> Vec<String> {
    let binaries = binaries::names();
    let mut broken = Vec::new();
    let mut made = BTreeSet::new();
    for function in project.functions() {
        let binary = binary(&function);
        if !binaries.contains(&binary) {
            broken.push(format!("{}: there is no binary `{binary}`", function.name));
        }
        if !made.insert(binary.clone()) {
            broken.push(format!("two functions are made from the binary `{binary}`"));
        }
    }
    let unused = binaries.difference(&made);
    broken.extend(unused.map(|name| format!("no function is made from the binary `{name}`")));
    broken
}

/// The properties of a function's events of a type.
fn events<'a>(function: &Resource<'a>, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let events = function.value["Properties"]["Events"].as_object();
    events
        .into_iter()
        .flat_map(|events| events.values())
        .filter(move |event| event["Type"] == kind)
        .map(|event| &event["Properties"])
}

/// Each SQS event of a function: its properties, and the stack of its queue.
fn queue_events<'a>(function: &Resource<'a>) -> impl Iterator<Item = (&'a Value, &'a str)> {
    events(function, "SQS").map(|event| {
        let queue = get_att(&event["Queue"]);
        (event, queue.map_or("", |(stack, _)| stack))
    })
}

fn is_fifo(project: &Project, stack: &str) -> bool {
    let stack = project.stack(stack);
    stack.is_some_and(|(stack, _)| stack["Properties"]["Parameters"]["Fifo"] == "true")
}

fn queue_events_report_what_failed(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for function in project.functions() {
        let name = function.name;
        for (event, stack) in queue_events(&function) {
            if !list(&event["FunctionResponseTypes"]).contains(&json!("ReportBatchItemFailures")) {
                broken.push(format!(
                    "{name}: its SQS event must report batch item failures, or all is deleted that a batch returns"
                ));
            }
            if !event["FilterCriteria"].is_null() {
                broken.push(format!(
                    "{name}: its SQS event filters, and Lambda deletes what does not match"
                ));
            }
            if !is_bounded(event) {
                broken.push(format!(
                    "{name}: its SQS event may take all of the account's concurrency"
                ));
            }
            if is_fifo(project, stack) {
                if !event["MaximumBatchingWindowInSeconds"].is_null() {
                    broken.push(format!("{name}: a FIFO queue has no batching window"));
                }
                if event["BatchSize"].as_u64().is_none_or(|size| size > 10) {
                    broken.push(format!("{name}: a FIFO queue's batches are of 10 at most"));
                }
            }
        }
    }
    broken
}

/// The limit is a number of instances or, if a parameter asks for them, of pollers; Lambda does not
/// accept both.
fn is_bounded(event: &Value) -> bool {
    let (scaling, pollers) = (&event["ScalingConfig"], &event["ProvisionedPollerConfig"]);
    if pollers.is_null() {
        return !scaling["MaximumConcurrency"].is_null();
    }
    let none = json!({"Ref": "AWS::NoValue"});
    let (scaling, pollers) = (&scaling["Fn::If"], &pollers["Fn::If"]);
    scaling[0] == pollers[0]
        && (&scaling[1], &pollers[2]) == (&none, &none)
        && !scaling[2]["MaximumConcurrency"].is_null()
        && !pollers[1]["MaximumPollers"].is_null()
}

fn stream_events_lose_nothing(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for function in project.functions() {
        let name = function.name;
        for event in events(&function, "DynamoDB") {
            if event["StartingPosition"] != "TRIM_HORIZON" {
                broken.push(format!(
                    "{name}: its stream is not read from its oldest change"
                ));
            }
            if !list(&event["FunctionResponseTypes"]).contains(&json!("ReportBatchItemFailures")) {
                broken.push(format!(
                    "{name}: its stream event must report batch item failures, or all of a batch is handled again"
                ));
            }
            if event["BisectBatchOnFunctionError"] != true {
                broken.push(format!(
                    "{name}: a change that crashes it takes its batch with it"
                ));
            }
            // -1 means without a limit, and so does its absence.
            let age = event["MaximumRecordAgeInSeconds"].as_u64();
            if age.is_none_or(|age| age >= A_DAY) {
                broken.push(format!(
                    "{name}: a change that it cannot handle expires in the stream, and leaves no trace"
                ));
            }
            if event["MaximumRetryAttempts"] != -1 {
                broken.push(format!(
                    "{name}: tries that no handler saw use up those of a change"
                ));
            }
            let destination = &event["DestinationConfig"]["OnFailure"]["Destination"];
            let queue = get_att(destination).map_or("", |(queue, _)| queue);
            if project.stack(queue).is_none() {
                broken.push(format!(
                    "{name}: records that it gives up are lost without a notice"
                ));
            } else if !may(project, &function, "sqs:SendMessage*", destination) {
                broken.push(format!("{name}: its role does not let it send to {queue}"));
            }
            let mut alarms = project.of_type("AWS::CloudWatch::Alarm");
            if !alarms.any(|alarm| {
                let alarm = alarm.properties();
                alarm["MetricName"] == "IteratorAge"
                    && is_ref(&alarm["Dimensions"][0]["Value"], name)
            }) {
                broken.push(format!(
                    "{name}: there is no alarm for its lag behind its stream"
                ));
            }
        }
    }
    broken
}

/// True if a statement of the function's role allows the action on the resource.
fn may(project: &Project, function: &Resource<'_>, action: &str, resource: &Value) -> bool {
    let role = get_att(project.property(function, "Role")).map_or("", |(role, _)| role);
    let policies = &project.main()["Resources"][role]["Properties"]["Policies"];
    let statements = list(policies)
        .iter()
        .flat_map(|policy| list(&policy["PolicyDocument"]["Statement"]));
    statements
        .filter(|statement| list(&statement["Action"]).contains(&json!(action)))
        .any(|statement| list(&statement["Resource"]).contains(resource))
}

/// The alarms of a template on a metric of one of its queues.
fn has_alarm(template: &Value, metric: &str, queue: &str) -> bool {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources
        .filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm")
        .map(|(_, alarm)| &alarm["Properties"])
        .any(|alarm| {
            let dimension = &alarm["Dimensions"][0]["Value"];
            alarm["MetricName"] == metric && get_att(dimension) == Some((queue, "QueueName"))
        })
}

fn queues_hold_messages_until_they_are_handled(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for queue in project.queues() {
        let (name, properties) = (queue.name, queue.properties());
        let redrive = &properties["RedrivePolicy"];
        if !is_encrypted(properties) {
            broken.push(format!("{name} is not encrypted"));
        }
        if redrive.is_null() {
            // A queue without a dead-letter queue is the message's last place.
            if properties["RedriveAllowPolicy"].is_null() {
                broken.push(format!("{name} keeps messages that cannot be handled: it has no redrive policy, and is not a dead-letter queue"));
            }
            if properties["MessageRetentionPeriod"] != FOURTEEN_DAYS {
                broken.push(format!("{name} keeps dead letters for less than 14 days"));
            }
            if queue.value["DeletionPolicy"] != "RetainExceptOnCreate" {
                broken.push(format!(
                    "{name} is deleted with its stack, and dead letters with it"
                ));
            }
            if !has_alarm(queue.template, "ApproximateNumberOfMessagesVisible", name) {
                broken.push(format!("there is no alarm for dead letters in {name}"));
            }
            continue;
        }
        if redrive["maxReceiveCount"].is_null() {
            broken.push(format!(
                "{name} never gives up on a message: it has no maxReceiveCount"
            ));
        }
        let target = get_att(&redrive["deadLetterTargetArn"]).map_or("", |(target, _)| target);
        if queue.template["Resources"][target]["Type"] != "AWS::SQS::Queue" {
            broken.push(format!("{name} has no dead-letter queue beside it"));
        }
        if !has_alarm(queue.template, "ApproximateAgeOfOldestMessage", name) {
            broken.push(format!(
                "there is no alarm for a lagging consumer of {name}"
            ));
        }
    }
    broken
}

/// A queue is encrypted by SQS's own key, or by the application's if it has one. SQS refuses both
/// together, and without either a queue stores plain text.
fn is_encrypted(queue: &Value) -> bool {
    let none = json!({"Ref": "AWS::NoValue"});
    queue["SqsManagedSseEnabled"] == json!({"Fn::If": ["HasKey", none, true]})
        && queue["KmsMasterKeyId"] == json!({"Fn::If": ["HasKey", {"Ref": "KeyArn"}, none]})
}

/// AWS asks for six times the function's timeout, plus the batching window.
fn visibility_outlasts_the_function(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let mut window = 0;
    let mut templates = Vec::new();
    for function in project.functions() {
        for (event, stack) in queue_events(&function) {
            let seconds = event["MaximumBatchingWindowInSeconds"].as_u64();
            window = window.max(seconds.unwrap_or(0));
            let Some((stack, template)) = project.stack(stack) else {
                broken.push(format!(
                    "{}: its queue is not in a nested stack",
                    function.name
                ));
                continue;
            };
            let timeout = &stack["Properties"]["Parameters"]["FunctionTimeout"];
            if timeout != project.property(&function, "Timeout") {
                broken.push(format!(
                    "{}: its timeout is not the one that its queue counts with",
                    function.name
                ));
            }
            templates.push(template);
        }
    }
    let offered = &project.main()["Parameters"]["FunctionTimeout"]["AllowedValues"];
    for template in templates {
        let mapping = &template["Mappings"]["VisibilityTimeout"];
        let looked_up =
            json!({"Fn::FindInMap": ["VisibilityTimeout", {"Ref": "FunctionTimeout"}, "Seconds"]});
        let queues = template["Resources"].as_object().into_iter().flatten();
        let is_looked_up = queues
            .filter(|(_, resource)| !resource["Properties"]["RedrivePolicy"].is_null())
            .all(|(_, queue)| queue["Properties"]["VisibilityTimeout"] == looked_up);
        if !is_looked_up {
            broken.push("the visibility timeout is not looked up by the function's timeout".into());
        }
        let known = &template["Parameters"]["FunctionTimeout"]["AllowedValues"];
        let timeouts = list(offered).iter().map(Value::to_string);
        let timeouts = timeouts.chain(
            list(known)
                .iter()
                .filter_map(|v| Some(v.as_str()?.to_owned())),
        );
        for timeout in timeouts {
            let Some(visibility) = mapping[&timeout]["Seconds"].as_u64() else {
                broken.push(format!(
                    "no visibility timeout is known for a function timeout of {timeout} s"
                ));
                continue;
            };
            let least = 6 * timeout.parse::<u64>().unwrap_or(u64::MAX / 12) + window;
            if visibility < least {
                broken.push(format!("a visibility timeout of {visibility} s is less than 6 x {timeout} s + {window} s"));
            }
        }
    }
    broken
}

fn functions_park_where_their_queue_does(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for function in project.functions() {
        for (_, queue) in queue_events(&function) {
            let Some((stack, template)) = project.stack(queue) else {
                continue;
            };
            let url = project.variable(&function, "DEAD_LETTER_QUEUE_URL");
            if get_att(url) != Some((queue, "Outputs.DeadLetterQueueUrl")) {
                broken.push(format!(
                    "{}: it parks in a queue that is not its source's dead-letter queue",
                    function.name
                ));
            }
            // A queue's limit that grows with the attempts would be a second number of attempts.
            let own = &stack["Properties"]["Parameters"]["MaxReceiveCount"];
            let usual = &template["Parameters"]["MaxReceiveCount"]["Default"];
            let receives = own.as_u64().or(usual.as_u64().filter(|_| own.is_null()));
            let attempts = match &project.variable(&function, "MAX_ATTEMPTS")["Ref"] {
                Value::String(name) => project.main()["Parameters"][name]["Default"].as_u64(),
                // Its code says how many.
                _ => Some(5),
            };
            let is_backstop = receives
                .zip(attempts)
                .is_some_and(|(receives, attempts)| receives >= 5 * attempts);
            if !is_backstop {
                broken.push(format!(
                    "{}: its queue gives up on a message that would be tried again",
                    function.name
                ));
            }
        }
    }
    broken
}

fn roles_allow_what_is_needed(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let mut roles = BTreeSet::new();
    for function in project.functions() {
        let role = get_att(project.property(&function, "Role")).map_or("", |(role, _)| role);
        let is_role = project.main()["Resources"][role]["Type"] == "AWS::IAM::Role";
        if !is_role || !roles.insert(role) {
            broken.push(format!("{}: it has no role of its own", function.name));
        }
    }
    for role in project.of_type("AWS::IAM::Role") {
        let policies = list(&role.properties()["Policies"]).iter();
        let statements = policies.flat_map(|policy| list(&policy["PolicyDocument"]["Statement"]));
        for statement in statements {
            let to_anything = list(&statement["Resource"]).contains(&json!("*"));
            for action in list(&statement["Action"]).iter().filter_map(Value::as_str) {
                if action.contains('*') && !WITH_BATCHES.contains(&action) {
                    broken.push(format!(
                        "{}: it may do anything that matches `{action}`",
                        role.name
                    ));
                }
                // X-Ray knows no finer resource.
                if to_anything && !action.starts_with("xray:") {
                    broken.push(format!("{}: it may do `{action}` to anything", role.name));
                }
            }
        }
    }
    broken
}

fn logs_go_away(project: &Project) -> Vec<String> {
    let has_retention = |function: &Resource<'_>| {
        let group = &function.properties()["LoggingConfig"]["LogGroup"];
        let (stack, output) = get_att(group)?;
        let (stack, template) = project.stack(stack)?;
        let output = &template["Outputs"][output.strip_prefix("Outputs.")?]["Value"];
        let group = &template["Resources"][output["Ref"].as_str()?];
        let is_its_own = stack["Properties"]["Parameters"]["FunctionName"]
            == function.properties()["FunctionName"];
        let retention = &group["Properties"]["RetentionInDays"];
        (is_its_own && group["Type"] == "AWS::Logs::LogGroup" && !retention.is_null()).then_some(())
    };
    let functions = project.functions();
    functions
        .filter(|function| has_retention(function).is_none())
        .map(|function| {
            format!(
                "{}: it does not log into a group with a retention",
                function.name
            )
        })
        .collect()
}

fn rules_lose_nothing(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for bus in project.of_type("AWS::Events::EventBus") {
        if bus.properties()["DeadLetterConfig"].is_null() {
            broken.push(format!(
                "{}: an event that cannot be delivered is lost",
                bus.name
            ));
        }
    }
    for rule in project.of_type("AWS::Events::Rule") {
        for target in list(&rule.properties()["Targets"]) {
            if target["RetryPolicy"].is_null() {
                broken.push(format!("{}: its target has no retry policy", rule.name));
            }
            match get_att(&target["DeadLetterConfig"]["Arn"]) {
                None => broken.push(format!(
                    "{}: an event that cannot be delivered is lost",
                    rule.name
                )),
                Some((queue, _)) if !may_send(project, queue, &rule) => {
                    broken.push(format!("{}: {queue} does not let it send", rule.name));
                }
                Some(_) => {}
            }
            // A function is reached by its alias, where there are aliases.
            let arn = match &target["Arn"]["Fn::If"][2] {
                Value::Null => &target["Arn"],
                otherwise => otherwise,
            };
            let Some((receiver, _)) = get_att(arn) else {
                continue;
            };
            // A lost event of a schedule is replaced by the next one.
            if !rule.properties()["ScheduleExpression"].is_null() {
                continue;
            }
            let function = project.functions().find(|f| f.name == receiver);
            let on_failure = |function: &Resource<'_>| {
                let destination = &function.properties()["EventInvokeConfig"]["DestinationConfig"];
                !destination["OnFailure"]["Destination"].is_null()
            };
            if function.is_some_and(|function| !on_failure(&function)) {
                broken.push(format!(
                    "{receiver}: events that it fails on are lost, because a rule's dead-letter queue does not get them"
                ));
            }
        }
    }
    broken
}

/// True if the queue's policy names the rule.
fn may_send(project: &Project, queue: &str, rule: &Resource<'_>) -> bool {
    let name = rule.properties()["Name"]["Fn::Sub"].as_str().unwrap_or("?");
    let end = format!("/{name}");
    let mut is_named = false;
    if let Some((stack, _)) = project.stack(queue) {
        walk(&stack["Properties"]["Parameters"]["SourceArns"], &mut |v| {
            is_named |= v.as_str().is_some_and(|arn| arn.ends_with(&end));
        });
    }
    is_named
}

fn parameters_reach_the_functions(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    let main = project.main();
    for name in ["Architecture", "EndpointUrl", "Stage", "LogRetentionDays"] {
        let parameter = &main["Parameters"][name];
        if parameter.is_null() {
            broken.push(format!("the parameter {name} is missing"));
        } else if parameter["Default"].is_null() || parameter["Description"].is_null() {
            broken.push(format!(
                "the parameter {name} has no default or no description"
            ));
        }
    }
    let is_parameters = |architectures: &Value| {
        list(architectures)
            .iter()
            .all(|a| is_ref(a, "Architecture"))
    };
    for function in project.functions() {
        if !is_parameters(project.property(&function, "Architectures")) {
            broken.push("the functions' architecture is not the parameter's".into());
        }
        let mut is_given = false;
        walk(project.variable(&function, "AWS_ENDPOINT_URL"), &mut |v| {
            is_given |= is_ref(v, "EndpointUrl");
        });
        if !is_given {
            broken.push("the functions do not get the emulator's address".into());
        }
    }
    broken.dedup();
    broken
}

fn variables_are_declared(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for function in project.functions() {
        for name in binaries::variables(&binary(&function)) {
            if project.variable(&function, &name).is_null() {
                broken.push(format!(
                    "{}: its code reads {name}, which is not declared",
                    function.name
                ));
            }
        }
    }
    broken
}

fn tables_keep_what_they_hold(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for table in project.all_of_type("AWS::DynamoDB::Table") {
        let (name, properties) = (table.name, table.properties());
        if table.value["DeletionPolicy"] != "RetainExceptOnCreate"
            || table.value["UpdateReplacePolicy"] != "Retain"
        {
            broken.push(format!("{name} is deleted with its stack"));
        }
        let recovery = &properties["PointInTimeRecoverySpecification"];
        if recovery["PointInTimeRecoveryEnabled"] != true {
            broken.push(format!("{name} cannot be recovered"));
        }
        if properties["SSESpecification"]["SSEEnabled"] != true {
            broken.push(format!("{name} is not encrypted"));
        }
        if name == "IdempotencyTable" || name == "RedriveTable" {
            let expiry = &properties["TimeToLiveSpecification"];
            if *expiry != json!({"AttributeName": "expiration", "Enabled": true}) {
                broken.push(format!("{name}: nothing ever expires"));
            }
            if properties["KeySchema"] != json!([{"AttributeName": "id", "KeyType": "HASH"}]) {
                broken.push(format!("{name}: its key is not `id`"));
            }
        }
        if name == "IdempotencyTable" {
            if properties["StreamSpecification"] != json!({"StreamViewType": "NEW_IMAGE"}) {
                broken.push(format!(
                    "{name}: the relay does not see what is to be published"
                ));
            }
            let indexes = properties["GlobalSecondaryIndexes"].as_array();
            let outbox = json!([
                {"AttributeName": "outbox_shard", "KeyType": "HASH"},
                {"AttributeName": "outbox_since", "KeyType": "RANGE"},
            ]);
            if !indexes
                .into_iter()
                .flatten()
                .any(|index| index["IndexName"] == "outbox" && index["KeySchema"] == outbox)
            {
                broken.push(format!("{name}: a sweep does not find what waits"));
            }
        }
    }
    broken
}

/// A redrive's journal holds whole messages. Whoever may read claims has no business to read those.
fn journals_are_read_by_redrives_alone(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for function in project.functions() {
        let table = project.variable(&function, "REDRIVE_TABLE");
        let Some(table) = table["Ref"].as_str() else {
            continue;
        };
        let own = get_att(&function.value["Properties"]["Role"]).map(|(role, _)| role);
        for role in project.all_of_type("AWS::IAM::Role") {
            let mut has_it = false;
            walk(role.value, &mut |value| {
                has_it |= is_ref(value, table) || get_att(value).is_some_and(|(it, _)| it == table);
            });
            if has_it != (Some(role.name) == own) {
                let rights = if has_it { "may read" } else { "may not write" };
                broken.push(format!("{} {rights} the journals of redrives", role.name));
            }
        }
    }
    broken
}

/// Nested stacks are deployed one by one, and a missing output is found only then.
fn outputs_exist(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    walk(project.main(), &mut |value| {
        let Some((stack, attribute)) = get_att(value) else {
            return;
        };
        let (Some(output), Some((nested, template))) =
            (attribute.strip_prefix("Outputs."), project.stack(stack))
        else {
            return;
        };
        if template["Outputs"][output].is_null() {
            broken.push(format!(
                "{attribute} is not an output of {}",
                nested["Properties"]["TemplateURL"]
                    .as_str()
                    .unwrap_or_default()
            ));
        }
    });
    broken.sort();
    broken.dedup();
    broken
}
