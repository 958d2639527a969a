//! Fingerprints: one for each payload, however it is spelled.

use super::{json, spy::claimed};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::Value;
use std::{
    io::Write,
    process::{Command, Stdio},
};
use surehand::idempotency::KeyStyle;

fn fingerprint(style: KeyStyle, payload: &str) -> String {
    // Wrapped, so that a payload that looks like an event is none.
    claimed(style, "f", "key", &format!(r#"{{"payload":{payload}}}"#)).fingerprint
}

proptest! {
    #[test]
    fn a_payload_has_one_fingerprint_in_every_spelling(value in json::value(), seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let spelled = json::respelled(&value, &mut random);
        prop_assert_eq!(&serde_json::from_str::<Value>(&spelled).unwrap(), &value);
        for style in [KeyStyle::Sha256, KeyStyle::Powertools] {
            prop_assert_eq!(
                fingerprint(style, &value.to_string()),
                fingerprint(style, &spelled),
                "{}", spelled
            );
        }
    }

    #[test]
    fn different_payloads_have_different_fingerprints(one in json::value(), other in json::value()) {
        for style in [KeyStyle::Sha256, KeyStyle::Powertools] {
            let is_same = one == other;
            let (one, other) = (one.to_string(), other.to_string());
            prop_assert_eq!(
                fingerprint(style, &one) == fingerprint(style, &other),
                is_same,
                "{} {}", one, other
            );
        }
    }
}

/// Functions in Python share the table only if they write the same.
#[test]
fn powertools_fingerprints_are_those_of_python() {
    const CASES: usize = 1_000;
    const PROGRAM: &str = "import hashlib, json, sys
for line in sys.stdin:
    text = json.dumps(json.loads(line), sort_keys=True)
    print(hashlib.md5(text.encode()).hexdigest())";
    let python = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        println!("skipped: there is no python3");
        return;
    };
    let mut runner = TestRunner::deterministic();
    let payloads: Vec<String> = (0..CASES)
        .map(|_| {
            let tree = json::value().new_tree(&mut runner).unwrap();
            format!(r#"{{"payload":{}}}"#, tree.current())
        })
        .collect();
    let mut stdin = python.stdin.take().unwrap();
    let lines = payloads.join("\n");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.lines().count(), CASES);
    for (payload, theirs) in payloads.iter().zip(theirs.lines()) {
        let ours = claimed(KeyStyle::Powertools, "f", "key", payload).fingerprint;
        assert_eq!(ours, theirs, "{payload}");
    }
}
