//! What becomes of a record: one case for each way in which handling it can end.

use super::{
    check::{BACKOFF, Case, Delivery, Handles, Parking, Response, check},
    script::Step,
};
use surehand::OnPark;

#[test]
fn success_is_acked_and_a_duplicate_too_without_effect() {
    check(Case {
        deliveries: vec![
            Delivery {
                event: "sqs-orders",
                effects: &["e-1", "e-2", "e-3", "e-4"],
                ..Delivery::default()
            },
            Delivery {
                event: "sqs-orders",
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

#[test]
fn without_idempotency_a_duplicate_takes_effect_again() {
    let delivery = Delivery {
        event: "sqs-orders",
        effects: &["e-1", "e-2", "e-3", "e-4"],
        ..Delivery::default()
    };
    check(Case {
        not_idempotent: true,
        deliveries: vec![delivery.clone(), delivery],
        ..Case::default()
    });
}

#[test]
fn malformed_is_parked_and_concerns_nobody_else() {
    check(Case {
        deliveries: vec![Delivery {
            event: "sqs-malformed",
            effects: &["e-good"],
            parked: &[
                ("m-binary", "malformed", "data_base64"),
                ("m-cut-off", "malformed", "not JSON"),
                ("m-empty", "malformed", "not JSON"),
                ("m-missing-field", "malformed", "missing field `quantity`"),
                ("m-newer", "malformed", "missing field `order_id`"),
                ("m-no-body", "malformed", "no body"),
                ("m-text", "malformed", "not JSON"),
                ("m-wrong-type", "malformed", "expected u32"),
            ],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn an_unknown_type_is_parked_with_its_name() {
    check(Case {
        deliveries: vec![Delivery {
            event: "sqs-unknown-type",
            effects: &["e-placed"],
            parked: &[
                (
                    "m-elsewhere",
                    "malformed",
                    "OrderPlaced e-elsewhere from other.orders is not",
                ),
                (
                    "m-refunded",
                    "malformed",
                    "OrderRefunded e-refunded from shop.orders is not",
                ),
            ],
            ..Delivery::default()
        }],
        ..Case::default()
    });
    check(Case {
        handles: Handles::OrdersByRouter,
        deliveries: vec![Delivery {
            event: "sqs-unknown-type",
            effects: &["e-placed"],
            parked: &[
                (
                    "m-elsewhere",
                    "malformed",
                    "no handler for detail-type `OrderPlaced`",
                ),
                (
                    "m-refunded",
                    "malformed",
                    "no handler for detail-type `OrderRefunded`",
                ),
            ],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn an_unknown_type_goes_to_otherwise_where_there_is_one() {
    check(Case {
        handles: Handles::OrdersElseAnything,
        deliveries: vec![Delivery {
            event: "sqs-unknown-type",
            effects: &["e-elsewhere", "e-placed", "e-refunded"],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn rejected_is_parked_at_once() {
    check(Case {
        script: &[("e-2", &[Step::Reject("out of stock")])],
        deliveries: vec![Delivery {
            event: "sqs-orders",
            effects: &["e-1", "e-3", "e-4"],
            parked: &[("m-2", "rejected", "out of stock")],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn another_payload_under_a_used_key_is_parked() {
    check(Case {
        deliveries: vec![
            Delivery {
                event: "sqs-orders",
                effects: &["e-1", "e-2", "e-3", "e-4"],
                ..Delivery::default()
            },
            Delivery {
                event: "sqs-key-reused",
                parked: &[("m-9", "key_reused", "another payload")],
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

#[test]
fn a_transient_failure_comes_back_with_backoff_and_is_free_then() {
    check(Case {
        script: &[("e-3", &[Step::Fail("throttled"), Step::Succeed])],
        deliveries: vec![
            Delivery {
                event: "sqs-orders",
                effects: &["e-1", "e-2", "e-4"],
                response: Response::Failures(&["m-3"]),
                back_in: &[("m-3", BACKOFF)],
                ..Delivery::default()
            },
            Delivery {
                only: &["m-3"],
                ..Delivery::again("sqs-orders", &["e-3"])
            },
        ],
        ..Case::default()
    });
}

#[test]
fn a_handler_that_says_when_is_asked_again_then() {
    check(Case {
        script: &[("e-1", &[Step::FailFor(77)])],
        deliveries: vec![Delivery {
            event: "sqs-orders",
            only: &["m-1"],
            response: Response::Failures(&["m-1"]),
            back_in: &[("m-1", 77.0..=77.0)],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn a_panic_is_its_records_failure_alone() {
    check(Case {
        script: &[
            ("e-1", &[Step::PanicAtOnce("a bug"), Step::Succeed]),
            ("e-4", &[Step::PanicLater("another"), Step::Succeed]),
        ],
        deliveries: vec![
            Delivery {
                event: "sqs-orders",
                effects: &["e-2", "e-3"],
                response: Response::Failures(&["m-1", "m-4"]),
                back_in: &[("m-1", BACKOFF), ("m-4", BACKOFF)],
                ..Delivery::default()
            },
            Delivery::again("sqs-orders", &["e-1", "e-4"]),
        ],
        ..Case::default()
    });
}

#[test]
fn at_the_deadline_a_handler_is_stopped_and_its_lease_given_back() {
    check(Case {
        script: &[
            ("e-1", &[Step::Hang, Step::Succeed]),
            ("e-2", &[Step::Take(28)]),
            ("e-3", &[Step::Take(29), Step::Succeed]),
        ],
        deliveries: vec![
            Delivery {
                event: "sqs-orders",
                effects: &["e-2", "e-4"],
                response: Response::Failures(&["m-1", "m-3"]),
                back_in: &[("m-1", BACKOFF), ("m-3", BACKOFF)],
                ..Delivery::default()
            },
            Delivery::again("sqs-orders", &["e-1", "e-3"]),
        ],
        ..Case::default()
    });
}

#[test]
fn after_a_failure_the_rest_of_its_partition_key_waits_for_it() {
    check(Case {
        script: &[("e-1", &[Step::FailFor(40), Step::Succeed])],
        deliveries: vec![
            Delivery {
                event: "sqs-partition-key",
                effects: &["e-2"],
                response: Response::Failures(&["m-1", "m-3", "m-4"]),
                back_in: &[("m-1", 40.0..=40.0), ("m-3", 40.0..=40.0)],
                ..Delivery::default()
            },
            Delivery::again("sqs-partition-key", &["e-1", "e-3", "e-4"]),
        ],
        ..Case::default()
    });
}

#[test]
fn the_last_attempt_is_parked_with_its_reason() {
    check(Case {
        max_attempts: Some(2),
        script: &[
            ("e-1", &[Step::Reject("never")]),
            ("e-2", &[Step::Fail("throttled")]),
            ("e-3", &[Step::PanicLater("a bug")]),
            ("e-4", &[Step::Hang]),
        ],
        deliveries: vec![
            Delivery {
                event: "sqs-orders",
                // However often it was received before.
                receive: Some(40),
                response: Response::Failures(&["m-2", "m-3", "m-4"]),
                parked: &[("m-1", "rejected", "never")],
                ..Delivery::default()
            },
            Delivery {
                event: "sqs-orders",
                receive: Some(41),
                parked: &[
                    ("m-1", "rejected", "never"),
                    ("m-2", "transient", "throttled"),
                    ("m-3", "panicked", "the handler panicked: a bug"),
                    ("m-4", "deadline", "out of time"),
                ],
                ..Delivery::default()
            },
        ],
        ..Case::default()
    });
}

#[test]
fn what_is_skipped_is_never_parked() {
    check(Case {
        max_attempts: Some(1),
        script: &[("e-1", &[Step::Fail("throttled")])],
        deliveries: vec![Delivery {
            event: "sqs-partition-key",
            receive: Some(5),
            // The first is parked, so the second may proceed.
            effects: &["e-2", "e-3", "e-4"],
            parked: &[("m-1", "transient", "throttled")],
            ..Delivery::default()
        }],
        ..Case::default()
    });
    check(Case {
        on_park: OnPark::Halt,
        max_attempts: Some(1),
        script: &[("e-1", &[Step::Fail("throttled")])],
        deliveries: vec![Delivery {
            event: "sqs-partition-key",
            receive: Some(5),
            effects: &["e-2"],
            parked: &[("m-1", "transient", "throttled")],
            response: Response::Failures(&["m-3", "m-4"]),
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn what_the_dead_letter_destination_refuses_stays_in_the_queue() {
    for (dead_letters, receive) in [
        (Parking::Refused, 1),
        (Parking::Refused, 5),
        (Parking::None, 5),
    ] {
        check(Case {
            dead_letters,
            script: &[
                ("e-1", &[Step::Reject("never")]),
                ("e-2", &[Step::Fail("throttled")]),
            ],
            deliveries: vec![
                Delivery {
                    event: "sqs-orders",
                    receive: Some(receive),
                    effects: &["e-3", "e-4"],
                    response: Response::Failures(&["m-1", "m-2"]),
                    ..Delivery::default()
                },
                Delivery {
                    event: "sqs-malformed",
                    receive: Some(receive),
                    effects: &["e-good"],
                    response: Response::Failures(&[
                        "m-text",
                        "m-cut-off",
                        "m-empty",
                        "m-no-body",
                        "m-missing-field",
                        "m-wrong-type",
                        "m-binary",
                        "m-newer",
                    ]),
                    ..Delivery::default()
                },
            ],
            ..Case::default()
        });
    }
}

#[test]
fn a_record_without_a_key_is_malformed_and_shares_none() {
    check(Case {
        keyed_by_request_id: true,
        deliveries: vec![Delivery {
            event: "sqs-orders",
            only: &["m-1", "m-2"],
            parked: &[
                ("m-1", "malformed", "no idempotency key"),
                ("m-2", "malformed", "no idempotency key"),
            ],
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
fn what_had_no_time_comes_back_soon() {
    let delivery = |event, receive| Delivery {
        event,
        receive: Some(receive),
        ..Delivery::default()
    };
    check(Case {
        // One lane, whose first record takes all the time there is.
        script: &[
            ("e-1", &[Step::Take(28), Step::Succeed]),
            ("e-3", &[Step::Hang, Step::Succeed]),
        ],
        deliveries: vec![
            Delivery {
                effects: &["e-1", "e-2"],
                response: Response::Failures(&["m-3", "m-4"]),
                back_in: &[("m-3", 1.0..=2.0), ("m-4", 1.0..=2.0)],
                ..delivery("sqs-partition-key", 1)
            },
            Delivery {
                effects: &["e-3", "e-4"],
                ..delivery("sqs-partition-key", 2)
            },
        ],
        ..Case::default()
    });
}
