//! Records that kill their process, and outages: nothing is parked that did not fail itself.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use surehand::{
    Envelope, Error, Event, Function, IdempotencyKey, Metadata, Result, Sqs, State, Transaction,
    testing::simulation::{self, Fault, Faults, Process, Queue, Report, Simulation},
};

const ATTEMPTS: u32 = 4;
const NEIGHBOURS: usize = 9;
/// Before this its handler does nothing, so that what dies takes all others along.
const WORK: Duration = Duration::from_secs(5);
const BLOCKED: Duration = Duration::from_secs(100);
const TIMEOUT: Duration = Duration::from_secs(120);
const KILLER: &str = "killer";
const BLOCKER: &str = "blocker";
const SLOW: &str = "slow";
const VICTIM: &str = "victim";
/// SQS's own limit, as in the shop.
const RECEIVES: u32 = 50;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    partition_key = "{customer}"
)]
struct OrderPlaced {
    customer: String,
}

/// How often the handler of each event was called, and how many run at once.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    runs: BTreeMap<String, u32>,
    running: usize,
    most: usize,
    /// How many that are well are done, and how many were at each call of the killer.
    done: usize,
    done_at_kill: Vec<usize>,
}

impl Runs {
    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, event: &str) {
        self.with(|it| *it.runs.entry(event.to_owned()).or_default() += 1);
    }

    fn of(&self, event: &str) -> u32 {
        self.with(|it| it.runs.get(event).copied().unwrap_or_default())
    }
}

type Shop = (Process, Runs);

async fn work(shop: &Shop, order: &OrderPlaced, event: &str) {
    let (process, runs) = shop;
    runs.begin(event);
    match order.customer.as_str() {
        customer if customer.starts_with(KILLER) => {
            runs.with(|it| it.done_at_kill.push(it.done));
            process.work(WORK / 2).await;
            process.die().await;
        }
        // Whoever comes meanwhile waits for the end of it, and is in one batch.
        BLOCKER => tokio::time::sleep(BLOCKED).await,
        customer if customer.starts_with(SLOW) => tokio::time::sleep(Duration::from_secs(20)).await,
        VICTIM if runs.of(event) == 1 => process.die().await,
        VICTIM => tokio::time::sleep(Duration::from_secs(10)).await,
        _ => {
            tokio::time::sleep(WORK).await;
            runs.with(|it| it.done += 1);
        }
    }
}

async fn notify(
    order: Envelope<OrderPlaced>,
    metadata: Metadata,
    key: IdempotencyKey,
    State(shop): State<Shop>,
) -> Result<()> {
    work(&shop, &order.data, &metadata.id).await;
    shop.0.effect(&key);
    Ok(())
}

async fn book(
    order: Envelope<OrderPlaced>,
    metadata: Metadata,
    State(shop): State<Shop>,
    tx: Transaction,
) -> Result<()> {
    tx.put_item("ledger", &json!({ "id": metadata.id }));
    work(&shop, &order.data, &metadata.id).await;
    Ok(())
}

fn order(number: usize) -> OrderPlaced {
    of(&format!("customer-{number}"))
}

fn of(customer: &str) -> OrderPlaced {
    OrderPlaced {
        customer: customer.to_owned(),
    }
}

/// One killer among nine that are well, all in one batch: each for the first time, or the killer for the second. It
/// is the event e-1 or e-2.
fn with_killer(simulation: Simulation, are_fresh: bool, faults: Faults) -> Simulation {
    let queue = Queue::standard("orders")
        .concurrency(1)
        .max_receive_count(RECEIVES);
    let simulation = simulation
        .queue(queue.full_batches())
        .faults(faults)
        .timeout(TIMEOUT);
    let both = match are_fresh {
        true => {
            let killer = simulation.send(&of(KILLER));
            // It comes back while the function is busy.
            killer.pause(TIMEOUT * 6 - BLOCKED / 2).send(&of(BLOCKER))
        }
        false => simulation.send(&of(BLOCKER)).send(&of(KILLER)),
    };
    (1..=NEIGHBOURS).fold(both, |it, number| it.send(&order(number)))
}

fn killer(are_fresh: bool) -> &'static str {
    if are_fresh { "e-1" } else { "e-2" }
}

/// Checks that the killer runs so often, and alone is parked.
fn check_killer(mut report: Report, runs: &Runs, killer: &str, runs_of_it: u32) -> Report {
    for message in report.messages().to_vec() {
        let Some(event) = &message.event_id else {
            continue;
        };
        let is_killer = event == killer;
        if message.is_redriven {
            report.expect(is_killer, format!("{event} was a dead letter"));
            continue;
        }
        let expected: &[Option<String>] = match is_killer {
            true => &[Some("interrupted".into())],
            false => &[],
        };
        report.expect(
            message.dead == expected,
            format!("{event} is dead as {:?}", message.dead),
        );
    }
    // And once more, after it was put back.
    let (killed, most) = (runs.of(killer), runs_of_it + 1);
    report.expect(
        killed == most,
        format!("the killer ran {killed} times, and {most} were expected"),
    );
    report
}

