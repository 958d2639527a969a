//! Replies of direct invocations that are too large to keep.

use super::check::{context_at, respond, virtual_clock};
use serde_json::{Value, json};
use std::time::Duration;
use surehand::{Direct, ErrorKind, Function, Idempotency, Json, MemoryStore, Result};

/// More than DynamoDB would take; below it the reply is kept whole.
const TOO_LARGE: usize = 350 * 1024;

async fn echo(request: Json<Value>) -> Result<String> {
    let bytes = request.0["bytes"].as_u64().unwrap();
    // The quotes are a part of the reply.
    Ok("x".repeat(usize::try_from(bytes).unwrap() - 2))
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_kept_up_to_350_kb_and_beyond_that_its_duplicate_says_so() {
    let clock = virtual_clock();
    let once = Idempotency::new(MemoryStore::new().with_clock(clock.clone()))
        .clock(clock.clone())
        .key(|request: Json<Value>| request.0["bytes"].to_string());
    let function = Function::new(Direct, echo, ())
        .idempotent(once)
        .clock(clock.clone());
    for (bytes, is_kept) in [(TOO_LARGE, true), (TOO_LARGE + 1, false)] {
        let request = json!({ "bytes": bytes }).to_string();
        let call = || {
            respond(
                &function,
                &request,
                context_at(&clock, Duration::from_secs(3)),
            )
        };
        let first = call().await.unwrap();
        assert_eq!(first.as_str().unwrap().len(), bytes - 2);
        match call().await {
            Ok(again) => assert!(is_kept && again == first),
            Err(error) => {
                assert!(!is_kept, "{error}");
                assert_eq!(error.kind(), ErrorKind::Rejected);
                let size = format!("its reply of {bytes} bytes was too large to be kept");
                assert!(error.to_string().contains(&size), "{error}");
                assert!(error.to_string().contains("sha256:"), "{error}");
            }
        }
    }
}
