//! `surehand pause` and `surehand resume`.

use serde_json::{Value, json};

use super::world::{ARN, Answers, FUNCTION, World, answers, mapping, mapping_arn};

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:stock";
const OTHER: &str = "arn:aws:sqs:us-east-1:000000000000:other";

/// The answers about two event sources, of which the second is off; `tags` are those of the first.
fn known(states: &[&str], tags: &Value) -> Answers {
    let mut known = answers(&[
        mapping("1", QUEUE, states[0]),
        mapping("2", OTHER, "Disabled"),
    ]);
    let states = states.iter().map(|state| (200, mapping("1", QUEUE, state)));
    let of = "/2015-03-31/event-source-mappings/1";
    known.insert(format!("GET {of}"), states.collect());
    known.insert(
        format!("PUT {of}"),
        vec![
            // Lambda still works on the change before.
            (
                400,
                json!({"__type": "ResourceInUseException", "message": "busy"}),
            ),
            (202, mapping("1", QUEUE, "Updating")),
        ],
    );
    for (id, tags) in [("1", tags), ("2", &json!({}))] {
        let path = format!("/2017-03-31/tags/{}", mapping_arn(id));
        known.insert(format!("GET {path}"), vec![(200, json!({"Tags": tags}))]);
        for change in ["POST", "DELETE"] {
            known.insert(format!("{change} {path}"), vec![(204, Value::Null)]);
        }
    }
    known
}

#[test]
fn pause_writes_down_what_it_switches_off_and_waits_until_it_is() {
    let world = World::new(
        None,
        known(&["Enabled", "Disabling", "Disabled"], &json!({})),
    );
    let said = world.run(&["pause", FUNCTION, "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.err
            .starts_with("changing shop-stock in account 000000000000, "),
        "{said:?}"
    );
    let tags = format!("POST /2017-03-31/tags/{}", mapping_arn("1"));
    let put = "PUT /2015-03-31/event-source-mappings/1".to_owned();
    // The tag is there before anything is off.
    assert_eq!(world.changes(), [tags, put.clone(), put]);
    let lines = said.json();
    let of = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap().clone();
    assert_eq!(
        (&of("1")["before"], &of("1")["state"], &of("1")["switched"]),
        (&json!("Enabled"), &json!("Disabled"), &json!(true))
    );
    assert_eq!(of("2")["switched"], false, "it was off before");
}

#[test]
fn resume_switches_on_only_what_pause_switched_off() {
    let tags = json!({"surehand:paused": "2026-11-21T10:00:00Z", "team": "shop"});
    let states = ["Disabled", "Enabling", "Enabled"];
    let world = World::new(None, known(&states, &tags));
    let said = world.run(&["resume", FUNCTION]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        said.out,
        "event source other: Disabled, and stays so\nevent source stock: Disabled -> Enabled\n"
    );
    let put = "PUT /2015-03-31/event-source-mappings/1".to_owned();
    let untag = format!("DELETE /2017-03-31/tags/{}", mapping_arn("1"));
    // The tag is there until it is on.
    assert_eq!(world.changes(), [put.clone(), put, untag]);
}

#[test]
fn what_is_not_on_in_time_can_be_resumed_again() {
    let tags = json!({"surehand:paused": "2026-11-21T10:00:00Z"});
    let world = World::new(None, known(&["Disabled", "Enabling"], &tags));
    let said = world.run(&["resume", FUNCTION, "--wait", "1"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(!world.changes().iter().any(|it| it.starts_with("DELETE")));
}

#[test]
fn nothing_to_switch_is_exit_code_3() {
    let world = World::new(None, known(&["Disabled"], &json!({})));
    for command in ["pause", "resume"] {
        let said = world.run(&[command, FUNCTION]);
        assert_eq!(said.code, Some(3), "{said:?}");
    }
    assert_eq!(world.changes(), [""; 0]);
}

#[test]
fn a_rule_is_left_on_unless_its_events_may_be_lost() {
    let mut known = answers(&[]);
    let rule = json!({
        "Name": "stock", "Arn": "arn:aws:events:us-east-1:000000000000:rule/stock", "State": "ENABLED",
        "EventPattern": "{\"source\":[\"shop\"]}", "EventBusName": "default",
    });
    let targets = json!({"Targets": [{"Id": "1", "Arn": ARN}]});
    for (name, answer) in [
        ("ListRuleNamesByTarget", json!({"RuleNames": ["stock"]})),
        ("DescribeRule", rule),
        ("ListTargetsByRule", targets),
        ("ListTagsForResource", json!({"Tags": []})),
        ("TagResource", json!({})),
        ("DisableRule", Value::Null),
    ] {
        known.insert(name.to_owned(), vec![(200, answer)]);
    }
    let world = World::new(None, known);
    let said = world.run(&["pause", FUNCTION]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("pass --lose-events"), "{said:?}");
    assert_eq!(world.changes(), [""; 0]);
    let said = world.run(&["pause", FUNCTION, "--lose-events"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out, "rule stock: Enabled -> Disabled\n");
    assert_eq!(world.changes(), ["TagResource", "DisableRule"]);
}
