//! Dead letters put back under faults: nothing is lost, and nothing deleted that was not sent.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod redrive {
    mod crashes;
    mod journal;
    mod letters;
    mod live;
    mod mutations;
    mod order;
    mod trouble;
    mod world;
}
