//! Does a function still do everything once when processes die, calls are lost and clocks differ?
//!
//! A simulation runs it against a queue in virtual time, with faults that a seed decides. It checks after
//! each run that nothing is lost and nothing happens twice without a reason. `SUREHAND_SEED=7` repeats run 7.
//!
//! `cargo run -p surehand --example testing_with_faults --features testing`

use serde::{Deserialize, Serialize};
use std::time::Duration;
use surehand::{
    Envelope, Event, Function, IdempotencyKey, Sqs, State,
    testing::simulation::{self, Faults, Process, Queue},
};

#[derive(Serialize, Deserialize, Event)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    partition_key = "{customer}"
)]
struct OrderPlaced {
    customer: String,
}

/// Takes up to two seconds, in which anything can happen, and then has an effect.
async fn notify(
    _: Envelope<OrderPlaced>,
    key: IdempotencyKey,
    State(process): State<Process>,
) -> surehand::Result<()> {
    process.work(Duration::from_secs(2)).await;
    process.effect(&key);
    Ok(())
}

fn main() {
    let order = |customer: &str| OrderPlaced {
        customer: customer.to_owned(),
    };
    let run = |simulation: simulation::Simulation| {
        simulation
            .queue(Queue::fifo("orders.fifo").max_receive_count(5))
            .faults(Faults::all())
            .send(&order("ada"))
            .send(&order("ada"))
            .send(&order("bob"))
    };

    let summary = simulation::check(0..100, |simulation| {
        // `connect` gives the function the process's store, dead letters, redelivery and clock.
        let report = run(simulation)
            .run(|process| process.connect(Function::new(Sqs, notify, process.clone())));
        assert!(["e-1", "e-2", "e-3"].iter().all(|id| report.is_done(id)));
        report
    });
    println!(
        "{} invocations in {} runs, and nothing lost; faults: {:?}",
        summary.invocations, summary.runs, summary.faults
    );
    assert_eq!(summary.runs, 100);
}
