//! Dead letters of EventBridge's rules: whoever sends a message can write what EventBridge writes.

use super::world::{World, body, said};
use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::{Value, json};
use surehand_test_support::proxy::{self, Call, Fate, Moment};

const EVENTS: &str = "arn:aws:events:us-east-1:000000000000:rule/shop";

/// A letter as EventBridge writes it, when the rule could not deliver to the target.
async fn undelivered(world: &World, id: &str, rule: &str, target: &str) {
    let mut request = world
        .client
        .send_message()
        .queue_url(&world.queues.letters)
        .message_body(body(id));
    for (name, value) in [
        ("RULE_ARN", format!("{EVENTS}/{rule}")),
        ("TARGET_ARN", target.to_owned()),
        ("ERROR_CODE", "NO_PERMISSIONS".to_owned()),
    ] {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(value);
        request = request.message_attributes(name, value.build().unwrap());
    }
    request.send().await.unwrap();
}

/// The rule `placed` delivers to the queue, in a group; others do not. `denied` may not be looked at.
fn events(world: &World, target: &str) -> String {
    let letters = world.queues.arn.replace(":bus", ":bus-dlq");
    let target = json!({
        "Id": "1", "Arn": target, "DeadLetterConfig": {"Arn": letters},
        "SqsParameters": {"MessageGroupId": "orders"},
    });
    proxy::start(&world.sqs.endpoint, move |call: &Call| {
        if (&*call.action, call.moment) != ("ListTargetsByRule", Moment::Before) {
            return Fate::Pass;
        }
        let asked: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(asked["EventBusName"], "shop");
        match asked["Rule"].as_str() {
            Some("placed") => Fate::Answer(200, json!({"Targets": [target]}).to_string()),
            Some("denied") => {
                let denied = json!({"__type": "AccessDeniedException", "message": "not you"});
                Fate::Answer(400, denied.to_string())
            }
            _ => Fate::Answer(200, json!({"Targets": []}).to_string()),
        }
    })
}

#[tokio::test]
async fn each_letter_of_a_rule_is_judged_alone_and_has_its_rules_group() {
    let (world, to) = (World::new("bus").await, World::new("placed.fifo").await);
    let target = &to.queues.arn;
    for (id, rule) in [
        ("forged", "other"),
        ("unseen", "denied"),
        ("genuine", "placed"),
    ] {
        undelivered(&world, id, rule, target).await;
    }
    let endpoint = events(&world, target);
    let run = async |arguments: &[&str]| {
        let mut command = world.command(arguments);
        said(command.env("AWS_ENDPOINT_URL", &endpoint).spawn().unwrap()).await
    };
    let queue = ["plan", "-q", "bus-dlq", "--out", "p"];
    let planned = run(&queue).await;
    assert_eq!(planned.code, Some(4), "{planned:?}");
    assert_eq!(planned.out.matches(" is held: ").count(), 2, "{planned:?}");
    for why in [
        "only the message itself says that it goes to queue placed.fifo (rule other has no such target with this \
         dead-letter queue); the plan needs --allow or --to",
        "only the message itself says that it goes to queue placed.fifo (the targets of rule denied cannot be listed, \
         which needs events:ListTargetsByRule: AccessDeniedException: not you); the plan needs --allow or --to",
    ] {
        assert!(planned.out.contains(why), "{why}\n{planned:?}");
    }

    // Where the destination is allowed, the group is still only the rule's to say.
    let allow = ["plan", "-q", "bus-dlq", "--out", "q", "--allow", target];
    let allowed = run(&allow).await;
    for why in [
        "rule other has no such target",
        "the targets of rule denied",
    ] {
        let why = format!("queue placed.fifo needs a message group, and it is not known: {why}");
        assert!(allowed.out.contains(&why), "{why}\n{allowed:?}");
    }

    let applied = run(&["apply", "p", "--yes", "--no-ramp"]).await;
    assert_eq!(
        (applied.code, &*applied.out),
        (Some(0), "1 put back, 2 left\n"),
        "{applied:?}"
    );
    let request = to.client.receive_message().queue_url(&to.queues.queue);
    let request = request.message_system_attribute_names("MessageGroupId".into());
    let received = request.send().await.unwrap();
    let [message] = received.messages() else {
        panic!("{received:?}")
    };
    assert_eq!(message.body(), Some(&*body("genuine")));
    let system = message.attributes().unwrap();
    assert_eq!(system[&"MessageGroupId".into()], "orders");
}
