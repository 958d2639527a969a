//! Processes that die in the middle of their work, while orders keep coming.
//!
//! `SUREHAND_KILLS=1000 cargo test --workspace --test emulator -- --nocapture` kills so many, and
//! says what became of it.
//!
//! What is in the table is there once, whatever happens. A mail is not: SES knows no token that would
//! make the second attempt the first, so a process that dies after SES took a mail and before the
//! claim was completed mails once more, and so does one whose time runs out there. No more than the
//! records of batches that were lost or returned can be concerned.
//!
//! audit is spared: a rule invokes it asynchronously, which Lambda tries three times and the emulator
//! once.

use super::{
    books::Books,
    dev::{Dev, Unfinished},
    order::{self, BOOK_CENTS, line},
    processes::{self, FunctionProcess},
    shop::{self, Message, Shop},
};
use serde_json::Value;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How many processes are killed, unless the environment variable `SUREHAND_KILLS` is set.
const KILLS: usize = 200;

/// How many batches must be lost by then.
const BATCHES: usize = 10;

/// How long the kills may take.
fn hunt(kills: usize) -> Duration {
    Duration::from_secs(90) + Duration::from_millis(1_500) * u32::try_from(kills).unwrap()
}

/// Returns how many processes are killed in this run.
pub(crate) fn number() -> usize {
    match std::env::var("SUREHAND_KILLS") {
        Ok(number) => number.parse().expect("SUREHAND_KILLS is a number"),
        Err(_) => KILLS,
    }
}

/// How many customers there are: a lost batch holds up the ledgers of all its customers, so there
/// must be others.
const CUSTOMERS: usize = 100;
const STOCK: i64 = 1_000_000;

/// The most messages of a batch.
const BATCH: usize = 10;

/// How many requests are sent concurrently, and how long each sender rests between two.
const CONCURRENCY: usize = 4;
const REST: Duration = Duration::from_millis(150);

/// The pause between two sweeps; with a minute there would be nothing to kill.
const SWEEPS: Duration = Duration::from_millis(300);

/// The least that SQS takes: the emulator is slow, and functions that wait for it run out of time.
const READERS: i32 = 2;

/// The functions with queues.
const CONSUMERS: [&str; 3] = ["ReserveStock", "NotifyCustomer", "CustomerLedger"];

/// The functions whose processes are killed.
const VICTIMS: [&str; 6] = [
    "PlaceOrder",
    "OutboxRelay",
    "OutboxSweep",
    "ReserveStock",
    "NotifyCustomer",
    "CustomerLedger",
];

/// The least age of a process that is killed. A younger one may still be starting, and when such a
/// process dies the emulator kills all of the function's: fewer batches would be lost, at fewer
/// points.
const GROWN_UP: Duration = Duration::from_millis(1_500);

#[derive(Clone, Debug)]
struct Placed {
    order_id: String,
    customer: String,
    email: String,
    quantity: i64,
}

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    let number = number();
    shop.stock("coat", STOCK).await;
    let before = dev.unfinished();
    let published_before = shop.published().await;
    for function in CONSUMERS {
        shop.set_readers(function_of(shop, function), Some(READERS))
            .await;
    }
    let victims = VICTIMS.map(|name| function_of(shop, name));
    let started = Instant::now();
    let is_over = Cell::new(false);
    let hunting = async {
        let mut killer = Killer::new(dev);
        let mut kills: BTreeMap<&str, usize> = victims.map(|it| (it, 0)).into();
        loop {
            let sum: usize = kills.values().sum();
            let lost = unfinished_since(dev, &before);
            let lost: usize = lost.values().map(|it| it.batches).sum();
            if sum >= number && lost >= BATCHES && kills.values().all(|count| *count > 0) {
                is_over.set(true);
                return kills;
            }
            let is_late = started.elapsed() > hunt(number);
            assert!(!is_late, "{lost} batches lost, killed {kills:?}");
            // The functions take turns, since one has many processes and another only one.
            let mut functions = victims;
            functions.sort_unstable_by_key(|it| (kills[it], fastrand::u64(..)));
            if let Some(function) = killer.kill_one(&functions).await {
                *kills.entry(function).or_default() += 1;
            }
        }
    };
    let placers = futures_util::future::join_all(
        (0..CONCURRENCY).map(|placer| place(shop, placer, || is_over.get())),
    );
    let sweeping = sweep(shop, || is_over.get());
    let (orders, kills, ()) = tokio::join!(placers, hunting, sweeping);
    let hunted = started.elapsed();
    let orders = orders.concat();

    let letters = put_back(shop).await;
    let books = shop
        .settled("orders whose processes died", |books| {
            let is_done = |order: &Placed| books.events_of(&order.order_id).len() >= 2;
            orders.iter().all(is_done)
        })
        .await;
    check_books(&books, &orders);
    // The events that place-order and reserve-stock committed were in one item each.
    let published = shop.published().await - published_before;
    assert_eq!(published, 2 * orders.len());
    let unfinished = unfinished_since(dev, &before);
    let of_mails = unfinished.get(function_of(shop, "NotifyCustomer"));
    let repeated = check_mails(shop, &orders, of_mails.copied().unwrap_or_default()).await;
    let duplicates = dev.log().iter().filter(is_duplicate).count();
    eprintln!(
        "{} orders in {:.0} s, all done after {:.0} s; {} processes killed, {kills:?}; {unfinished:?}; \
         {duplicates} duplicates absorbed, {repeated} mails sent once more, dead letters redriven: {letters:?}",
        orders.len(),
        hunted.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        kills.values().sum::<usize>(),
    );
}

