//! The adapter for SQS, on the emulator.

use aws_sdk_sqs::{
    Client,
    primitives::Blob,
    types::{
        Message, MessageAttributeValue, MessageSystemAttributeName as System,
        MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    },
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use surehand::dead_letter::FailureNote;
use surehand_redrive::{
    Action, Apply, ApplyOptions, AwsPost, Destination, Letter, Plan, Queue, ReadOptions, Reader,
    Report, SqsDeadLetterQueue, Unlisted,
};
use surehand_test_support::{
    cargo,
    sqs::{Queues, Sqs},
};

/// The emulator of these tests, and a client for this one.
async fn sqs() -> (&'static Sqs, Client) {
    let start = || {
        let mut build = cargo::cargo();
        build.args(["build", "--locked", "-q", "--bin=surehand"]);
        cargo::output_of(&mut build);
        // The program is in the folder above the tests, which are in `deps`.
        let tests = std::env::current_exe().unwrap();
        let folder: PathBuf = tests.ancestors().nth(2).unwrap().into();
        Sqs::shared(&folder.join("surehand"))
    };
    let sqs = tokio::task::spawn_blocking(start).await.unwrap();
    (sqs, sqs.client())
}

fn options() -> ApplyOptions {
    let mut options = ApplyOptions::default();
    options.read = quick();
    options
}

/// The emulator's receives show what there is.
fn quick() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.wait = Duration::ZERO;
    options
}

/// Takes all messages, and deletes them.
async fn drain(client: &Client, url: &str) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let receive = client.receive_message().queue_url(url);
        let output = receive
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .message_system_attribute_names(System::All)
            .send()
            .await
            .unwrap();
        let messages = output.messages.unwrap_or_default();
        if messages.is_empty() {
            return all;
        }
        for message in messages {
            let delete = client.delete_message().queue_url(url);
            let delete = delete.receipt_handle(message.receipt_handle().unwrap());
            delete.send().await.unwrap();
            all.push(message);
        }
    }
}

async fn read(queue: &SqsDeadLetterQueue) -> Vec<Letter> {
    let mut reader = Reader::open(queue, quick()).await.unwrap();
    let mut letters = Vec::new();
    loop {
        let received = reader.next().await.unwrap();
        if received.is_empty() {
            break;
        }
        letters.extend(received.into_iter().map(|received| received.letter));
    }
    let report = reader.close().await;
    assert!(report.not_released == 0, "{report:?}");
    letters
}

async fn apply(queue: &SqsDeadLetterQueue, client: &Client, plan: &Plan) -> Report {
    let post = AwsPost::new(client.clone());
    let world = super::world::World::new(0, false, Vec::new());
    let (mut journal, mut ledger) = (world.clone(), world.ledger());
    let apply = Apply::new(queue, &post, plan).options(options());
    let report = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
    report.unwrap()
}

/// The emulator's URLs say nothing of the region.
fn plan_for(queues: &Queues) -> Plan {
    let (place, _) = queues.arn.rsplit_once(':').unwrap();
    let (_, name) = queues.letters.rsplit_once('/').unwrap();
    Plan::new(&queues.letters).queue_arn(format!("{place}:{name}"))
}

fn text(data_type: &str, value: impl Into<String>) -> MessageAttributeValue {
    let builder = MessageAttributeValue::builder().data_type(data_type);
    builder.string_value(value).build().unwrap()
}

/// A message with ten attributes of all types, AWSTraceHeader, and the largest body that fits with
/// them.
#[tokio::test]
async fn everything_of_a_message_travels() {
    let (sqs, client) = sqs().await;
    let queues = sqs.queues("everything").await;
    let png = MessageAttributeValue::builder().data_type("Binary.png");
    let png = png.binary_value(Blob::new([0, 255, 1])).build().unwrap();
    let mut attributes = vec![
        ("string".to_owned(), text("String.città", "Grüße ☃ 😀\n")),
        ("number".to_owned(), text("Number.cents", "-150.5")),
        ("binary".to_owned(), png),
    ];
    for index in 0..6 {
        attributes.push((format!("more-{index}"), text("String", "x")));
    }
    let note = serde_json::json!({
        "kind": "rejected", "message": "no", "handler": "h", "function": "f", "request_id": "r",
        "event_id": null, "event_type": null, "attempts": 1, "first_failure": null,
        "last_failure": "t", "source_queue": queues.arn, "redrive_count": 1,
    });
    let mut noted = attributes.clone();
    noted.push((
        FailureNote::ATTRIBUTE.to_owned(),
        text("String", note.to_string()),
    ));
    let sizes = noted.iter().map(|(name, value)| {
        let text = value.string_value().map_or(0, str::len);
        let bytes = value.binary_value().map_or(0, |blob| blob.as_ref().len());
        name.len() + value.data_type().len() + text + bytes
    });
    let body = "€".repeat((1024 * 1024 - sizes.sum::<usize>()) / 3);
    let header = MessageSystemAttributeValue::builder();
    let header = header
        .data_type("String")
        .string_value("Root=1-5759e988-bd862e3fe1be46a994272793");
    let send = client.send_message().queue_url(&queues.letters);
    let send = send.set_message_attributes(Some(noted.into_iter().collect()));
    send.message_body(&body)
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            header.build().unwrap(),
        )
        .send()
        .await
        .unwrap();

    let queue = SqsDeadLetterQueue::new(client.clone(), &queues.letters);
    let letters = read(&queue).await;
    assert_eq!((letters.len(), letters[0].attributes.len()), (1, 10));
    assert_eq!(letters[0].redrive_count(), 1);
    let mut plan = plan_for(&queues);
    assert_eq!(plan.add(&letters[0], Action::Redrive).note, None);
    // The emulator's queue is not at AWS's address.
    let to = plan.destination(&letters[0]).unwrap();
    assert_eq!(to.to_string(), "queue everything");
    let plan = plan.to(Destination::Queue(queues.queue.clone()));
    let report = apply(&queue, &client, &plan).await;
    assert_eq!((report.redriven, report.left), (1, 0), "{report:?}");

    let mut sent = drain(&client, &queues.queue).await;
    let message = sent.remove(0);
    assert!(message.body.as_deref() == Some(&body));
    let count = (FailureNote::REDRIVE_COUNT.to_owned(), text("Number", "2"));
    attributes.push(count);
    let expected: BTreeMap<_, _> = attributes.into_iter().collect();
    let found: BTreeMap<_, _> = message.message_attributes.unwrap().into_iter().collect();
    assert_eq!(found, expected);
    let system = message.attributes.unwrap();
    assert_eq!(
        system.get(&System::AwsTraceHeader).map(String::as_str),
        Some("Root=1-5759e988-bd862e3fe1be46a994272793")
    );
    assert!(drain(&client, &queues.letters).await.is_empty());
}

