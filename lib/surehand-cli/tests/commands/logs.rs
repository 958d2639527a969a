//! `surehand logs`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::world::{Answers, FUNCTION, World, answers};

const OK: &str = r#"{"message":"record handled","event_id":"e-1","outcome":"ok","duration_ms":3}"#;
const PARKED: &str = r#"{"message":"record handled","event_id":"e-2","function_request_id":"r-2","outcome":"park","kind":"rejected","error":"no such sku","at":"src/stock.rs:3:1","duration_ms":12}"#;
const DIED: &str = "2026-11-21T10:00:02.000Z 4f1c2d3e-0000-4000-8000-000000000001 Task timed out after 3.00 seconds\n\n";

fn event(id: &str, time: u64, message: &str) -> Value {
    json!({"eventId": id, "timestamp": time, "logStreamName": "s", "message": message})
}

fn known(pages: Vec<Value>) -> Answers {
    let mut known = answers(&[]);
    let pages = pages.into_iter().map(|page| (200, page)).collect();
    known.insert("FilterLogEvents".to_owned(), pages);
    known
}

#[test]
fn all_pages_are_read_and_only_failures_are_shown_if_asked_for() {
    let first =
        json!({"events": [event("1", 1_000, OK), event("2", 2_000, PARKED)], "nextToken": "t"});
    let second = json!({"events": [event("3", 3_000, DIED)]});
    let world = World::new(
        None,
        known(vec![first.clone(), second.clone(), first, second]),
    );
    let said = world.run(&[
        "logs",
        FUNCTION,
        "--since",
        "1970-01-01T00:00:00Z",
        "--failed",
    ]);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    assert_eq!(
        said.out,
        "1970-01-01T00:00:02.000Z  shop-stock  e-2  park          12 ms  rejected: no such sku (at src/stock.rs:3:1)\n\
         1970-01-01T00:00:03.000Z  shop-stock  4f1c2d3e-0000-4000-8000-000000000001  died       Task timed out after \
         3.00 seconds\n"
    );
    let said = world.run(&[
        "logs",
        FUNCTION,
        "--since",
        "1970-01-01T00:00:00Z",
        "--id",
        "e-1",
        "--json",
    ]);
    assert_eq!(said.out, format!("{OK}\n"));
    let calls = world.calls();
    let asked: Vec<&String> = (calls.iter())
        .filter(|(name, _)| name == "FilterLogEvents")
        .map(|(_, body)| body)
        .collect();
    assert!(asked[0].contains("/aws/lambda/shop-stock"), "{asked:?}");
    assert!(asked[1].contains(r#""nextToken":"t""#), "{asked:?}");
}

#[test]
fn no_line_is_exit_code_3() {
    let missing = json!({"__type": "ResourceNotFoundException", "message": "no group"});
    let mut known = answers(&[]);
    known.insert("FilterLogEvents".to_owned(), vec![(400, missing)]);
    let world = World::new(None, known);
    let said = world.run(&["logs", FUNCTION]);
    assert_eq!((said.code, &*said.out), (Some(3), ""), "{said:?}");
    assert!(said.err.contains("/aws/lambda/shop-stock"), "{said:?}");
}

#[test]
fn a_line_is_followed_once_and_an_interrupt_is_the_end() {
    let parked = |id: &str, time| event(id, time, PARKED);
    let pages = vec![
        json!({"events": [event("1", 100_000, OK)]}),
        // What is read again, what was late, and what is new.
        json!({"events": [parked("0", 99_000), event("1", 100_000, OK), parked("2", 101_000)]}),
    ];
    let world = World::new(None, known(pages));
    let mut child = world
        .command(&[
            "logs",
            FUNCTION,
            "--since",
            "1970-01-01T00:00:00Z",
            "--follow",
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("1970-01-01T00:01:40"));
    assert!(next().starts_with("1970-01-01T00:01:39"));
    assert!(next().starts_with("1970-01-01T00:01:41"));
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
    assert!(lines.next().is_none(), "no line twice");
    let calls = world.calls();
    let asked = (calls.iter()).filter(|(name, _)| name == "FilterLogEvents");
    let from: Vec<u64> = asked
        .map(|(_, body)| {
            serde_json::from_str::<Value>(body).unwrap()["startTime"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(from[..2], [0, 90_000]);
}
