//! One idempotency table, shared with functions on Powertools for AWS Lambda (Python), the real
//! ones: whoever comes first, the other one knows.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod powertools {
    pub(crate) mod json;
    pub(crate) mod process;
    pub(crate) mod python;
}

use aws_sdk_dynamodb::Client;
use powertools::{
    json,
    process::{Held, Process, Step, TABLE},
    python::{
        Answer::{Raised, Returned, Running},
        FUNCTION_NAME, Python,
    },
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use surehand::{
    ErrorKind, Result, Sqs,
    testing::{self, Message},
};
use surehand_test_support::dynamodb;

const ORDER: &str = r#"{"request_id": "r-1", "customer": "Jürgen", "total": 12.50}"#;
const IN_PROGRESS: &str = "IdempotencyAlreadyInProgressError";
const OTHER_PAYLOAD: &str = "IdempotencyValidationError";

/// Powertools' functions, and the table.
async fn open() -> (Python, Client) {
    let (client, url) = dynamodb::embedded().await;
    dynamodb::make_idempotency_table(&client, TABLE).await;
    (Python::start(&url).await, client)
}

/// What Powertools' keys of a function begin with.
fn scope(function: &str) -> String {
    format!("{FUNCTION_NAME}.functions.{function}")
}

fn orders(client: &Client) -> Process<surehand::Direct> {
    Process::of_orders(client, &scope("place_order"), 0)
}

fn reply(order: &str) -> Value {
    json!({ "order": order, "note": "grün", "total": 12.5, "lines": [1, null] })
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn what_powertools_handled_is_a_duplicate_and_gets_its_reply() {
    let (mut python, client) = open().await;
    assert_eq!(python.call("place_order", ORDER).await, Running);
    let returned = python.proceed(json!({ "return": reply("42") })).await;
    assert_eq!(returned, Returned(reply("42")));
    assert_eq!(orders(&client).order(ORDER).await.unwrap(), reply("42"));
}

#[tokio::test]
async fn what_surehand_handled_is_a_duplicate_to_powertools_and_gets_its_reply() {
    let (mut python, client) = open().await;
    let orders = orders(&client);
    orders.script.then(Step::Return(reply("42")));
    assert_eq!(orders.order(ORDER).await.unwrap(), reply("42"));
    let again = python.call("place_order", ORDER).await;
    assert_eq!(again, Returned(reply("42")));
}

#[tokio::test]
async fn a_prefix_is_a_scope() {
    let (mut python, client) = open().await;
    assert_eq!(python.call("place_order_prefixed", ORDER).await, Running);
    python.proceed(json!({ "return": reply("42") })).await;
    let prefixed = Process::of_orders(&client, "orders", 0);
    assert_eq!(prefixed.order(ORDER).await.unwrap(), reply("42"));
    // Another function handles the same request again.
    let orders = orders(&client);
    orders.script.then(Step::Return(reply("43")));
    assert_eq!(orders.order(ORDER).await.unwrap(), reply("43"));
}

#[tokio::test]
async fn a_message_is_handled_by_one_of_both() {
    let (mut python, client) = open().await;
    let scope = scope("reserve_stock");
    let stock = Process::new(Sqs, &client, &scope, 0, |once| once);
    let batch = |id: &str| {
        let event = json!({
            "id": "another each time", "source": "shop.orders", "detail-type": "OrderPlaced",
            "detail": { "metadata": { "id": id }, "data": { "order_id": "42" } }
        });
        testing::sqs_event("stock", [Message::body(event.to_string())])
    };
    let [first, second] = [batch("e-1"), batch("e-2")];
    let [first_text, second_text] = [&first, &second].map(|e| serde_json::to_string(e).unwrap());

    let answer = python.call("handle_batch", &first_text).await;
    assert_eq!(answer, Running);
    let answer = python.proceed(json!({ "return": null })).await;
    assert_eq!(answer, Returned(Value::Null));
    let response = stock.deliver(first).await.unwrap();
    assert!(testing::failed_ids(&response).is_empty());

    stock.script.then(Step::Return(Value::Null));
    let response = stock.deliver(second).await.unwrap();
    assert!(testing::failed_ids(&response).is_empty());
    assert!(stock.script.is_done());
    let answer = python.call("handle_batch", &second_text).await;
    assert_eq!(answer, Returned(Value::Null));
}

#[tokio::test]
async fn while_powertools_is_at_it_surehand_waits() {
    let (mut python, client) = open().await;
    let orders = orders(&client);
    assert_eq!(python.call("place_order", ORDER).await, Running);
    let error = orders.order(ORDER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InProgress);
    // It knows how long: until Powertools' invocation ends.
    let delay = error.delay().unwrap();
    assert!(delay <= Duration::from_secs(30), "{delay:?}");
    python.proceed(json!({ "return": reply("42") })).await;
    assert_eq!(orders.order(ORDER).await.unwrap(), reply("42"));
}

#[tokio::test]
async fn while_surehand_is_at_it_powertools_refuses() {
    let (mut python, client) = open().await;
    let orders = orders(&client);
    let held = Arc::new(Held::default());
    orders
        .script
        .then(Step::Hold(Arc::clone(&held), reply("42")));
    let meanwhile = async {
        held.entered.notified().await;
        let answer = python.call("place_order", ORDER).await;
        assert_eq!(answer, Raised(IN_PROGRESS.into()));
        held.go_on.notify_one();
    };
    let (first, ()) = tokio::join!(orders.order(ORDER), meanwhile);
    assert_eq!(first.unwrap(), reply("42"));
    let again = python.call("place_order", ORDER).await;
    assert_eq!(again, Returned(reply("42")));
}

#[tokio::test]
async fn a_key_that_powertools_locks_without_a_time_limit_stays_locked() {
    let (mut python, client) = open().await;
    // This is far beyond any invocation, and before the hour after which Powertools forgets a key.
    let later = Process::of_orders(&client, &scope("place_order"), 50 * 60);
    let call = python.call_with("place_order", ORDER, None).await;
    assert_eq!(call, Running);
    let error = later.order(ORDER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InProgress);
    assert_eq!(error.delay(), None);
}

#[tokio::test]
async fn what_powertools_left_unfinished_surehand_takes_over() {
    let (mut python, client) = open().await;
    assert_eq!(python.call("place_order", ORDER).await, Running);
    drop(python);
    let later = Process::of_orders(&client, &scope("place_order"), 60);
    later.script.then(Step::Return(reply("43")));
    assert_eq!(later.order(ORDER).await.unwrap(), reply("43"));
    assert_eq!(later.order(ORDER).await.unwrap(), reply("43"));
}

#[tokio::test]
async fn what_surehand_left_unfinished_powertools_takes_over_and_a_late_surehand_changes_nothing() {
    let (mut python, client) = open().await;
    // Its lease ended half a minute ago, by Python's clock.
    let early = Process::of_orders(&client, &scope("place_order"), -60);
    let held = Arc::new(Held::default());
    early
        .script
        .then(Step::Hold(Arc::clone(&held), reply("42")));
    let meanwhile = async {
        held.entered.notified().await;
        assert_eq!(python.call("place_order", ORDER).await, Running);
        let returned = python.proceed(json!({ "return": reply("43") })).await;
        assert_eq!(returned, Returned(reply("43")));
        held.go_on.notify_one();
    };
    let (late, ()) = tokio::join!(early.order(ORDER), meanwhile);
    assert_eq!(kind(late), ErrorKind::Fenced);
    assert_eq!(
        python.call("place_order", ORDER).await,
        Returned(reply("43"))
    );
    assert_eq!(orders(&client).order(ORDER).await.unwrap(), reply("43"));
}

#[tokio::test]
async fn what_fails_in_one_is_free_for_the_other_at_once() {
    let (mut python, client) = open().await;
    let orders = orders(&client);
    orders.script.then(Step::Fail);
    assert_eq!(kind(orders.order(ORDER).await), ErrorKind::Transient);
    assert_eq!(python.call("place_order", ORDER).await, Running);
    let raised = python.proceed(json!({ "raise": "no" })).await;
    assert_eq!(raised, Raised("RuntimeError".into()));
    orders.script.then(Step::Return(reply("42")));
    assert_eq!(orders.order(ORDER).await.unwrap(), reply("42"));
    assert!(orders.script.is_done());
    let again = python.call("place_order", ORDER).await;
    assert_eq!(again, Returned(reply("42")));
}

/// Unless it is configured to, Powertools neither stores nor checks a digest of the payload.
#[tokio::test]
async fn payloads_are_compared_by_those_who_compare() {
    let (mut python, client) = open().await;
    let changed = ORDER.replace("12.50", "99.00");

    assert_eq!(python.call("place_order", ORDER).await, Running);
    python.proceed(json!({ "return": reply("42") })).await;
    let surehand = orders(&client);
    assert_eq!(surehand.order(&changed).await.unwrap(), reply("42"));

    let other = ORDER.replace("r-1", "r-2");
    surehand.script.then(Step::Return(reply("43")));
    surehand.order(&other).await.unwrap();
    let changed = changed.replace("r-1", "r-2");
    assert_eq!(kind(surehand.order(&changed).await), ErrorKind::KeyReused);
    let answer = python.call("place_order", &changed).await;
    assert_eq!(answer, Returned(reply("43")));
}

#[tokio::test]
async fn a_payload_that_powertools_validates_whole_is_compared_by_both() {
    let (mut python, client) = open().await;
    let surehand = Process::of_orders(&client, &scope("place_order_validated"), 0);
    let changed = ORDER.replace("12.50", "99.00");

    assert_eq!(python.call("place_order_validated", ORDER).await, Running);
    python.proceed(json!({ "return": reply("42") })).await;
    assert_eq!(surehand.order(ORDER).await.unwrap(), reply("42"));
    assert_eq!(kind(surehand.order(&changed).await), ErrorKind::KeyReused);

    let [order, changed] = [ORDER, &changed].map(|text| text.replace("r-1", "r-2"));
    surehand.script.then(Step::Return(reply("43")));
    surehand.order(&order).await.unwrap();
    let same = python.call("place_order_validated", &order).await;
    assert_eq!(same, Returned(reply("43")));
    let other = python.call("place_order_validated", &changed).await;
    assert_eq!(other, Raised(OTHER_PAYLOAD.into()));
}

#[tokio::test]
async fn both_write_json_alike() {
    let (mut python, client) = open().await;
    let surehand = Process::of_orders(&client, &scope("place_order_validated"), 0);
    let mut rng = fastrand::Rng::with_seed(1);
    for number in 0..300 {
        let payload = json::random(&mut rng, 3);
        let order = format!(r#"{{"request_id": "r-{number}", "payload": {payload}}}"#);
        let expected = json!({ "number": number });
        if rng.bool() {
            surehand.script.then(Step::Return(expected.clone()));
            surehand.order(&order).await.unwrap();
        } else {
            let running = python.call("place_order_validated", &order).await;
            assert_eq!(running, Running, "{order}");
            python.proceed(json!({ "return": expected })).await;
        }
        let answer = python.call("place_order_validated", &order).await;
        assert_eq!(answer, Returned(expected.clone()), "{order}");
        let answer = surehand.order(&order).await;
        assert_eq!(answer.map_err(|e| e.kind()).ok(), Some(expected), "{order}");
    }
}

/// Numbers, texts, lists and objects, in whatever spelling.
#[tokio::test]
async fn any_json_is_a_key_that_both_write_alike() {
    let (mut python, client) = open().await;
    let surehand = Process::keyed(&client, &scope("place_order_keyed"), |it| it["key"].clone());
    let mut rng = fastrand::Rng::with_seed(2);
    let mut shared = 0;
    for number in 0..400 {
        let key = json::random(&mut rng, 3);
        // Two orders may have one key, such as `true`.
        let key = format!(r#"["{number}", {key}]"#);
        let key = match rng.u8(..8) {
            0 => number.to_string(),
            1 => format!("{number}.250"),
            2 => format!(r#""grün {number}""#),
            3 => format!(r#"{{"z": 1, "a": {key}}}"#),
            _ => key,
        };
        let order = format!(r#"{{"key": {key}}}"#);
        let expected = json!({ "number": number });
        let is_first = rng.bool();
        if is_first {
            surehand.script.then(Step::Return(expected.clone()));
        } else {
            let running = python.call("place_order_keyed", &order).await;
            assert_eq!(running, Running, "{order}");
            python.proceed(json!({ "return": expected })).await;
        }
        match surehand.order(&order).await {
            Ok(reply) => assert_eq!(reply, expected, "{order}"),
            Err(error) => {
                // It is not known whether Python has an integer there.
                assert!(error.to_string().contains("no certain digest"), "{error}");
                if is_first {
                    surehand.script.forget();
                }
                continue;
            }
        }
        assert!(surehand.script.is_done());
        let answer = python.call("place_order_keyed", &order).await;
        assert_eq!(answer, Returned(expected), "{order}");
        shared += 1;
    }
    assert!(shared > 200, "{shared}");
}

#[tokio::test]
async fn a_key_of_several_fields_is_a_list_as_jmespath_makes_it() {
    let (mut python, client) = open().await;
    let composed = |it: &Value| json!([it["customer"], it["lines"][0]["sku"], it["number"]]);
    let surehand = Process::keyed(&client, &scope("place_order_composed"), composed);
    for (number, order) in [
        r#"{"customer": "Jürgen", "lines": [{"sku": "mug"}], "number": 12.50}"#,
        r#"{"customer": "Jürgen", "lines": [], "number": 7}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let expected = json!({ "number": number });
        assert_eq!(python.call("place_order_composed", order).await, Running);
        python.proceed(json!({ "return": expected })).await;
        assert_eq!(surehand.order(order).await.unwrap(), expected);
    }
    let error = surehand.order("{}").await.unwrap_err();
    assert!(error.is_malformed(), "nothing but null: {error}");
}
