//! What is typed beside the running shop: a function is paused, sent something, resumed, and looked at.

use super::{
    dev::Dev,
    shop::{Shop, eventually},
};
use serde_json::{Value, json};

const FUNCTION: &str = "reserve-stock";

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    shop.take_dead_letters().await;
    let rows = run(dev, 0, &["status"], "");
    let of = |rows: &[Value], kind: &str, field: &str, value: &str| {
        let row = rows.iter().find(|row| {
            row["kind"] == kind && row[field].as_str().is_some_and(|it| it.ends_with(value))
        });
        row.unwrap_or_else(|| panic!("no {kind} {value}: {rows:?}"))
            .clone()
    };
    assert_eq!(of(&rows, "function", "name", FUNCTION)["state"], "Active");
    assert_eq!(
        of(&rows, "source", "function", FUNCTION)["state"],
        "Enabled"
    );
    assert_eq!(
        rows.iter().filter(|row| row["kind"] == "outbox").count(),
        1,
        "{rows:?}"
    );

    let paused = run(dev, 0, &["pause", FUNCTION], "");
    assert_eq!(paused[0]["state"], "Disabled", "{paused:?}");
    run(dev, 3, &["pause", FUNCTION], "");
    // An order that is malformed: it is parked, once it is handled.
    let order = r#"{"source": "shop.orders", "detail-type": "OrderPlaced", "metadata": {"id": "operated"}, "data": {"order_id": 7}}"#;
    let sent = run(dev, 0, &["send", FUNCTION, "-"], order);
    let message = sent[0]["id"].as_str().unwrap();
    let rows = run(dev, 0, &["status"], "");
    let source = of(&rows, "source", "function", FUNCTION);
    assert_eq!(
        (&source["state"], source["paused"].is_string()),
        (&json!("Disabled"), true)
    );
    let depth = || shop.depth_of("ReserveStockQueueUrl");
    assert_eq!(depth().await, 1, "it waits");

    let resumed = run(dev, 0, &["resume", FUNCTION], "");
    assert_eq!(resumed[0]["state"], "Enabled", "{resumed:?}");
    run(dev, 3, &["resume", FUNCTION], "");
    eventually("the message is parked", async || {
        !shop.take_dead_letters().await.is_empty()
    })
    .await;
    let logs = [
        "logs", FUNCTION, "--failed", "--since", "1h", "--id", message,
    ];
    eventually("its line is logged", async || {
        let output = dev.surehand(&[&logs[..], &["--json"]].concat(), "");
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines()
            .any(|line| line.contains(r#""outcome":"park""#))
    })
    .await;

    // The same at once, and what became of it.
    let direct = run(dev, 1, &["send", FUNCTION, "-", "--direct"], order);
    assert_eq!(direct[0]["outcomes"][0]["outcome"], "park", "{direct:?}");
    shop.take_dead_letters().await;

    let schedule = run(dev, 0, &["pause", "outbox-sweep"], "");
    assert_eq!(schedule[0]["kind"], "rule", "{schedule:?}");
    assert_eq!(run(dev, 0, &["resume", "outbox-sweep"], "").len(), 1);
    let output = dev.surehand(&["pause", "audit"], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("pass --lose-events"), "{said}");

    let cloud = run(dev, 0, &["env"], "");
    assert_eq!(cloud[0]["AWS_ENDPOINT_URL"], dev.stack.endpoint);
    let [(_, key), ..] = dev.stack.variables();
    assert_eq!(cloud[0]["AWS_ACCESS_KEY_ID"], key);
    let deployed = run(dev, 0, &["env", FUNCTION], "");
    assert!(deployed[0]["IDEMPOTENCY_TABLE"].is_string(), "{deployed:?}");
    let output = dev.surehand(&["env", "reserve-stok"], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("did you mean `reserve-stock`?"), "{said}");
}

/// Returns the lines that it prints with `--json`.
fn run(dev: &Dev, code: i32, arguments: &[&str], input: &str) -> Vec<Value> {
    let output = dev.surehand(&[arguments, &["--json"]].concat(), input);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {output:?}"
    );
    let out = String::from_utf8(output.stdout).unwrap();
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
