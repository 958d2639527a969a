//! What the tests of several packages use.

mod known_failures;

pub use known_failures::{known_failure, known_failures};
