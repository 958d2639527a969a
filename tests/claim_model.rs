//! The claim protocol, exhaustively: every order of steps of a few workers with one key.

mod claim_model {
    pub(crate) mod model;
    pub(crate) mod mutation;
    pub(crate) mod store;

    /// How many ticks an invocation has after its first.
    const LEASE: u8 = 1;
    /// How many ticks clocks may be apart, and a lease outlasts its invocation.
    const MARGIN: u8 = 1;
}

use claim_model::{
    model::{ClaimModel, Scope, Step, World},
    mutation::Mutation,
    store::{Answer, CallKind},
};
use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Path};
use std::time::{Duration, Instant};

/// Two workers to whom much happens, and three to whom less does.
const SCOPES: [Scope; 2] = [
    Scope {
        workers: 2,
        faults: 2,
        stalls: 4,
    },
    Scope {
        workers: 3,
        faults: 1,
        stalls: 3,
    },
];

#[test]
fn every_order_of_steps_keeps_every_promise() {
    for scope in SCOPES {
        let started = Instant::now();
        let checker = check(scope, None, |builder| builder);
        report(scope, None, &checker, started.elapsed());
        assert!(checker.is_done());
        if let Some((property, path)) = checker.discoveries().into_iter().next() {
            panic!("broken: {property}\n{}", trace(path));
        }
        meets_everything(&checker.model().stores().answers().collect::<Vec<_>>());
    }
}

#[test]
fn every_mistake_is_seen() {
    for mutation in Mutation::ALL {
        let started = Instant::now();
        let property = mutation.breaks();
        let checker = check(SCOPES[0], Some(mutation), |builder| {
            builder.finish_when(HasDiscoveries::AnyOf([property].into()))
        });
        report(SCOPES[0], Some(mutation), &checker, started.elapsed());
        let Some(path) = checker.discovery(property) else {
            panic!("{mutation:?} was not seen to break: {property}");
        };
        println!("{mutation:?} breaks: {property}\n{}", trace(path));
    }
}

/// A model in which nobody is ever refused would keep its promises as well.
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

fn check(
    scope: Scope,
    mutation: Option<Mutation>,
    set: impl FnOnce(CheckerBuilder<ClaimModel>) -> CheckerBuilder<ClaimModel>,
) -> impl Checker<ClaimModel> {
    // Breadth first, so that what it finds is as short as can be.
    set(ClaimModel::new(scope, mutation).checker())
        .threads(2)
        .spawn_bfs()
        .join()
}

fn report(
    scope: Scope,
    mutation: Option<Mutation>,
    checker: &impl Checker<ClaimModel>,
    time: Duration,
) {
    let (stores, calls) = checker.model().stores().counts();
    println!(
        "{scope:?} {mutation:?}: {} states in {} steps, at most {} deep; {stores} states of the \
         store, {calls} different calls; {time:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
}

fn trace(path: Path<World, Step>) -> String {
    let steps = path.into_vec().into_iter();
    let lines = steps.map(|(world, step)| match step {
        Some(step) => format!("  {world}\n    {step:?}\n"),
        None => format!("  {world}\n"),
    });
    lines.collect()
}
