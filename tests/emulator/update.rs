//! A deployment while orders are under way: another version of a function, and another configuration of
//! every queue and of those who read them. Nobody stops for it, and nothing is lost or done twice.

use super::{
    dev::{self, Dev},
    order::{self, BOOK_CENTS, line},
    shop::{self, Shop},
};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};
use surehand_test_support::cargo;
use tokio::process::Command;

const CUSTOMER: &str = "update";
const STOCK: i64 = 10_000;

/// The pause between two orders: a few hundred orders are enough for every function to be busy.
const REST: Duration = Duration::from_millis(50);

/// How many orders are placed before the deployment starts, so that all functions are busy then.
const BEFORE: usize = 20;

/// Values that differ from the template's and samconfig.toml's.
const MAX_ATTEMPTS: &str = "7";
const MAX_RECEIVE_COUNT: &str = "60";

const CONSUMERS: [&str; 3] = ["ReserveStock", "NotifyCustomer", "CustomerLedger"];

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    shop.stock("update", STOCK).await;
    let before = shop.function("ReserveStockFunctionName").await;
    assert_ne!(before.variables["MAX_ATTEMPTS"], MAX_ATTEMPTS);

    let (placed, is_over) = (Cell::new(0), Cell::new(false));
    let deploying = async {
        while placed.get() < BEFORE {
            tokio::time::sleep(REST).await;
        }
        deploy(dev).await;
        let meanwhile = placed.get() - BEFORE;
        is_over.set(true);
        meanwhile
    };
    let placing = place(shop, &placed, &is_over);
    let (orders, meanwhile) = tokio::join!(placing, deploying);
    assert!(meanwhile >= BEFORE, "only {meanwhile} orders were placed");

    // The new version runs, on the new queues.
    let after = shop.function("ReserveStockFunctionName").await;
    assert_ne!(after.code, before.code);
    assert_eq!(after.variables["MAX_ATTEMPTS"], MAX_ATTEMPTS);
    for queue in CONSUMERS.map(|name| format!("{name}QueueUrl")) {
        let limit = shop.max_receive_count(&queue).await;
        assert_eq!(limit.to_string(), MAX_RECEIVE_COUNT, "{queue}");
    }

    let books = shop
        .settled("orders across a deployment", |books| {
            let is_done = |id: &String| books.events_of(id).len() >= 2;
            orders.iter().all(is_done)
        })
        .await;
    for order in &orders {
        assert_eq!(books.reservations[order], "RESERVED");
        assert_eq!(books.events_of(order), ["OrderPlaced", "StockReserved"]);
    }
    let count = i64::try_from(orders.len()).unwrap();
    assert_eq!(books.stock["update"], STOCK - count);
    assert_eq!(books.balances[CUSTOMER], (count * BOOK_CENTS, count));
    let charged = books.entries[CUSTOMER].iter();
    let charged: BTreeSet<String> = charged.map(|entry| entry.order_id.clone()).collect();
    assert_eq!(charged, orders);
    let mails = shop.mails().await;
    for order in &orders {
        // There are two mails if the function's process was replaced between the mail and the
        // claim's completion.
        let count = mails.iter().filter(|it| it.text.contains(order)).count();
        assert!((1..=2).contains(&count), "{order}: {count} mails");
    }
    assert_eq!(shop.take_dead_letters().await.len(), 0);
    eprintln!("{count} orders across a deployment, of which {meanwhile} while it was going on");
}

/// Places orders until it is over, one after the other, and each until it has its reply: the function
/// may just be replaced.
async fn place(shop: &Shop, placed: &Cell<usize>, is_over: &Cell<bool>) -> BTreeSet<String> {
    let mut orders = BTreeSet::new();
    while !is_over.get() {
        let lines = [line("update", 1, BOOK_CENTS)];
        let request = order::request(&format!("update-{}", placed.get()), CUSTOMER, &lines);
        let started = Instant::now();
        let reply = loop {
            match shop.place(&request).await {
                Ok(reply) => break reply,
                Err(error) => assert!(started.elapsed() < shop::PATIENCE, "{error}"),
            }
            tokio::time::sleep(REST).await;
        };
        orders.insert(reply["order_id"].as_str().unwrap().to_owned());
        placed.set(placed.get() + 1);
        tokio::time::sleep(REST).await;
    }
    orders
}

/// Deploys what `surehand dev` deployed with other code for reserve-stock, another number of attempts, and queues with
/// another limit.
async fn deploy(dev: &Dev) {
    let folder = dev::folder();
    let text = fs::read_to_string(folder.join("template.json")).unwrap();
    let mut template: Value = serde_json::from_str(&text).unwrap();
    let code = &mut template["Resources"]["ReserveStock"]["Properties"]["CodeUri"];
    *code = json!(next_version(code.as_str().unwrap()));
    for consumer in CONSUMERS {
        let queue = &mut template["Resources"][format!("{consumer}Queue")]["Properties"];
        queue["Parameters"]["MaxReceiveCount"] = json!(MAX_RECEIVE_COUNT);
    }
    let changed = folder.join("update.json");
    fs::write(&changed, template.to_string()).unwrap();

    let mut sam = Command::new(cargo::workspace().join(".surehand/venv/bin/sam"));
    sam.current_dir(&folder)
        .args(["deploy", "--template-file", "update.json", "--resolve-s3"])
        .args(["--stack-name", "shop", "--region", "us-east-1"])
        .args(["--no-confirm-changeset", "--no-progressbar"])
        .args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"])
        .args(["--parameter-overrides"])
        .args(["MaxAttempts", "OrderMaxAttempts"].map(|name| format!("{name}={MAX_ATTEMPTS}")))
        // The emulator forgets attributes of what an update leaves alone.
        .args(["--tags", "revision=update"])
        .envs(dev.stack.variables())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("NO_PROXY", "127.0.0.1")
        .env("SAM_CLI_TELEMETRY", "0")
        .env("SAM_CLI_POLL_DELAY", "0.2")
        .kill_on_drop(true);
    let output = sam.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A folder with the code of a package and something else, which makes it another version.
fn next_version(package: &str) -> PathBuf {
    let folder = dev::folder().join("update");
    fs::create_dir_all(&folder).unwrap();
    let executable = PathBuf::from(package).with_extension("bootstrap");
    fs::copy(&executable, folder.join("bootstrap")).unwrap();
    fs::write(folder.join("VERSION"), "2").unwrap();
    folder
}
