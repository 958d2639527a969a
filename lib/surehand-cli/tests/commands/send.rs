//! `surehand send`.

use serde_json::{Value, json};

use super::world::{Answers, FUNCTION, World, answers, mapping, sqs};

/// Takes all messages out of a queue.
async fn bodies(client: &aws_sdk_sqs::Client, url: &str) -> Vec<aws_sdk_sqs::types::Message> {
    let mut found = Vec::new();
    loop {
        let request = client.receive_message().queue_url(url);
        let request = request
            .max_number_of_messages(10)
            .message_attribute_names("All");
        let request = request
            .message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::All);
        let answer = request.send().await.unwrap();
        let messages = answer.messages.unwrap_or_default();
        if messages.is_empty() {
            return found;
        }
        for message in messages {
            let receipt = message.receipt_handle().unwrap().to_owned();
            let delete = client.delete_message().queue_url(url);
            delete.receipt_handle(receipt).send().await.unwrap();
            found.push(message);
        }
    }
}

#[tokio::test]
async fn a_file_becomes_a_message_in_the_functions_queue() {
    let sqs = sqs().await;
    let (client, queues) = (sqs.client(), sqs.queues("send-one").await);
    let world = World::new(Some(sqs), answers(&[mapping("1", &queues.arn, "Enabled")]));
    let body = "{\"order_id\": 7,\n \"total\": 1.0}";
    world.write("order.json", body);
    let said = world.run(&[
        "send",
        FUNCTION,
        "order.json",
        "--attribute",
        "kind=test",
        "--json",
    ]);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    let sent = said.json();
    let messages = bodies(&client, &queues.queue).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(
        messages[0].body(),
        Some(body),
        "it is sent as it is written"
    );
    assert_eq!(sent[0]["id"], messages[0].message_id().unwrap());
    let attribute = &messages[0].message_attributes().unwrap()["kind"];
    assert_eq!(attribute.string_value(), Some("test"));

    let said = world.run_with(
        &["send", FUNCTION, "-", "--lines"],
        "{\"a\":1}\n\n{\"a\":2}\n",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    assert_eq!(bodies(&client, &queues.queue).await.len(), 2);

    // One value too many, and a value that is none: nothing is sent.
    for (arguments, input, what) in [
        (&["send", FUNCTION, "-"][..], "{}\n{}\n", "pass --lines"),
        (
            &["send", FUNCTION, "-", "--lines"],
            "{}\n{\n",
            "line 2 is not JSON",
        ),
    ] {
        let said = world.run_with(arguments, input);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(what), "{said:?}");
    }
    assert!(bodies(&client, &queues.queue).await.is_empty());
}

#[tokio::test]
async fn messages_of_a_fifo_queue_have_their_group_and_their_order() {
    let sqs = sqs().await;
    let (client, queues) = (sqs.client(), sqs.queues("send-fifo.fifo").await);
    let world = World::new(Some(sqs), answers(&[mapping("1", &queues.arn, "Enabled")]));
    let input = "1\n2\n2\n3\n";
    let said = world.run_with(&["send", FUNCTION, "-", "--lines"], input);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("--group"), "{said:?}");
    let said = world.run_with(&["send", FUNCTION, "-", "--lines", "--group", "eu"], input);
    assert_eq!(said.code, Some(0), "{said:?}");
    let messages = bodies(&client, &queues.queue).await;
    let found: Vec<_> = messages.iter().filter_map(|it| it.body()).collect();
    assert_eq!(found, ["1", "2", "2", "3"]);
}

fn invocations(target: &str) -> String {
    format!("POST /2015-03-31/functions/{target}/invocations")
}

#[test]
fn a_message_can_be_handed_to_the_function_without_its_queue() {
    let queue = "arn:aws:sqs:us-east-1:000000000000:stock";
    let mut known = answers(&[mapping("1", queue, "Enabled")]);
    let retried = json!({"batchItemFailures": [{"itemIdentifier": "x"}]});
    let done = json!({"batchItemFailures": []});
    known.insert(
        invocations("shop-stock:live"),
        vec![(200, done), (200, retried)],
    );
    let world = World::new(None, known);
    let said = world.run_with(
        &["send", FUNCTION, "-", "--direct", "--lines", "--json"],
        "{\"n\":1}\n{\"n\":2}\n",
    );
    // One of two is not handled.
    assert_eq!(said.code, Some(4), "{said:?}");
    let lines = said.json();
    assert_eq!(
        (&lines[0]["failed"], &lines[1]["failed"]),
        (&json!(false), &json!(true))
    );
    assert!(
        lines[1]["error"]
            .as_str()
            .unwrap()
            .contains("the queue stock")
    );
    let calls = world.calls();
    let sent: Vec<&str> = calls
        .iter()
        .filter(|(name, _)| *name == invocations("shop-stock:live"))
        .map(|(_, body)| &**body)
        .collect();
    let event: Value = serde_json::from_str(sent[0]).unwrap();
    assert_eq!(event["Records"][0]["body"], "{\"n\":1}");
    assert_eq!(event["Records"][0]["eventSourceARN"], queue);

    let said = world.run_with(&["send", FUNCTION, "-", "--direct"], "{}");
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn a_function_of_a_rule_is_invoked_as_eventbridge_does() {
    let mut known = answers(&[]);
    let policy = json!({"Statement": [{"Principal": {"Service": "events.amazonaws.com"}}]});
    known.insert(
        format!("GET /2015-03-31/functions/{FUNCTION}/policy"),
        vec![(200, json!({"Policy": policy.to_string()}))],
    );
    known.insert(invocations(FUNCTION), vec![(202, Value::Null)]);
    let world = World::new(None, known);
    let event = r#"{"source":"shop","detail-type":"Placed","detail":{"n":1.0}}"#;
    let said = world.run_with(&["send", FUNCTION, "-"], event);
    assert_eq!(said.code, Some(0), "{said:?}");
    let calls = world.calls();
    let (_, body) = calls
        .iter()
        .find(|(name, _)| *name == invocations(FUNCTION))
        .unwrap();
    assert!(body.contains(r#""detail":{"n":1.0}"#), "{body}");
    assert!(body.contains(r#""id":"invoked-"#), "{body}");
    let said = world.run_with(&["send", FUNCTION, "-", "--group", "a"], event);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_name_that_does_not_exist_is_answered_with_those_like_it() {
    let missing = json!({"__type": "ResourceNotFoundException", "message": "no"});
    let functions =
        json!({"Functions": [{"FunctionName": "shop-stock"}, {"FunctionName": "shop-audit"}]});
    let known = Answers::from([
        (
            "GET /2015-03-31/functions/stok/configuration".to_owned(),
            vec![(404, missing)],
        ),
        (
            "GET /2015-03-31/functions".to_owned(),
            vec![(200, functions)],
        ),
    ]);
    let world = World::new(None, known);
    for arguments in [
        &["send", "stok", "-"][..],
        &["logs", "stok"],
        &["pause", "stok"],
        &["resume", "stok"],
        &["env", "stok"],
    ] {
        let said = world.run_with(arguments, "{}");
        let at = &world.endpoint;
        let expected = format!("error: no function `stok` at {at}: did you mean `shop-stock`?\n");
        assert_eq!((said.code, said.err), (Some(1), expected), "{arguments:?}");
    }
}
