//! What letters are, and what of them goes back.

use super::world::{DEAD, World};
use proptest::prelude::*;
use surehand::{
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
};
use surehand_redrive::{Action, Apply, Destination, Ledger, Letter, Origin, Plan};
use surehand_test_support::known_failure;

fn text(data_type: &str, text: &str) -> Attribute {
    Attribute {
        data_type: data_type.into(),
        value: AttributeValue::Text(text.into()),
    }
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let kind = "(String|Number|Binary)(\\.[a-z]{1,5})?";
    let value = prop_oneof![
        any::<String>().prop_map(AttributeValue::Text),
        any::<Vec<u8>>().prop_map(AttributeValue::Binary),
    ];
    (kind, value).prop_map(|(data_type, value)| Attribute { data_type, value })
}

proptest! {
    #[test]
    fn a_letter_is_one_line_without_loss(
        body in any::<String>(),
        attributes in prop::collection::btree_map(any::<String>(), attribute(), 0..10),
        dropped in prop::collection::vec(any::<String>(), 0..3),
        numbers in any::<(Option<u64>, u32)>(),
        texts in any::<[Option<String>; 4]>(),
    ) {
        let mut letter = Letter::new("m", body);
        letter.attributes = attributes;
        letter.dropped_attributes = dropped;
        (letter.sent_at_ms, letter.receive_count) = numbers;
        [letter.group, letter.deduplication_id, letter.trace_header, letter.source_arn] = texts;
        let line = serde_json::to_string(&letter).unwrap();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<Letter>(&line).unwrap(), letter);
    }
}

async fn redriven(letter: Letter) -> surehand_redrive::Parcel {
    let mut plan = Plan::new(DEAD).to(Destination::Queue("https://sqs.local/1/source".into()));
    assert_eq!(plan.add(&letter, Action::Redrive).action, Action::Redrive);
    let world = World::new(0, false, vec![letter]);
    let mut journal = world.clone();
    let apply = Apply::new(&world, &world, &plan);
    let report = apply
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await;
    assert_eq!(report.unwrap().redriven, 1);
    world.state().delivered.remove(0)
}

#[tokio::test(start_paused = true)]
async fn attributes_of_all_types_travel_and_stale_ones_do_not() {
    let mut letter = Letter::new("m", "{}");
    letter.trace_header = Some("Root=1-2-3".into());
    letter.dropped_attributes = vec!["list".into()];
    let binary = Attribute {
        data_type: "Binary.png".into(),
        value: AttributeValue::Binary(vec![0, 255, 1]),
    };
    letter.attributes = [
        ("a", text("String", "ü")),
        ("b", text("Number.cents", "150")),
        ("c", binary),
    ]
    .map(|(name, attribute)| (name.to_owned(), attribute))
    .into();
    let mut expected = letter.attributes.clone();
    expected.insert(FailureNote::REDRIVE_COUNT.into(), text("Number", "2"));
    letter
        .attributes
        .insert(FailureNote::REDRIVE_COUNT.into(), text("Number", "1"));
    let stale = text("String", "no note that can be read");
    letter
        .attributes
        .insert(FailureNote::ATTRIBUTE.into(), stale);
    let parcel = redriven(letter).await;
    assert_eq!(parcel.attributes, expected);
    assert_eq!(parcel.trace_header.as_deref(), Some("Root=1-2-3"));
}

#[tokio::test(start_paused = true)]
async fn ten_attributes_and_a_mebibyte_travel_and_more_does_not() {
    let mut letter = Letter::new("m", "{}");
    for index in 0..10 {
        letter
            .attributes
            .insert(format!("a{index}"), text("String", "x"));
    }
    assert_eq!(redriven(letter.clone()).await.attributes, letter.attributes);
    letter.attributes.insert("a10".into(), text("String", "x"));
    let to = Destination::Queue("https://sqs.local/1/source".into());
    let mut plan = Plan::new(DEAD).to(to);
    let step = plan.add(&letter, Action::Redrive);
    assert_eq!(step.action, Action::Hold);
    assert!(
        step.note.as_ref().unwrap().contains("11 attributes"),
        "{step:?}"
    );

    let mebibyte = Letter::new("m", "x".repeat(1 << 20));
    let parcel = redriven(mebibyte).await;
    assert!(parcel.attributes.is_empty(), "no room for the count");
    let step = plan.add(
        &Letter::new("m", "x".repeat((1 << 20) + 1)),
        Action::Redrive,
    );
    assert!(
        step.note.as_ref().unwrap().contains("1048577 bytes"),
        "{step:?}"
    );
}

