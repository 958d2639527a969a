//! Letters back to where they belong: onto a bus, to a function, into a queue.

use super::{
    services::{Answer, Service, TAKING, Witness},
    world::{DEAD, World},
};
use serde_json::json;
use std::time::Duration;
use surehand::record::{Attribute, AttributeValue};
use surehand_redrive::{
    Action, Apply, ApplyOptions, AwsPost, Destination, Ledger, Letter, Plan, Report,
};

const BUS: &str = "arn:aws:events:eu-central-1:1:event-bus/shop";
const FUNCTION: &str = "arn:aws:lambda:eu-central-1:1:function:audit:live";

/// Redrives all dead letters. Returns the service's requests, what is left, and the report.
async fn put_back(
    letters: Vec<Letter>,
    to: &str,
    answers: &[Answer],
) -> (Service, Vec<String>, Report) {
    let (service, aws) = Service::answering(answers).await;
    let mut plan = Plan::new(DEAD).to(to.parse().unwrap());
    for letter in &letters {
        assert_eq!(plan.add(letter, Action::Redrive).note, None);
    }
    let world = World::new(0, false, letters);
    let witness = Witness {
        post: AwsPost::new(aws_sdk_sqs::Client::new(&aws))
            .event_bridge(aws_sdk_eventbridge::Client::new(&aws))
            .lambda(aws_sdk_lambda::Client::new(&aws)),
        service: service.clone(),
        world: world.clone(),
    };
    let mut options = ApplyOptions::default();
    options.read.wait = Duration::from_millis(10);
    options.threshold_percent = 100;
    let mut journal = world.clone();
    let report = Apply::new(&world, &witness, &plan)
        .options(options)
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    (service, world.left().into_iter().collect(), report)
}

/// Letters `m-0`, `m-1`, … with events of a bus.
fn events(count: usize) -> Vec<Letter> {
    (0..count).map(|index| event(index, "")).collect()
}

fn event(index: usize, filling: &str) -> Letter {
    let detail =
        format!(r#"{{"metadata":{{"id":"e-{index}"}},"data":{{"n": 1.50,"x":"{filling}"}}}}"#);
    let body = format!(
        r#"{{"version":"0","id":"bus-{index}","source":"shop.orders","detail-type":"Placed",
        "account":"1","time":"2026-11-21T10:00:00Z","resources":["r-1"],"detail":{detail}}}"#
    );
    let mut letter = Letter::new(format!("m-{index}"), body);
    letter.trace_header = Some("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1".into());
    letter
}

#[tokio::test]
async fn an_event_is_on_the_bus_as_it_was_but_for_its_id() {
    let (service, left, report) = put_back(events(1), BUS, &[]).await;
    assert_eq!((left.len(), report.redriven), (0, 1));
    let entry = service.told(|told| told.calls[0][0].clone());
    let expected = json!({
        "EventBusName": BUS, "Source": "shop.orders", "DetailType": "Placed",
        "Detail": r#"{"metadata":{"id":"e-0"},"data":{"n": 1.50,"x":""}}"#,
        "Time": 1_795_255_200, "Resources": ["r-1"],
        "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
    });
    assert_eq!(entry, expected);
}

#[tokio::test]
async fn a_bus_that_takes_some_gets_the_others_again() {
    let answers = [
        Answer::Refusing(&[None, Some("ThrottlingException"), Some("InternalFailure")]),
        Answer::Refusing(&[Some("ThrottlingException")]),
        TAKING,
    ];
    let (service, left, report) = put_back(events(3), BUS, &answers).await;
    assert_eq!((left.len(), report.redriven), (0, 3));
    assert_eq!(service.sizes(), [3, 2, 1]);
    assert_eq!(service.told(|told| told.taken.len()), 3);
}

#[tokio::test]
async fn what_a_bus_never_takes_stays() {
    let answers = [Answer::Refusing(&[
        None,
        Some("NotAuthorizedForSourceException"),
    ])];
    let (service, left, report) = put_back(events(3), BUS, &answers).await;
    assert_eq!((left, report.redriven), (vec!["m-1".to_owned()], 2));
    assert!(
        report.failed["m-1"].contains("NotAuthorizedForSource"),
        "{report:?}"
    );
    assert_eq!(service.sizes(), [3], "the events are not sent again");

    let denied = [Answer::Failing(400, "AccessDeniedException")];
    let (service, left, report) = put_back(events(2), BUS, &denied).await;
    assert_eq!((left.len(), report.failed.len()), (2, 2));
    assert_eq!(service.sizes(), [2]);
}

#[tokio::test]
async fn a_bus_that_is_throttled_or_silent_is_asked_again() {
    let answers = [
        Answer::Failing(400, "ThrottlingException"),
        Answer::Silent,
        TAKING,
    ];
    let (service, left, report) = put_back(events(2), BUS, &answers).await;
    assert_eq!((left.len(), report.redriven), (0, 2));
    // The redrive could not know that the second call had been accepted.
    assert_eq!(service.told(|told| told.taken.len()), 4);

    let (service, left, report) = put_back(events(2), BUS, &[Answer::Silent; 4]).await;
    assert_eq!((left.len(), report.redriven), (2, 0));
    assert_eq!(report.failed.len(), 2);
    assert_eq!(service.sizes().len(), 4);
}

