//! Transactions and the outbox on a DynamoDB: all of it once, or none of it.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod transactions {
    mod capacity;
    mod commits;
    mod composed;
    mod conflicts;
    mod meter;
    mod outbox;
    mod requests;
    mod world;
}
