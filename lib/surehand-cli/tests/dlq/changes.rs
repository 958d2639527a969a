//! The commands that change something: never without being told so.

use super::world::{World, body};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

#[tokio::test]
async fn a_plan_is_applied_and_undone() {
    let world = World::new("applied").await;
    world.park("no such sku", &["a", "b", "c"]).await;
    world
        .ends(0, &["plan", "--queue", "applied-dlq", "--out", "p"])
        .await;

    let dry = world.ends(0, &["apply", "p"]).await;
    let expected =
        "3 letters would be put back to queue applied\nnothing was changed; --yes does it\n";
    assert_eq!(dry, expected);
    let dry = world.json(0, &["apply", "p"]).await;
    assert_eq!(dry[0]["dry_run"], true);
    assert_eq!(dry[0]["sends"][0]["letters"], 3);
    assert_eq!(dry[0]["problems"], json!({}));
    assert_eq!(world.depths().await, (3, 0));
    assert!(!world.path("p.journal").exists());

    // No function and no table tell here what became of them.
    let said = world.run(&["apply", "p", "--yes"]).await;
    assert_eq!((said.code, &*said.out), (Some(1), ""), "{said:?}");
    assert_eq!(
        said.err,
        "error: nothing was sent: the outcomes of these messages cannot be known, so that no ramp can wait for them; \
         pass --no-ramp to redrive all of them at once: the functions that read queues cannot be listed: \
         InternalFailure: Service 'lambda' is not enabled. Please check your 'SERVICES' configuration variable.\n"
    );
    assert_eq!(said.changing, "");
    assert_eq!(world.depths().await, (3, 0));
    assert!(!world.path("p.journal").exists());

    let said = world.run(&["apply", "p", "--yes", "--no-ramp"]).await;
    assert_eq!(
        (said.code, &*said.out, &*said.err),
        (Some(0), "3 put back\n", ""),
        "{said:?}"
    );
    assert_eq!(said.changing, world.changing());
    assert_eq!(world.depths().await, (0, 3));
    let again = world.run(&["apply", "p", "--yes"]).await;
    assert_eq!(again.code, Some(1));
    assert_eq!(
        again.err,
        "error: p.journal already exists, so this plan was applied before: continue with `surehand dlq resume p`\n"
    );
    let resume = ["resume", "p", "--yes", "--no-ramp"];
    let resumed = world.run(&resume).await;
    assert_eq!(
        (resumed.code, &*resumed.out, &*resumed.err),
        (Some(3), "nothing to do\n", ""),
        "{resumed:?}"
    );
    assert_eq!(resumed.changing, world.changing());
    assert_eq!(world.depths().await, (0, 3));

    let dry = world.ends(0, &["undo", "p"]).await;
    assert_eq!(
        dry,
        "3 letters of p.journal would be put into applied-dlq again; what their consumers did stays done\n\
         nothing was changed; --yes does it\n"
    );
    let dry = world.json(0, &["undo", "p"]).await;
    assert_eq!(dry, [json!({"dry_run": true, "restores": 3})]);
    assert_eq!(world.depths().await, (0, 3));
    let undone = world.run(&["undo", "p", "--yes"]).await;
    assert_eq!((undone.code, &*undone.err), (Some(0), ""), "{undone:?}");
    assert_eq!(
        undone.out,
        "3 letters are in the dead-letter queue again; what their consumers did stays done\n"
    );
    assert_eq!(undone.changing, world.changing());
    assert_eq!(world.depths().await, (3, 3));
    assert_eq!(world.ends(3, &["undo", "p", "--yes"]).await, "no letters\n");
    assert_eq!(world.depths().await, (3, 3));
    // They are what they were.
    let groups = world.json(0, &["groups", "--queue", "applied-dlq"]).await;
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["message"], "no such sku");
}

