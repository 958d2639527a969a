//! Queues, their dead-letter queues, and how functions take from them.

use surehand::description::Use;

use crate::{
    application::{resource::Resource, yaml::Node},
    check::{
        app::{App, Function, Trigger},
        attempts::{self, Attempts},
        finding::{Findings, rule},
    },
};

const FOURTEEN_DAYS: u64 = 14 * 24 * 60 * 60;
/// As SQS's documentation asks for a queue that triggers a function.
const RECEIVES: u64 = 5;
/// Receives for each attempt: so many deliveries may end before a handler sees them.
const RECEIVES_FOR_AN_ATTEMPT: u64 = 5;
/// A deployment that is rolled back, or a service that fails over, takes no longer; in seconds.
const LEAST_OUTAGE: u64 = 20 * 60;
/// Less than this for each record of a lane is not much, in seconds.
const SLOW: u64 = 2;

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        for (trigger, queue) in function.queues() {
            event_source(function, trigger, queue, findings);
            visibility(function, trigger, queue, findings);
            redrive(app, queue, findings);
            receives(function, trigger, queue, findings);
            spread(function, queue, findings);
        }
    }
    let piped = app.pipes.iter().filter_map(|it| it.source);
    for queue in piped.filter(|it| it.kind == "AWS::SQS::Queue") {
        redrive(app, queue, findings);
        few_receives(queue, None, findings);
    }
    for queue in app.of_kind("AWS::SQS::Queue") {
        // SQS encrypts a queue with its own key unless it is told not to.
        let own_key = queue.property(&["SqsManagedSseEnabled"]);
        if own_key.is_some_and(|it| it.is("false")) && queue.property(&["KmsMasterKeyId"]).is_none()
        {
            findings.add(
                &rule::QUEUE_NOT_ENCRYPTED,
                &queue.place_of(&["SqsManagedSseEnabled"]),
                &queue.id,
                "its messages are not encrypted at rest",
            );
        }
        policy(app, queue, findings);
    }
    for queue in app.dead_letter_queues() {
        dead_letters(queue, findings);
    }
}

/// None if it is unknown.
fn is_fifo(queue: &Resource) -> Option<bool> {
    match queue.property(&["FifoQueue"]) {
        Some(fifo) if fifo.is_unknown() => None,
        fifo => Some(fifo.is_some_and(|it| it.is("true"))),
    }
}

fn event_source(
    function: &Function<'_>,
    trigger: &Trigger<'_>,
    queue: &Resource,
    findings: &mut Findings,
) {
    if !trigger.reports_failures() {
        findings.add(
            &rule::NO_PARTIAL_FAILURES,
            trigger.place_of(&["FunctionResponseTypes"]),
            function.id(),
            "its SQS event source does not report batch item failures: Lambda ignores what the function returns, and deletes the whole batch",
        );
    }
    let filter = trigger.property(&["FilterCriteria"]);
    if filter.is_some_and(|it| !it.is_unknown()) {
        findings.add(
            &rule::QUEUE_FILTER,
            trigger.place_of(&["FilterCriteria"]),
            function.id(),
            "its SQS event source filters, and Lambda deletes the messages that do not match",
        );
    }
    let is_bounded = trigger
        .property(&["ScalingConfig", "MaximumConcurrency"])
        .is_some()
        || trigger.property(&["ProvisionedPollerConfig"]).is_some();
    if !is_bounded {
        findings.add(
            &rule::UNBOUNDED,
            trigger.place,
            function.id(),
            "its SQS event source may take all of the account's concurrency",
        );
    }
    let batch_size = trigger.property(&["BatchSize"]);
    let size = batch_size.map_or(Some(10), Node::number);
    let place = trigger.place_of(&["BatchSize"]);
    let window = trigger.property(&["MaximumBatchingWindowInSeconds"]);
    if is_fifo(queue) == Some(true) {
        if let Some(window) = window.filter(|it| !it.may_be("0")) {
            findings.add(
                &rule::FIFO_BATCH,
                &window.place,
                function.id(),
                "a FIFO queue has no batching window",
            );
        }
        if size.is_some_and(|size| size > 10) {
            findings.add(
                &rule::FIFO_BATCH,
                place,
                function.id(),
                "a FIFO queue's batches have 10 records at most",
            );
        }
        slow_lane(function, trigger, queue, size, findings);
    } else if size.is_some_and(|size| size > 10) && window.is_none_or(|it| it.is("0")) {
        findings.add(
            &rule::LARGE_BATCH,
            place,
            function.id(),
            "a batch of more than 10 needs a batching window",
        );
    }
}

