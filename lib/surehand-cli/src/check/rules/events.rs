//! Rules of EventBridge: what they deliver, to whom, and what becomes of it when they cannot.

use surehand::description::{ClaimKind, EventType, Use};

use crate::{
    application::{
        resource::Resource,
        yaml::{Node, Place},
    },
    check::{
        app::{App, EventRule, Function, Pipe, Target},
        attempts,
        finding::{Findings, rule},
        pattern::{any_of, literals, matches, may_match, service_sources, unknown_fields},
        policy::Statement,
    },
};

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for bus in app.of_kind("AWS::Events::EventBus") {
        bus_keeps_events(app, bus, findings);
    }
    for archive in app.of_kind("AWS::Events::Archive") {
        replays_find_their_claims(app, archive, findings);
    }
    for event_rule in &app.rules {
        asks_for_what_comes(app, event_rule, findings);
        for target in &event_rule.targets {
            undeliverable(app, event_rule, target, findings);
            receiver(app, event_rule, target, findings);
        }
    }
    for pipe in &app.pipes {
        pipe_keeps_failures(pipe, findings);
    }
    for function in &app.functions {
        consumed(app, function, findings);
    }
    published(app, findings);
    for function in &app.functions {
        relayed(app, function, findings);
    }
}

fn bus_keeps_events(app: &App<'_>, bus: &Resource, findings: &mut Findings) {
    // It takes only what the bus cannot encrypt or decrypt, and AWS's own key does not fail.
    let key = bus.property(&["KmsKeyIdentifier"]);
    match bus.property(&["DeadLetterConfig", "Arn"]) {
        None if key.is_some_and(|it| !it.is_unknown()) => findings.add(
            &rule::BUS_NO_DEAD_LETTERS,
            &bus.place,
            &bus.id,
            "an event that it cannot encrypt or decrypt with its key is lost",
        ),
        None => {}
        Some(arn) => may_send(app, arn, &bus.arn, &bus.id, findings),
    }
    let mut archives = app.of_kind("AWS::Events::Archive");
    if !archives.any(|it| {
        let source = it.property(&["SourceArn"]);
        source.is_some_and(|it| it.may_be(&bus.arn))
    }) {
        findings.add(
            &rule::NO_ARCHIVE,
            &bus.place,
            &bus.id,
            "what a consumer did not get cannot be replayed to it",
        );
    }
}

/// What is replayed after its claim has expired is handled again.
fn replays_find_their_claims(app: &App<'_>, archive: &Resource, findings: &mut Findings) {
    let days = archive.property(&["RetentionDays"]);
    // Without a limit, or with 0, events are kept for ever.
    let seconds = match days.map(|it| (it.is_unknown(), it.number())) {
        Some((true, _)) => return,
        None | Some((_, None | Some(0))) => u64::MAX,
        Some((_, Some(days))) => days.saturating_mul(24 * 60 * 60),
    };
    let of_bus = |it: &&EventRule<'_>| {
        let bus = it.bus.and_then(Node::text);
        let source = archive.property(&["SourceArn"]);
        let end = bus.map(|bus| format!("event-bus/{}", bus.rsplit('/').next().unwrap_or(bus)));
        end.zip(source.and_then(Node::text))
            .is_some_and(|(end, arn)| arn.ends_with(&end))
    };
    let targets: Vec<&str> = (app.rules.iter().filter(of_bus))
        .flat_map(|it| it.targets.iter().filter_map(|target| target.arn))
        .collect();
    for function in &app.functions {
        let Some(once) = function.description.and_then(|it| it.idempotency.as_ref()) else {
            continue;
        };
        let own = function.resource.arn.as_str();
        let is_target = |arn: &&str| {
            let rest = arn.strip_prefix(own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
                || function.queues().any(|(_, queue)| queue.arn == **arn)
        };
        if targets.iter().any(is_target) && seconds >= once.expires_after_s {
            findings.add(
                &rule::LONG_ARCHIVE,
                &archive.place_of(&["RetentionDays"]),
                &archive.id,
                format!(
                    "it keeps events for as long as {} keeps their claims ({} s), or longer: what is replayed then is handled again",
                    function.id(),
                    once.expires_after_s
                ),
            );
        }
    }
}