#[test]
fn the_fourth_time_needs_force() {
    let mut letter = Letter::new("m", "{}");
    letter
        .attributes
        .insert(FailureNote::REDRIVE_COUNT.into(), text("Number", "3"));
    let plan = Plan::new(DEAD).to(Destination::Queue("https://sqs.local/1/source".into()));
    let step = plan.clone().add(&letter, Action::Redrive).clone();
    assert_eq!(step.action, Action::Hold);
    assert!(step.note.unwrap().contains("come back 3 times"));
    assert_eq!(
        plan.force().add(&letter, Action::Redrive).action,
        Action::Redrive
    );
}

#[test]
fn letters_of_every_origin_know_where_they_belong() {
    let queue =
        |name: &str| Destination::Queue(format!("https://sqs.eu-west-1.amazonaws.com/1/{name}"));
    let mut moved = Letter::new("m", "{}");
    moved.source_arn = Some("arn:aws:sqs:eu-west-1:1:orders".into());
    assert_eq!(moved.destination(), Some(queue("orders")));

    let note = r#"{"kind":"rejected","message":"order 7","handler":"h","function":"f","request_id":"r",
        "event_id":null,"event_type":null,"attempts":1,"first_failure":null,"last_failure":"t",
        "source_queue":"arn:aws:sqs:eu-west-1:1:orders","redrive_count":2}"#;
    let wrapped = Letter::new(
        "m",
        format!(r#"{{"SurehandFailure":{note},"body":"no JSON"}}"#),
    );
    let mut noted = Letter::new("m", "no JSON");
    noted
        .attributes
        .insert(FailureNote::ATTRIBUTE.into(), text("String", note));
    for (parked, is_enveloped) in [(wrapped, true), (noted, false)] {
        let origin = parked.origin();
        assert!(matches!(origin, Origin::Parked { enveloped, .. } if enveloped == is_enveloped));
        assert_eq!(parked.payload().as_deref(), Some("no JSON"));
        assert_eq!(
            (parked.redrive_count(), parked.destination()),
            (2, Some(queue("orders")))
        );
        assert_eq!(parked.cause().message, "order 7");
    }

    let mut rule = Letter::new(
        "m",
        r#"{"id":"b","source":"s","detail-type":"Placed","detail":{}}"#,
    );
    for (name, value) in [
        ("RULE_ARN", "arn:aws:events:eu-west-1:1:rule/bus/placed"),
        ("TARGET_ARN", "arn:aws:sqs:eu-west-1:1:stock"),
        ("ERROR_CODE", "NO_PERMISSIONS"),
        ("ERROR_MESSAGE", "not allowed"),
    ] {
        rule.attributes.insert(name.into(), text("String", value));
    }
    rule.attributes
        .insert("RETRY_ATTEMPTS".into(), text("Number", "185"));
    assert_eq!(rule.destination(), Some(queue("stock")));
    assert_eq!(rule.event().unwrap().event_type.as_deref(), Some("Placed"));
    let cause = rule.cause();
    assert_eq!(
        (cause.kind.as_str(), cause.message.as_str()),
        ("rule_undelivered", "NO_PERMISSIONS: not allowed")
    );
    assert_eq!(rule.lasting_attributes().count(), 0);

    let payload = r#"{"id": "b", "source": "s", "detail-type": "Placed", "detail": {}}"#;
    let context = r#""requestContext": {"requestId": "r", "functionArn":
        "arn:aws:lambda:eu-west-1:1:function:reserve-stock:$LATEST",
        "condition": "RetriesExhausted", "approximateInvokeCount": 3}"#;
    let body = format!(
        r#"{{"version": "1.0", {context}, "requestPayload": {payload},
        "responseContext": {{"statusCode": 200, "functionError": "Unhandled"}},
        "responsePayload": {{"errorType": "Rejected", "errorMessage": "out of stock"}}}}"#
    );
    let invocation = Letter::new("m", body);
    assert_eq!(
        invocation.payload().as_deref(),
        Some(payload),
        "byte by byte"
    );
    assert_eq!(invocation.event().unwrap().id, "b");
    assert_eq!(
        invocation.destination(),
        Some(Destination::Function(
            "arn:aws:lambda:eu-west-1:1:function:reserve-stock".into()
        ))
    );
    let cause = invocation.cause();
    assert_eq!(cause.message, "Rejected: out of stock: RetriesExhausted");
    assert_eq!(cause.function.as_deref(), Some("reserve-stock"));

    let empty = Letter::new("m", format!(r#"{{{context}, "requestPayload": null}}"#));
    assert_eq!(empty.payload().as_deref(), Some("null"));
    // As Lambda writes it when the payload would make the record too large.
    let without = format!(
        r#"{{"version": "1.0", "timestamp": "2026-11-21T10:00:00.000Z", {context},
        "responseContext": {{"statusCode": 200, "functionError": "Unhandled"}}}}"#
    );
    let without = Letter::new("m", without);
    assert!(matches!(without.origin(), Origin::Invocation(_)));
    let mut plan = Plan::new(DEAD);
    let note = plan.add(&without, Action::Redrive).note.clone();
    assert!(note.unwrap().contains("left the payload out"));

    let body = format!(
        r#"{{{context}, "DDBStreamBatchInfo": {{"shardId": "s-1", "startSequenceNumber": "1",
        "endSequenceNumber": "2", "batchSize": 1, "streamArn": "arn:aws:dynamodb:eu-west-1:1:table/t/stream/1"}}}}"#
    );
    let stream = Letter::new("m", body);
    assert!(matches!(
        stream.origin(),
        Origin::Stream {
            batch_size: Some(1),
            ..
        }
    ));
    assert_eq!((stream.payload(), stream.destination()), (None, None));
    let mut plan = Plan::new(DEAD);
    let step = plan.add(&stream, Action::Redrive);
    assert!(
        step.note
            .as_ref()
            .unwrap()
            .contains("only its position in the stream")
    );
}

