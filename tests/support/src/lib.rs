//! What the tests of several packages use.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]
#![allow(missing_docs, reason = "the tests are its only readers")]

pub mod cargo;
pub mod dynamodb;
pub mod emf;
pub mod fencing;
#[path = "../../../fuzz/src/lib.rs"]
pub mod fuzz;
mod known_failures;
pub mod proxy;
pub mod run;
pub mod sqs;

pub use known_failures::{known_failure, known_failures};
