//! Ctrl-C, at a moment that is known.

use super::{
    kills::{killed_at, pid},
    world::{Said, World, said},
};
use rustix::process::{Signal, kill_process};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use surehand_test_support::proxy::{self, Call, Fate, Moment};

const GENTLY: &str = "finishing what is in progress; interrupt again to stop at once\n";

/// Runs it, and interrupts it after this call was answered; `hard` means twice, the second time before
/// it gets the answer.
async fn interrupted(
    world: &World,
    arguments: &[&str],
    (action, number): (&'static str, usize),
    hard: bool,
) -> Said {
    let process = Arc::new(OnceLock::new());
    let target = Arc::clone(&process);
    let endpoint = proxy::start(&world.sqs.endpoint, move |call: &Call| {
        if (&*call.action, call.number, call.moment) == (action, number, Moment::After) {
            // It is noticed before the answer is there, and two at once would be one.
            for _ in 0..=usize::from(hard) {
                kill_process(*target.wait(), Signal::INT).unwrap();
                std::thread::sleep(Duration::from_millis(500));
            }
        }
        Fate::Pass
    });
    let mut command = world.command(arguments);
    let child = command.env("AWS_ENDPOINT_URL", endpoint).spawn().unwrap();
    process.set(pid(&child)).unwrap();
    said(child).await
}

const APPLY: [&str; 7] = [
    "apply",
    "p",
    "--yes",
    "--no-ramp",
    "--rate",
    "20",
    "--visibility=10",
];

#[tokio::test]
async fn an_interrupted_apply_ends_after_what_is_on_the_way() {
    let world = World::planned("interrupted", 20).await;
    let said = interrupted(&world, &APPLY, ("SendMessageBatch", 1), false).await;
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!(said.err, GENTLY);
    let last = said.out.lines().last().unwrap();
    assert_eq!(
        last,
        "stopped as asked; `surehand dlq resume p --yes` goes on"
    );
    let (letters, sent) = world.depths().await;
    assert!(sent > 0 && letters > 0, "{letters} {sent}");
    // Nothing is on the way in between.
    assert_eq!(letters + sent, 20);

    // At once: it has given its letters back.
    let report = world.json(0, &["resume", "p", "--yes", "--no-ramp"]).await;
    assert_eq!(report[0]["redriven"], letters, "{report:?}");
    assert_eq!(world.depths().await, (0, 20));
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    let world = World::planned("interrupted-twice", 20).await;
    let said = interrupted(&world, &APPLY, ("SendMessageBatch", 1), true).await;
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!(said.err, GENTLY);
    assert_eq!(said.out, "");
    let resume = ["resume", "p", "--yes", "--no-ramp", "--visibility=10"];
    world.ends(0, &resume).await;
    let taken = world.take(&world.queues.queue).await;
    assert_eq!(taken.len(), 20);
    assert_eq!(world.depths().await, (0, 0));
}

#[tokio::test]
async fn an_interrupted_undo_goes_on_with_the_rest() {
    let world = World::planned("interrupted-undo", 120).await;
    world.ends(0, &["apply", "p", "--yes", "--no-ramp"]).await;
    assert_eq!(world.depths().await, (0, 120));

    // Within the first wave, which is finished, and so is the letter that came too late for it.
    let undo = ["undo", "p", "--yes"];
    let said = interrupted(&world, &undo, ("SendMessageBatch", 1), false).await;
    assert_eq!(said.code, Some(130), "{said:?}");
    assert_eq!(said.err, GENTLY);
    let last = said.out.lines().last().unwrap();
    assert_eq!(
        last,
        "stopped as asked; `surehand dlq undo p --yes` goes on"
    );
    assert_eq!(world.depths().await, (101, 120));

    let rest = world.json(0, &undo).await;
    assert_eq!(rest[0]["restored"], 19, "{rest:?}");
    assert_eq!(rest[0]["untouched"], 101, "{rest:?}");
    assert_eq!(rest[0]["stopped"], serde_json::Value::Null);
    assert_eq!(world.depths().await, (120, 120));
}

/// It looks for letters whose deletion had no answer for as long as they may be hidden.
#[tokio::test]
async fn an_interrupted_undo_ends_while_it_looks() {
    let world = World::planned("interrupted-look", 10).await;
    // The first of them only asks for the right. What it has sent it hides for two minutes.
    let deletion = ("DeleteMessageBatch", 2, Moment::Before);
    let apply = ["apply", "p", "--yes", "--no-ramp"];
    assert_eq!(killed_at(&world, &apply, deletion).await, None);
    assert_eq!(world.depths().await, (10, 10));
    let journal = world.read("p.journal");

    let undo = ["undo", "p", "--yes"];
    let said = interrupted(&world, &undo, ("ReceiveMessage", 1), false).await;
    assert_eq!((said.code, &*said.err), (Some(130), GENTLY), "{said:?}");
    assert_eq!(
        said.out,
        "no letters\nstopped as asked; `surehand dlq undo p --yes` goes on\n"
    );
    // Nothing was done, so that nothing is lost of it.
    assert_eq!(world.depths().await, (10, 10));
    assert_eq!(world.read("p.journal"), journal);
}

#[tokio::test]
async fn an_interrupted_reader_gives_back_what_it_has_read() {
    let world = World::planned("interrupted-reader", 20).await;
    let queue = world.queues.letters.clone();
    let receive = ("ReceiveMessage", 1);
    for arguments in [
        &["groups", "--queue", &queue][..],
        &["pull", "--queue", &queue, "--out", "s"],
        &["plan", "--queue", &queue, "--out", "q"],
    ] {
        let said = interrupted(&world, arguments, receive, false).await;
        assert_eq!(said.code, Some(130), "{arguments:?}: {said:?}");
        let expected = format!(
            "{GENTLY}error: interrupted; the messages that were read are back in the queue\n"
        );
        assert_eq!(said.err, expected, "{arguments:?}");
        assert_eq!(said.out, "");
        assert!(!world.path("s").exists() && !world.path("q").exists());
    }
    // Otherwise they would be hidden for ten minutes.
    assert_eq!(world.take(&queue).await.len(), 20);
}

#[tokio::test]
async fn an_interrupted_move_is_cancelled() {
    let world = World::planned("interrupted-move", 20).await;
    let (from, to) = (world.queues.letters.clone(), world.queues.queue.clone());
    let arguments = [
        "move", "--queue", &from, "--to", &to, "--rate", "5", "--yes", "--json",
    ];
    let said = interrupted(&world, &arguments, ("ListMessageMoveTasks", 1), false).await;
    assert_eq!(said.code, Some(130), "{said:?}");
    let line: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(line["status"], "cancelled");
    let (letters, messages) = world.depths().await;
    assert!(
        letters > 0 && letters + messages == 20,
        "{letters} {messages}"
    );
}
