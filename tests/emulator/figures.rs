//! What the functions have counted is what they have done.

use super::{dev::Dev, flow::ORDERS};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use surehand_test_support::emf::{self, Sums};

/// How often the log is read, for lines that are still on their way.
const LOOKS: u32 = 40;

/// Checks the metrics after the flow: 12 orders, each placed twice, and the events that it
/// publishes by hand.
pub(crate) async fn check(dev: &Dev) {
    let mut problem = String::new();
    for _ in 0..LOOKS {
        match differences(&dev.log()) {
            None => return,
            Some(difference) => problem = difference,
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{problem}");
}

fn differences(log: &[Value]) -> Option<String> {
    let mut sums = Sums::new();
    for line in log.iter().filter(|line| line.get("_aws").is_some()) {
        emf::add(&mut sums, line);
    }
    let sum = |name: &str, function: &str, kind: &str| {
        let kind = match kind {
            "" => String::new(),
            kind => format!("kind={kind},"),
        };
        let key = format!("{name}{{function=shop-{function},{kind}service=shop}}");
        sums.get(&key).copied().unwrap_or_default()
    };

    // The values that the flow determines.
    let orders = ORDERS as f64;
    let known = [
        (sum("RecordsProcessed", "place-order", ""), orders),
        (sum("Duplicates", "place-order", ""), orders),
        (sum("RecordsFailed", "place-order", "rejected"), 1.0),
        (sum("RecordsFailed", "place-order", "key_reused"), 1.0),
        (sum("BatchSize", "place-order", ""), 2.0 * orders + 2.0),
        (sum("Parked", "place-order", ""), 0.0),
        (sum("RecordsProcessed", "reserve-stock", ""), orders),
        (sum("Duplicates", "reserve-stock", ""), 1.0),
        (sum("Parked", "reserve-stock", ""), 3.0),
        (sum("RecordsFailed", "reserve-stock", "malformed"), 2.0),
        (sum("RecordsFailed", "reserve-stock", "rejected"), 1.0),
        (sum("RecordsProcessed", "customer-ledger", ""), orders),
        (sum("RecordsProcessed", "notify-customer", ""), orders),
        // Each order has three events: that it was placed, its charge, and its outcome.
        (sum("EventsPublished", "outbox-relay", ""), 3.0 * orders),
    ];
    for (number, (counted, expected)) in known.into_iter().enumerate() {
        if counted != expected {
            return Some(format!(
                "figure {number}: {counted}, not {expected}: {sums:#?}"
            ));
        }
    }

    // What the log reports about each record.
    let mut said = BTreeMap::<String, f64>::new();
    let mut say = |name: &str, line: &Value, kind: Option<&str>| {
        let kind = kind.map(|kind| format!("kind={kind},")).unwrap_or_default();
        let function = line["function_name"].as_str().unwrap();
        let key = format!("{name}{{function={function},{kind}service=shop}}");
        *said.entry(key).or_default() += 1.0;
    };
    for line in log
        .iter()
        .filter(|line| line["message"] == "record handled")
    {
        say("BatchSize", line, None);
        match line["outcome"].as_str().unwrap() {
            "ok" => say("RecordsProcessed", line, None),
            "duplicate" => say("Duplicates", line, None),
            outcome => {
                say("RecordsFailed", line, None);
                say("RecordsFailed", line, line["kind"].as_str());
                if outcome == "park" {
                    say("Parked", line, None);
                }
            }
        }
    }
    let is_of_records = |key: &str| {
        let names = [
            "BatchSize",
            "RecordsProcessed",
            "Duplicates",
            "RecordsFailed",
            "Parked",
        ];
        names
            .iter()
            .any(|name| key.starts_with(&format!("{name}{{")))
    };
    sums.retain(|key, sum| is_of_records(key) && *sum > 0.0);
    (sums != said).then(|| format!("the log says {said:#?}, the metrics {sums:#?}"))
}