/// A pattern that no event can match, and one that none on this bus does.
fn asks_for_what_comes(app: &App<'_>, event_rule: &EventRule<'_>, findings: &mut Findings) {
    let Some(pattern) = event_rule.pattern else {
        return;
    };
    for (name, node) in unknown_fields(pattern) {
        findings.add(
            &rule::UNKNOWN_FIELD,
            &node.place,
            &event_rule.id,
            format!("its pattern asks for `{name}`, which no event has, so that it matches none"),
        );
    }
    let Some(bus) = event_rule.bus.and_then(Node::text) else {
        return;
    };
    // A bus is named by its name or by its ARN.
    let name = |bus: &str| bus.rsplit('/').next().unwrap_or(bus).to_owned();
    let is_forwarded = || {
        let targets = app.rules.iter().flat_map(|it| &it.targets);
        let mut buses = targets.filter_map(|it| it.arn.filter(|arn| arn.contains(":event-bus/")));
        buses.any(|arn| name(arn) == name(bus))
    };
    if name(bus) == "default" || is_forwarded() {
        return;
    }
    for source in service_sources(pattern) {
        findings.add(
            &rule::SERVICE_EVENTS,
            &source.place,
            &event_rule.id,
            format!(
                "it waits on the bus {} for events of AWS's services, which are on the default bus alone",
                name(bus)
            ),
        );
    }
}

fn undeliverable(
    app: &App<'_>,
    event_rule: &EventRule<'_>,
    target: &Target<'_>,
    findings: &mut Findings,
) {
    // SAM can make the queue itself.
    let config = target.node.get("DeadLetterConfig");
    match config.and_then(|it| it.get("Arn").or_else(|| it.get("Type"))) {
        None => findings.add(
            &rule::TARGET_NO_DEAD_LETTERS,
            &target.node.place,
            &event_rule.id,
            "an event that it cannot deliver is lost",
        ),
        Some(arn) => {
            if let Some(rule_arn) = event_rule.arn {
                may_send(app, arn, rule_arn, &event_rule.id, findings);
            }
        }
    }
    if target.node.get("RetryPolicy").is_none() {
        findings.add(
            &rule::TARGET_NO_RETRY,
            &target.node.place,
            &event_rule.id,
            "it does not say how long delivery is retried",
        );
    }
}

/// A queue that a pipe reads keeps what fails by itself, a stream does not.
fn pipe_keeps_failures(pipe: &Pipe<'_>, findings: &mut Findings) {
    let (place, id) = (&pipe.resource.place, &pipe.resource.id);
    let Some(stream) = pipe.stream.filter(|it| !it.is_unknown()) else {
        return;
    };
    if stream.at(&["DeadLetterConfig", "Arn"]).is_none() {
        findings.add(
            &rule::TARGET_NO_DEAD_LETTERS,
            &stream.place,
            id,
            "a change that it cannot deliver is lost",
        );
    }
    for limit in ["MaximumRetryAttempts", "MaximumRecordAgeInSeconds"] {
        // -1 is for ever, as is its absence.
        let value = stream.get(limit);
        if value.is_none_or(|it| !it.is_unknown() && it.number().is_none()) {
            findings.add(
                &rule::TARGET_NO_RETRY,
                value.map_or(place, |it| &it.place),
                id,
                format!("a change that it cannot deliver stops its shard until it expires: {limit} is not limited"),
            );
        }
    }
}

/// Whether the queue lets EventBridge send on behalf of a rule or bus.
fn may_send(app: &App<'_>, queue: &Node, sender: &str, id: &str, findings: &mut Findings) {
    let Some(queue_resource) = queue.text().and_then(|arn| app.queue(arn)) else {
        return;
    };
    let allows = |statement: &Statement<'_>| {
        let is_events = statement.is_about("events.amazonaws.com");
        let from_it = statement.source_arns().is_none_or(|arns| {
            (arns.iter()).any(|arn| match arn.text() {
                Some(pattern) => crate::check::pattern::glob(pattern, sender),
                None => arn.is_unknown(),
            })
        });
        statement.is_allow()
            && is_events
            && from_it
            && statement.covers("sqs:SendMessage", &queue_resource.arn)
    };
    if !app.queue_statements(queue_resource).iter().any(allows) {
        findings.add(
            &rule::MAY_NOT_SEND,
            &queue.place,
            id,
            format!("{} does not let it send", queue_resource.id),
        );
    }
}

