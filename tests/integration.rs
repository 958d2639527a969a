//! The framework as functions use it: Lambda's events in, Lambda's responses out, without AWS.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod integration {
    mod batches;
    mod chaos;
    mod check;
    mod dead_letters;
    mod dispositions;
    mod fake_sqs;
    mod forms;
    mod interrupted;
    mod leases;
    mod malformed;
    mod metrics;
    mod panics;
    mod remote_store;
    mod replies;
    mod responses;
    mod round_trips;
    mod script;
    mod stores;
    mod time_limits;
}

// What other test targets use as well.
#[path = "support/dynamodb.rs"]
mod dynamodb;
#[path = "support/emf.rs"]
mod emf;
#[path = "support/fencing.rs"]
mod fencing;
