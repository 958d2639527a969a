//! Dead letters of the shop, and the command that tries a fix on them and puts them back.

use super::{
    dev::Dev,
    order::{self, body, line},
    shell::{Shell, said},
    shop::{Message, Shop, eventually},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    process::Stdio,
    sync::{Arc, OnceLock},
};
use surehand::dead_letter::FailureNote;
use surehand_test_support::proxy::{self, Call, Fate, Moment};

/// The outputs that name the queues of reserve-stock's and notify-customer's dead letters.
pub(crate) const LETTERS: &str = "ReserveStockDeadLetterQueueUrl";
const MAIL_LETTERS: &str = "NotifyCustomerDeadLetterQueueUrl";

const FUNCTION: [&str; 2] = ["--function", "reserve-stock"];

/// An order for one of a sku, as reserve-stock gets it.
pub(crate) fn order_for(id: &str, sku: &str) -> String {
    let data = order::placed(id, &[line(sku, 1, 1)]);
    body(id, "shop.orders", "OrderPlaced", &data)
}

/// A message with a failure note, unless that is null.
fn message(body: &str, note: &Value) -> Message {
    let note = (!note.is_null()).then(|| (FailureNote::ATTRIBUTE.to_owned(), note.to_string()));
    Message {
        body: body.to_owned(),
        group: None,
        attributes: note.into_iter().collect(),
    }
}

/// Sends messages to reserve-stock, and waits until they are the dead letters, each once. On a busy
/// machine an attempt may run out of time after it has parked its message, which is then parked
/// again: in that case it starts over.
pub(crate) async fn fail(shop: &Shop, bodies: &[String]) {
    for _ in 0..4 {
        shop.take_dead_letters().await;
        for chunk in bodies.chunks(10) {
            let messages = chunk.iter().map(|body| message(body, &Value::Null));
            let messages: Vec<Message> = messages.collect();
            shop.send("ReserveStockQueueUrl", &messages).await;
        }
        shop.settled("orders that fail", |_| true).await;
        if shop.depth_of(LETTERS).await == bodies.len() {
            return;
        }
    }
    panic!("not parked once each");
}

/// The verdicts of a rehearsal: how many letters of each message.
fn verdicts(found: &[Value]) -> Vec<(&str, usize)> {
    // The groups' lines have none.
    let mut verdicts: Vec<&str> = found
        .iter()
        .filter_map(|it| it["verdict"].as_str())
        .collect();
    verdicts.sort_unstable();
    let count = |verdict| verdicts.iter().filter(|it| **it == verdict).count();
    [
        "fixed",
        "newly_failing",
        "not_checked",
        "not_run",
        "refused",
        "still_failing",
    ]
    .map(|verdict| (verdict, count(verdict)))
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect()
}

/// Rehearses dead letters with the new build, which is the deployed one here: only the stock has
/// changed.
pub(crate) async fn rehearse(dev: &Dev, shop: &Shop) {
    let shell = Shell::new(dev, shop, "rehearsal").await;
    let ids = ["rehearsed-0", "rehearsed-1", "rehearsed-2"];
    fail(shop, &ids.map(|id| order_for(id, "unicorn"))).await;
    let rehearse = [&["rehearse"], &FUNCTION[..]].concat();
    let before = shell.json(4, &rehearse).await;
    assert_eq!(verdicts(&before), [("still_failing", 3)]);

    // One dead letter failed for another reason: its stock row has been deleted since.
    let note = json!({
        "kind": "transient", "message": "the stock row of sku `gone` has no number in `available`",
        "chain": [], "handler": "reserve_stock", "function": "shop-reserve-stock", "request_id": "r",
        "attempts": 5, "last_failure": "2026-11-21T10:00:00Z", "redrive_count": 0,
        "source_queue": "arn:aws:sqs:us-east-1:000000000000:shop-reserve-stock",
    });
    shop.send(
        LETTERS,
        &[message(&order_for("rehearsed-3", "gone"), &note)],
    )
    .await;
    shop.stock("unicorn", 10).await;
    let books = shop.books().await;
    let after = shell.json(4, &rehearse).await;
    assert_eq!(verdicts(&after), [("fixed", 3), ("newly_failing", 1)]);
    let said = shell.ends(4, &rehearse).await;
    for what in [
        "rejected: sku `gone` does",
        " stages:",
        "{pk: \"STOCK#unicorn\", sk: \"STOCK\"}: ADD available -1 if attribute_exists(pk) AND available >= 1",
        "  publish StockReserved {\"order_id\":\"rehearsed-",
    ] {
        assert!(said.contains(what), "{what}\n{said}");
    }
    let fixed = [&rehearse[..], &["--kind", "rejected"]].concat();
    assert_eq!(verdicts(&shell.json(0, &fixed).await), [("fixed", 3)]);

    // The rehearsal had no effect.
    let now = shop.books().await;
    assert_eq!(now.stock, books.stock);
    assert_eq!(now.reservations, books.reservations);
    assert_eq!(shop.depth_of(LETTERS).await, 4);
    shell
        .ends(0, &[&["purge", "--yes"], &FUNCTION[..]].concat())
        .await;

    let event = json!({
        "order_id": "rehearsed", "customer_id": "nobody", "email": "rehearsed@example.com",
    });
    let mail = body("rehearsed-mail", "shop.stock", "StockReserved", &event);
    shop.send(MAIL_LETTERS, &[message(&mail, &Value::Null)])
        .await;
    let mails = async || {
        let mails = shop.mails().await;
        mails
            .iter()
            .filter(|it| it.to == "rehearsed@example.com")
            .count()
    };
    let notify = ["rehearse", "--function", "notify-customer"];
    let said = shell.ends(4, &notify).await;
    assert!(said.contains("--allow-effects"), "{said}");
    assert_eq!(verdicts(&shell.json(4, &notify).await), [("not_run", 1)]);
    assert_eq!(mails().await, 0);
    let allowed = [&notify[..], &["--allow-effects"]].concat();
    assert_eq!(verdicts(&shell.json(0, &allowed).await), [("fixed", 1)]);
    assert_eq!(mails().await, 1);
    shell
        .ends(0, &["purge", "--yes", "--function", "notify-customer"])
        .await;
}

