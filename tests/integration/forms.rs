//! Every form in which an event can arrive has one identity, whatever way it takes.

use super::check::{Case, Delivery, Handles, Response, Trigger, check};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use surehand::{Envelope, Event, Function, Result, Sqs};

#[test]
fn every_form_is_read_and_the_same_event_is_known_again_by_any_way() {
    for handles in [Handles::Orders, Handles::Anything] {
        check(Case {
            handles,
            deliveries: vec![
                Delivery {
                    event: "sqs-forms",
                    // Our events and CloudEvents have their own ids, those of EventBridge and SNS
                    // the service's, and any other body the message's.
                    effects: &[
                        "bus-plain",
                        "ce-1",
                        "ce-2",
                        "ce-3",
                        "e-in-sns",
                        "e-ours",
                        "e-ours-without-bus",
                        "m-other",
                        "sns-2",
                    ],
                    ..Delivery::default()
                },
                // An archive's replay, another bus, the queue instead of the topic, fields in
                // another order: nothing is new.
                Delivery {
                    event: "sqs-forms-again",
                    ..Delivery::default()
                },
            ],
            ..Case::default()
        });
    }
}

#[test]
fn eventbridge_delivers_every_form_directly_too() {
    let once = |event, effects| {
        vec![
            Delivery {
                event,
                effects,
                response: Response::Json(Value::Null),
                ..Delivery::default()
            },
            Delivery {
                event,
                response: Response::Json(Value::Null),
                ..Delivery::default()
            },
        ]
    };
    let mut ours = once("eventbridge-ours", &["e-1"]);
    ours.push(Delivery {
        event: "eventbridge-replay",
        response: Response::Json(Value::Null),
        ..Delivery::default()
    });
    for (handles, deliveries) in [
        (Handles::Orders, ours),
        (Handles::Orders, once("eventbridge-plain", &["bus-1"])),
        (
            Handles::Anything,
            once(
                "eventbridge-schedule",
                &["53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa"],
            ),
        ),
    ] {
        check(Case {
            trigger: Trigger::EventBridge,
            handles,
            deliveries,
            ..Case::default()
        });
    }
}

#[test]
fn what_an_input_transformer_left_goes_by_the_request() {
    check(Case {
        trigger: Trigger::EventBridge,
        handles: Handles::Anything,
        deliveries: vec![Delivery {
            event: "eventbridge-transformed",
            effects: &["request-1"],
            response: Response::Json(Value::Null),
            ..Delivery::default()
        }],
        ..Case::default()
    });
}

#[test]
#[should_panic(
    expected = "takes an `Envelope` of OrderPlaced and one of OrderCancelled, and no record has both"
)]
fn a_handler_that_wants_two_events_of_one_record_makes_no_function() {
    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop.orders", detail_type = "OrderPlaced")]
    struct OrderPlaced {}
    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop.orders", detail_type = "OrderCancelled")]
    struct OrderCancelled {}
    async fn both(_: Envelope<OrderPlaced>, _: Envelope<OrderCancelled>) -> Result<()> {
        Ok(())
    }
    let _ = Function::new(Sqs, both, ());
}
