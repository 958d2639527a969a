//! The contract of each source's response.

use super::{
    check::{BACKOFF, Case, Delivery, Handles, Parking, Response, Trigger, check},
    script::{Step, Steps},
};
use serde_json::{Value, json};
use surehand::ErrorKind;

#[test]
fn an_empty_batch_gets_an_empty_list() {
    check(Case {
        deliveries: vec![Delivery {
            event: "sqs-nothing",
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn a_message_that_no_response_could_name_fails_the_invocation_before_anything_runs() {
    for event in ["sqs-empty-message-id", "sqs-no-message-id"] {
        check(Case {
            deliveries: vec![Delivery {
                event,
                response: Response::Error(ErrorKind::Invocation, "an SQS message has no messageId"),
                ..Delivery::default()
            }],
            ..Case::default()
        });
    }
    check(Case {
        trigger: Trigger::DynamoDbStream,
        handles: Handles::Anything,
        deliveries: vec![Delivery {
            event: "dynamodb-stream-no-sequence-number",
            response: Response::Error(
                ErrorKind::Invocation,
                "a stream record has no SequenceNumber",
            ),
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn a_message_that_is_in_the_batch_twice_takes_effect_once() {
    check(Case {
        deliveries: vec![Delivery {
            event: "sqs-same-message-twice",
            effects: &["e-1", "e-2"],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn a_message_that_is_in_the_batch_twice_is_returned_if_either_fails() {
    check(Case {
        script: &[("e-1", &[Step::Fail("throttled"), Step::Succeed])],
        deliveries: vec![
            Delivery {
                event: "sqs-same-message-twice",
                effects: &["e-1", "e-2"],
                response: Response::Failures(&["m-1"]),
                back_in: &[("m-1", BACKOFF)],
                ..Delivery::default()
            },
            Delivery {
                event: "sqs-same-message-twice",
                receive: Some(2),
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

#[test]
fn of_two_records_of_one_event_the_second_finds_the_firsts_result() {
    check(Case {
        script: &[("e-1", &[Step::Take(5)])],
        deliveries: vec![Delivery {
            event: "sqs-same-event-twice",
            effects: &["e-1", "e-3"],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn eventbridge_learns_of_a_failure_by_the_invocations() {
    let failures: [(Steps, ErrorKind, &str); 3] = [
        (
            &[("e-1", &[Step::Fail("throttled"), Step::Succeed])],
            ErrorKind::Transient,
            "throttled",
        ),
        (
            &[("e-1", &[Step::PanicAtOnce("a bug"), Step::Succeed])],
            ErrorKind::Panicked,
            "a bug",
        ),
        (
            &[("e-1", &[Step::Hang, Step::Succeed])],
            ErrorKind::Deadline,
            "out of time",
        ),
    ];
    for (script, kind, part) in failures {
        check(Case {
            trigger: Trigger::EventBridge,
            script,
            deliveries: vec![
                Delivery {
                    event: "eventbridge-ours",
                    response: Response::Error(kind, part),
                    ..Delivery::default()
                },
                // Lambda's own retry.
                Delivery {
                    event: "eventbridge-ours",
                    effects: &["e-1"],
                    response: Response::Json(Value::Null),
                    ..Delivery::default()
                },
            ],
            ..Case::default()
        });
    }
}

#[test]
fn eventbridge_is_told_that_a_parked_event_is_done_and_of_any_other() {
    check(Case {
        trigger: Trigger::EventBridge,
        deliveries: vec![Delivery {
            event: "eventbridge-malformed",
            response: Response::Json(Value::Null),
            parked: &[("bus-of-e-1", "malformed", "expected a string")],
            ..Delivery::default()
        }],
        ..Case::default()
    });
    for dead_letters in [Parking::None, Parking::Refused] {
        check(Case {
            trigger: Trigger::EventBridge,
            dead_letters,
            deliveries: vec![Delivery {
                event: "eventbridge-malformed",
                response: Response::Error(ErrorKind::Malformed, "expected a string"),
                ..Delivery::default()
            }],
            ..Case::default()
        });
    }
}

#[test]
fn a_stream_is_checkpointed_at_the_lowest_failure() {
    check(Case {
        trigger: Trigger::DynamoDbStream,
        handles: Handles::Anything,
        script: &[
            ("change-2", &[Step::Fail("throttled"), Step::Succeed]),
            ("change-3", &[Step::Fail("throttled"), Step::Succeed]),
        ],
        deliveries: vec![
            Delivery {
                event: "dynamodb-stream",
                effects: &["change-1"],
                response: Response::Failures(&["111000000000000000000002"]),
                ..Delivery::default()
            },
            // Lambda delivers from there on; here it is everything, and the first is absorbed.
            Delivery {
                event: "dynamodb-stream",
                effects: &["change-2", "change-3", "change-4"],
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

#[test]
fn changes_of_one_item_stay_in_order_however_its_keys_are_spelled() {
    check(Case {
        trigger: Trigger::DynamoDbStream,
        handles: Handles::Anything,
        script: &[("change-1", &[Step::Fail("throttled")])],
        deliveries: vec![Delivery {
            event: "dynamodb-stream",
            // The third is of the first's item.
            effects: &["change-2", "change-4"],
            response: Response::Failures(&["111000000000000000000001"]),
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn a_caller_gets_the_reply_and_a_duplicate_the_same_one() {
    let reply = || Response::Json(json!({"order_id": "1", "accepted": true}));
    check(Case {
        trigger: Trigger::Direct,
        handles: Handles::Anything,
        keyed_by_request_id: true,
        script: &[
            ("request-1", &[Step::Fail("throttled")]),
            (
                "request-2",
                &[Step::Reply(r#"{"order_id":"1","accepted":true}"#)],
            ),
        ],
        deliveries: vec![
            Delivery {
                event: "direct-order",
                response: Response::Error(ErrorKind::Transient, "throttled"),
                ..Delivery::default()
            },
            Delivery {
                event: "direct-order",
                effects: &["request-2"],
                response: reply(),
                ..Delivery::default()
            },
            Delivery {
                event: "direct-order",
                response: reply(),
                ..Delivery::default()
            },
            Delivery {
                event: "direct-order-changed",
                response: Response::Error(ErrorKind::KeyReused, "another payload"),
                ..Delivery::default()
            },
            Delivery {
                event: "direct-order-without-key",
                response: Response::Error(ErrorKind::Malformed, "no idempotency key"),
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

#[test]
fn a_callers_errors_are_its_own_and_nothing_is_parked() {
    check(Case {
        trigger: Trigger::Direct,
        script: &[("request-1", &[Step::Reject("out of stock")])],
        deliveries: vec![Delivery {
            event: "direct-order",
            response: Response::Error(ErrorKind::Rejected, "out of stock"),
            ..Delivery::default()
        }],
        ..Case::default()
    });
}