/// One of two reasons is fixed: the ramp stops, and names the other.
pub(crate) async fn ramp(dev: &Dev, shop: &Shop) {
    let shell = Shell::new(dev, shop, "ramp").await;
    let fixed: Vec<String> = (0..6).map(|n| format!("ramp-{n}")).collect();
    let orders = fixed.iter().map(|id| order_for(id, "griffin"));
    let ghosts = (0..4).map(|n| order_for(&format!("ghost-{n}"), "ghost"));
    fail(shop, &orders.chain(ghosts).collect::<Vec<_>>()).await;
    shop.stock("griffin", 100).await;

    shell
        .ends(0, &[&["plan", "--out", "all"], &FUNCTION[..]].concat())
        .await;
    // In the second step too many orders for the ghost fail, and then two dead letters are left.
    let apply = ["apply", "all", "--yes", "--ramp", "2,6", "--wait", "60"];
    let report = &shell.json(4, &apply).await[0];
    assert_eq!(report["stopped"], "not_fixed", "{report}");
    let not_fixed = report["not_fixed"].as_array().unwrap();
    assert_eq!(not_fixed.len(), 1, "{report}");
    assert_eq!(
        not_fixed[0]["group"]["message"],
        "sku `ghost` does not exist"
    );
    let returned = not_fixed[0]["returned"].as_u64().unwrap();
    assert!(returned > 0 && not_fixed[0]["unanswered"] == 0, "{report}");
    // Dead letters that failed again stay, although the plan has their earlier messages.
    let resumed = [
        "resume",
        "all",
        "--yes",
        "--ramp",
        "10",
        "--wait",
        "60",
        "--threshold",
        "100",
    ];
    let said = shell.run(shell.command(&resumed)).await;
    assert!(matches!(said.code, Some(0 | 4)), "{said:?}");
    let books = shop.books().await;
    for id in &fixed {
        assert_eq!(books.reservations[id], "RESERVED", "{id}");
    }
    assert_eq!(books.stock["griffin"], 94);
    let groups = shell.json(0, &[&["groups"], &FUNCTION[..]].concat()).await;
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["count"], 4);

    // The same dead letters, in another plan and without `--json`.
    shell
        .ends(0, &[&["plan", "--out", "ghosts"], &FUNCTION[..]].concat())
        .await;
    let said = shell
        .ends(4, &["apply", "ghosts", "--yes", "--wait", "60"])
        .await;
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("1 put back, 4 left"));
    assert_eq!(lines.next(), Some("not fixed:"));
    assert!(said.contains("sku `ghost` does not exist"), "{said}");
    assert!(
        said.contains("reserve-stock was last deployed at "),
        "{said}"
    );
    let last = "stopped: too many letters of the step are not fixed; `surehand dlq resume ghosts --yes` goes on";
    assert_eq!(said.lines().last(), Some(last));
    shell
        .ends(0, &[&["purge", "--yes"], &FUNCTION[..]].concat())
        .await;
}