/// A lane's records are handled one after the other, and those that time does not suffice for are returned with a
/// receive used up, though no attempt.
fn slow_lane(
    function: &Function<'_>,
    trigger: &Trigger<'_>,
    queue: &Resource,
    size: Option<u64>,
    findings: &mut Findings,
) {
    let receives = queue.property(&["RedrivePolicy", "maxReceiveCount"]);
    if let (Some(size), Some(timeout), Some(receives), Some(attempts)) = (
        size,
        function.timeout(),
        receives.and_then(Node::number),
        attempts::attempts(function),
    ) && size + u64::from(attempts) > receives + 1
        && timeout < SLOW * size
    {
        findings.add(
            &rule::SLOW_LANE,
            trigger.place_of(&["BatchSize"]),
            function.id(),
            format!(
                "a slow FIFO lane may use up receives: {size} records of one group share {timeout} s, and SQS moves one after {receives} receives, of which its {attempts} attempts need some"
            ),
        );
    }
}

fn visibility(
    function: &Function<'_>,
    trigger: &Trigger<'_>,
    queue: &Resource,
    findings: &mut Findings,
) {
    let (Some(visibility), Some(timeout)) = (attempts::visibility(queue), function.timeout())
    else {
        return;
    };
    let window = trigger.window();
    let least = 6 * timeout + window;
    if visibility < least {
        findings.add(
            &rule::VISIBILITY,
            &queue.place_of(&["VisibilityTimeout"]),
            &queue.id,
            format!(
                "its visibility timeout of {visibility} s is less than {least} s, 6 x the {timeout} s of {} plus a window of {window} s: a message that is being handled can be handed out again",
                function.id()
            ),
        );
    }
}

fn redrive(app: &App<'_>, queue: &Resource, findings: &mut Findings) {
    let Some(redrive) = queue.property(&["RedrivePolicy"]) else {
        findings.add(
            &rule::NO_REDRIVE,
            &queue.place,
            &queue.id,
            "a message that crashes its function comes back until it expires: there is no redrive policy",
        );
        return;
    };
    match redrive.get("maxReceiveCount") {
        None => findings.add(
            &rule::NO_REDRIVE,
            &redrive.place,
            &queue.id,
            "its redrive policy has no maxReceiveCount",
        ),
        Some(count) => expiry(queue, count, findings),
    }
    if let Some(dead_letters) = app.dead_letter_queue(queue)
        && let (Some(ours), Some(theirs)) = (is_fifo(queue), is_fifo(dead_letters))
        && ours != theirs
    {
        findings.add(
            &rule::FIFO_MISMATCH,
            &redrive.place,
            &queue.id,
            format!(
                "one of it and its dead-letter queue {} is FIFO, and SQS refuses that",
                dead_letters.id
            ),
        );
    }
}

/// What ends its process before the function can count comes back until SQS moves it, and must live that long.
fn expiry(queue: &Resource, receives: &Node, findings: &mut Findings) {
    let (Some(retention), Some(visibility), Some(count)) = (
        attempts::retention(queue),
        attempts::visibility(queue),
        receives.number(),
    ) else {
        return;
    };
    if count.saturating_mul(visibility) > retention {
        findings.add(
            &rule::EXPIRES_BEFORE_MOVED,
            &receives.place,
            &queue.id,
            format!(
                "a message that ends each process before it is claimed expires, and is lost: {count} receives with {visibility} s after each take longer than the {retention} s for which it keeps messages"
            ),
        );
    }
}

/// The queue's limit is only for what the function cannot count.
fn receives(
    function: &Function<'_>,
    trigger: &Trigger<'_>,
    queue: &Resource,
    findings: &mut Findings,
) {
    let Some(attempts) = attempts::attempts(function).map(u64::from) else {
        return few_receives(queue, None, findings);
    };
    let count = queue.property(&["RedrivePolicy", "maxReceiveCount"]);
    if let Some(count) = count
        && let Some(receives) = count.number()
        && receives < attempts
    {
        return findings.add(
            &rule::MOVED_BEFORE_PARKED,
            &count.place,
            &queue.id,
            format!(
                "SQS moves a message after {receives} receives, without a reason, before {} has made its {attempts} attempts",
                function.id()
            ),
        );
    }
    // While one record of a FIFO batch fails, all behind it are returned.
    let size = trigger
        .property(&["BatchSize"])
        .map_or(Some(10), Node::number);
    let lane = size.filter(|_| is_fifo(queue) == Some(true)).unwrap_or(0);
    let times = lane.clamp(RECEIVES_FOR_AN_ATTEMPT, 10);
    few_receives(queue, Some((function, attempts, times)), findings);
}