/// What it delivers to is a queue, or a function that Lambda invokes asynchronously.
fn receiver(
    app: &App<'_>,
    event_rule: &EventRule<'_>,
    target: &Target<'_>,
    findings: &mut Findings,
) {
    let Some(arn) = target.arn else {
        return;
    };
    if app.queue(arn).is_some()
        && let (Some(node), Some(rule_arn)) = (target.node.get("Arn"), event_rule.arn)
    {
        may_send(app, node, rule_arn, &event_rule.id, findings);
    }
    let Some(function) = app.function_by_arn(arn) else {
        return;
    };
    let may_invoke = app.of_kind("AWS::Lambda::Permission").any(|it| {
        let says = |name: &str, accepted: &dyn Fn(&str) -> bool| {
            let value = it.property(&[name]);
            value.is_some_and(|it| it.is_unknown() || it.text().is_some_and(accepted))
        };
        let of_rule = |source: &str| {
            (event_rule.arn).is_none_or(|arn| crate::check::pattern::glob(source, arn))
        };
        says("Principal", &|it| it == "events.amazonaws.com")
            && says("FunctionName", &|it| {
                it == function.resource.name || it.starts_with(&function.resource.arn)
            })
            && (it.property(&["SourceArn"]).is_none() || says("SourceArn", &of_rule))
    });
    if !may_invoke && !event_rule.has_permission {
        findings.add(
            &rule::MAY_NOT_INVOKE,
            &target.node.place,
            &event_rule.id,
            format!("it may not invoke {}", function.id()),
        );
    }
    if event_rule.pattern.is_some() {
        few_attempts(function, findings);
    }
    // A schedule's event says nothing that its next one does not.
    if event_rule.pattern.is_some() && !keeps_failures(app, function) {
        findings.add(
            &rule::ASYNC_NO_DESTINATION,
            &function.resource.place_of(&["EventInvokeConfig"]),
            function.id(),
            format!(
                "an event that it fails on is lost: Lambda has accepted it, so that it never reaches the dead letters of {}",
                event_rule.id
            ),
        );
    }
}

/// Lambda retries an asynchronous invocation twice, unless it is told to retry less.
const ASYNC_RETRIES: u64 = 2;

/// A function that is invoked asynchronously gets no more attempts than Lambda makes.
fn few_attempts(function: &Function<'_>, findings: &mut Findings) {
    let resource = function.resource;
    let declared = attempts::declared(function, Use::MaxAttempts);
    let parks = function
        .description
        .is_some_and(|it| it.dead_letters.is_some());
    let retries = match resource.property(&["EventInvokeConfig", "MaximumRetryAttempts"]) {
        Some(retries) => retries.number(),
        None => Some(ASYNC_RETRIES),
    };
    if let (Some(attempts), Some(retries)) = (attempts::attempts(function), retries)
        && (declared.is_some() || parks)
        && u64::from(attempts) > retries + 1
    {
        let place = declared.map(|it| it.place.clone());
        findings.add(
            &rule::FEW_ASYNC_ATTEMPTS,
            &place.unwrap_or_else(|| resource.place_of(&["EventInvokeConfig"])),
            function.id(),
            format!(
                "its {attempts} attempts are never all made: Lambda gives an event up after {}",
                retries + 1
            ),
        );
    }
}

/// Whether what Lambda fails on asynchronously ends somewhere.
fn keeps_failures(app: &App<'_>, function: &Function<'_>) -> bool {
    let resource = function.resource;
    let destination = ["DestinationConfig", "OnFailure"];
    let own = [&["EventInvokeConfig"], &destination[..]].concat();
    let mut configs = app.of_kind("AWS::Lambda::EventInvokeConfig");
    resource.property(&own).is_some()
        || resource.property(&["DeadLetterQueue"]).is_some()
        || configs.any(|it| {
            let of = it.property(&["FunctionName"]);
            let is_own = |of: &Node| of.may_be(&resource.name) || of.may_be(&resource.arn);
            of.is_some_and(is_own) && it.property(&destination).is_some()
        })
}

/// The rules that deliver to a function, by a queue or directly.
fn rules_for<'s, 'a>(app: &'s App<'a>, function: &'s Function<'a>) -> Vec<&'s EventRule<'a>> {
    let queues = function.queues().map(|(_, queue)| queue.arn.as_str());
    queues
        .chain([function.resource.arn.as_str()])
        .flat_map(|arn| app.rules_to(arn))
        .filter(|it| it.pattern.is_some())
        .collect()
}

fn consumed(app: &App<'_>, function: &Function<'_>, findings: &mut Findings) {
    // A function that takes anything takes every event.
    let Some(consumes) = function.consumes() else {
        return;
    };
    let rules = rules_for(app, function);
    // A queue without a rule gets its messages from others, and they are unknown.
    let Some(first) = rules.first() else {
        return;
    };
    let is_matched = |event: &EventType| {
        let mut patterns = rules.iter().filter_map(|it| it.pattern);
        patterns.any(|pattern| may_match(pattern, &event.source, &event.detail_type))
    };
    for event in consumes.iter().filter(|event| !is_matched(event)) {
        let pattern = first.pattern.map_or(first.place, |pattern| {
            let types = pattern.get("detail-type").unwrap_or(pattern);
            &types.place
        });
        findings.add(
            &rule::NOT_DELIVERED,
            pattern,
            function.id(),
            format!(
                "it has a handler for {} from {}, which {} does not deliver",
                event.detail_type, event.source, first.id
            ),
        );
    }
    for event_rule in rules {
        if let Some(pattern) = event_rule.pattern {
            delivered(app, function, &consumes, event_rule, pattern, findings);
        }
    }
}

