//! What is promised holds in every run.

use super::shop::Scenario;
use surehand::testing::simulation::{self, Fault, Process, Summary};

const RUNS: u64 = 5_000;

fn show(what: &str, summary: &Summary) {
    println!("{what}: {summary:?}");
    for fault in Fault::ALL {
        assert!(summary.faults.contains_key(&fault), "{fault:?} was never met");
    }
}

#[test]
fn leases_keep_their_promises() {
    let summary = simulation::check(0..RUNS, |simulation| {
        Scenario::new(simulation).with_lease(Process::connect)
    });
    show("leases", &summary);
}

#[test]
fn transactions_keep_their_promises() {
    let summary = simulation::check(0..RUNS, |simulation| {
        Scenario::new(simulation).with_transaction(Process::connect)
    });
    show("transactions", &summary);
}
