//! What is promised holds in every run.

use super::shop::Scenario;
use surehand::{
    outbox::OutboxStream,
    testing::simulation::{self, Fault, Process, Simulation, Summary},
};

pub(crate) const RUNS: u64 = 5_000;
/// Each seed makes two runs: that of the queue, and that of the stream.
const RELAY_RUNS: u64 = 1_500;

/// The faults that only a relay meets.
const PUBLISHING: [Fault; 4] = [
    Fault::PublishRefused,
    Fault::PublishAnswerLost,
    Fault::PublishHangs,
    Fault::PublishRefusedForGood,
];

/// A fault that is never met proves nothing.
fn check_faults(what: &str, summary: &Summary, not_met: &[Fault]) {
    println!("{what}: {summary:?}");
    for fault in Fault::ALL {
        let is_met = summary.faults.contains_key(&fault);
        assert_eq!(is_met, !not_met.contains(&fault), "{fault:?}");
    }
}

#[test]
fn leases_keep_their_promises() {
    let summary = simulation::check(0..RUNS, |simulation| {
        Scenario::new(simulation).with_lease(Process::connect)
    });
    // Only commits meet conflicts.
    let not_met = [&PUBLISHING[..], &[Fault::StoreConflict]].concat();
    check_faults("leases", &summary, &not_met);
}

#[test]
fn parking_keeps_its_promises() {
    let summary = simulation::check(0..RUNS, |simulation| {
        Scenario::new(simulation).with_parking(Process::store)
    });
    let not_met = [&PUBLISHING[..], &[Fault::StoreConflict]].concat();
    check_faults("parking", &summary, &not_met);
}

#[test]
fn transactions_keep_their_promises() {
    let summary = simulation::check(0..RUNS, |simulation| {
        Scenario::new(simulation).with_transaction(Process::connect)
    });
    check_faults("transactions", &summary, &PUBLISHING);
}

#[test]
fn the_relay_keeps_its_promises() {
    let summary = simulation::check(0..RELAY_RUNS, |simulation| {
        Scenario::new(simulation).with_relay(|| OutboxStream, Process::outbox)
    });
    check_faults("relay", &summary, &[]);
}

/// A delivery is a duplicate even if its handler would not repeat its effect.
#[test]
fn what_was_committed_is_not_rejected_afterwards() {
    simulation::check(0..1_000, |simulation| {
        Scenario::new(simulation).with_refusals()
    });
}

#[test]
fn a_seed_makes_the_same_run_again() {
    for seed in 0..100 {
        let run = || Scenario::new(Simulation::new(seed));
        let leases = [(); 2].map(|()| run().with_lease(Process::connect));
        assert_eq!(leases[0].trace(), leases[1].trace());
        let transactions = [(); 2].map(|()| run().with_transaction(Process::connect));
        assert_eq!(transactions[0].trace(), transactions[1].trace());
        assert_ne!(leases[0].trace(), transactions[0].trace());
    }
}