/// What the rule delivers without a handler for it would be parked.
fn delivered(
    app: &App<'_>,
    function: &Function<'_>,
    consumes: &[&EventType],
    event_rule: &EventRule<'_>,
    pattern: &Node,
    findings: &mut Findings,
) {
    let mut parked = |what: String, place: &Place| {
        findings.add(
            &rule::NOT_CONSUMED,
            place,
            function.id(),
            format!(
                "{} delivers {what}, which it has no handler for and would park",
                event_rule.id
            ),
        );
    };
    let types = pattern.get("detail-type");
    let mut said: Vec<&str> = Vec::new();
    for literal in literals(pattern, "detail-type") {
        let name = literal.text().unwrap_or_default();
        let from = |event: &EventType| {
            let sources = pattern.get("source");
            sources.is_none_or(|sources| any_of(sources, &event.source) != Some(false))
        };
        if !(consumes.iter()).any(|event| event.detail_type == name && from(event)) {
            said.push(name);
            parked(name.to_owned(), &literal.place);
        }
    }
    let place = types.map_or(&pattern.place, |types| &types.place);
    for event in app.known_events() {
        let is_consumed = (consumes.iter())
            .any(|own| own.source == event.source && own.detail_type == event.detail_type);
        if !is_consumed
            && !said.contains(&event.detail_type.as_str())
            && matches(pattern, &event.source, &event.detail_type) == Some(true)
        {
            parked(
                format!("{} from {}", event.detail_type, event.source),
                place,
            );
        }
    }
}

/// What a function publishes should have a consumer.
fn published(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        let publishes = function.description.map_or(&[][..], |it| &it.publishes);
        for event in publishes {
            let mut patterns = app.rules.iter().filter_map(|it| it.pattern);
            let is_matched =
                patterns.any(|pattern| may_match(pattern, &event.source, &event.detail_type));
            // Without a rule it may be sent to a consumer's queue.
            let is_consumed = app.functions.iter().any(|other| {
                let consumes = other.consumes().unwrap_or_default();
                consumes
                    .iter()
                    .any(|it| it.source == event.source && it.detail_type == event.detail_type)
            });
            if !is_matched && !is_consumed {
                findings.add(
                    &rule::NO_CONSUMER,
                    &function.resource.place,
                    function.id(),
                    format!(
                        "it publishes {} from {}, which no rule delivers and no function takes",
                        event.detail_type, event.source
                    ),
                );
            }
        }
    }
}

/// Events of a transaction wait in its table, and are published by others.
fn relayed(app: &App<'_>, function: &Function<'_>, findings: &mut Findings) {
    let Some(description) = function.description else {
        return;
    };
    let publishes_itself = [Use::EventBus, Use::EventQueue, Use::OutboxTable]
        .into_iter()
        .any(|what| !function.variables_for(what).is_empty());
    let commits = (description.handlers.iter()).any(|it| it.claim == ClaimKind::Transaction);
    if !commits || publishes_itself || description.idempotency.is_none() {
        return;
    }
    let Some(published) = description.publishes.first() else {
        return;
    };
    let tables = |function: &Function<'_>, what: Use| {
        let names = function.variables_for(what).into_iter();
        let values = names.filter_map(|name| function.variable(name)?.text().map(str::to_owned));
        values.collect::<Vec<_>>()
    };
    for table in tables(function, Use::IdempotencyTable) {
        // Others may publish what is in a table that is not of this application.
        if app.named(&table, &["AWS::DynamoDB::Table"]).is_none() {
            continue;
        }
        let publishers = || {
            let functions = app.functions.iter();
            functions.filter(|it| tables(it, Use::OutboxTable).contains(&table))
        };
        let event = format!("{} from {}", published.detail_type, published.source);
        let message = if publishers().next().is_none() {
            format!(
                "its transactions leave {event} in their table, and nothing publishes it from there"
            )
        } else if publishers().all(|it| it.streams().next().is_some()) {
            format!(
                "its transactions leave {event} in their table, and without a sweep it stays there once the relay has given up on it"
            )
        } else {
            continue;
        };
        findings.add(
            &rule::NO_RELAY,
            &function.resource.place,
            function.id(),
            message,
        );
    }
}
