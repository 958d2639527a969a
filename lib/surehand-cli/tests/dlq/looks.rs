//! The commands that only look.

use super::world::World;
use serde_json::{Value, json};

/// Two groups, of three letters and of one.
async fn world(name: &str) -> World {
    let world = World::new(name).await;
    world.park("no such sku `lamp`", &["a", "b", "c"]).await;
    let moved = (super::world::body("d"), None);
    world.send(&world.queues.letters, &[moved]).await;
    world
}

#[tokio::test]
async fn queues_are_listed_with_what_is_in_them() {
    let world = world("listed").await;
    let said = world.ends(0, &["list", "--prefix", "listed"]).await;
    let rows: Vec<&str> = said.lines().collect();
    assert!(
        rows[1].starts_with("│ dead-letter queue ┆ letters ┆ in flight ┆ oldest ┆ expires ┆ of")
    );
    assert!(
        rows[3].starts_with("│ listed-dlq        ┆       4 ┆         0 ┆ "),
        "{said}"
    );
    assert!(rows[3].ends_with("┆ listed │"), "{said}");
    assert_eq!(rows.len(), 5, "{said}");

    let list = world.json(0, &["list", "--prefix", "listed"]).await;
    let [row] = &list[..] else { panic!("{list:?}") };
    let of = |name: &str| row[name].clone();
    assert_eq!(of("name"), "listed-dlq");
    assert_eq!(of("url"), world.queues.letters);
    assert_eq!(of("arn"), "arn:aws:sqs:us-east-1:000000000000:listed-dlq");
    assert_eq!(
        (of("visible"), of("in_flight"), of("delayed")),
        (4.into(), 0.into(), 0.into())
    );
    assert!(of("oldest_ms").as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(of("sources"), json!(["listed"]));

    let none = world.run(&["list", "--prefix", "nothing"]).await;
    assert_eq!(none.code, Some(3));
    assert!(
        none.out
            .starts_with("no dead-letter queues at http://127.0.0.1:"),
        "{none:?}"
    );
    assert_eq!(
        world.json(3, &["list", "--prefix", "nothing"]).await,
        [] as [Value; 0]
    );
}

#[tokio::test]
async fn groups_are_few_and_the_largest_is_first() {
    let world = world("grouped").await;
    let said = world.ends(0, &["groups", "--queue", "grouped-dlq"]).await;
    let rows: Vec<&str> = said.lines().filter(|it| it.starts_with('│')).collect();
    assert!(rows[0].starts_with("│ group    ┆ letters ┆ event       ┆ handler       ┆ kind"));
    assert!(
        rows[1].contains("┆       3 ┆ OrderPlaced ┆ reserve_stock ┆ rejected"),
        "{said}"
    );
    assert!(
        rows[2].contains("┆       1 ┆ OrderPlaced ┆ -             ┆ "),
        "{said}"
    );

    let groups = world.json(0, &["groups", "--queue", "grouped-dlq"]).await;
    assert_eq!(groups.len(), 2);
    let first = &groups[0];
    assert_eq!(first["count"], 3);
    assert_eq!(first["event_type"], "OrderPlaced");
    assert_eq!(first["handler"], "reserve_stock");
    assert_eq!(first["kind"], "rejected");
    let id = first["id"].as_str().unwrap();
    assert_eq!(id.len(), 8);
    assert_eq!(first["examples"].as_array().unwrap().len(), 3);

    // The selections mean the same everywhere.
    for (selection, count) in [
        (["--group", id], 3),
        (["--kind", "rejected"], 3),
        (["--handler", "reserve_stock"], 3),
        (["--type", "OrderPlaced"], 4),
        (["--id", "b"], 1),
        (["--since", "1h"], 4),
    ] {
        let arguments = ["show", "--queue", "grouped-dlq", selection[0], selection[1]];
        let shown = world.json(0, &arguments).await;
        assert_eq!(shown.len(), count, "{selection:?}");
    }
    let none = ["groups", "--queue", "grouped-dlq", "--until", "1h"];
    assert_eq!(world.ends(3, &none).await, "no letters\n");
    // Nothing is hidden by looking.
    assert_eq!(world.take(&world.queues.letters).await.len(), 4);
}

#[tokio::test]
async fn a_letter_is_shown_with_its_reason_and_its_way_back() {
    let world = world("shown").await;
    let said = world
        .ends(0, &["show", "--queue", "shown-dlq", "--id", "a"])
        .await;
    for line in [
        "  event:       OrderPlaced a",
        "  reason:      rejected: no such sku `lamp`",
        "  made at:     src/stock.rs:33:20",
        "  handler:     reserve_stock of shop-reserve-stock",
        "  goes to:     queue shown",
        "    \"detail-type\": \"OrderPlaced\",",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}\n{said}");
    }
    // With how long ago it was.
    let failed = "  failed:      in the 1st attempt, at 2026-11-21T10:00:00.000Z, ";
    let mut lines = said.lines().filter_map(|it| it.strip_prefix(failed));
    let age = lines.next().unwrap();
    assert!(age.ends_with(" d ago, request r"), "{said}");
    let few = world
        .ends(0, &["show", "--queue", "shown-dlq", "--limit", "1"])
        .await;
    assert!(
        few.ends_with("and 3 more; --limit shows more of them\n"),
        "{few}"
    );

    let shown = world
        .json(0, &["show", "--queue", "shown-dlq", "--id", "a"])
        .await;
    let letter = &shown[0];
    assert_eq!(letter["event"]["id"], "a");
    assert_eq!(letter["cause"]["kind"], "rejected");
    assert_eq!(letter["group_id"].as_str().unwrap().len(), 8);
    let queue = letter["destination"]["queue"].as_str().unwrap();
    assert!(queue.ends_with("/000000000000/shown"), "{queue}");
}

