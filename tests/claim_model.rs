//! The claim protocol, exhaustively: every order of steps of a few workers with one key. Nothing is granted twice or
//! lost, and what is attempted is counted as the documents say it.

mod claim_model {
    pub(crate) mod ledger;
    pub(crate) mod model;
    pub(crate) mod mutation;
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
    model::{ClaimModel, Scope},
    mutation::Mutation,
    store::{Answer, CallKind},
    world::{Kind, Step, World},
};
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::time::Instant;

const KINDS: [Kind; 2] = [Kind::Lease, Kind::Transaction];

/// The scopes that take seconds.
const SCOPES: [Scope; 4] = [
    scope(2, 2, 1),
    scope(2, 1, 3),
    scope(3, 1, 1),
    scope(3, 0, 3),
];
/// The scopes that take minutes.
const WIDER_SCOPES: [Scope; 3] = [scope(2, 2, 4), scope(2, 3, 2), scope(3, 1, 3)];

const fn scope(workers: usize, faults: u8, stalls: u8) -> Scope {
    Scope {
        workers,
        kinds: &KINDS,
        sent: &[0],
        ahead: 1,
        faults,
        stalls,
        redrives: 0,
        recurs: 0,
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

#[test]
#[ignore = "probe"]
fn probe() {
    let text = std::env::var("PROBE").unwrap();
    for one in text.split(' ') {
        let p: Vec<&str> = one.split(',').collect();
        let kinds: Vec<Kind> = p[1]
            .chars()
            .map(|c| match c {
                'L' => Kind::Lease,
                'T' => Kind::Transaction,
                _ => Kind::Begun,
            })
            .collect();
        let sent: Vec<u8> = p[2]
            .chars()
            .map(|c| if c == '0' { 0 } else { FIRST_TICK })
            .collect();
        let n = |i: usize| p[i].parse::<u8>().unwrap();
        let scope = Scope {
            workers: n(0).into(),
            kinds: Box::leak(kinds.into_boxed_slice()),
            sent: Box::leak(sent.into_boxed_slice()),
            faults: n(3),
            stalls: n(4),
            redrives: n(5),
            recurs: n(6),
            ahead: n(7),
        };
        let t = Instant::now();
        let checker = check(scope, None);
        println!("{one}: {} {:?}", checker.unique_state_count(), t.elapsed());
        if let Some((property, path)) = checker.discoveries().into_iter().next() {
            println!("broken: {property}\n{}", trace(path));
        }
    }
}
