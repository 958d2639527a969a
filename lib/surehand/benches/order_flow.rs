//! What an order costs the function that reserves its stock: under a lease, in a transaction of its
//! own, and in one that it shares with the other orders of its batch.
//!
//! `cargo bench -p surehand --bench order_flow`. The store is an embedded DynamoDB in a process of its
//! own, reached over HTTP by AWS's client, so that what the function computes and what the store
//! does are told apart. All ways are measured in one run, in turns.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing else to say"
)]

mod order_flow {
    pub(crate) mod flow;
    pub(crate) mod grouped;
    pub(crate) mod orders;
    pub(crate) mod store;
}

use order_flow::{flow::Flow, grouped::Grouped, orders, store::Store};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

const BATCHES: u64 = 300;
const WARM_UP: u64 = 30;

/// One way to handle a batch.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Lease,
    LeaseDuplicates,
    Transaction,
    TransactionDuplicates,
    Relay,
    Alone { refused: bool },
    Grouped { refused: bool },
}

const WAYS: [(Way, &str); 9] = [
    (Way::Lease, "lease"),
    (Way::LeaseDuplicates, "lease, duplicates"),
    (Way::Transaction, "transaction"),
    (Way::TransactionDuplicates, "transaction, duplicates"),
    (Way::Relay, "relay of the transactions' events"),
    (
        Way::Alone { refused: false },
        "bare client, ten transactions",
    ),
    (
        Way::Grouped { refused: false },
        "bare client, one for all ten",
    ),
    (Way::Alone { refused: true }, "the ten, one refused"),
    (
        Way::Grouped { refused: true },
        "the one, one record refused",
    ),
];

/// The cost of the batches of one way.
#[derive(Default)]
struct Cost {
    calls: usize,
    function: Duration,
    store: Duration,
    times: Vec<Duration>,
}

fn main() {
    if std::env::args().any(|argument| argument == order_flow::store::SERVE) {
        return order_flow::store::serve();
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut store = Store::start();
        let costs = measure(&mut store).await;
        print(costs);
    });
}

async fn measure(store: &mut Store) -> [Cost; WAYS.len()] {
    let (client, calls) = store.client();
    order_flow::store::fill(&client).await;
    let flow = Flow::new(&client);
    let grouped = Grouped::new(client);
    let mut costs: [Cost; WAYS.len()] = Default::default();
    for batch in 0..WARM_UP + BATCHES {
        for ((way, _), cost) in WAYS.iter().zip(&mut costs) {
            let waiting = match way {
                Way::Relay => flow.waiting().await,
                _ => Vec::new(),
            };
            calls.take();
            let (before, store_before) = (cpu(), store.cpu());
            let start = Instant::now();
            match way {
                Way::Lease | Way::LeaseDuplicates => flow.lease(batch).await,
                Way::Transaction | Way::TransactionDuplicates => flow.commit(batch).await,
                Way::Relay => flow.relay(&waiting).await,
                Way::Alone { refused } => grouped.alone(batch, *refused).await,
                Way::Grouped { refused } => grouped.together(batch, *refused).await,
            }
            let time = start.elapsed();
            let (after, store_after) = (cpu(), store.cpu());
            if batch >= WARM_UP {
                cost.calls += calls.take();
                cost.function += after - before;
                cost.store += store_after - store_before;
                cost.times.push(time);
            }
        }
    }
    costs
}

/// Returns the process's own processor time, so that other work of the machine does not count.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

fn print(costs: [Cost; WAYS.len()]) {
    let records = BATCHES * orders::RECORDS;
    println!("{BATCHES} batches of {} orders each way\n", orders::RECORDS);
    println!("| | calls a record | function, µs a record | store, µs a record | batch, ms |");
    println!("|---|---|---|---|---|");
    for ((_, name), mut cost) in WAYS.iter().zip(costs) {
        cost.times.sort_unstable();
        let batch = cost.times[cost.times.len() / 2].as_secs_f64() * 1e3;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / records as f64;
        println!(
            "| {name} | {} | {:.0} | {:.0} | {batch:.1} |",
            cost.calls as f64 / records as f64,
            each(cost.function),
            each(cost.store),
        );
    }
}
