//! Processes that die in the middle of their batches, with a few hundred events under way.
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
    shop::Shop,
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const ORDERS: usize = 300;
const CUSTOMERS: usize = 20;
const STOCK: i64 = 10_000;

/// Batches that are to be lost.
const BATCHES: usize = 10;

/// How long that may take: what is lost early comes back after 23 seconds, and is there to be lost
/// again.
const HUNT: Duration = Duration::from_secs(120);

/// Processes of place-order and of the relay that are to die.
const CALLERS: usize = 6;

/// What a batch has at most.
const BATCH: usize = 10;

/// Requests under way at once.
const CONCURRENCY: usize = 4;

/// The least that SQS takes: the emulator is slow, and functions that wait for it run out of time.
const READERS: i32 = 2;

/// The functions whose processes are killed while batches are under way.
const CONSUMERS: [&str; 3] = [
    "ReserveStockFunctionName",
    "NotifyCustomerFunctionName",
    "CustomerLedgerFunctionName",
];

/// A process younger than this may still be starting, and the emulator answers the death of such a
/// one by killing all of the function's: that would be fewer points at which a batch is lost.
const GROWN_UP: Duration = Duration::from_millis(1_500);

struct Placed {
    order_id: String,
    customer: String,
    email: String,
    quantity: i64,
}

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    shop.stock("coat", STOCK).await;
    let before = dev.unfinished();
    let consumers = CONSUMERS.map(|name| shop.output(name));
    for function in consumers {
        shop.set_readers(function, None).await;
    }
    let place_order = shop.output("PlaceOrderFunctionName");
    let relay = shop.output("OutboxRelayFunctionName");
    let mut killer = Killer::new(dev);
    let is_placed = Cell::new(false);
    let placing = async {
        let orders = place(shop).await;
        is_placed.set(true);
        orders
    };
    let hunting = async {
        let mut kills = 0;
        while kills < CALLERS && !is_placed.get() {
            kills += usize::from(killer.kill_one(&[place_order, relay]).await);
        }
        kills
    };
    let (orders, callers) = tokio::join!(placing, hunting);
    assert!(callers > 0);
    // The relay publishes a moment after the orders are placed.
    let placed = Instant::now();
    while shop.waiting().await < 2 * ORDERS {
        assert!(
            placed.elapsed() < Duration::from_secs(60),
            "{} messages wait",
            shop.waiting().await
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    for function in consumers {
        shop.set_readers(function, Some(READERS)).await;
    }
    let (started, mut kills, mut lost) = (Instant::now(), 0, 0);
    while lost < BATCHES {
        assert!(started.elapsed() < HUNT, "{kills} kills, {lost} batches");
        kills += usize::from(killer.kill_one(&consumers).await);
        lost = unfinished_since(dev, &before)
            .values()
            .map(|it| it.batches)
            .sum();
    }

    let books = shop
        .settled("orders whose processes died", |books| {
            let is_done = |order: &Placed| books.events_of(&order.order_id).len() >= 2;
            orders.iter().all(is_done)
        })
        .await;
    check_books(&books, &orders);
    let unfinished = unfinished_since(dev, &before);
    let of_mails = unfinished.get(shop.output("NotifyCustomerFunctionName"));
    let repeated = check_mails(shop, &orders, of_mails.copied().unwrap_or_default()).await;
    let letters = shop.take_dead_letters().await;
    assert!(letters.is_empty(), "{letters:?}");
    let duplicates = dev.log().iter().filter(is_duplicate).count();
    eprintln!(
        "killed {callers} processes of place-order and the relay, and {kills} others: {unfinished:?}; \
         {duplicates} duplicates absorbed, {repeated} mails sent once more"
    );
}

/// Places all orders; a request whose process dies is sent again until it has its reply.
async fn place(shop: &Shop) -> Vec<Placed> {
    let orders = (0..ORDERS).map(|index| async move {
        let customer = format!("kills-{}", index % CUSTOMERS);
        let quantity = 1 + index as i64 % 3;
        let lines = [line("coat", quantity, BOOK_CENTS)];
        let request = order::request(&format!("kills-{index}"), &customer, &lines);
        let started = Instant::now();
        let reply = loop {
            match shop.place(&request).await {
                Ok(reply) => break reply,
                // The dead one's lease lasts for seconds.
                Err(error) => assert!(started.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        Placed {
            order_id: reply["order_id"].as_str().unwrap().to_owned(),
            customer,
            email: request["email"].as_str().unwrap().to_owned(),
            quantity,
        }
    });
    stream::iter(orders).buffered(CONCURRENCY).collect().await
}

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

    /// Kills a process of one of these functions at a random point of its work in the next moments;
    /// false if none works.
    async fn kill_one(&mut self, functions: &[&str]) -> bool {
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
        // One function has many processes and another has one: each gets its share.
        let mut functions = functions.to_vec();
        fastrand::shuffle(&mut functions);
        for function in functions {
            let of_function: Vec<(&FunctionProcess, u64)> = processes
                .iter()
                .filter(|it| it.function == function && self.grown_up.contains(&pid(it)))
                .map(|it| (it, waits(it)))
                .collect();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                // One that had nothing to do has waited all the time, and only once.
                let mut working = of_function.iter();
                let working = working.find(|(process, before)| waits(process) > *before);
                if let Some((process, _)) = working {
                    return processes::kill(process);
                }
            }
        }
        false
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
    assert_eq!(ids.len(), ORDERS);
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
        // In whatever order the customer's concurrent requests came through.
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
