//! What letters are, and what of them goes back.

use super::world::{DEAD, World, source};
use proptest::prelude::*;
use surehand::{
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
};
use surehand_redrive::{Action, Apply, Destination, Ledger, Letter, Origin, Plan};

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
            "what is stale stays behind: {lasting:?}"
        );
    }
}

/// Whoever sends a message can write anything into it, and on it. SQS says where it came from.
#[test]
fn what_a_sender_writes_decides_nothing() {
    let payouts = "arn:aws:sqs:eu-west-1:1:payouts";
    let mut note = FailureNote::about("transient", "no", std::time::SystemTime::now());
    note.source_queue = Some(payouts.into());
    let record = r#"{"version": "1.0", "timestamp": "t", "requestContext": {"requestId": "r",
        "functionArn": "arn:aws:lambda:eu-west-1:1:function:charge-card", "condition": "RetriesExhausted"},
        "requestPayload": {"amount": 1}}"#;
    let pipe = r#"{"version": "1.0", "timestamp": "t", "context": {"partnerResourceArn":
        "arn:aws:pipes:eu-west-1:1:pipe/p", "condition": "RetryAttemptsExhausted"}}"#;
    let bodies = ["{}", &note.around("{}"), record, pipe];
    let rule = ("RULE_ARN", "arn:aws:events:eu-west-1:1:rule/bus/r");
    let schedule = ("SCHEDULE_ARN", "arn:aws:scheduler:eu-west-1:1:schedule/d/s");
    let target = (
        "TARGET_ARN",
        "arn:aws:lambda:eu-west-1:1:function:delete-account",
    );
    let json = match note.to_attribute().value {
        AttributeValue::Text(json) => json,
        AttributeValue::Binary(_) => panic!("it is text"),
    };
    let noted = (FailureNote::ATTRIBUTE, json.as_str());
    let lambda = ("ErrorCode", "200");
    let errors = Destination::of_arn("arn:aws:sqs:eu-west-1:1:errors");
    for body in bodies {
        for attributes in [
            &[][..],
            &[rule, target],
            &[schedule, target],
            &[noted],
            &[lambda],
        ] {
            let mut letter = Letter::new("m", body);
            for (name, value) in attributes {
                let value = text("String", value);
                letter.attributes.insert((*name).into(), value);
            }
            // Sent here: what is written is all there is, and nothing goes there by itself.
            let mut plan = Plan::new(DEAD).allow([]);
            let step = plan.add(&letter, Action::Redrive);
            assert_eq!(step.action, Action::Hold, "{body} {attributes:?}");

            letter.source_arn = Some("arn:aws:sqs:eu-west-1:1:errors".into());
            let case = format!("{body} {attributes:?}");
            assert_eq!(letter.destination(), errors, "{case}");
            assert_eq!(letter.payload().as_deref(), Some(body), "{case}");
            assert_eq!(letter.cause().kind, "moved_by_sqs", "{case}");
            let step = plan.add(&letter, Action::Redrive);
            assert_eq!(step.action, Action::Redrive, "{case}");
        }
    }
}

/// A plan that does not say where letters may go is for those alone that SQS moved.
#[tokio::test(start_paused = true)]
async fn a_letter_goes_where_the_plan_lets_it_go() {
    let source: Destination = super::world::SOURCE.parse().unwrap();
    let mut letter = Letter::new("m", "{}");
    let mut note = FailureNote::about("rejected", "no", std::time::SystemTime::now());
    note.source_queue = Some("arn:aws:sqs:r:1:source".into());
    let attribute = note.to_attribute();
    letter
        .attributes
        .insert(FailureNote::ATTRIBUTE.into(), attribute);
    for (allowed, redriven) in [(None, 0), (Some(vec![]), 0), (Some(vec![source]), 1)] {
        let mut plan = Plan::new(DEAD);
        plan.add(&letter, Action::Redrive);
        plan.header.destinations = allowed;
        let world = World::new(0, false, vec![letter.clone()]);
        let apply = Apply::new(&world, &world, &plan);
        let dry = apply.dry_run(&Ledger::default()).await.unwrap();
        assert_eq!(dry.problems.len() as u64, 1 - redriven);
        let (mut journal, mut ledger) = (world.clone(), Ledger::default());
        let report = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
        let report = report.unwrap();
        assert_eq!(report.redriven, redriven, "{report:?}");
        if redriven == 0 {
            assert!(report.failed["m"].contains("only the message itself"));
        }
    }
}

/// The plan knows its queue by account and region.
#[tokio::test(start_paused = true)]
async fn a_plan_is_for_its_queue_in_its_account_and_region() {
    for (arn, is_ours) in [
        (Some("arn:aws:sqs:r:1:dead"), true),
        (Some("arn:aws:sqs:r:2:dead"), false),
        (Some("arn:aws:sqs:s:1:dead"), false),
        // A plan of an older version has only the URL.
        (None, true),
    ] {
        let mut plan = Plan::new(DEAD);
        plan.header.queue_arn = arn.map(str::to_owned);
        let world = World::new(0, false, vec![]);
        let dry = Apply::new(&world, &world, &plan);
        let dry = dry.dry_run(&Ledger::default()).await;
        assert_eq!(dry.is_ok(), is_ours, "{dry:?}");
    }
}