#[tokio::test]
async fn a_redrive_stops_where_nothing_can_be_sent() {
    let world = World::new("unsendable").await;
    let ids: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.park("no such sku", &ids).await;
    let plan = ["plan", "--queue", "unsendable-dlq", "--out", "p"];
    world.ends(0, &plan).await;
    let queue = &world.queues.queue;
    world
        .client
        .delete_queue()
        .queue_url(queue)
        .send()
        .await
        .unwrap();

    let apply = ["apply", "p", "--yes", "--no-ramp", "--rate", "4"];
    let said = world.run(&apply).await;
    assert_eq!(said.code, Some(4), "{said:?}");
    let last = said.out.lines().last().unwrap();
    assert_eq!(
        last,
        "stopped: too many letters could not be sent, or not be deleted; `surehand dlq resume p --yes` goes on"
    );
    assert!(said.out.contains("does not exist"), "{said:?}");
    assert!(!said.out.contains("Error {"), "{said:?}");
    assert_eq!(world.depth(&world.queues.letters).await, 12);
}

#[tokio::test]
async fn a_purge_keeps_what_it_deletes_and_asks_first() {
    let world = World::new("purged").await;
    world.park("no such sku", &["a", "b"]).await;
    world.park("other", &["c"]).await;
    let groups = world.json(0, &["groups", "--queue", "purged-dlq"]).await;
    let group = groups[0]["id"].as_str().unwrap();
    let purge = [
        "purge",
        "--queue",
        "purged-dlq",
        "--group",
        group,
        "--archive",
        "old",
    ];

    assert_eq!(
        world.ends(0, &purge).await,
        "2 letters would be written to old and deleted from purged-dlq\n\
         nothing was changed; --yes does it\n"
    );
    let dry = world.json(0, &purge).await;
    assert_eq!(
        dry,
        [json!({"dry_run": true, "drops": 2, "journal": "old"})]
    );
    assert_eq!(world.depths().await, (3, 0));
    assert!(!world.path("old").exists());

    let yes = [&purge[..], &["--yes"]].concat();
    let purged = world.run(&yes).await;
    assert_eq!((purged.code, &*purged.err), (Some(0), ""), "{purged:?}");
    assert_eq!(
        purged.out,
        "2 deleted, 1 left\nthe letters are in old; `surehand dlq restore old` returns them\n"
    );
    assert_eq!(purged.changing, world.changing());
    assert_eq!(world.depths().await, (1, 0));
    let archive = world.read("old");
    for id in ["a", "b"] {
        let text = serde_json::to_string(&body(id)).unwrap();
        assert!(archive.contains(&text), "{archive}");
    }
    assert_eq!(world.ends(3, &yes).await, "no letters\n");

    // Without a name for it, the archive is named after the queue and the time.
    let rest = world
        .json(0, &["purge", "--queue", "purged-dlq", "--yes"])
        .await;
    assert_eq!(rest[0]["dropped"], 1);
    let name = rest[0]["journal"].as_str().unwrap();
    assert!(
        name.starts_with("purged-dlq.20") && name.ends_with(".archive"),
        "{name}"
    );
    assert!(world.path(name).exists());
    assert_eq!(world.depths().await, (0, 0));

    let none = world.run(&["restore", "nothing"]).await;
    assert_eq!(
        (none.code, &*none.err),
        (
            Some(1),
            "error: journal nothing cannot be opened: No such file or directory (os error 2)\n"
        )
    );
}

