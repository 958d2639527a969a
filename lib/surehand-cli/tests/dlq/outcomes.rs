//! What a ramp waits for: nothing is sent whose outcome would be waited for in vain.

use super::world::{Said, World, said};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use surehand_test_support::proxy::{self, Call, Fate, Moment};

/// A function that reads the world's queue, and has a table. Returns the endpoint, and the keys that the table is asked
/// for; the table has nothing.
fn function(world: &World) -> (String, Arc<Mutex<Vec<String>>>) {
    let source = world.queues.arn.clone();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keys = Arc::clone(&asked);
    let endpoint = proxy::start(&world.sqs.endpoint, move |call: &Call| {
        if call.moment == Moment::After {
            return Fate::Pass;
        }
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:shop-reserve";
        let answer = match &*call.action {
            "GET /2015-03-31/event-source-mappings" => {
                json!({"EventSourceMappings": [{"FunctionArn": arn, "EventSourceArn": source}]})
            }
            "GET /2015-03-31/functions/shop-reserve/configuration" => {
                json!({"Environment": {"Variables": {"IDEMPOTENCY_TABLE": "claims"}}})
            }
            "GetItem" | "BatchGetItem" => {
                let asked: Value = serde_json::from_str(&call.body).unwrap();
                keys.lock().unwrap().push(asked.to_string());
                json!({})
            }
            _ => return Fate::Pass,
        };
        Fate::Answer(200, answer.to_string())
    });
    (endpoint, asked)
}

async fn run(world: &World, endpoint: &str, arguments: &[&str]) -> Said {
    let mut command = world.command(arguments);
    said(command.env("AWS_ENDPOINT_URL", endpoint).spawn().unwrap()).await
}

/// A function may have keys of its own, and only its code or its user knows.
#[tokio::test]
async fn a_ramp_begins_only_where_the_functions_keys_are_known() {
    let world = World::planned("keyed", 3).await;
    let (endpoint, asked) = function(&world);
    let apply = ["apply", "p", "--yes"];
    let said = run(&world, &endpoint, &apply).await;
    assert_eq!((said.code, &*said.out), (Some(1), ""), "{said:?}");
    for part in [
        "error: nothing was sent: the outcomes of these messages cannot be known",
        "pass --no-ramp to redrive all of them at once: how shop-reserve makes its idempotency keys is not known (",
        "): run this in the folder of its application, or pass --event-keys if its code sets neither a key, nor a scope, \
         nor a style of keys\n",
    ] {
        assert!(said.err.contains(part), "{part}\n{said:?}");
    }
    assert_eq!(world.depths().await, (3, 0));
    assert!(!world.path("p.journal").exists());

    // Its user knows. The one that was sent has no outcome here.
    let known = [&apply[..], &["--event-keys", "--wait", "1"]].concat();
    let said = run(&world, &endpoint, &known).await;
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.out.starts_with("1 put back"), "{said:?}");
    assert_eq!(world.depths().await, (2, 1));
    let asked = asked.lock().unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|key| key.contains("shop-reserve#")),
        "{asked:?}"
    );
}

/// Whoever can send to the dead-letter queue can name a function in a note.
#[tokio::test]
async fn a_forged_note_chooses_no_table() {
    let world = World::new("forged-table").await;
    let (endpoint, asked) = function(&world);
    // The notes name the function shop-reserve-stock, which has handled everything long ago.
    world.park("no such sku", &["a"]).await;
    let plan = ["plan", "-q", "forged-table-dlq", "--out", "p"];
    world.ends(0, &plan).await;
    let apply = ["apply", "p", "--yes", "--event-keys", "--wait", "1"];
    let said = run(&world, &endpoint, &apply).await;
    assert!(said.out.starts_with("1 put back"), "{said:?}");
    let show = run(&world, &endpoint, &["show", "-q", "forged-table-dlq"]).await;
    assert_eq!(show.code, Some(3), "{show:?}");
    world.park("no such sku", &["b"]).await;
    let show = run(&world, &endpoint, &["show", "-q", "forged-table-dlq"]).await;
    assert_eq!(show.code, Some(0), "{show:?}");
    let asked = asked.lock().unwrap();
    assert!(asked.len() >= 2, "{asked:?}");
    for key in asked.iter() {
        assert!(key.contains("shop-reserve#"), "{key}");
    }
}