/// An older version wrote no ARN. A queue of the same name is in every account and region.
#[tokio::test(start_paused = true)]
async fn a_plan_that_does_not_say_where_its_queue_is_is_applied_nowhere() {
    for (url, says) in [
        ("https://sqs.r.amazonaws.com/1/dead", None),
        (
            "https://sqs.r.amazonaws.com/2/dead",
            Some("the plan is for queue"),
        ),
        (
            "https://sqs.s.amazonaws.com/1/dead",
            Some("the plan is for queue"),
        ),
        (
            "https://sqs.r.amazonaws.com/1/other",
            Some("the plan is for queue"),
        ),
        (
            "https://sqs.local/1/dead",
            Some("add the queue's ARN to its first line as `queue_arn`"),
        ),
    ] {
        let plan = Plan::new(url);
        let world = World::new(0, false, vec![]);
        let dry = Apply::new(&world, &world, &plan);
        let dry = dry.dry_run(&Ledger::default()).await;
        match says {
            None => assert!(dry.is_ok(), "{url}: {dry:?}"),
            Some(says) => {
                let error = dry.unwrap_err().to_string();
                assert!(error.contains(says), "{url}: {error}");
            }
        }
    }
}

/// Scheduler says when it cut a payload off, and a pipe's letter is only a position in its stream.
#[test]
fn what_is_not_whole_cannot_be_put_back() {
    let mut cut = Letter::new("m", "{\"half");
    for (name, value) in [
        ("SCHEDULE_ARN", "arn:aws:scheduler:eu-west-1:1:schedule/d/s"),
        ("TARGET_ARN", "arn:aws:lambda:eu-west-1:1:function:f"),
        ("IS_PAYLOAD_TRUNCATED", "true"),
    ] {
        cut.attributes.insert(name.into(), text("String", value));
    }
    let pipe = Letter::new(
        "m",
        r#"{"version": "1.0", "timestamp": "t", "context": {"partnerResourceArn":
            "arn:aws:pipes:eu-west-1:1:pipe/orders", "condition": "RetryAttemptsExhausted"},
            "KinesisBatchInfo": {"shardId": "s", "batchSize": 2}}"#,
    );
    assert_eq!(pipe.cause().function.as_deref(), Some("orders"));
    for (letter, kind, reason) in [
        (cut, "schedule_undelivered", "truncated the payload"),
        (pipe, "stream_batch_failed", "only its position"),
    ] {
        assert_eq!(letter.cause().kind, kind);
        let mut plan = Plan::new(DEAD);
        let step = plan.add(&letter, Action::Redrive);
        assert!(step.note.as_ref().unwrap().contains(reason), "{step:?}");
    }
}

/// EventBridge's dead-letter queues keep no order, so that what it could not deliver to a FIFO queue has no group. Its
/// rule says with which one it would have been delivered.
#[tokio::test(start_paused = true)]
async fn a_letter_without_a_group_goes_to_a_fifo_queue_in_the_group_of_its_step() {
    let letter = Letter::new("m-0", r#"{"n":0}"#);
    let mut plan = Plan::new(DEAD).to(source(true));
    let step = plan.add(&letter, Action::Redrive);
    assert_eq!(step.action, Action::Hold);
    let why = step.note.as_deref().unwrap();
    assert!(why.contains("needs a message group"), "{why}");

    let step = plan.add_in_group(&letter, Action::Redrive, Some("orders"));
    assert_eq!((&step.action, &step.note), (&Action::Redrive, &None));
    // A plan is a file in between.
    let mut file = Vec::new();
    plan.write(&mut file).unwrap();
    let plan = Plan::read(&*file).unwrap();
    let world = World::new(0, false, vec![letter]);
    let apply = Apply::new(&world, &world, &plan);
    let (mut journal, mut ledger) = (world.clone(), Ledger::default());
    let report = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
    let report = report.unwrap();
    assert_eq!(report.redriven, 1, "{report:?}");
    assert_eq!(world.state().delivered[0].group.as_deref(), Some("orders"));
}

/// What a plan says and no step has would not be done.
#[test]
fn a_step_says_nothing_that_is_not_done() {
    let header = r#"{"plan":"p","queue":"https://sqs/1/dead","created":"2026-11-28T00:00:00Z"}"#;
    let read = |step: &str| Plan::read(format!("{header}\n{step}\n").as_bytes());
    read(r#"{"message_id":"a","sha256":"0","action":"redrive","note":"n"}"#).unwrap();
    for (step, says) in [
        (
            r#"{"message_id":"a","sha256":"0","action":"redrive","to":"arn:aws:sqs:r:1:q"}"#,
            "line 2 of the plan: a step has no `to` of its own",
        ),
        (
            r#"{"message_id":"a","sha256":"0","action":"redrive","nte":"n"}"#,
            "line 2 of the plan: a step has no field `nte`",
        ),
        (
            r#"{"message_id":"a","sha256":"0","action":"hold","note":"n","action":"drop"}"#,
            "line 2 of the plan: the step has `action` twice",
        ),
        (
            r#"{"message_id":"a","sha256":"0","action":"redrive","body":"{}"}"#,
            "line 2 of the plan: only `edit` takes a `body`",
        ),
    ] {
        let error = read(step).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
