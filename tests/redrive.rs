//! Dead letters put back under faults: nothing is lost, and nothing deleted that was not sent.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod redrive {
    mod crashes;
    mod destinations;
    mod function;
    mod journal;
    mod letters;
    mod live;
    mod mutations;
    mod order;
    mod services;
    mod sqs;
    mod trouble;
    mod world;
}

// What other test targets use as well.
#[expect(dead_code, reason = "of the tools only SQS is wanted")]
#[path = "support/cargo.rs"]
mod cargo;
#[path = "support/dynamodb.rs"]
mod dynamodb;
#[path = "support/sqs.rs"]
mod sqs;
