//! The framework as functions use it: Lambda's events in, Lambda's responses out, without AWS.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod integration {
    mod attempts;
    mod batches;
    mod chaos;
    mod check;
    mod dead_letters;
    mod dispositions;
    mod entities;
    mod fake_sqs;
    mod forms;
    mod identity;
    mod interrupted;
    mod layers;
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
    mod usual;
}
