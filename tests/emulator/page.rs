//! docs/when-events-fail.md and the page that it ends with, run: their commands in their order, and
//! what they show of the output.

use super::{
    command::{LETTERS, die, fail, order_for},
    dev::Dev,
    order::body,
    shell::Shell,
    shop::Shop,
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};
use surehand::{
    DynamoDbStore, IdempotencyKey, Metadata,
    idempotency::{Claim, ClaimRequest, Store},
};
use surehand_test_support::cargo;

const PAGES: [&str; 2] = ["docs/when-events-fail.md", "docs/redrive-function.md"];

/// The exit codes of its commands; all others end with 0.
const CODES: [(&str, i32); 2] = [("rehearse", 4), ("resume", 3)];

/// Moving is done by SQS itself, but not by this emulator's: that line runs where the other SQS
/// does.
const ELSEWHERE: &str = "surehand dlq move";

/// A block of the page.
#[derive(Debug)]
struct Block {
    language: String,
    lines: Vec<String>,
}

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    let shell = Shell::new(dev, shop, "page").await;
    let unicorns = (0..8).map(|n| order_for(&format!("page-{n}"), "unicorn"));
    let mut bodies: Vec<String> = unicorns.collect();
    bodies.extend([order_for("page-typo", "lmap"), "no JSON".to_owned()]);
    shop.delete("STOCK#unicorn".to_owned(), "STOCK").await;
    fail(shop, &bodies).await;
    never_ended(shop).await;
    let editor = shell.folder.join("editor");
    fs::write(&editor, "#!/bin/sh\nsed -i s/lmap/lamp/ \"$1\"\n").unwrap();
    fs::set_permissions(&editor, PermissionsExt::from_mode(0o700)).unwrap();

    let page = PAGES.map(|page| fs::read_to_string(cargo::workspace().join(page)).unwrap());
    let (mut printed, mut count) = (String::new(), 0);
    for block in page.iter().flat_map(|page| blocks(page)) {
        if block.language == "text" {
            for line in &block.lines {
                let is_there = printed.lines().any(|it| shape(it) == shape(line));
                assert!(is_there, "`{line}` is not in\n{printed}");
            }
            continue;
        }
        if block.language == "json" {
            // Only the names in a reply are compared, since its values differ from run to run.
            let shown: Value = serde_json::from_str(&block.lines.join("\n")).unwrap();
            let reply: Value = serde_json::from_str(&printed).unwrap();
            for name in shown.as_object().unwrap().keys() {
                assert!(reply.get(name).is_some(), "{name} is not in {reply}");
            }
            continue;
        }
        if block.language != "sh" {
            continue;
        }
        printed.clear();
        for line in &block.lines {
            if line.starts_with(ELSEWHERE) {
                continue;
            }
            if line.contains("rehearse") {
                // This is the fix that the commands try.
                shop.stock("unicorn", 100).await;
                shop.stock("lamp", 100).await;
            }
            count += 1;
            if let Some((input, line)) = line.split_once(" | ") {
                let input = input.trim_start_matches("echo ").trim_matches('\'');
                let words: Vec<&str> = line.split_whitespace().skip(1).collect();
                let output = dev.surehand(&words, input);
                assert!(output.status.success(), "{line}: {output:?}");
                printed.push_str(&String::from_utf8(output.stdout).unwrap());
                continue;
            }
            let line = line.replace("EVENT_ID", "page-typo");
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["surehand", "dlq", arguments @ ..] = &words[..] else {
                panic!("{line}");
            };
            let mut command = shell.command(arguments);
            command.env("EDITOR", &editor);
            let said = shell.run(command).await;
            let known = CODES.iter().find(|(name, _)| *name == arguments[0]);
            let code = known.map_or(0, |(_, code)| *code);
            assert_eq!(said.code, Some(code), "{line}: {said:?}");
            assert_eq!(said.err, "", "{line}: {said:?}");
            printed.push_str(&said.out);
        }
    }
    assert_eq!(count, 13, "the pages' commands");

    // They were redriven once, and restored; the effects of their consumers stay.
    let books = shop.books().await;
    assert_eq!((books.stock["unicorn"], books.stock["lamp"]), (92, 99));
    assert_eq!(books.reservations["page-typo"], "RESERVED");
    assert_eq!(shop.depth_of(LETTERS).await, 9);
    let run = async |text: &str| {
        let arguments: Vec<&str> = text.split_whitespace().collect();
        shell.ends(0, &arguments).await
    };
    run("plan --function reserve-stock --out again").await;
    // The events are known by their ids. The edited one is the old one again, and finds its order
    // decided.
    let said = run("apply again --yes --no-ramp").await;
    assert_eq!(said, "9 put back\n");
    let books = shop.settled("events that were known", |_| true).await;
    assert_eq!((books.stock["unicorn"], books.stock["lamp"]), (92, 99));
    assert_eq!(shop.depth_of(LETTERS).await, 0);
    run("purge --function notify-customer --yes").await;
}

/// Makes a dead letter whose process died each time: its last attempt is in the table, and never
/// ended.
async fn never_ended(shop: &Shop) {
    let event = json!({
        "order_id": "page", "customer_id": "nobody", "email": "page@example.com",
    });
    let table = shop.output("IdempotencyTableName");
    let store = DynamoDbStore::new(shop.dynamodb.clone(), table);
    let function = shop.output("NotifyCustomerFunctionName");
    let mut mail = Metadata::new("page-mail");
    mail.source = Some("shop.stock".into());
    mail.detail_type = Some("StockReserved".into());
    let key = IdempotencyKey::of_event(function, &mail);
    let now = SystemTime::now();
    for attempt in 1..=5 {
        let until = now - Duration::from_secs(60 - attempt);
        let expires = now + Duration::from_secs(3_600);
        let request = ClaimRequest::new(key.clone(), "print", until, expires);
        let claim = store.claim(&request).await.unwrap();
        assert!(matches!(claim, Claim::Acquired(_)), "{claim:?}");
    }
    die(
        shop,
        &body("page-mail", "shop.stock", "StockReserved", &event),
    )
    .await;
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    lines: Vec::new(),
                });
            }
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// Removes from a line what differs from run to run: ids, times, ages, and the width of columns.
fn shape(line: &str) -> String {
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-:.".contains(c);
    let mut shape = String::new();
    let mut rest = &words[..];
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if end == 0 {
            shape.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(end);
        let is_count = word.chars().all(|c| c.is_ascii_digit());
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        let is_age = ["s", "min", "h"].iter().any(|unit| {
            let unit = format!(" {unit} ");
            after.starts_with(&unit)
        });
        match (is_count && !is_age, has_digit) {
            (false, true) => shape.push('#'),
            _ => shape.push_str(word),
        }
        rest = after;
    }
    shape
}

#[test]
fn shapes_differ_by_what_is_said() {
    assert_eq!(
        shape("│ 5bbe6eca ┆  8 ┆ 3 s │"),
        shape("│ 0b1e6e0a ┆ 8 ┆ 12 s │")
    );
    assert_ne!(shape("8 put back"), shape("9 put back"));
    assert_ne!(shape("8 put back"), shape("8 edited"));
}
