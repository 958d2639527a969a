//! Functions as they are deployed, built in the release profile, under AWS's own emulator of
//! Lambda's runtime API: what unwinding, aborting and blocking do there is decided by the profile
//! and by Lambda, which no other test sees.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod artifacts {
    pub(crate) mod emulator;
}

use artifacts::emulator::{Answer, Lambda, TIMEOUT};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};
use surehand_test_support::cargo;

/// The example `faults`, which does what its messages say. Without the AWS SDK it takes a minute
/// to compile rather than four, and nothing of it is used here.
fn faults() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut build = cargo::cargo();
        build
            .args(["build", "--locked", "--release", "--package=surehand"])
            .args(["--no-default-features", "--example=faults"])
            .arg("--message-format=json-render-diagnostics");
        let output = cargo::output_of(&mut build);
        let mut messages = output.lines().map(|line| {
            let message: Value = serde_json::from_str(line).unwrap();
            message["executable"].as_str().map(PathBuf::from)
        });
        messages.find_map(|executable| executable).unwrap()
    })
}

/// Makes the event that SQS delivers, of messages with an id and an instruction for the function.
fn batch(messages: &[(&str, Value)]) -> Value {
    let records = messages.iter().map(|(id, body)| {
        json!({
            "messageId": id,
            "receiptHandle": format!("handle-of-{id}"),
            "body": body.to_string(),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1780000000000"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
            "awsRegion": "eu-central-1"
        })
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

fn act(name: &str) -> Value {
    json!({ "do": name })
}

/// Much longer than the function may run.
fn endless(name: &str) -> Value {
    json!({ "do": name, "ms": 100 * TIMEOUT.as_millis() })
}

fn failed(ids: &[&str]) -> Answer {
    let failures = ids.iter().map(|id| json!({ "itemIdentifier": id }));
    Answer {
        status: 200,
        body: json!({ "batchItemFailures": failures.collect::<Vec<_>>() }).to_string(),
    }
}

/// Returns what the log reports about each attempt at the message: whether its process was new, and
/// the outcome.
fn outcomes(lambda: &Lambda, id: &str) -> Vec<(bool, String)> {
    let log = lambda.log();
    let lines = log
        .iter()
        .filter(|line| line["message"] == "record handled" && line["message_id"] == id);
    lines
        .map(|line| {
            let detail = line["kind"].as_str().or(line["outcome"].as_str());
            (
                line["cold_start"].as_bool().unwrap(),
                detail.unwrap().to_owned(),
            )
        })
        .collect()
}

/// Returns the effects, by message.
fn effects(lambda: &Lambda) -> Vec<String> {
    let log = lambda.log();
    let effects = log.iter().filter(|line| line["message"] == "effect");
    effects
        .map(|line| line["message_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_panic_is_its_records_failure_and_the_process_lives_on() {
    let lambda = Lambda::start("panics", faults());
    let event = batch(&[
        ("good", act("succeed")),
        ("panics", act("panic")),
        ("rejected", act("reject")),
        ("fails", act("fail")),
        ("malformed", act("no such thing")),
        ("also-good", act("succeed")),
    ]);
    let expected = failed(&["panics", "rejected", "fails", "malformed"]);
    assert_eq!(lambda.invoke(&event), expected);
    // The same process gets the batch again, and remembers what it has done.
    assert_eq!(lambda.invoke(&event), expected);
    assert_eq!(effects(&lambda), ["good", "also-good"]);
    let known = |outcomes: [&str; 2]| {
        let [first, second] = outcomes.map(str::to_owned);
        [(true, first), (false, second)]
    };
    assert_eq!(outcomes(&lambda, "good"), known(["ok", "duplicate"]));
    assert_eq!(outcomes(&lambda, "panics"), known(["panicked"; 2]));
    assert_eq!(outcomes(&lambda, "rejected"), known(["rejected"; 2]));
    assert_eq!(outcomes(&lambda, "fails"), known(["transient"; 2]));
    assert_eq!(outcomes(&lambda, "malformed"), known(["malformed"; 2]));
}

#[test]
fn a_slow_record_is_stopped_in_time_and_fails_alone() {
    let lambda = Lambda::start("waits", faults());
    let event = batch(&[("slow", endless("wait")), ("good", act("succeed"))]);
    assert_eq!(lambda.invoke(&event), failed(&["slow"]));
    // The lease was released, so the record can be tried again immediately, in the same process.
    let again = batch(&[("slow", endless("wait"))]);
    assert_eq!(lambda.invoke(&again), failed(&["slow"]));
    assert_eq!(effects(&lambda), ["good"]);
    let deadline = |cold| (cold, "deadline".to_owned());
    assert_eq!(outcomes(&lambda, "slow"), [deadline(true), deadline(false)]);
}

#[test]
fn a_record_that_blocks_the_thread_ends_with_the_invocation() {
    let lambda = Lambda::start("blocks", faults());
    let event = batch(&[("good", act("succeed")), ("stuck", endless("block"))]);
    let timed_out = Answer {
        status: 200,
        body: format!("Task timed out after {}.00 seconds", TIMEOUT.as_secs()),
    };
    assert_eq!(lambda.invoke(&event), timed_out);
    starts_anew(&lambda);
}

#[test]
fn an_exit_ends_the_invocation_and_the_next_one_gets_a_new_process() {
    crashes("exit", "Runtime exited with error: exit status 3");
}

#[test]
fn an_abort_ends_the_invocation_and_the_next_one_gets_a_new_process() {
    crashes("abort", "Runtime exited with error: signal: aborted");
}

fn crashes(how: &str, reason: &str) {
    let lambda = Lambda::start(how, faults());
    assert_eq!(
        lambda.invoke(&batch(&[("first", act("succeed"))])),
        failed(&[])
    );
    let answer = lambda.invoke(&batch(&[("good", act("succeed")), ("crash", act(how))]));
    assert_eq!(answer.status, 502);
    let error: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.ends_with(reason), "{message}");
    starts_anew(&lambda);
}

/// Checks that a new process handles the next batch as if nothing had happened.
fn starts_anew(lambda: &Lambda) {
    let event = batch(&[("next", act("succeed")), ("panics", act("panic"))]);
    assert_eq!(lambda.invoke(&event), failed(&["panics"]));
    assert_eq!(outcomes(lambda, "next"), [(true, "ok".to_owned())]);
    assert_eq!(lambda.invoke(&event), failed(&["panics"]));
    assert_eq!(
        outcomes(lambda, "next").last(),
        Some(&(false, "duplicate".to_owned()))
    );
}
