//! SQS's own way to move a queue.

use super::world::World;
use serde_json::json;

#[tokio::test]
async fn a_queue_is_moved_as_a_whole() {
    let world = World::new("moved").await;
    world.park("no such sku", &["a", "b", "c"]).await;
    let from = world.queues.letters.clone();
    let to_moved = ["move", "--queue", "moved-dlq", "--to", "moved"];

    let dry = world.ends(0, &to_moved).await;
    assert_eq!(
        dry,
        "about 3 letters of moved-dlq would go to moved, each with its note\n\
         nothing was changed; --yes does it\n"
    );
    let dry = world.json(0, &to_moved).await;
    assert_eq!(
        dry,
        [json!({"dry_run": true, "moves": 3, "to": world.queues.queue})]
    );
    assert_eq!(world.depths().await, (3, 0));

    let yes = [&to_moved[..], &["--yes"]].concat();
    let said = world.run(&yes).await;
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    assert_eq!(said.out, "3 letters were moved to moved\n");
    assert_eq!(said.changing, world.changing());
    assert_eq!(world.depths().await, (0, 3));
    assert_eq!(world.ends(3, &yes).await, "no letters\n");

    world.park("no such sku", &["d"]).await;
    let arn = "arn:aws:sqs:us-east-1:000000000000:moved-dlq";
    let moved = world
        .json(0, &["move", "-q", arn, "--to", "moved", "--yes"])
        .await;
    assert_eq!(
        moved,
        [json!({"moved": 1, "status": "completed", "failure": null})]
    );

    let itself = world
        .run(&["move", "--queue", &from, "--to", &from, "--yes"])
        .await;
    assert_eq!(itself.code, Some(2), "{itself:?}");
    assert_eq!(itself.err, "error: a queue cannot be moved to itself\n");
}

#[tokio::test]
async fn a_queue_moves_to_one_of_its_kind() {
    let (standard, fifo) = (World::new("kind").await, World::new("kind.fifo").await);
    standard.park("no such sku", &["a"]).await;
    let to = ["move", "--queue", "kind-dlq", "--to", "kind.fifo", "--yes"];
    let said = standard.run(&to).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(
        said.err,
        "error: cannot move from kind-dlq to kind.fifo: only one of them is a FIFO queue\n"
    );

    fifo.park("no such sku", &["a", "b", "c"]).await;
    let to = [
        "move",
        "--queue",
        "kind-dlq.fifo",
        "--to",
        "kind.fifo",
        "--yes",
    ];
    assert_eq!(
        fifo.ends(0, &to).await,
        "3 letters were moved to kind.fifo\n"
    );
    assert_eq!(fifo.depths().await, (0, 3));
}

/// All other commands of that page run beside the shop, whose emulator has no move tasks.
#[tokio::test]
async fn the_page_about_failures_moves_a_queue() {
    let world = World::new("shop-orders").await;
    world.park("no such sku", &["a"]).await;
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/when-events-fail.md"
    );
    let page = std::fs::read_to_string(page).unwrap();
    let command = page
        .lines()
        .find_map(|line| line.strip_prefix("surehand dlq move "));
    let arguments = format!("move {}", command.unwrap());
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let said = world.ends(0, &arguments).await;
    assert_eq!(said, "1 letter was moved to shop-orders\n");
    assert_eq!(world.depths().await, (0, 1));
}
