//! Entities on a DynamoDB: what is written of them, and what DynamoDB makes of it.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod tables {
    mod access;
    mod conditions;
    mod ends;
    mod entities;
    mod invalid;
    mod neighbours;
    mod queries;
    mod reads;
    mod updates;
    mod world;
    mod writes;
}
