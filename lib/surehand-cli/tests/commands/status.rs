//! `surehand status`.

use serde_json::{Value, json};

use super::world::{FUNCTION, World, answers, mapping, mapping_arn, sqs};

#[tokio::test]
async fn one_table_has_functions_sources_queues_and_dead_letters() {
    let sqs = sqs().await;
    let (client, queues) = (sqs.client(), sqs.queues("status").await);
    for _ in 0..3 {
        let send = client.send_message().queue_url(&queues.letters);
        send.message_body("{}").send().await.unwrap();
    }
    let mut known = answers(&[mapping("1", &queues.arn, "Disabled")]);
    let resource = |kind: &str, id: &str| {
        format!(
            "<member><LogicalResourceId>X</LogicalResourceId><PhysicalResourceId>{id}</PhysicalResourceId>\
             <ResourceType>AWS::{kind}</ResourceType><ResourceStatus>CREATE_COMPLETE</ResourceStatus>\
             <LastUpdatedTimestamp>2026-11-21T10:00:00Z</LastUpdatedTimestamp></member>"
        )
    };
    let list = |resources: &[String]| {
        let xml = format!(
            "<ListStackResourcesResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
             <ListStackResourcesResult><StackResourceSummaries>{}</StackResourceSummaries></ListStackResourcesResult>\
             </ListStackResourcesResponse>",
            resources.concat()
        );
        (200, Value::String(xml))
    };
    // What a nested stack has is the application's as well.
    known.insert(
        "POST".to_owned(),
        vec![
            list(&[
                resource("Lambda::Function", FUNCTION),
                resource("CloudFormation::Stack", "nested"),
            ]),
            list(&[
                resource("SQS::Queue", &queues.queue),
                resource("SQS::Queue", &queues.letters),
            ]),
        ],
    );
    let tags = format!("GET /2017-03-31/tags/{}", mapping_arn("1"));
    let paused = json!({"Tags": {"surehand:paused": "2026-11-21T10:00:00Z"}});
    known.insert(tags, vec![(200, paused)]);
    let world = World::new(Some(sqs), known);
    let said = world.run(&["status", "--stack-name", "shop", "--json"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    let rows = said.json();
    let of = |kind: &str| rows.iter().find(|row| row["kind"] == kind).unwrap();
    assert_eq!(of("function")["state"], "Active");
    assert_eq!(of("function")["aliases"], json!({"live": "7"}));
    assert_eq!(of("source")["state"], "Disabled");
    assert_eq!(of("source")["paused"], "2026-11-21T10:00:00Z");
    assert_eq!(of("queue")["visible"], 0);
    assert_eq!(of("dead letters")["visible"], 3);
    assert_eq!(of("dead letters")["of"], "status");
}

#[test]
fn without_a_stack_it_says_how_to_name_one() {
    let world = World::new(None, answers(&[]));
    let said = world.run(&["status"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("pass --stack-name"), "{said:?}");
}