/// How often the neighbours were called at most.
fn most_runs(runs: &Runs) -> u32 {
    let neighbours = (3..=NEIGHBOURS + 2).map(|number| runs.of(&format!("e-{number}")));
    neighbours.max().unwrap_or_default()
}

fn killer_among_nine(are_fresh: bool, is_lease: bool) {
    // A death may be a neighbour's, so that one of a single attempt runs twice.
    for (attempts, deaths) in [(ATTEMPTS, ATTEMPTS), (1, 2)] {
        let most = Mutex::new(BTreeMap::<u32, u32>::new());
        simulation::check(0..200, |simulation| {
            let runs = Runs::default();
            let simulation = with_killer(simulation, are_fresh, Faults::none());
            let report = simulation.run(|process| {
                let shop = (process.clone(), runs.clone());
                let function = match is_lease {
                    true => Function::new(Sqs, notify, shop),
                    false => Function::new(Sqs, book, shop),
                };
                process.connect(function.max_attempts(attempts))
            });
            // Under a lease the first death is seen, and not before a transaction's second.
            let runs_of_it = deaths + u32::from(!is_lease);
            let mut report = check_killer(report, &runs, killer(are_fresh), runs_of_it);
            for message in report.messages().to_vec() {
                let is_effect = is_lease && !message.is_redriven;
                let event = message.event_id.clone().unwrap_or_default();
                report.expect(
                    !is_effect || message.effects == 1,
                    format!("{event} had {} effects", message.effects),
                );
            }
            let bound = match (are_fresh, is_lease) {
                // The killer is known, and runs when they are done.
                (true, true) => 1,
                // All are interrupted once, and run one by one then; or the killer's first death was not seen.
                (false, true) | (true, false) => 2,
                // Once unseen, once seen.
                (false, false) => 3,
            };
            let seen = most_runs(&runs);
            report.expect(
                seen <= bound,
                format!("a neighbour was called {seen} times, and {bound} are allowed"),
            );
            // What has not begun beside a killer is done before it runs once more.
            let done = runs.with(|it| it.done_at_kill.get(bound as usize).copied());
            report.expect(
                !are_fresh || done == Some(NEIGHBOURS),
                format!("{done:?} were done before call {} of the killer", bound + 1),
            );
            let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
            *most.entry(seen).or_default() += 1;
            report
        });
        println!(
            "{attempts} attempts, fresh neighbours: {are_fresh}, lease: {is_lease}; runs by the calls of the neighbour that was called most: {:?}",
            most.lock().unwrap_or_else(PoisonError::into_inner)
        );
    }
}

#[test]
fn a_killer_among_nine_fresh_ones_under_a_lease() {
    killer_among_nine(true, true);
}

#[test]
fn a_killer_among_nine_that_it_interrupted_under_a_lease() {
    killer_among_nine(false, true);
}

#[test]
fn a_killer_among_nine_fresh_ones_in_a_transaction() {
    killer_among_nine(true, false);
}

#[test]
fn a_killer_among_nine_that_it_interrupted_in_a_transaction() {
    killer_among_nine(false, false);
}

/// Each message has its effect once, and none is dead.
fn each_once(mut report: Report) -> Report {
    for message in report.messages().to_vec() {
        let event = message.event_id.clone().unwrap_or_default();
        report.expect(
            message.dead.is_empty() && message.effects == 1,
            format!("{event}: {:?}, {} effects", message.dead, message.effects),
        );
    }
    report
}