/// With the function, how many attempts it makes, and how many receives each of them should have.
fn few_receives(queue: &Resource, of: Option<(&Function<'_>, u64, u64)>, findings: &mut Findings) {
    let Some(count) = queue.property(&["RedrivePolicy", "maxReceiveCount"]) else {
        return;
    };
    let Some(receives) = count.number() else {
        return;
    };
    let least = of.map_or(RECEIVES, |(_, attempts, times)| attempts * times);
    if receives >= least {
        return;
    }
    let message = match of {
        None => format!("a message is given up after fewer than {RECEIVES} receives"),
        Some((function, attempts, times)) => format!(
            "its maxReceiveCount of {receives} is less than {least}, {times} receives for each of the {attempts} attempts of {}",
            function.id()
        ),
    };
    findings.add(&rule::FEW_RECEIVES, &count.place, &queue.id, message);
}

/// How far apart the attempts are: neither so near that a short outage uses them up, nor farther than a message lives.
fn spread(function: &Function<'_>, queue: &Resource, findings: &mut Findings) {
    let Some(spread) = Attempts::of(function, queue) else {
        return;
    };
    let variables = [Use::MaxBackoff, Use::MaxAttempts];
    let mut declared = variables
        .iter()
        .filter_map(|what| attempts::declared(function, *what));
    let place = declared.next().map(|it| &it.place);
    let place = place.unwrap_or(&function.resource.place);
    let count = spread.count();
    if let Some(retention) = spread.expiry(queue) {
        findings.add(
            &rule::EXPIRES_BEFORE_PARKED,
            place,
            function.id(),
            format!(
                "a message that keeps failing expires, and is lost: its {count} attempts may take {}, and {} keeps messages for {}",
                spread.longest(),
                queue.id,
                attempts::time(retention)
            ),
        );
    }
    // Where there are fewer receives than attempts, it would say that again.
    let is_cut_off = attempts::attempts(function).is_some_and(|it| it > spread.receives());
    if spread.outage() < LEAST_OUTAGE && !is_cut_off {
        findings.add(
            &rule::SHORT_OUTAGE,
            place,
            function.id(),
            format!(
                "when what it calls is out for {}, its messages become dead letters: so long are its {count} attempts apart",
                attempts::time(spread.outage())
            ),
        );
    }
}

fn dead_letters(queue: &Resource, findings: &mut Findings) {
    let retention = queue.property(&["MessageRetentionPeriod"]);
    if retention.is_none_or(|it| it.number().is_some_and(|seconds| seconds < FOURTEEN_DAYS)) {
        findings.add(
            &rule::DEAD_LETTER_RETENTION,
            &queue.place_of(&["MessageRetentionPeriod"]),
            &queue.id,
            "dead letters are deleted after less than 14 days",
        );
    }
    if !queue.is_retained() {
        findings.add(
            &rule::DEAD_LETTERS_NOT_KEPT,
            &queue.place,
            &queue.id,
            "dead letters are deleted with their stack",
        );
    }
    let allow = queue.property(&["RedriveAllowPolicy", "redrivePermission"]);
    if !allow.is_some_and(|it| it.is("byQueue") || it.is("denyAll") || it.is_unknown()) {
        findings.add(
            &rule::OPEN_DEAD_LETTERS,
            &queue.place_of(&["RedriveAllowPolicy"]),
            &queue.id,
            "any queue of the account may use it as its dead-letter queue",
        );
    }
}

fn policy(app: &App<'_>, queue: &Resource, findings: &mut Findings) {
    let statements = app.queue_statements(queue);
    if !statements.iter().any(|it| it.denies_insecure_transport()) {
        findings.add(
            &rule::INSECURE_TRANSPORT,
            &queue.place,
            &queue.id,
            "messages may travel without TLS",
        );
    }
    for statement in statements.iter().filter(|it| it.is_allow()) {
        let principals = statement.principals();
        let is_open = principals
            .iter()
            .any(|it| *it == "*" || it.ends_with(".amazonaws.com"));
        if is_open && statement.get("Condition").is_none() {
            findings.add(
                &rule::OPEN_QUEUE,
                statement.place(),
                &queue.id,
                "its policy lets any account send through that service",
            );
        }
    }
}