/// Lambda's own dead-letter queue, EventBridge Scheduler and an SNS subscription put the reason in
/// attributes.
#[tokio::test]
async fn a_reason_in_attributes_is_the_letters_cause() {
    let body = r#"{"version":"0","id":"b1","source":"shop","detail-type":"Placed","detail":{}}"#;
    let letter = |attributes: &[(&str, &str, &str)]| {
        let mut letter = Letter::new("m", body);
        for (name, data_type, value) in attributes {
            let value = text(data_type, value);
            letter.attributes.insert((*name).into(), value);
        }
        letter
    };
    let lambda = letter(&[
        ("RequestID", "String", "e4b46cbf"),
        ("ErrorCode", "Number", "200"),
        ("ErrorMessage", "String", "Process exited"),
    ]);
    let scheduler = letter(&[
        (
            "SCHEDULE_ARN",
            "String",
            "arn:aws:scheduler:eu-central-1:1:schedule/default/s",
        ),
        (
            "TARGET_ARN",
            "String",
            "arn:aws:lambda:eu-central-1:1:function:f",
        ),
        (
            "ERROR_CODE",
            "String",
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        (
            "ERROR_MESSAGE",
            "String",
            "The specified queue does not exist",
        ),
        (
            "EXHAUSTED_RETRY_CONDITION",
            "String",
            "MaximumRetryAttempts",
        ),
    ]);
    let sns = letter(&[
        ("RequestID", "String", "r"),
        ("ErrorCode", "String", "AccessDenied"),
        ("ErrorMessage", "String", "no permission"),
    ]);
    known_failure("P7", async {
        for (letter, reason) in [
            (lambda, "Process exited"),
            (scheduler, "The specified queue does not exist"),
            (sns, "no permission"),
        ] {
            let cause = letter.cause();
            assert!(
                cause.kind != "moved_by_sqs" && cause.message.contains(reason),
                "the reason in a letter's attributes must be its cause: {cause:?}"
            );
            let lasting: Vec<_> = letter.lasting_attributes().map(|(name, _)| name).collect();
            assert!(
                lasting.is_empty(),
                "stale attributes are not sent: {lasting:?}"
            );
        }
    })
    .await;
}
