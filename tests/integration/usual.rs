//! The usual function of each source, made from the environment.

use serde_json::Value;
use std::{env, process::Command};
use surehand::{
    Direct, DynamoDbStream, EventBridge, Function, Json, MemoryStore, Result, Sqs,
    description::{Description, Use},
    outbox::OutboxStream,
    source::Source,
};

/// Says to the second test which function it is to make.
const FUNCTION: &str = "SUREHAND_USUAL";

/// What the second test prints, in a process with this environment alone.
fn said(function: &str, variables: &[(&str, &str)]) -> String {
    // The environment of a process is the same for all of its tests.
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "integration::usual::made"])
        .env_clear()
        .env(FUNCTION, function)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let said = out.lines().find_map(|line| line.strip_prefix("made: "));
    said.unwrap_or_else(|| panic!("{out}{}", String::from_utf8_lossy(&output.stderr)))
        .to_owned()
}

fn described(function: &str) -> Description {
    serde_json::from_str(&said(function, &[("SUREHAND_DESCRIBE", "1")])).unwrap()
}

async fn handle(_: Json<Value>) -> Result<()> {
    Ok(())
}

fn say<So: Source>(function: Result<Function<So>>) {
    // The harness has begun a line.
    println!();
    match function {
        Ok(function) => println!(
            "made: {}",
            serde_json::to_string(&function.describe()).unwrap()
        ),
        Err(error) => println!("made: {}: {error}", error.kind()),
    }
}

#[tokio::test]
async fn made() {
    match env::var(FUNCTION).as_deref() {
        Ok("sqs") => say(Function::from_env(Sqs, handle, ()).await),
        Ok("eventbridge") => say(Function::from_env(EventBridge, handle, ()).await),
        Ok("stream") => say(Function::from_env(DynamoDbStream, handle, ()).await),
        Ok("direct") => say(Function::from_env(Direct, handle, ()).await),
        Ok("outbox") => say(Function::from_env(OutboxStream, handle, ()).await),
        Ok("claims in memory") => {
            let function = Function::from_env(Sqs, handle, ()).await;
            say(function.map(|function| function.idempotent(MemoryStore::new())));
        }
        _ => {}
    }
}

/// The store, the destination of dead letters, what delays a redelivery, and the required variables.
fn parts(function: &Description) -> (&str, &str, &str, Vec<&str>) {
    let store = function.idempotency.as_ref().map(|it| it.store.as_str());
    let dead_letters = function.dead_letters.as_ref();
    let required = function.variables.iter().filter(|it| it.required);
    (
        store.unwrap_or("none"),
        dead_letters.map_or("none", |it| it.destination.as_str()),
        function.redelivery.as_deref().unwrap_or("none"),
        required.map(|it| it.name.as_str()).collect(),
    )
}

#[test]
fn a_source_says_what_its_usual_function_has() {
    let function = described("sqs");
    let queue = vec!["DEAD_LETTER_QUEUE_URL", "IDEMPOTENCY_TABLE"];
    assert_eq!(parts(&function), ("dynamodb", "sqs", "sqs", queue.clone()));
    let variables = function.variables.iter();
    let uses: Vec<_> = variables
        .map(|it| (it.name.as_str(), it.uses.as_slice()))
        .collect();
    assert_eq!(
        uses,
        [
            ("DEAD_LETTER_QUEUE_URL", &[Use::DeadLetterQueue][..]),
            ("IDEMPOTENCY_TABLE", &[Use::IdempotencyTable]),
            ("MAX_ATTEMPTS", &[Use::MaxAttempts]),
            ("MAX_BACKOFF_S", &[Use::MaxBackoff]),
        ]
    );
    for source in ["eventbridge", "stream", "direct"] {
        let function = described(source);
        let claims = ("dynamodb", "none", "none", vec!["IDEMPOTENCY_TABLE"]);
        assert_eq!(parts(&function), claims, "{source}");
    }
    let function = described("outbox");
    assert_eq!(parts(&function), ("none", "none", "none", vec![]));
    let function = described("claims in memory");
    assert_eq!(parts(&function), ("memory", "sqs", "sqs", queue));
}

#[test]
fn a_variable_that_the_usual_function_misses_is_named() {
    let missing = |name: &str| {
        format!(
            "invocation: the environment variable {name} is not set: declare it in the function's template"
        )
    };
    let table = ("IDEMPOTENCY_TABLE", "claims");
    let aws = ("AWS_REGION", "eu-central-1");
    assert_eq!(said("direct", &[aws]), missing("IDEMPOTENCY_TABLE"));
    assert_eq!(said("sqs", &[aws]), missing("IDEMPOTENCY_TABLE"));
    assert_eq!(said("sqs", &[aws, table]), missing("DEAD_LETTER_QUEUE_URL"));
    assert_eq!(
        said("direct", &[aws, ("IDEMPOTENCY_TABLE", "")]),
        "invocation: the environment variable IDEMPOTENCY_TABLE is empty: give it a value in the function's template"
    );
    let arn = ("DEAD_LETTER_QUEUE_URL", "arn:aws:sqs:eu-central-1:1:dead");
    assert_eq!(
        said("sqs", &[aws, table, arn]),
        "invocation: the environment variable DEAD_LETTER_QUEUE_URL is `arn:aws:sqs:eu-central-1:1:dead`, which is not a URL: set it to the queue's URL (`!Ref` of the queue), not to its ARN or name"
    );
    let queue = ("DEAD_LETTER_QUEUE_URL", "https://sqs.local/1/dead");
    let count = ("MAX_ATTEMPTS", "none");
    assert_eq!(
        said("sqs", &[aws, table, queue, count]),
        "invocation: the environment variable MAX_ATTEMPTS is `none`, which is not a positive number: set it to the number of attempts after which a record is parked"
    );
}
