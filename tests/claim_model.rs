//! The claim protocol, exhaustively: every order of steps of a few workers with one key. Nothing is granted twice or
//! lost, and what is attempted is counted as the documents say it.

mod claim_model {
    pub(crate) mod ledger;
    pub(crate) mod model;
    pub(crate) mod mutation;
    pub(crate) mod promises;
    pub(crate) mod store;
    pub(crate) mod world;

    /// How many ticks an invocation has after its first.
    const LEASE: u8 = 1;
    /// How many ticks clocks may differ by, and how many a lease outlasts its invocation by.
    const MARGIN: u8 = 1;
    /// How many attempts a message has.
    const LIMIT: u8 = 2;
    /// How many ticks a completion is kept, and a count.
    const EXPIRES: u8 = 60;
    /// What was sent at 0 has waited by then, whatever the clocks show.
    pub(crate) const FIRST_TICK: u8 = MARGIN + 1;
}

use claim_model::{
    FIRST_TICK,
    model::ClaimModel,
    mutation::Mutation,
    store::{Answer, CallKind},
    world::{Kind, Scope, Step, World},
};
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::time::Instant;

/// Two workers with clocks that differ, and nothing but the protocol of claims.
const CLAIMS: Scope = Scope {
    workers: 2,
    kinds: &[Kind::Lease, Kind::Transaction],
    sent: &[0],
    ahead: 1,
    faults: 1,
    stalls: 2,
    redrives: 0,
    recurs: 0,
};

/// Attempts that are written down when they begin, at copies and at what was put back.
const ATTEMPTS: Scope = Scope {
    workers: 2,
    kinds: &[Kind::Begun],
    sent: &[0, FIRST_TICK],
    ahead: 0,
    faults: 2,
    stalls: 0,
    redrives: 1,
    recurs: 0,
};

/// The scopes that take seconds.
const SCOPES: [Scope; 9] = [
    CLAIMS,
    Scope {
        ahead: 0,
        faults: 2,
        stalls: 1,
        ..CLAIMS
    },
    Scope {
        workers: 3,
        faults: 0,
        ..CLAIMS
    },
    Scope {
        workers: 3,
        stalls: 0,
        ..CLAIMS
    },
    ATTEMPTS,
    Scope {
        workers: 3,
        faults: 1,
        redrives: 0,
        ..ATTEMPTS
    },
    // Clocks that differ, and leases beside it.
    Scope {
        kinds: &[Kind::Lease, Kind::Begun],
        sent: &[0],
        ahead: 1,
        faults: 1,
        stalls: 1,
        ..ATTEMPTS
    },
    // First attempts that are not seen.
    Scope {
        kinds: &[Kind::Transaction],
        sent: &[0],
        stalls: 1,
        ..ATTEMPTS
    },
    Scope {
        kinds: &[Kind::Lease, Kind::Transaction],
        sent: &[0],
        faults: 1,
        stalls: 1,
        recurs: 1,
        ..ATTEMPTS
    },
];

/// The scopes that take minutes.
const WIDER_SCOPES: [Scope; 5] = [
    Scope {
        faults: 2,
        ..CLAIMS
    },
    Scope {
        faults: 3,
        stalls: 1,
        ..CLAIMS
    },
    Scope {
        workers: 3,
        ..CLAIMS
    },
    Scope {
        ahead: 1,
        stalls: 1,
        ..ATTEMPTS
    },
    Scope {
        kinds: &[Kind::Lease, Kind::Begun],
        sent: &[0],
        stalls: 1,
        ..ATTEMPTS
    },
];

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
        let checker = check(scope_of(mutation), Some(mutation));
        let Some(path) = checker.discovery(property) else {
            panic!("{mutation:?} was not seen to break: {property}");
        };
        println!("{mutation:?} breaks: {property}\n{}", trace(path));
    }
}

/// A scope in which the mistake makes a difference.
fn scope_of(mutation: Mutation) -> Scope {
    use Mutation as M;
    match mutation {
        M::Unfenced | M::HeldIsFree | M::NoMargin | M::EndlessLease => CLAIMS,
        M::ForgetsAtOnce | M::EffectBeside => CLAIMS,
        M::RepeatsAreAttempts => Scope {
            kinds: &[Kind::Transaction],
            ..ATTEMPTS
        },
        M::FailuresAreNothing => Scope {
            kinds: &[Kind::Lease],
            ..ATTEMPTS
        },
        _ => ATTEMPTS,
    }
}

/// Checks that each answer occurred: a model in which no call is ever refused would keep its
/// promises as well.
fn meets_everything(answers: &[(CallKind, Answer)]) {
    let met = |kind: fn(&CallKind) -> bool, is: fn(&Answer) -> bool| {
        answers.iter().any(|(k, a)| kind(k) && is(a))
    };
    use CallKind as K;
    let kinds: [fn(&CallKind) -> bool; 4] = [
        |it| matches!(it, K::Claim { .. }),
        |it| matches!(it, K::Begin { .. }),
        |it| matches!(it, K::Commit),
        |it| matches!(it, K::Find),
    ];
    for (at, kind) in kinds.into_iter().enumerate() {
        let is_held = met(kind, |it| matches!(it, Answer::Held { .. }));
        let is_completed = met(kind, |it| *it == Answer::Completed);
        assert!(is_held && is_completed, "of a call of kind {at}");
    }
    for kind in &kinds[..2] {
        assert!(met(*kind, |it| matches!(it, Answer::Suspect { .. })));
    }
    let ends: [fn(&CallKind) -> bool; 2] = [
        |it| matches!(it, K::Complete),
        |it| matches!(it, K::Release { .. }),
    ];
    for kind in ends {
        assert!(met(kind, |it| *it == Answer::Fenced));
        assert!(met(kind, |it| *it == Answer::Done));
    }
    let failed = |it: &CallKind| matches!(it, K::Failed { .. });
    assert!(met(failed, |it| *it == Answer::Completed));
    assert!(met(failed, |it| *it == Answer::Counted(None)));
    assert!(met(failed, |it| matches!(it, Answer::Counted(Some(_)))));
    assert!(met(kinds[0], |it| matches!(
        it,
        Answer::Acquired { number: 2 }
    )));
    assert!(met(kinds[1], |it| matches!(it, Answer::Counted(Some(2)))));
    assert!(met(kinds[2], |it| *it == Answer::Done));
    assert!(met(kinds[3], |it| *it == Answer::Free));
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