#[tokio::test]
async fn a_snapshot_stands_for_its_queue() {
    let world = world("pulled").await;
    let pull = ["pull", "--queue", "pulled-dlq", "--out", "letters"];
    assert_eq!(world.ends(0, &pull).await, "4 letters in letters\n");
    let lines = world.read("letters");
    assert_eq!(lines.lines().count(), 4);
    let is_private =
        std::os::unix::fs::MetadataExt::mode(&world.path("letters").metadata().unwrap());
    assert_eq!(is_private & 0o777, 0o600);
    let again = world.run(&pull).await;
    assert_eq!(again.code, Some(1));
    assert_eq!(
        again.err,
        "error: letters already exists: name a file that does not\n"
    );
    assert_eq!(world.read("letters"), lines);

    let pull = [
        "pull",
        "--queue",
        "pulled-dlq",
        "--out",
        "some",
        "--kind",
        "rejected",
    ];
    let pulled = world.json(0, &pull).await;
    assert_eq!(
        pulled,
        [json!({"file": "some", "letters": 3, "complete": true})]
    );
    let pull = [
        "pull",
        "--queue",
        "pulled-dlq",
        "--out",
        "none",
        "--kind",
        "x",
    ];
    assert_eq!(world.ends(3, &pull).await, "no letters\n");
    assert!(!world.path("none").exists());

    let here = world.json(0, &["groups", "--queue", "pulled-dlq"]).await;
    assert_eq!(world.json(0, &["groups", "--in", "letters"]).await, here);
    let shown = world
        .json(0, &["show", "--in", "letters", "--id", "c"])
        .await;
    assert_eq!(shown[0]["event"]["id"], "c");
}

#[tokio::test]
async fn a_plan_names_each_letter_and_what_becomes_of_it() {
    let world = world("planned").await;
    let plan = ["plan", "--queue", "planned-dlq", "--out", "p"];
    let planned = world.run(&plan).await;
    // The letter without a note does not say where it came from.
    assert_eq!(planned.code, Some(4), "{planned:?}");
    let mut lines = planned.out.lines();
    assert_eq!(lines.next(), Some("4 letters in p"));
    let held = lines.next().unwrap();
    assert!(
        held.ends_with(
            " is held: the letter does not tell where it came from; the plan needs `to`"
        ),
        "{held}"
    );
    let steps: Vec<Value> = world
        .read("p")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(steps[0]["queue"], world.queues.letters);
    let mut actions: Vec<&str> = steps[1..]
        .iter()
        .map(|it| it["action"].as_str().unwrap())
        .collect();
    actions.sort_unstable();
    assert_eq!(actions, ["hold", "redrive", "redrive", "redrive"]);

    let to = [
        "plan",
        "--queue",
        "planned-dlq",
        "--out",
        "q",
        "--to",
        "planned",
    ];
    let planned = world.json(0, &to).await;
    assert_eq!(planned[0]["letters"], 4);
    assert_eq!(planned[0]["held"], json!({}));
    assert_eq!(planned[0]["file"], "q");
    let none = [
        "plan",
        "--queue",
        "planned-dlq",
        "--out",
        "r",
        "--kind",
        "x",
    ];
    assert_eq!(world.ends(3, &none).await, "no letters\n");
    assert!(!world.path("r").exists());
    assert_eq!(world.depths().await, (4, 0));
}

/// A reader that was killed hides what it had received.
#[tokio::test]
async fn what_is_hidden_is_not_taken_for_absent() {
    let world = World::planned("hidden", 10).await;
    let request = world
        .client
        .receive_message()
        .queue_url(&world.queues.letters);
    let request = request.max_number_of_messages(4).visibility_timeout(600);
    let taken = request.send().await.unwrap().messages().len();
    assert!(taken > 0);
    // Each looks for them for half a minute.
    let hint = format!("about {taken} more are in flight");
    let groups = world.ends(4, &["groups", "-q", "hidden-dlq"]).await;
    assert!(groups.contains(&hint), "{groups}");
    let purge = world.ends(4, &["purge", "-q", "hidden-dlq"]).await;
    assert!(purge.contains(&hint), "{purge}");
    let apply = ["apply", "p", "--visibility", "10", "--no-ramp"];
    let missing = world.ends(4, &apply).await;
    let hint = format!("{taken} letters of the plan were not seen");
    assert!(missing.contains(&hint), "{missing}");
    // It takes long enough to tell its progress.
    let applied = world.run(&[&apply[..], &["--yes"]].concat()).await;
    assert_eq!(applied.code, Some(4), "{applied:?}");
    let hint = format!("{taken} missing");
    assert!(applied.out.contains(&hint), "{applied:?}");
}

/// A message's sender decides what is in it.
#[tokio::test]
async fn a_terminal_obeys_nothing_of_a_message() {
    let world = World::new("escapes").await;
    let hostile = "\u{1b}[2K\u{9b}31m\u{202e}x";
    world.park(hostile, &[hostile]).await;
    let queue = ["--queue", "escapes-dlq"];
    for command in [
        &["show"][..],
        &["groups"],
        &["show", "--json"],
        &["groups", "--json"],
        &["plan", "--out", "p", "--json"],
    ] {
        let said = world.run(&[command, &queue].concat()).await;
        let is_obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.out.contains(is_obeyed), "{said:?}");
        assert!(!said.err.contains(is_obeyed), "{said:?}");
    }
}