/// Six killers among four that are well, all in one batch, with the shop's attempts and receives.
fn several_killers(is_lease: bool) {
    const KILLERS: u32 = 6;
    const SHOPS_ATTEMPTS: u32 = 10;
    simulation::check(0..50, |simulation| {
        let runs = Runs::default();
        let queue = Queue::standard("orders")
            .concurrency(1)
            .max_receive_count(RECEIVES);
        let simulation = simulation.queue(queue.full_batches()).timeout(TIMEOUT);
        let simulation = (1..=KILLERS).fold(simulation.send(&of(BLOCKER)), |it, number| {
            it.send(&of(&format!("{KILLER}-{number}")))
        });
        let simulation = (1..=4).fold(simulation, |it, number| it.send(&order(number)));
        let mut report = simulation.run(|process| {
            let shop = (process.clone(), runs.clone());
            let function = match is_lease {
                true => Function::new(Sqs, notify, shop),
                false => Function::new(Sqs, book, shop),
            };
            process.connect(function.max_attempts(SHOPS_ATTEMPTS))
        });
        let killers: Vec<String> = (2..2 + KILLERS).map(|it| format!("e-{it}")).collect();
        for message in report.messages().to_vec() {
            let event = message.event_id.clone().unwrap_or_default();
            let is_killer = killers.contains(&event);
            let expected: &[Option<String>] = match is_killer && !message.is_redriven {
                true => &[Some("interrupted".into())],
                false => &[],
            };
            report.expect(
                message.dead == expected,
                format!("{event} is dead as {:?}", message.dead),
            );
            // The first death in a transaction is not seen; under a lease it may come before the handler is called. Once
            // each runs after it was put back.
            let (called, most) = (runs.of(&event), SHOPS_ATTEMPTS + u32::from(!is_lease) + 1);
            report.expect(
                !is_killer || called == most || (is_lease && called == most - 1),
                format!("{event} ran {called} times, and {most} were expected"),
            );
        }
        report
    });
}

#[test]
fn six_killers_of_one_batch_are_each_parked_once_with_a_reason_under_a_lease() {
    several_killers(true);
}

#[test]
fn six_killers_of_one_batch_are_each_parked_once_with_a_reason_in_a_transaction() {
    several_killers(false);
}

/// What is behind a killer in its group is received as often as it, and may be one too. With each of its attempts,
/// and when it is parked, a killer uses up a receive of all that follows.
#[test]
fn killers_in_a_row_of_one_group_share_their_receives() {
    const KILLERS: u32 = 3;
    simulation::check(0..200, |simulation| {
        let runs = Runs::default();
        let queue = Queue::fifo("orders.fifo")
            .concurrency(1)
            .max_receive_count(KILLERS * (ATTEMPTS + 1));
        let simulation = simulation.queue(queue.full_batches()).timeout(TIMEOUT);
        let simulation = (0..KILLERS).fold(simulation, |it, _| it.send(&of(KILLER)));
        let simulation = (1..=2).fold(simulation, |it, number| it.send(&order(number)));
        let mut report = simulation.run(|process| {
            let shop = (process.clone(), runs.clone());
            process.connect(Function::new(Sqs, notify, shop).max_attempts(ATTEMPTS))
        });
        for message in report.messages().to_vec() {
            let event = message.event_id.clone().unwrap_or_default();
            let is_killer = ["e-1", "e-2", "e-3"].contains(&event.as_str());
            let is_parked = message
                .dead
                .iter()
                .all(|it| it.as_deref() == Some("interrupted"));
            report.expect(
                is_parked && message.dead.is_empty() != (is_killer && !message.is_redriven),
                format!("{event} is dead as {:?}", message.dead),
            );
        }
        report
    });
}

/// Ten that each kill their process the first two times. Once they died together they are suspects, and run one by one.
#[test]
fn ten_suspects_at_once() {
    async fn kill_twice(
        _: Envelope<OrderPlaced>,
        metadata: Metadata,
        key: IdempotencyKey,
        State((process, runs)): State<Shop>,
    ) -> Result<()> {
        runs.begin(&metadata.id);
        process.work(Duration::from_secs(1)).await;
        if runs.of(&metadata.id) <= 2 {
            process.die().await;
        }
        process.effect(&key);
        Ok(())
    }
    simulation::check(0..200, |simulation| {
        let runs = Runs::default();
        let queue = Queue::standard("orders")
            .concurrency(1)
            .max_receive_count(RECEIVES);
        let simulation = simulation.queue(queue).faults(Faults::none());
        let simulation = (0..10).fold(simulation, |it, number| it.send(&order(number)));
        each_once(simulation.run(|process| {
            let shop = (process.clone(), runs.clone());
            // One may die with a neighbour before its own handler is called.
            process.connect(Function::new(Sqs, kill_twice, shop).max_attempts(4))
        }))
    });
}

/// For a quarter of an hour it has neighbours that take two thirds of the time.
#[test]
fn a_suspect_is_not_parked_for_the_time_that_its_neighbours_take() {
    simulation::check(0..50, |simulation| {
        let runs = Runs::default();
        let queue = Queue::standard("orders")
            .concurrency(1)
            .max_receive_count(RECEIVES);
        let simulation = simulation.queue(queue.full_batches()).send(&of(VICTIM));
        let simulation = (0..90).fold(simulation, |it, number| {
            let it = it.pause(Duration::from_secs(10));
            it.send(&of(&format!("{SLOW}-{number}")))
        });
        each_once(simulation.run(|process| {
            let shop = (process.clone(), runs.clone());
            process.connect(Function::new(Sqs, notify, shop).max_attempts(ATTEMPTS))
        }))
    });
}