/// The full name of a function.
fn function_of<'a>(shop: &'a Shop, name: &str) -> &'a str {
    shop.output(&format!("{name}FunctionName"))
}

/// Places orders until it is over; a request whose process dies is sent again until it has its
/// reply.
async fn place(shop: &Shop, placer: usize, is_over: impl Fn() -> bool) -> Vec<Placed> {
    let mut orders = Vec::new();
    while !is_over() {
        let index = orders.len() * CONCURRENCY + placer;
        let customer = format!("kills-{}", index % CUSTOMERS);
        let quantity = 1 + index as i64 % 3;
        let lines = [line("coat", quantity, BOOK_CENTS)];
        let request = order::request(&format!("kills-{index}"), &customer, &lines);
        let started = Instant::now();
        let reply = loop {
            match shop.place(&request).await {
                Ok(reply) => break reply,
                Err(error) => assert!(started.elapsed() < shop::PATIENCE, "{error}"),
            }
            tokio::time::sleep(REST).await;
        };
        orders.push(Placed {
            order_id: reply["order_id"].as_str().unwrap().to_owned(),
            customer,
            email: request["email"].as_str().unwrap().to_owned(),
            quantity,
        });
        tokio::time::sleep(REST).await;
    }
    orders
}

/// Sweeps the outbox until it is over, even if a sweep does not end.
async fn sweep(shop: &Shop, is_over: impl Fn() -> bool) {
    while !is_over() {
        let _ = shop.invoke("OutboxSweepFunctionName", &Value::Null).await;
        tokio::time::sleep(SWEEPS).await;
    }
}

/// Redrives dead letters until there are none, as an operator would: a message whose process dies in each
/// attempt is parked as interrupted, or moved without a reason if no attempt came so far as to count. Returns how
/// many there were, by queue and reason.
async fn put_back(shop: &Shop) -> BTreeMap<(String, Option<String>), usize> {
    let mut counts = BTreeMap::new();
    loop {
        shop.settled("the queues", |_| true).await;
        let letters = shop.take_dead_letters().await;
        if letters.is_empty() {
            return counts;
        }
        for letter in letters {
            assert!(CONSUMERS.contains(&letter.queue.as_str()), "{letter:?}");
            let kind = letter.note.map(|note| note.kind);
            if let Some(kind) = &kind {
                let is_passing = RETRIED.contains(&kind.as_str());
                assert!(is_passing, "dead as {kind}: {}", letter.body);
            }
            let message = Message {
                body: letter.body,
                group: letter.group,
                ..Message::default()
            };
            let queue = format!("{}QueueUrl", letter.queue);
            shop.send(&queue, &[message]).await;
            *counts.entry((letter.queue, kind)).or_default() += 1;
        }
    }
}

/// The reasons of a last failure that may occur when processes die and the emulator is slow.
const RETRIED: [&str; 7] = [
    "transient",
    "in_progress",
    "store",
    "deadline",
    "skipped",
    "publish",
    "interrupted",
];

