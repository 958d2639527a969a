//! What the functions say of themselves, without an environment.

use std::{process::Command, time::Duration};
use surehand::description::{ClaimKind, Description, Use};

/// Starts a function's program as `surehand check` does, with no other variable than the one that
/// asks for the description.
fn describe(program: &str) -> Description {
    let mut command = Command::new(program);
    let output = command.env_clear().env("SUREHAND_DESCRIBE", "1").output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Returns `detail-type from source` of the events that a function consumes; `*` if it takes any.
fn consumes(description: &Description) -> Vec<String> {
    let events = description.handlers.iter().map(|handler| &handler.consumes);
    events
        .map(|event| match event {
            Some(event) => format!("{} from {}", event.detail_type, event.source),
            None => "*".to_owned(),
        })
        .collect()
}

fn publishes(description: &Description) -> Vec<&str> {
    let events = description.publishes.iter();
    events.map(|event| event.detail_type.as_str()).collect()
}

/// Returns the variables that the function requires.
fn requires(description: &Description) -> Vec<&str> {
    let variables = description.variables.iter().filter(|v| v.required);
    variables.map(|variable| variable.name.as_str()).collect()
}

#[test]
fn a_consumer_says_what_it_consumes_publishes_and_needs() {
    let function = describe(env!("CARGO_BIN_EXE_reserve-stock"));
    assert_eq!(function.source, "sqs");
    assert_eq!(consumes(&function), ["OrderPlaced from shop.orders"]);
    assert_eq!(publishes(&function), ["StockReserved", "OrderRejected"]);
    assert_eq!(function.handlers[0].name, "reserve_stock");
    assert_eq!(function.handlers[0].claim, ClaimKind::Transaction);
    assert_eq!(
        requires(&function),
        ["DEAD_LETTER_QUEUE_URL", "IDEMPOTENCY_TABLE", "SHOP_TABLE"]
    );
    let [attempts, backoff] = &function.variables[2..4] else {
        panic!("{:?}", function.variables);
    };
    for (variable, name, what) in [
        (attempts, "MAX_ATTEMPTS", Use::MaxAttempts),
        (backoff, "MAX_BACKOFF_S", Use::MaxBackoff),
    ] {
        assert_eq!(
            (
                variable.name.as_str(),
                variable.required,
                &variable.uses[..]
            ),
            (name, false, &[what][..])
        );
    }

    let once = function.idempotency.unwrap();
    assert_eq!(
        (once.store.as_str(), once.key.as_str()),
        ("dynamodb", "event_id")
    );
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert_eq!(once.expires_after_s, month.as_secs());
    assert_eq!(function.dead_letters.unwrap().destination, "sqs");
    assert_eq!(function.redelivery.as_deref(), Some("sqs"));
    assert_eq!(function.batch.concurrency, 10);
    assert_eq!(
        (
            function.batch.max_attempts,
            function.batch.backoff_base_ms,
            function.batch.backoff_cap_ms
        ),
        (5, 10_000, 3_600_000)
    );
}

/// `Entity of TABLE: actions` of each entity.
fn entities(description: &Description) -> Vec<String> {
    let entities = description.tables.iter();
    entities
        .map(|it| {
            let actions: Vec<_> = it.actions.iter().map(|it| format!("{it:?}")).collect();
            format!("{} of {}: {}", it.entity, it.variable, actions.join(" "))
        })
        .collect()
}

#[test]
fn a_function_says_its_entities_and_what_it_does_with_them() {
    for (program, says) in [
        (
            env!("CARGO_BIN_EXE_reserve-stock"),
            &[
                "Reservation of SHOP_TABLE: BatchGetItem GetItem PutItem",
                "StockRow of SHOP_TABLE: BatchGetItem GetItem UpdateItem",
            ][..],
        ),
        (
            env!("CARGO_BIN_EXE_customer-ledger"),
            &[
                "Balance of SHOP_TABLE: BatchGetItem GetItem PutItem",
                "Entry of SHOP_TABLE: BatchGetItem GetItem PutItem",
            ],
        ),
        (
            env!("CARGO_BIN_EXE_place-order"),
            &["OrderPlaced of SHOP_TABLE: PutItem"],
        ),
        (
            env!("CARGO_BIN_EXE_audit"),
            &["Audited of SHOP_TABLE: PutItem"],
        ),
        (env!("CARGO_BIN_EXE_notify-customer"), &[]),
        (env!("CARGO_BIN_EXE_outbox-relay"), &[]),
        (env!("CARGO_BIN_EXE_redrive"), &[]),
    ] {
        let function = describe(program);
        assert_eq!(entities(&function), says, "{program}");
        let keys = function.tables.iter();
        let mut keys = keys.map(|it| (it.key.partition.as_str(), it.key.sort.as_deref()));
        assert!(keys.all(|key| key == ("pk", Some("sk"))), "{program}");
    }
}

#[test]
fn a_router_consumes_what_its_routes_do() {
    let function = describe(env!("CARGO_BIN_EXE_notify-customer"));
    assert_eq!(
        consumes(&function),
        [
            "OrderRejected from shop.stock",
            "StockReserved from shop.stock"
        ]
    );
    assert!(
        function
            .handlers
            .iter()
            .all(|handler| handler.claim == ClaimKind::Lease)
    );
    assert!(requires(&function).contains(&"EMAIL_FROM"));
}

#[test]
fn every_function_describes_itself_without_an_environment() {
    for (program, source, takes, needs) in [
        (
            env!("CARGO_BIN_EXE_place-order"),
            "direct",
            "*",
            &["IDEMPOTENCY_TABLE", "SHOP_TABLE"][..],
        ),
        (
            env!("CARGO_BIN_EXE_customer-ledger"),
            "sqs",
            "OrderCharged from shop.ledger",
            &["DEAD_LETTER_QUEUE_URL", "IDEMPOTENCY_TABLE", "SHOP_TABLE"],
        ),
        (
            env!("CARGO_BIN_EXE_audit"),
            "eventbridge",
            "*",
            &["SHOP_TABLE"],
        ),
        (
            env!("CARGO_BIN_EXE_outbox-relay"),
            "dynamodb_stream",
            "*",
            &["EVENT_BUS_NAME", "IDEMPOTENCY_TABLE", "LEDGER_QUEUE_URL"],
        ),
        (
            env!("CARGO_BIN_EXE_outbox-sweep"),
            "direct",
            "*",
            &["EVENT_BUS_NAME", "IDEMPOTENCY_TABLE", "LEDGER_QUEUE_URL"],
        ),
        (
            env!("CARGO_BIN_EXE_redrive"),
            "custom",
            "*",
            &[
                "DEAD_LETTER_QUEUES",
                "DEAD_LETTER_QUEUE_URL",
                "REDRIVE_QUEUE_URL",
                "REDRIVE_TABLE",
            ],
        ),
    ] {
        let function = describe(program);
        assert_eq!(function.source, source, "{program}");
        assert_eq!(consumes(&function), [takes], "{program}");
        assert_eq!(requires(&function), needs, "{program}");
    }
}

#[test]
fn those_who_publish_from_the_outbox_may_park_what_is_refused_for_good() {
    for program in [
        env!("CARGO_BIN_EXE_outbox-relay"),
        env!("CARGO_BIN_EXE_outbox-sweep"),
    ] {
        let function = describe(program);
        let mut variables = function.variables.iter();
        let letters = variables.find(|it| it.name == "DEAD_LETTER_QUEUE_URL");
        let letters = letters.unwrap();
        assert!(!letters.required && letters.uses == [Use::DeadLetterQueue]);
    }
}