#[tokio::test]
async fn a_purge_is_restored_from_its_archive() {
    let world = World::new("restored").await;
    world.park("no such sku", &["a", "b"]).await;
    let purge = [
        "purge",
        "--queue",
        "restored-dlq",
        "--archive",
        "old",
        "--yes",
    ];
    world.ends(0, &purge).await;
    assert_eq!(world.depths().await, (0, 0));

    assert_eq!(
        world.ends(0, &["restore", "old"]).await,
        "2 letters of old would be put into restored-dlq again; what their consumers did stays done\n\
         nothing was changed; --yes does it\n"
    );
    assert_eq!(world.depths().await, (0, 0));
    let restore = ["restore", "old", "--yes"];
    let restored = world.run(&restore).await;
    assert_eq!(
        (restored.code, &*restored.err),
        (Some(0), ""),
        "{restored:?}"
    );
    assert_eq!(
        restored.out,
        "2 letters are in the dead-letter queue again; what their consumers did stays done\n"
    );
    assert_eq!(restored.changing, world.changing());
    assert_eq!(world.depths().await, (2, 0));
    // They are there once, and what they were.
    assert_eq!(world.ends(3, &restore).await, "no letters\n");
    let groups = world.json(0, &["groups", "--queue", "restored-dlq"]).await;
    assert_eq!((groups.len(), &groups[0]["count"]), (1, &json!(2)));
    assert_eq!(groups[0]["message"], "no such sku");

    // A journal of another command is none.
    world
        .ends(0, &["plan", "--queue", "restored-dlq", "--out", "p"])
        .await;
    let said = world.run(&["restore", "p"]).await;
    assert_eq!((said.code, &*said.changing), (Some(1), ""), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    assert_eq!(world.depths().await, (2, 0));
}

/// Plan and apply in one command, whose files are found again by the run's name.
#[tokio::test]
async fn a_redrive_is_one_command_and_a_run() {
    let world = World::new("once").await;
    let events = ["event-0", "event-1", "event-2", "event-3"];
    world.park("no such sku", &events).await;
    let queue = ["--queue", "once-dlq"];
    let redrive = |more: &[&'static str]| [&["redrive"], &queue[..], more].concat();
    assert_eq!(world.ends(3, &["runs"]).await.lines().count(), 1);

    let one = redrive(&["--where", "detail.data.order_id=event-2"]);
    let dry = world.ends(0, &one).await;
    assert!(dry.starts_with("1 letter would be put back to "), "{dry}");
    assert_eq!(world.depths().await, (4, 0));
    assert!(!world.path("state").exists(), "nothing was changed");

    // No function tells what becomes of them, so nothing is begun.
    let yes = redrive(&["--where", "detail.data.order_id=event-2", "--yes"]);
    let said = world.run(&yes).await;
    assert!(said.err.contains("pass --no-ramp"), "{said:?}");
    assert!(!world.path("state").exists());
    let said = world.run(&[&yes[..], &["--no-ramp"]].concat()).await;
    assert_eq!(
        (said.code, &*said.out),
        (Some(0), "1 put back, 3 left\n"),
        "{said:?}"
    );
    assert_eq!(said.changing, world.changing());
    assert_eq!(world.depths().await, (3, 1));

    let two = redrive(&["--limit", "2", "--yes", "--no-ramp"]);
    assert_eq!(world.run(&two).await.out, "2 put back, 1 left\n");
    assert_eq!(world.depths().await, (1, 3));
    let none = redrive(&["--where", "~event-2", "--yes", "--no-ramp"]);
    assert_eq!(world.ends(3, &none).await, "no letters\n");

    let runs = world.json(0, &["runs"]).await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    let of: Vec<_> = runs.iter().map(|run| &run["letters"]).collect();
    assert_eq!(of, [&json!(2), &json!(1)]);
    for run in &runs {
        assert_eq!(
            (&run["state"], &run["queue"], &run["place"]),
            (
                &json!("finished"),
                &json!("once-dlq"),
                &json!("000000000000, us-east-1")
            )
        );
    }
    // Whole messages are in there.
    let mode = std::fs::metadata(world.path("state/surehand/redrives"));
    let mode = std::os::unix::fs::MetadataExt::mode(&mode.unwrap());
    assert_eq!(mode & 0o777, 0o700);

    let name = runs[0]["run"].as_str().unwrap();
    let resumed = world.run(&["resume", name, "--yes", "--no-ramp"]).await;
    assert_eq!(resumed.out, "nothing to do, 1 left\n", "{resumed:?}");
    let undone = world.run(&["undo", name, "--yes"]).await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert_eq!(world.depths().await, (3, 3));
    let runs = world.json(0, &["runs"]).await;
    assert_eq!(runs[0]["state"], "undone");
}

#[tokio::test]
async fn an_edit_is_a_step_of_a_plan_and_another_event() {
    let world = World::new("edited").await;
    world.park("no such sku", &["a", "b"]).await;
    let editor = |name: &str, script: &str| {
        let path = world.path(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        path
    };
    let edit = ["edit", "--queue", "edited-dlq", "--id", "a", "--plan", "p"];
    let edited_by = async |name: &str, script: &str| {
        let mut command = world.command(&edit);
        let child = command.env("EDITOR", editor(name, script)).spawn().unwrap();
        super::world::said(child).await
    };

    let none = world.run(&edit).await;
    assert_eq!(none.code, Some(1));
    assert_eq!(
        none.err,
        "error: no editor: set EDITOR, or pass --with FILE\n"
    );
    for (script, code, said) in [
        ("true", 3, ""),
        ("exit 1", 1, "ended with exit status: 1"),
        (
            "echo { > $1",
            1,
            "the edited text is not JSON: EOF while parsing an object at line 2 column 0",
        ),
        (
            "sed -i s/OrderPlaced/OrderPaid/ $1",
            1,
            "the edit changes the type of the event: OrderPaid of shop.orders instead of OrderPlaced of shop.orders",
        ),
    ] {
        let edited = edited_by("editor", script).await;
        assert_eq!(edited.code, Some(code), "{script}: {edited:?}");
        assert!(
            edited.err.trim_end().ends_with(said),
            "{script}: {edited:?}"
        );
        assert_eq!(
            edited.err.lines().count(),
            usize::from(code == 1),
            "{edited:?}"
        );
        assert!(!world.path("p").exists(), "{script}");
    }
    let edited = edited_by(
        "better",
        r#"sed -i 's/"order_id": "a"/"order_id": "7"/' $1"#,
    )
    .await;
    assert_eq!(edited.code, Some(0), "{edited:?}");
    assert!(edited.out.ends_with(" is a step of p\n"), "{edited:?}");
    // The other letter is none of the plan's.
    assert_eq!(
        world.ends(0, &["apply", "p", "--yes", "--no-ramp"]).await,
        "1 edited, 1 left\n"
    );
    let taken = world.take(&world.queues.queue).await;
    let (id, bodies) = taken.first_key_value().unwrap();
    assert_eq!((taken.len(), bodies.len()), (1, 1));
    let event: Value = serde_json::from_str(&bodies[0]).unwrap();
    assert_ne!(id, "a");
    assert_eq!(event["detail"]["data"]["order_id"], "7");
    assert_eq!(event["detail"]["metadata"]["causationid"], "a");
    assert_eq!(world.depths().await, (1, 0));

    let file = world.path("new.json");
    fs::write(
        &file,
        body("b").replace("\"order_id\":\"b\"", "\"order_id\":\"8\""),
    )
    .unwrap();
    let with = [
        "edit",
        "--queue",
        "edited-dlq",
        "--id",
        "b",
        "--plan",
        "q",
        "--with",
        "new.json",
    ];
    let step = world.json(0, &with).await;
    assert_eq!(step[0]["plan"], "q");
    let nobody = [
        "edit",
        "--queue",
        "edited-dlq",
        "--id",
        "nobody",
        "--plan",
        "q",
    ];
    let said = world.run(&nobody).await;
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err, "error: no dead letter `nobody` in edited-dlq\n");
}

/// Two people edit two letters of one plan, and one of them takes longer.
#[tokio::test]
async fn an_edit_keeps_what_another_has_added_meanwhile() {
    let world = World::planned("edited-twice", 2).await;
    let edited = |id: &str| body(id).replace("{\"order_id\"", "{\"fixed\":true,\"order_id\"");
    fs::write(world.path("first"), edited("event-0")).unwrap();
    fs::write(world.path("second"), edited("event-1")).unwrap();
    let script = format!(
        "#!/bin/sh\n{} dlq edit -q edited-twice-dlq --id event-1 --plan p --with second && cp first \"$1\"\n",
        super::world::SUREHAND
    );
    fs::write(world.path("editor"), script).unwrap();
    let editor = world.path("editor");
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o700)).unwrap();
    let edit = [
        "edit",
        "-q",
        "edited-twice-dlq",
        "--id",
        "event-0",
        "--plan",
        "p",
    ];
    let mut command = world.command(&edit);
    let said = super::world::said(command.env("EDITOR", &editor).spawn().unwrap()).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let edits = world.read("p").matches("\"edit\"").count();
    assert_eq!(edits, 2, "{}", world.read("p"));
}