/// Kills processes that have started.
struct Killer<'a> {
    dev: &'a Dev,
    /// When a process was first seen.
    seen: BTreeMap<i32, Instant>,
    grown_up: BTreeSet<i32>,
}

impl<'a> Killer<'a> {
    fn new(dev: &'a Dev) -> Self {
        let processes = dev.functions();
        Self {
            dev,
            seen: BTreeMap::new(),
            grown_up: processes.iter().map(pid).collect(),
        }
    }

    /// Kills a process of the first of these functions that works at a random point in the next
    /// moments; returns the function.
    async fn kill_one<'f>(&mut self, functions: &[&'f str]) -> Option<&'f str> {
        let pause = Duration::from_millis(fastrand::u64(20..200));
        tokio::time::sleep(pause).await;
        let processes = self.dev.functions();
        for process in &processes {
            let seen = self.seen.entry(pid(process)).or_insert_with(Instant::now);
            if seen.elapsed() > GROWN_UP {
                self.grown_up.insert(pid(process));
            }
        }
        let waits = |process| processes::waits(process).unwrap_or_default();
        for function in functions {
            let of_function: Vec<(&FunctionProcess, u64)> = processes
                .iter()
                .filter(|it| it.function == *function && self.grown_up.contains(&pid(it)))
                .map(|it| (it, waits(it)))
                .collect();
            if of_function.is_empty() {
                continue;
            }
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                // A process that had nothing to do has waited all the time, in one wait.
                let mut working = of_function.iter();
                let working = working.find(|(process, before)| waits(process) > *before);
                if let Some((process, _)) = working {
                    return processes::kill(process).then_some(*function);
                }
            }
        }
        None
    }
}

fn pid(process: &FunctionProcess) -> i32 {
    process.pid.as_raw_nonzero().get()
}

fn unfinished_since(
    dev: &Dev,
    before: &BTreeMap<String, Unfinished>,
) -> BTreeMap<String, Unfinished> {
    let mut unfinished = dev.unfinished();
    for (function, before) in before {
        let now = unfinished.get_mut(function).unwrap();
        now.batches -= before.batches;
        now.records -= before.records;
    }
    unfinished
}

fn is_duplicate(line: &&Value) -> bool {
    line["outcome"] == "duplicate"
}

fn check_books(books: &Books, orders: &[Placed]) {
    let ids: BTreeSet<&str> = orders.iter().map(|it| it.order_id.as_str()).collect();
    assert_eq!(ids.len(), orders.len());
    for id in &ids {
        assert_eq!(books.orders.iter().filter(|it| it == id).count(), 1, "{id}");
        assert_eq!(books.reservations[*id], "RESERVED", "{id}");
        assert_eq!(books.events_of(id), ["OrderPlaced", "StockReserved"]);
    }
    let taken: i64 = orders.iter().map(|order| order.quantity).sum();
    assert_eq!(books.stock["coat"], STOCK - taken);

    let mut charges = BTreeMap::<&str, BTreeMap<&str, i64>>::new();
    for order in orders {
        let of_customer = charges.entry(&order.customer).or_default();
        of_customer.insert(&order.order_id, order.quantity * BOOK_CENTS);
    }
    for (customer, charges) in charges {
        // The order of the customer's concurrent requests is not determined.
        let booked = books.entries[customer].iter();
        let booked: Vec<(String, i64)> = booked
            .map(|entry| (entry.order_id.clone(), charges[entry.order_id.as_str()]))
            .collect();
        assert_eq!(booked.len(), charges.len(), "{customer}");
        books.check_ledger(customer, &booked);
    }
}

/// Every order has its mail; returns how many were sent more than once.
async fn check_mails(shop: &Shop, orders: &[Placed], unfinished: Unfinished) -> usize {
    let mut mails = BTreeMap::<String, usize>::new();
    for mail in shop.mails().await {
        *mails.entry(mail.to).or_default() += 1;
    }
    let mut repeated = 0;
    for order in orders {
        let count = mails.get(&order.email).copied().unwrap_or_default();
        assert!(count > 0, "no mail to {}", order.email);
        repeated += count - 1;
    }
    let most = unfinished.batches * BATCH + unfinished.records;
    assert!(repeated <= most, "{repeated} repeated: {unfinished:?}");
    repeated
}