/// What the handler needs does not answer for half an hour, and of a batch one record at a time is handled.
#[test]
fn a_dependency_that_hangs_for_half_an_hour_parks_nothing() {
    const OUTAGE: Duration = Duration::from_secs(30 * 60);
    async fn call(
        order: Envelope<OrderPlaced>,
        key: IdempotencyKey,
        State((process, _)): State<Shop>,
    ) -> Result<()> {
        let sent = order.metadata.time.unwrap_or(std::time::UNIX_EPOCH);
        let since = process.clock().now().duration_since(sent);
        if since.unwrap_or_default() < OUTAGE {
            std::future::pending::<()>().await;
        }
        process.effect(&key);
        Ok(())
    }
    for is_fifo in [false, true] {
        simulation::check(0..10, |simulation| {
            let queue = match is_fifo {
                true => Queue::fifo("orders.fifo"),
                false => Queue::standard("orders"),
            };
            let queue = queue.concurrency(1).max_receive_count(RECEIVES);
            let simulation = simulation.queue(queue.batch_size(100).full_batches());
            let simulation = (0..80).fold(simulation, |it, number| it.send(&order(number)));
            each_once(simulation.run(|process| {
                let shop = (process.clone(), Runs::default());
                process.connect(Function::new(Sqs, call, shop).concurrency(1))
            }))
        });
    }
}

/// What the handler needs is down for twenty minutes.
#[test]
fn an_outage_of_twenty_minutes_parks_nothing() {
    const OUTAGE: Duration = Duration::from_secs(20 * 60);
    async fn call(
        order: Envelope<OrderPlaced>,
        metadata: Metadata,
        key: IdempotencyKey,
        State((process, runs)): State<Shop>,
    ) -> Result<()> {
        runs.begin(&metadata.id);
        let since = process
            .clock()
            .now()
            .duration_since(order.metadata.time.unwrap_or(std::time::UNIX_EPOCH));
        if since.unwrap_or_default() < OUTAGE {
            return Err(Error::transient("connection refused"));
        }
        process.effect(&key);
        Ok(())
    }
    for is_fifo in [false, true] {
        simulation::check(0..20, |simulation| {
            let runs = Runs::default();
            let queue = match is_fifo {
                true => Queue::fifo("orders.fifo"),
                false => Queue::standard("orders"),
            };
            let queue = queue.concurrency(2).max_receive_count(50);
            let simulation = simulation
                .queue(queue)
                .faults(Faults::only([Fault::ClockSkew]));
            let simulation = (0..50).fold(simulation, |it, number| it.send(&order(number % 20)));
            each_once(simulation.run(|process| {
                process.connect(Function::new(Sqs, call, (process.clone(), runs.clone())))
            }))
        });
    }
}

/// What runs into its deadline is stopped by a process that lives: it is no suspect, and runs beside others again.
#[test]
fn what_was_stopped_at_the_deadline_runs_beside_others() {
    async fn wait(
        order: Envelope<OrderPlaced>,
        metadata: Metadata,
        key: IdempotencyKey,
        State((process, runs)): State<Shop>,
    ) -> Result<()> {
        let _ = order;
        runs.begin(&metadata.id);
        if runs.of(&metadata.id) <= 2 {
            std::future::pending::<()>().await;
        }
        runs.with(|it| {
            it.running += 1;
            it.most = it.most.max(it.running);
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        runs.with(|it| it.running -= 1);
        process.effect(&key);
        Ok(())
    }
    let most = Mutex::new(0);
    simulation::check(0..50, |simulation| {
        let runs = Runs::default();
        let queue = Queue::standard("orders")
            .concurrency(1)
            .max_receive_count(50);
        let simulation = simulation.queue(queue).faults(Faults::none());
        let simulation = (0..20).fold(simulation, |it, number| it.send(&order(number)));
        let report = simulation.run(|process| {
            process.connect(Function::new(Sqs, wait, (process.clone(), runs.clone())))
        });
        let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
        *most = runs.with(|it| it.most).max(*most);
        report
    });
    let most = most.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(
        most > 1,
        "records that were stopped at the deadline run one by one"
    );
}

/// The killer, and everything else that can go wrong.
#[test]
fn killers_keep_the_promises_under_all_faults() {
    for is_lease in [true, false] {
        simulation::check(0..200, |simulation| {
            let runs = Runs::default();
            let simulation = with_killer(simulation, false, Faults::all());
            simulation.run(|process| {
                let shop = (process.clone(), runs.clone());
                let function = match is_lease {
                    true => Function::new(Sqs, notify, shop),
                    false => Function::new(Sqs, book, shop),
                };
                process.connect(function.max_attempts(ATTEMPTS))
            })
        });
    }
}