/// Hands a plan over to the redrive function, whose journal anybody can look at.
pub(crate) async fn hand_over(dev: &Dev, shop: &Shop) {
    let shell = Shell::new(dev, shop, "handed-over").await;
    let ids: Vec<String> = (0..3).map(|n| format!("handed-over-{n}")).collect();
    let orders: Vec<String> = ids.iter().map(|id| order_for(id, "phoenix")).collect();
    fail(shop, &orders).await;
    shop.stock("phoenix", 10).await;
    let plan = [&["plan", "--out", "p"], &FUNCTION[..]].concat();
    shell.ends(0, &plan).await;

    let through = ["apply", "p", "--no-ramp", "--through", "redrive"];
    let dry = shell.ends(0, &through).await;
    assert!(dry.starts_with("3 of 3 would be redriven\n"), "{dry}");
    assert_eq!(shop.depth_of(LETTERS).await, 3);
    let started = shell.json(0, &[&through[..], &["--yes"]].concat()).await;
    let run = started[0]["run"].as_str().unwrap();
    let status = ["runs", run, "--through", "redrive"];
    eventually("the function has done it", async || {
        shell.json(0, &status).await[0]["ended"] == true
    })
    .await;
    let said = shell.ends(0, &status).await;
    assert_eq!(said, "finished: 3 of 3 done, 0 missing\n");
    shop.settled("orders that were handed over", |books| {
        ids.iter().all(|id| books.reservations.contains_key(id))
    })
    .await;
    assert_eq!(shop.depth_of(LETTERS).await, 0);

    // A run of somebody else's, and what the function is no good for, are said.
    let unknown = shell
        .run(shell.command(&["runs", "nobody", "--through", "redrive"]))
        .await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.starts_with("error: "), "{unknown:?}");
    let resume = ["resume", "p", "--no-ramp", "--through", "redrive"];
    let resumed = shell.run(shell.command(&resume)).await;
    assert_eq!(resumed.code, Some(2), "{resumed:?}");
}

/// Kills a redrive again and again, and checks that each order has its effect once.
pub(crate) async fn kill(dev: &Dev, shop: &Shop) {
    let shell = Shell::new(dev, shop, "killed").await;
    let ids: Vec<String> = (0..24).map(|n| format!("killed-redrive-{n}")).collect();
    let orders: Vec<String> = ids.iter().map(|id| order_for(id, "dragon")).collect();
    fail(shop, &orders).await;
    shop.stock("dragon", 100).await;
    shell
        .ends(0, &[&["plan", "--out", "p"], &FUNCTION[..]].concat())
        .await;

    let options = [
        "p",
        "--yes",
        "--no-ramp",
        "--rate",
        "40",
        "--visibility",
        "10",
    ];
    let deaths = [
        ("SendMessageBatch", 1, Moment::After),
        ("DeleteMessageBatch", 1, Moment::Before),
        ("DeleteMessageBatch", 1, Moment::After),
    ];
    for (index, death) in deaths.into_iter().enumerate() {
        let command = ["resume", "apply"][usize::from(index == 0)];
        let code = killed(dev, &shell, &[&[command], &options[..]].concat(), death).await;
        assert_eq!(code, None, "{death:?}: it was not killed");
    }
    let report = shell.json(0, &[&["resume"], &options[..]].concat()).await;
    assert_eq!(report[0]["left"], 0, "{report:?}");
    assert_eq!(shop.depth_of(LETTERS).await, 0);

    let books = shop
        .settled("killed redrives", |books| {
            ids.iter()
                .all(|id| books.events_of(id).contains(&"StockReserved"))
        })
        .await;
    assert_eq!(books.stock["dragon"], 100 - 24);
    for id in &ids {
        assert_eq!(books.reservations[id], "RESERVED");
        assert_eq!(books.events_of(id), ["StockReserved"]);
    }
    assert_eq!(shop.depth_of(LETTERS).await, 0);
}

/// Runs it until it is killed at this call.
async fn killed(
    dev: &Dev,
    shell: &Shell,
    arguments: &[&str],
    death: (&'static str, usize, Moment),
) -> Option<i32> {
    let process = Arc::new(OnceLock::new());
    let victim = Arc::clone(&process);
    let endpoint = proxy::start(&dev.stack.endpoint, move |call: &Call| {
        if (&*call.action, call.number, call.moment) != death {
            return Fate::Pass;
        }
        kill_process(*victim.wait(), Signal::KILL).unwrap();
        Fate::Cut
    });
    // The endpoint is not the run's, so that the command uses only the environment.
    let mut command = shell.elsewhere(arguments);
    command
        .envs(dev.stack.variables())
        .env("AWS_ENDPOINT_URL", endpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    process.set(Pid::from_child(&child)).unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    said(output.await.unwrap()).code
}

/// Makes a dead letter that SQS moved itself, as it does with a message whose process dies before it can count.
pub(crate) async fn die(shop: &Shop, event: &str) {
    let function = shop.output("NotifyCustomerFunctionName").to_owned();
    shop.set_readers(&function, None).await;
    let message = message(event, &Value::Null);
    let before = shop.depth_of(MAIL_LETTERS).await;
    shop.send("NotifyCustomerQueueUrl", &[message]).await;
    for _ in 0..=shop.max_receive_count("NotifyCustomerQueueUrl").await {
        shop.peek("NotifyCustomerQueueUrl").await;
    }
    shop.set_readers(&function, Some(2)).await;
    assert_eq!(shop.depth_of(MAIL_LETTERS).await, before + 1);
}
