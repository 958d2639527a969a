//! The claim protocol, exhaustively: every order of steps of a few workers with one key.

mod claim_model {
    pub(crate) mod model;
    pub(crate) mod mutation;
    pub(crate) mod store;

    /// How many ticks an invocation has after its first.
    const LEASE: u8 = 1;
    /// How many ticks clocks may differ by, and how many a lease outlasts its invocation by.
    const MARGIN: u8 = 1;
}

use claim_model::{
    model::{ClaimModel, Scope, Step, World},
    mutation::Mutation,
    store::{Answer, CallKind},
};
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::time::Instant;

/// The scopes that take seconds: two workers with many events, and three with fewer.
const SCOPES: [Scope; 4] = [
    scope(2, 2, 2),
    scope(2, 1, 3),
    scope(3, 1, 1),
    scope(3, 0, 3),
];
/// The scopes that take minutes.
const WIDER_SCOPES: [Scope; 3] = [scope(2, 2, 4), scope(2, 3, 2), scope(3, 1, 3)];

const fn scope(workers: usize, faults: u8, stalls: u8) -> Scope {
    Scope {
        workers,
        faults,
        stalls,
    }
}

#[test]
fn every_order_of_steps_keeps_every_promise() {
    keep_every_promise(&SCOPES);
}

#[test]
#[ignore = "takes minutes"]
fn every_order_of_more_steps_keeps_every_promise() {
    keep_every_promise(&WIDER_SCOPES);
}

fn keep_every_promise(scopes: &[Scope]) {
    let mut answers = Vec::new();
    for scope in scopes {
        let checker = check(*scope, None);
        if let Some((property, path)) = checker.discoveries().into_iter().next() {
            panic!("broken: {property}\n{}", trace(path));
        }
        answers.extend(checker.model().stores().answers());
    }
    meets_everything(&answers);
}

#[test]
fn every_mistake_is_seen() {
    for mutation in Mutation::ALL {
        let property = mutation.breaks();
        let checker = check(SCOPES[0], Some(mutation));
        let Some(path) = checker.discovery(property) else {
            panic!("{mutation:?} was not seen to break: {property}");
        };
        println!("{mutation:?} breaks: {property}\n{}", trace(path));
    }
}

/// Checks that each answer occurred: a model in which no call is ever refused would keep its
/// promises as well.
fn meets_everything(answers: &[(CallKind, Answer)]) {
    let met = |kind, is: fn(&Answer) -> bool| answers.iter().any(|(k, a)| *k == kind && is(a));
    for kind in [CallKind::Claim, CallKind::Commit, CallKind::Find] {
        assert!(met(kind, |a| matches!(a, Answer::Held { .. })), "{kind:?}");
        assert!(met(kind, |a| *a == Answer::Completed), "{kind:?}");
    }
    for kind in [CallKind::Complete, CallKind::Release] {
        assert!(met(kind, |a| *a == Answer::Fenced), "{kind:?}");
        assert!(met(kind, |a| *a == Answer::Done), "{kind:?}");
    }
    assert!(met(CallKind::Claim, |a| *a == Answer::Acquired));
    assert!(met(CallKind::Commit, |a| *a == Answer::Done));
    assert!(met(CallKind::Find, |a| *a == Answer::Free));
}

/// Explores all states; for a mutation only until a property is broken.
fn check(scope: Scope, mutation: Option<Mutation>) -> impl Checker<ClaimModel> {
    let started = Instant::now();
    let finished = match mutation {
        Some(mutation) => HasDiscoveries::AnyOf([mutation.breaks()].into()),
        None => HasDiscoveries::AnyFailures,
    };
    // The search is breadth-first, so that the path that it finds is short.
    let checker = ClaimModel::new(scope, mutation)
        .checker()
        .threads(2)
        .finish_when(finished)
        .spawn_bfs()
        .join();
    let (stores, calls) = checker.model().stores().counts();
    let what = mutation.map_or("the protocol".into(), |mutation| format!("{mutation:?}"));
    println!(
        "{what}, {scope:?}: {} states, {} steps, depth {}; {stores} states of the store, {calls} \
         different calls; {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed(),
    );
    checker
}

fn trace(path: Path<World, Step>) -> String {
    let steps = path.into_vec().into_iter();
    let lines = steps.map(|(world, step)| match step {
        Some(step) => format!("  {world}\n    {step:?}\n"),
        None => format!("  {world}\n"),
    });
    lines.collect()
}