#[tokio::test]
async fn calls_to_a_bus_hold_what_it_takes() {
    let filling = "x".repeat(400_000);
    let mut letters: Vec<_> = (0..4).map(|index| event(index, &filling)).collect();
    letters.push(event(4, &"x".repeat(1_100_000)));
    let (service, left, _) = put_back(letters, BUS, &[]).await;
    assert!(left.is_empty());
    let mut sizes = service.sizes();
    sizes.sort_unstable();
    // The last is more than a call takes, and goes alone: the service decides.
    assert_eq!(sizes, [1, 2, 2]);
}

#[tokio::test]
async fn a_function_gets_its_payload_again() {
    let payload = r#"{"id": "b",  "n": 1.50}"#;
    let record = format!(
        r#"{{"version":"1.0","timestamp":"2026-11-21T10:00:00.000Z","requestContext":{{
        "requestId":"r","functionArn":"{FUNCTION}","condition":"RetriesExhausted",
        "approximateInvokeCount":3}},"requestPayload":{payload},"responseContext":{{
        "statusCode":200,"executedVersion":"7","functionError":"Unhandled"}},
        "responsePayload":{{"errorMessage":"no"}}}}"#
    );
    let mut letter = Letter::new("m", record);
    assert_eq!(
        letter.destination(),
        Some(Destination::Function(FUNCTION.into()))
    );
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    letter.trace_header = Some(trace.into());
    let answers = [
        Answer::Failing(429, "TooManyRequestsException"),
        Answer::Silent,
        TAKING,
    ];
    let (service, left, report) = put_back(vec![letter], FUNCTION, &answers).await;
    assert_eq!((left.len(), report.redriven), (0, 1));
    service.told(|told| {
        assert_eq!(
            told.calls,
            [[json!(payload)], [json!(payload)], [json!(payload)]]
        );
        assert_eq!(told.invocation_types[2].as_deref(), Some("Event"));
        assert_eq!(told.traces[2].as_deref(), Some(trace));
        let path = told.paths[2].replace("%3A", ":");
        assert_eq!(
            path,
            format!("/2015-03-31/functions/{FUNCTION}/invocations")
        );
    });
}

#[tokio::test]
async fn what_a_function_does_not_take_stays() {
    for (answers, calls) in [
        (&[Answer::Failing(404, "ResourceNotFoundException")][..], 1),
        (&[Answer::Failing(500, "ServiceException"); 4], 4),
        // The answer of a function that ran is not that of an asynchronous invocation.
        (&[Answer::Odd(200); 4], 4),
    ] {
        let (service, left, report) = put_back(events(1), FUNCTION, answers).await;
        assert_eq!((left.len(), report.redriven), (1, 0));
        assert_eq!((report.failed.len(), service.sizes().len()), (1, calls));
    }
}

#[tokio::test]
async fn without_a_client_nothing_is_sent() {
    let (_, aws) = Service::answering(&[]).await;
    let post = AwsPost::new(aws_sdk_sqs::Client::new(&aws));
    let letters = events(1);
    for to in [BUS, FUNCTION] {
        let mut plan = Plan::new(DEAD).to(to.parse().unwrap());
        plan.add(&letters[0], Action::Redrive);
        let world = World::new(0, false, letters.clone());
        let mut journal = world.clone();
        let mut options = ApplyOptions::default();
        options.read.wait = Duration::from_millis(10);
        let report = Apply::new(&world, &post, &plan)
            .options(options)
            .run(&mut journal, &mut Ledger::default(), &mut |_| {})
            .await
            .unwrap();
        assert!(
            report.failed["m-0"].contains("nothing here sends to"),
            "{report:?}"
        );
        assert_eq!(world.left().len(), 1);
    }
}

#[test]
fn a_plan_holds_what_its_destination_cannot_take() {
    for (to, body, expected) in [
        (BUS, r#"{"order_id": 1}"#, "not an event that a bus takes"),
        (FUNCTION, "no JSON", "takes only JSON"),
    ] {
        let mut plan = Plan::new(DEAD).to(to.parse().unwrap());
        let step = plan.add(&Letter::new("m", body), Action::Redrive);
        assert_eq!(step.action, Action::Hold);
        assert!(step.note.as_ref().unwrap().contains(expected), "{step:?}");
    }
}

/// The failure and the redriven attempt are in one trace.
#[tokio::test]
async fn a_queue_gets_the_trace_that_the_letter_belongs_to() {
    let mut letter = Letter::new("m", "{}");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let attribute = Attribute {
        data_type: "String".into(),
        value: AttributeValue::Text(traceparent.into()),
    };
    letter.attributes.insert("traceparent".into(), attribute);
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    letter.trace_header = Some(header.into());
    let queue = "https://sqs.local/1/orders";
    let (service, ..) = put_back(vec![letter], queue, &[]).await;
    let request = service.told(|told| told.calls[0][0].clone());
    let entry = &request["Entries"][0];
    assert_eq!(
        entry["MessageAttributes"]["traceparent"],
        json!({"DataType": "String", "StringValue": traceparent})
    );
    assert_eq!(
        entry["MessageSystemAttributes"],
        json!({"AWSTraceHeader": {"DataType": "String", "StringValue": header}})
    );
}
