//! The runs must find what is broken on purpose.

use super::{crashes::run, world::Mutation};
use std::panic::catch_unwind;

fn is_caught(mutation: Mutation) -> bool {
    (0..60).any(|seed| catch_unwind(|| run(seed, Some(mutation))).is_err())
}

#[test]
fn deleting_before_the_send_is_confirmed_is_caught() {
    assert!(is_caught(Mutation::DeleteBeforeConfirm));
}

#[test]
fn ignoring_partial_failures_is_caught() {
    assert!(is_caught(Mutation::IgnorePartialFailures));
}

#[test]
fn reusing_the_deduplication_id_is_caught() {
    assert!(is_caught(Mutation::ReuseDeduplicationId));
}
