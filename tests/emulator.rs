//! The shop as `surehand dev` runs it: built, deployed with `sam deploy` to an emulator that enforces
//! the functions' roles, and talked to with AWS's own clients.
//!
//! `SUREHAND_PARTS="an outage,kill their" cargo test --workspace --test emulator -- --nocapture` runs only the parts with
//! one of these texts in their names.

// Processes are found in /proc.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod emulator {
    pub(crate) mod attempts;
    pub(crate) mod batches;
    pub(crate) mod books;
    pub(crate) mod collector;
    pub(crate) mod command;
    pub(crate) mod consumers;
    pub(crate) mod deaths;
    pub(crate) mod dev;
    pub(crate) mod door;
    pub(crate) mod figures;
    pub(crate) mod flow;
    pub(crate) mod invoke;
    pub(crate) mod kills;
    pub(crate) mod moves;
    pub(crate) mod operate;
    pub(crate) mod order;
    pub(crate) mod outage;
    pub(crate) mod page;
    pub(crate) mod processes;
    pub(crate) mod redrive;
    pub(crate) mod shell;
    pub(crate) mod shop;
    pub(crate) mod stores;
    pub(crate) mod traces;
    pub(crate) mod update;
}

use emulator::{
    attempts, batches, collector::Collector, command, consumers, deaths, dev::Dev, door, figures,
    flow, invoke, kills, operate, outage::Outage, page, redrive, shop::Shop, stores, traces,
    update,
};
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

/// This is one test, because one emulator serves all parts: it takes a while to deploy, and must be
/// ended. The parts run one after the other, each with orders of its own; after a part that fails
/// the others still run.
#[tokio::test]
async fn the_shop_on_the_emulator() {
    let mut parts = Parts::default();
    let collector = Collector::start().await;
    let dev = Dev::start(&collector.endpoint).await;
    let shop = Shop::new(&dev);
    parts
        .run("orders flow through the shop", flow::check(&dev, &shop))
        .await;
    // Before processes are killed, with what they had counted.
    parts
        .run("the metrics are what the flow did", figures::check(&dev))
        .await;
    parts
        .run("an order is one trace", traces::check(&shop, &collector))
        .await;
    let role = consumers::role(&dev);
    // It goes on while the other parts run.
    let mut outage = None;
    parts
        .run("an outage begins", async {
            outage = Some(Outage::begin(&dev, &shop, &role).await);
        })
        .await;
    parts
        .run("a second run is refused", async { dev.check_lock() })
        .await;
    parts
        .run("only the run's keys are answered", door::check(&dev))
        .await;
    parts
        .run(
            "invoke brings what a queue would",
            invoke::check(&dev, &shop),
        )
        .await;
    parts
        .run(
            "a function is paused, sent to, resumed and looked at",
            operate::check(&dev, &shop),
        )
        .await;
    parts
        .run("dev says how functions die", deaths::check(&dev, &shop))
        .await;
    parts
        .run("a batch fails in parts", batches::check_parts(&dev, &shop))
        .await;
    parts
        .run(
            "a group keeps its order",
            batches::check_groups(&dev, &shop),
        )
        .await;
    parts
        .run("the store keeps its contract", stores::check(&shop))
        .await;
    parts
        .run(
            "dead letters are redriven",
            redrive::check(&dev, &shop, &collector),
        )
        .await;
    parts
        .run(
            "dead letters of rules and functions reach their targets",
            redrive::check_origins(&shop),
        )
        .await;
    parts
        .run("letters are rehearsed", command::rehearse(&dev, &shop))
        .await;
    parts
        .run(
            "a ramp stops at what is not fixed",
            command::ramp(&dev, &shop),
        )
        .await;
    parts
        .run("a plan is handed over", command::hand_over(&dev, &shop))
        .await;
    parts
        .run("redrives are killed", command::kill(&dev, &shop))
        .await;
    parts
        .run("the page about failures is true", page::check(&dev, &shop))
        .await;
    parts
        .run(
            "records that kill their process are parked alone, and run again when put back",
            attempts::check(&dev, &shop, &role),
        )
        .await;
    if let Some(outage) = outage {
        parts
            .run("an outage parks nothing", outage.check(&dev, &shop))
            .await;
    }
    parts
        .run("an update loses nothing", update::check(&dev, &shop))
        .await;
    parts
        .run(
            "processes are killed in their batches",
            kills::check(&dev, &shop),
        )
        .await;
    parts.run("nothing is left", dev.end()).await;
    assert!(parts.failed.is_empty(), "failed: {:?}", parts.failed);
}

/// How long a part may take, which only a fault makes long. The longest one waits for messages that dead
/// processes have left invisible.
fn patience() -> Duration {
    let kills = u32::try_from(kills::number()).unwrap_or_default();
    Duration::from_secs(1_800) + Duration::from_secs(3) * kills
}

#[derive(Default)]
struct Parts {
    failed: Vec<&'static str>,
}

/// Whether `SUREHAND_PARTS` has a text that is in the name, or is not set.
fn is_wanted(name: &str) -> bool {
    let texts = std::env::var("SUREHAND_PARTS");
    texts.map_or(true, |texts| {
        texts.split(',').any(|text| name.contains(text))
    })
}

impl Parts {
    async fn run(&mut self, name: &'static str, part: impl Future<Output = ()>) {
        if !is_wanted(name) {
            return;
        }
        let started = Instant::now();
        let part = AssertUnwindSafe(tokio::time::timeout(patience(), part)).catch_unwind();
        let what = match part.await {
            Ok(Ok(())) => "ok",
            Ok(Err(_)) => "out of time",
            // The panic has printed the reason.
            Err(_) => "FAILED",
        };
        eprintln!("{name}: {what} ({:.1} s)", started.elapsed().as_secs_f64());
        if what != "ok" {
            self.failed.push(name);
        }
    }
}
