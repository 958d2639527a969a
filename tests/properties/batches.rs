//! Batches: the response names what must come back, and nothing else.

use super::json;
use proptest::{option, prelude::*};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};
use surehand::{
    Envelope, Error, Function, MemoryStore, OnPark, Result, Sqs, State,
    testing::{self, Message, RecordedDeadLetters},
};
use surehand_test_support::fuzz as targets;

/// What the handler does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeds,
    FailsForNow,
    IsRejected,
    IsMalformed,
    Panics,
}

impl Fate {
    fn body(self, number: usize) -> String {
        match self {
            Self::IsMalformed => format!("no JSON {number}"),
            fate => json!({ "fate": format!("{fate:?}"), "number": number }).to_string(),
        }
    }
}

type Ran = Arc<Mutex<BTreeSet<u64>>>;

async fn handle(event: Envelope<Value>, State(ran): State<Ran>) -> Result<()> {
    let number = event.data["number"].as_u64().unwrap_or(u64::MAX);
    let mut numbers = ran.lock().unwrap_or_else(PoisonError::into_inner);
    let is_first = numbers.insert(number);
    drop(numbers);
    assert!(is_first, "{number} ran twice");
    match event.data["fate"].as_str() {
        Some("FailsForNow") => Err(Error::transient("for now")),
        Some("IsRejected") => Err(Error::rejected("for ever")),
        Some("Panics") => panic!("as it is its fate"),
        _ => Ok(()),
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Succeeds),
        1 => Just(Fate::FailsForNow),
        1 => Just(Fate::IsRejected),
        1 => Just(Fate::IsMalformed),
        1 => Just(Fate::Panics),
    ]
}

proptest! {
    #[test]
    fn what_must_come_back_is_named_once_and_in_order(
        messages in prop::collection::vec((fate(), 0_u8..4), 0..12),
        (parks, halts) in (any::<bool>(), any::<bool>()),
        concurrency in 1_usize..5,
    ) {
        let ran = Ran::default();
        let dead_letters = if parks {
            RecordedDeadLetters::new()
        } else {
            RecordedDeadLetters::refusing()
        };
        let function = Function::new(Sqs, handle, Arc::clone(&ran))
            .concurrency(concurrency)
            .on_park(if halts { OnPark::Halt } else { OnPark::Proceed })
            .dead_letters(dead_letters.clone())
            .idempotent(MemoryStore::new());
        let event = testing::sqs_event("orders.fifo", messages.iter().enumerate().map(
            |(number, (fate, group))| {
                let message = Message::body(fate.body(number)).id(format!("m-{number}"));
                message.group(group.to_string())
            },
        ));
        let response = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(function.invoke(event, testing::context()))
            .unwrap();

        // The expected result by the rules: a group goes on until one of its records must be
        // retried.
        let mut halted = BTreeSet::new();
        let (mut failed, mut parked, mut handled) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (number, (fate, group)) in messages.iter().enumerate() {
            let id = format!("m-{number}");
            if halted.contains(group) {
                failed.push(id);
                continue;
            }
            if *fate != Fate::IsMalformed {
                handled.insert(number as u64);
            }
            let must_park = matches!(fate, Fate::IsRejected | Fate::IsMalformed);
            if must_park && parks {
                parked.push(id);
                if halts {
                    halted.insert(group);
                }
            } else if *fate != Fate::Succeeds {
                failed.push(id);
                halted.insert(group);
            }
        }
        prop_assert_eq!(testing::failed_ids(&response), failed);
        let dead: BTreeSet<String> =
            dead_letters.kinds().into_iter().map(|(id, _)| id).collect();
        prop_assert_eq!(dead, BTreeSet::from_iter(parked));
        prop_assert_eq!(&*ran.lock().unwrap(), &handled);
    }

    #[test]
    fn any_event_is_split_or_refused_as_a_whole(
        records in prop::collection::vec(message(), 0..5),
    ) {
        let event = json!({ "Records": records }).to_string();
        for (name, target) in targets::TARGETS {
            if name == "sqs_event" || name == "sqs_invocation" {
                target(event.as_bytes());
            }
        }
    }
}

/// A message in which any field may be missing or unusual.
fn message() -> impl Strategy<Value = Value> {
    let number = prop_oneof!["[0-9]{0,21}", "-[0-9]{1,3}", json::text()];
    let system = (
        option::of(number.clone()),
        option::of(number),
        option::of(json::text()),
        option::of("(Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16}|[A-Za-z=;-]{0,20})"),
    );
    let own = prop::collection::btree_map(
        prop_oneof![
            Just("SurehandFailure".to_owned()),
            Just("traceparent".into()),
            json::text()
        ],
        (
            option::of(json::text()),
            option::of("(QUJD){0,2}"),
            option::of(json::text()),
        ),
        0..3,
    );
    let id = prop_oneof![8 => "[a-b]{1,2}".prop_map(Some), 1 => Just(Some(String::new())), 1 => Just(None)];
    let body = prop_oneof![
        3 => json::value().prop_map(|value| Some(value.to_string())),
        1 => json::text().prop_map(Some),
        1 => Just(None),
    ];
    let arn = option::of(prop_oneof![
        Just("arn:aws:sqs:r:1:q.fifo".to_owned()),
        Just("arn:aws:sqs:r:1:q".into()),
        json::text(),
    ]);
    (id, body, arn, system, own).prop_map(|(id, body, arn, (receives, sent, group, trace), own)| {
        let mut message = json!({ "attributes": {}, "messageAttributes": {} });
        for (name, value) in [("messageId", id), ("body", body), ("eventSourceARN", arn)] {
            if let Some(value) = value {
                message[name] = value.into();
            }
        }
        for (name, value) in [
            ("ApproximateReceiveCount", receives),
            ("SentTimestamp", sent),
            ("MessageGroupId", group),
            ("AWSTraceHeader", trace),
        ] {
            if let Some(value) = value {
                message["attributes"][name] = value.into();
            }
        }
        for (name, (text, binary, data_type)) in own {
            let attribute = json!({
                "stringValue": text, "binaryValue": binary, "dataType": data_type,
                "stringListValues": [], "binaryListValues": [],
            });
            message["messageAttributes"][name] = attribute;
        }
        message
    })
}
