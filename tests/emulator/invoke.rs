//! `surehand invoke` brings an event to a function as its queue, its rule or its table would.

use super::{dev::Dev, shop::Shop};
use serde_json::{Value, json};

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    let request = r#"{"queue": "reserve-stock"}"#;
    let batch = json!({"batchItemFailures": []});
    let (reply, said) = invoke(dev, &["redrive", "--event", request]);
    assert_eq!((&reply["complete"], &*said), (&json!(true), ""), "{reply}");

    // An order that is malformed is parked, which the queue's function does with messages alone.
    let order = r#"{"source": "shop.orders", "detail-type": "OrderPlaced", "metadata": {"id": "tried"}, "data": {"order_id": 7}}"#;
    let (reply, said) = invoke(dev, &["reserve-stock", "--event", order]);
    assert_eq!(reply, batch);
    assert_eq!(
        said,
        "sent as the queue shop-reserve-stock would bring it; --raw sends it as it is\n"
    );
    let parked = shop.take_dead_letters().await;
    assert_eq!(parked.len(), 1, "{parked:?}");

    let (reply, said) = invoke(dev, &["outbox-relay", "--event", r#"{"id": "tried"}"#]);
    assert_eq!(reply, batch);
    assert!(
        said.starts_with("sent as the stream of the table shop-"),
        "{said}"
    );

    let event =
        r#"{"source": "test", "detail-type": "Tried", "metadata": {"id": "tried"}, "data": {}}"#;
    let (_, said) = invoke(dev, &["audit", "--event", event]);
    assert!(said.starts_with("sent as a rule would bring it"), "{said}");
    let audited = r#"AUDIT#["test","Tried","tried"]"#;
    assert!(shop.has(audited, "EVENT").await, "the event is not audited");
    shop.delete(audited.to_owned(), "EVENT").await;

    let output = dev.surehand(&["invoke", "reserve-stock"], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "error: no event: the queue shop-reserve-stock brings events, so pass one with --event\n"
    );
}

/// Returns the reply and what is said about it.
fn invoke(dev: &Dev, arguments: &[&str]) -> (Value, String) {
    let output = dev.surehand(&[&["invoke"], arguments].concat(), "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    (
        serde_json::from_slice(&output.stdout).unwrap_or_default(),
        said,
    )
}