#[tokio::test]
async fn a_fifo_queue_keeps_the_order_of_its_groups() {
    let world = World::new("ordered.fifo").await;
    let ids: Vec<String> = (0..8).map(|n| format!("{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.park("no such sku", &ids).await;
    let plan = ["plan", "--queue", "ordered-dlq.fifo", "--out", "p"];
    world.ends(0, &plan).await;
    assert_eq!(
        world.ends(0, &["apply", "p", "--yes", "--no-ramp"]).await,
        "8 put back\n"
    );
    let mut groups: [Vec<String>; 2] = Default::default();
    loop {
        let request = world
            .client
            .receive_message()
            .queue_url(&world.queues.queue);
        let answer = request.max_number_of_messages(10).send().await.unwrap();
        if answer.messages().is_empty() {
            break;
        }
        for message in answer.messages() {
            let event: Value = serde_json::from_str(message.body().unwrap()).unwrap();
            let id = event["detail"]["metadata"]["id"].as_str().unwrap();
            groups[id.parse::<usize>().unwrap() % 2].push(id.to_owned());
            let delete = world.client.delete_message().queue_url(&world.queues.queue);
            let delete = delete.receipt_handle(message.receipt_handle().unwrap());
            delete.send().await.unwrap();
        }
    }
    assert_eq!(groups, [["0", "2", "4", "6"], ["1", "3", "5", "7"]]);
}

/// A selection can have letters behind others of their group that it does not have. They stay, and that is said.
#[tokio::test]
async fn what_is_behind_a_letter_that_stays_is_not_taken_for_done() {
    let world = World::new("behind.fifo").await;
    let ids = ["0", "1", "2", "3"];
    world.park("no such sku", &ids).await;
    let choice = ["-q", "behind-dlq.fifo", "--id", "0", "--id", "3"];
    let redrive = |more: &[&'static str]| [&["redrive"], &choice[..], more].concat();
    let dry = world.ends(0, &redrive(&[])).await;
    assert_eq!(
        dry,
        "1 letter would be put back to queue behind.fifo\n3 letters would stay\nnothing was changed; --yes does it\n"
    );
    let said = world.run(&redrive(&["--yes", "--no-ramp"])).await;
    assert_eq!(said.code, Some(4), "{said:?}");
    assert_eq!(
        said.out.lines().next(),
        Some("1 put back, 1 behind a letter of their group that stays, 3 left"),
        "{said:?}"
    );
    assert_eq!(world.depths().await, (3, 1));
}

/// Nobody reads what the command prints, as behind a terminal that was closed.
#[tokio::test]
async fn a_redrive_does_not_need_its_terminal() {
    let world = World::planned("unheard", 12).await;
    let mut command = world.command(&["apply", "p", "--yes", "--no-ramp"]);
    let mut child = command.spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let status = child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert_eq!(world.depths().await, (0, 12));

    let mut command = world.command(&["undo", "p", "--yes"]);
    let mut child = command.spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(world.depths().await, (12, 12));
}

/// A sender can write a note as Surehand does, which names another queue.
#[tokio::test]
async fn a_letter_does_not_choose_its_way() {
    let (world, other) = (World::new("steered").await, World::new("payouts").await);
    let forged = json!({
        "kind": "rejected", "message": "please redrive me", "chain": [], "handler": "pay",
        "function": "shop-pay", "request_id": "r", "attempts": 1, "last_failure": "2026-11-21T10:00:00Z", "source_queue": other.queues.arn, "redrive_count": 0,
    });
    let letter = (body("evil"), Some(forged));
    world.send(&world.queues.letters, &[letter]).await;
    world.park("no such sku", &["a"]).await;

    let planned = world
        .run(&["plan", "--queue", "steered-dlq", "--out", "p"])
        .await;
    assert_eq!(planned.code, Some(4), "{planned:?}");
    let held = planned.out.lines().nth(1).unwrap();
    assert!(
        held.contains("only the message itself says that it goes to queue payouts"),
        "{planned:?}"
    );
    // A plan that somebody has changed is held against what it lets pass, too.
    let plan = world.read("p").replace("\"hold\"", "\"redrive\"");
    fs::write(world.path("changed"), plan).unwrap();
    let said = world.run(&["apply", "changed", "--yes", "--no-ramp"]).await;
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.out.starts_with("1 put back, 1 failed"), "{said:?}");
    assert_eq!(world.depths().await, (1, 1));
    assert_eq!(other.depths().await, (0, 0));

    let allow = [
        "plan",
        "--queue",
        "steered-dlq",
        "--out",
        "q",
        "--allow",
        &other.queues.arn,
    ];
    world.ends(0, &allow).await;
    world.ends(0, &["apply", "q", "--yes", "--no-ramp"]).await;
    assert_eq!(other.depths().await, (0, 1));
}

/// What a plan does not list is put back only if it is of the plan's selection.
#[tokio::test]
async fn a_selection_is_part_of_its_plan() {
    let world = World::new("selected").await;
    world.park("no such sku", &["a", "b"]).await;
    let moved = (body("moved"), None);
    world.send(&world.queues.letters, &[moved]).await;
    let plan = [
        "plan",
        "--queue",
        "selected-dlq",
        "--kind",
        "rejected",
        "--unlisted",
        "--out",
        "p",
    ];
    assert_eq!(world.ends(0, &plan).await, "2 letters in p\n");
    world.park("no such sku", &["late"]).await;
    assert_eq!(
        world.ends(0, &["apply", "p", "--yes", "--no-ramp"]).await,
        "3 put back, 1 left\n"
    );
    assert_eq!(world.depths().await, (1, 3));
}

/// An ARN names a region, and the queue of that name in another one is another queue.
#[tokio::test]
async fn a_queue_is_the_one_of_its_arn() {
    let world = World::new("region").await;
    world.park("no such sku", &["a"]).await;
    let arn = "arn:aws:sqs:eu-west-1:000000000000:region-dlq";
    for arguments in [
        &["groups", "-q", arn][..],
        &["plan", "-q", arn, "--out", "p"],
        &["redrive", "-q", arn, "--yes", "--no-ramp"],
        &["purge", "-q", arn, "--yes", "--archive", "purged"],
        &["move", "-q", arn, "--to", "region", "--yes"],
        &[
            "move",
            "-q",
            "region-dlq",
            "--to",
            "arn:aws:sqs:eu-west-1:000000000000:region",
            "--yes",
        ],
    ] {
        let said = world.run(arguments).await;
        assert_eq!(
            (said.code, &*said.out, &*said.changing),
            (Some(1), "", ""),
            "{arguments:?}: {said:?}"
        );
        assert_eq!(world.depths().await, (1, 0), "{arguments:?}");
    }
}

/// The same name is in every account and region.
#[tokio::test]
async fn a_plan_is_for_one_account_and_region() {
    let world = World::planned("placed", 2).await;
    let plan = world.read("p");
    let arn = "arn:aws:sqs:us-east-1:000000000000:placed-dlq";
    assert!(plan.contains(arn), "{plan}");
    for (file, other) in [
        ("account", arn.replace("000000000000", "111111111111")),
        ("region", arn.replace("us-east-1", "eu-west-1")),
    ] {
        fs::write(world.path(file), plan.replace(arn, &other)).unwrap();
        for yes in [&[][..], &["--yes"]] {
            let said = world
                .run(&[&["apply", file, "--no-ramp"][..], yes].concat())
                .await;
            assert_eq!(said.code, Some(1), "{said:?}");
        }
    }
    // An older version wrote no ARN, and the URL of an emulator's queue has no region.
    let old = plan.replace(&format!("\"queue_arn\":\"{arn}\","), "");
    assert_ne!(old, plan);
    fs::write(world.path("old"), old).unwrap();
    for yes in [&[][..], &["--yes"]] {
        let said = world
            .run(&[&["apply", "old", "--no-ramp"][..], yes].concat())
            .await;
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{said:?}");
        assert!(
            said.err
                .contains("add the queue's ARN to its first line as `queue_arn`"),
            "{said:?}"
        );
    }
    assert!(!world.path("old.journal").exists());
    assert_eq!(world.depths().await, (2, 0));

    // What was taken out of one queue is not put into another of its name, and is not taken for undone.
    world.ends(0, &["apply", "p", "--yes", "--no-ramp"]).await;
    for file in ["account", "region"] {
        let journal = format!("{file}.journal");
        fs::copy(world.path("p.journal"), world.path(&journal)).unwrap();
        for yes in [&[][..], &["--yes"]] {
            let said = world.run(&[&["undo", file][..], yes].concat()).await;
            assert_eq!(said.code, Some(1), "{said:?}");
            assert!(said.err.contains("the plan is for queue"), "{said:?}");
        }
        assert_eq!(world.read(&journal), world.read("p.journal"));
    }
    assert_eq!(world.depths().await, (0, 2));
}

/// A process can end between the plan of a run and its journal.
#[tokio::test]
async fn a_run_that_has_no_journal_yet_is_begun_by_its_name() {
    let world = World::planned("begun", 2).await;
    let folder = world.path("state/surehand/redrives");
    let private = std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
        .recursive(true)
        .create(&folder);
    private.unwrap();
    fs::rename(world.path("p"), folder.join("run.plan")).unwrap();
    let runs = world.json(0, &["runs"]).await;
    assert_eq!(
        (&runs[0]["run"], &runs[0]["state"]),
        (&json!("run.plan"), &json!("open"))
    );
    let said = world.run(&["resume", "run.plan", "--yes"]).await;
    assert!(
        said.err
            .ends_with("begin with `surehand dlq apply run.plan`\n"),
        "{said:?}"
    );
    let apply = ["apply", "run.plan", "--yes", "--no-ramp"];
    let said = world.run(&apply).await;
    assert_eq!(
        (said.code, &*said.out),
        (Some(0), "2 put back\n"),
        "{said:?}"
    );
    let runs = world.json(0, &["runs"]).await;
    assert_eq!(runs[0]["state"], "finished");
}

/// Whoever can write to the folder of the runs could have another plan carried out.
#[tokio::test]
async fn runs_are_not_kept_where_others_write() {
    let world = World::planned("kept", 2).await;
    let folder = world.path("state/surehand/redrives");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(world.path("p"), folder.join("run.plan")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    for arguments in [
        &["redrive", "-q", "kept-dlq", "--yes", "--no-ramp"][..],
        &["apply", "run.plan", "--yes", "--no-ramp"],
        &["resume", "run.plan", "--yes"],
        &["undo", "run.plan", "--yes"],
    ] {
        let said = world.run(arguments).await;
        assert_eq!(
            (said.code, &*said.out),
            (Some(1), ""),
            "{arguments:?}: {said:?}"
        );
        assert!(
            said.err.contains("others may write to"),
            "{arguments:?}: {said:?}"
        );
    }
    assert_eq!(world.depths().await, (2, 0));
}

/// What a plan does not list is put back, which is not what a plan of drops says.
#[tokio::test]
async fn what_is_to_be_dropped_is_listed() {
    let world = World::new("unlisted").await;
    world.park("no such sku", &["a"]).await;
    for action in ["drop", "hold"] {
        let plan = ["plan", "-q", "unlisted-dlq", "--unlisted", "--out", "p"];
        let said = world
            .run(&[&plan[..], &["--action", action]].concat())
            .await;
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{said:?}");
        assert!(!world.path("p").exists());
    }
}