/// More dead letters of a group than SQS shows in one receive, with the same bodies that the source
/// has just had.
#[tokio::test]
async fn groups_keep_their_order() {
    let (sqs, client) = sqs().await;
    let queues = sqs.queues("groups.fifo").await;
    let send = async |url: &str, group: usize, index: usize| {
        let send = client.send_message().queue_url(url);
        let send = send.message_group_id(format!("g-{group}"));
        // Both queues know the id.
        let send = send.message_deduplication_id(format!("{group}-{index}"));
        send.message_body(format!("{group}-{index:03}"))
            .send()
            .await
            .unwrap();
    };
    for index in 0..25 {
        for group in 0..3 {
            send(&queues.queue, group, index).await;
            send(&queues.letters, group, index).await;
        }
    }
    assert_eq!(drain(&client, &queues.queue).await.len(), 75);
    let queue = SqsDeadLetterQueue::new(client.clone(), &queues.letters);
    let info = queue.info().await.unwrap();
    assert!(info.fifo && info.visible == 75, "{info:?}");
    let plan = plan_for(&queues)
        .to(Destination::Queue(queues.queue.clone()))
        .unlisted(Unlisted::Redrive);
    let report = apply(&queue, &client, &plan).await;
    assert_eq!((report.redriven, report.left), (75, 0), "{report:?}");
    let mut bodies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in drain(&client, &queues.queue).await {
        let system = message.attributes.unwrap();
        let group = system[&System::MessageGroupId].clone();
        bodies.entry(group).or_default().push(message.body.unwrap());
    }
    for group in 0..3 {
        let expected: Vec<_> = (0..25).map(|index| format!("{group}-{index:03}")).collect();
        assert_eq!(bodies[&format!("g-{group}")], expected);
    }
}

/// SQS's answer is reported entry by entry.
#[tokio::test]
async fn results_are_each_entrys_own() {
    let (sqs, client) = sqs().await;
    let queues = sqs.queues("entries").await;
    for body in ["a", "b"] {
        let send = client.send_message().queue_url(&queues.letters);
        send.message_body(body).send().await.unwrap();
    }
    let queue = SqsDeadLetterQueue::new(client.clone(), &queues.letters);
    let minute = Duration::from_secs(60);
    let received = queue.receive(10, minute, Duration::ZERO).await.unwrap();
    assert_eq!(received.len(), 2);
    let receipts = [received[0].receipt.clone(), "no receipt".to_owned()];
    for results in [
        queue.change_visibility(&receipts, minute).await.unwrap(),
        queue.delete(&receipts).await.unwrap(),
    ] {
        assert!(results[0].is_ok(), "{results:?}");
        let refusal = results[1].as_ref().unwrap_err();
        assert!(refusal.permanent, "{refusal:?}");
    }
    let info = queue.info().await.unwrap();
    assert_eq!((info.visible, info.in_flight), (0, 1), "{info:?}");
    assert_eq!(info.redrive_policy, None);
    let source = SqsDeadLetterQueue::new(client.clone(), &queues.queue);
    let policy = source.info().await.unwrap().redrive_policy;
    assert!(policy.unwrap().contains("entries-dlq"));

    // A call that fails as a whole is an error with its reason.
    let gone = SqsDeadLetterQueue::new(client.clone(), format!("{}-no", queues.letters));
    let error = gone.info().await.unwrap_err().to_string();
    assert!(error.contains("NonExistentQueue"), "{error}");
    // Other destinations are not for this service.
    let letter = &received[1].letter;
    let plan = plan_for(&queues).to(Destination::Function(
        "arn:aws:lambda:r:1:function:orders".into(),
    ));
    let mut plan = plan.unlisted(Unlisted::Redrive);
    let json = client.send_message().queue_url(&queues.letters);
    json.message_body("{}").send().await.unwrap();
    assert_eq!(plan.add(letter, Action::Redrive).action, Action::Hold);
    let report = apply(&queue, &client, &plan).await;
    let reasons: Vec<_> = report.failed.into_values().collect();
    let expected = "UnsupportedDestination: nothing here sends to function orders";
    assert_eq!(reasons, [expected]);
    assert_eq!(drain(&client, &queues.letters).await.len(), 1);
}
