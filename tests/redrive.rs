//! Dead letters put back under faults: nothing is lost, and nothing deleted that was not sent.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod redrive {
    mod crashes;
    mod destinations;
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
