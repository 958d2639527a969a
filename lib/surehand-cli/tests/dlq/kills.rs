//! Redrives that are killed, and what a resume makes of them.

use super::world::{World, body, said};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::OpenOptions,
    sync::{Arc, OnceLock},
    time::Duration,
};
use surehand_test_support::proxy::{self, Call, Fate, Moment};
use tokio::process::Child;

const LETTERS: usize = 25;

/// Where a process dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// At this call.
    Call(&'static str, usize, Moment),
    /// As the machine goes down: the journal's last line is half written, and what it announces is not
    /// begun.
    Torn,
    /// Once the journal has so many bytes, wherever that is.
    Journal(u64),
}

#[tokio::test]
async fn a_killed_apply_loses_nothing_and_is_finished_by_a_resume() {
    let mut deaths = Vec::new();
    for action in ["SendMessageBatch", "DeleteMessageBatch"] {
        for number in 1..=3 {
            deaths
                .extend([Moment::Before, Moment::After].map(|it| Death::Call(action, number, it)));
        }
    }
    deaths.push(Death::Torn);
    deaths.extend([1, 3_000, 7_000, 11_000, 15_000, 18_000].map(Death::Journal));
    // Each waits for what its process has hidden; the waits are side by side.
    let checks = deaths.into_iter().enumerate().map(async |(index, death)| {
        let world = World::planned(&format!("kills-{index}"), LETTERS).await;
        check(&world, death).await;
    });
    futures_util::future::join_all(checks).await;
}

async fn check(world: &World, death: Death) {
    // A rate makes three waves of it.
    let apply = [
        "p",
        "--yes",
        "--no-ramp",
        "--rate",
        "40",
        "--visibility",
        "10",
    ];
    let apply = |command: &'static str| [&[command][..], &apply].concat();
    let said = match death {
        Death::Call(action, number, moment) => {
            killed_at(world, &apply("apply"), (action, number, moment)).await
        }
        Death::Torn => {
            let at = ("SendMessageBatch", 1, Moment::Before);
            let said = killed_at(world, &apply("apply"), at).await;
            let journal = OpenOptions::new().write(true).open(world.path("p.journal"));
            let journal = journal.unwrap();
            let length = journal.metadata().unwrap().len();
            journal.set_len(length - 40).unwrap();
            said
        }
        Death::Journal(size) => killed_when(world, &apply("apply"), size).await,
    };
    assert_eq!(said, None, "{death:?}: it was not killed");

    let resumed = world.run(&apply("resume")).await;
    // 3: it had all been done.
    assert!(
        matches!(resumed.code, Some(0 | 3)),
        "{death:?}: {resumed:?}"
    );
    let (letters, messages) = world.depths().await;
    assert_eq!(letters, 0, "{death:?}: {resumed:?}");
    // What the journal has as sent is not sent again, whoever asks for it.
    let again = world.run(&apply("resume")).await;
    assert_eq!(again.code, Some(3), "{death:?}: {again:?}");
    assert_eq!(world.depths().await, (0, messages), "{death:?}");

    let mut taken = world.take(&world.queues.queue).await;
    for id in (0..LETTERS).map(|n| format!("event-{n}")) {
        let bodies = taken.remove(&id).unwrap_or_default();
        // Twice if it died between a send and its entry in the journal; by the event's id its
        // consumer knows it again.
        assert!(matches!(bodies.len(), 1 | 2), "{death:?}: {id} {bodies:?}");
        assert!(
            bodies.iter().all(|it| *it == body(&id)),
            "{death:?}: {bodies:?}"
        );
    }
    assert!(taken.is_empty(), "{death:?}: {taken:?}");
}

/// Runs it until it is killed at the call.
pub(crate) async fn killed_at(
    world: &World,
    arguments: &[&str],
    (action, number, moment): (&'static str, usize, Moment),
) -> Option<i32> {
    let process = Arc::new(OnceLock::new());
    let victim = Arc::clone(&process);
    let endpoint = proxy::start(&world.sqs.endpoint, move |call: &Call| {
        if (&*call.action, call.number, call.moment) != (action, number, moment) {
            return Fate::Pass;
        }
        kill_process(*victim.wait(), Signal::KILL).unwrap();
        Fate::Cut
    });
    let mut command = world.command(arguments);
    let child = command.env("AWS_ENDPOINT_URL", endpoint).spawn().unwrap();
    process.set(pid(&child)).unwrap();
    said(child).await.code
}

/// Runs it until its journal has so many bytes.
async fn killed_when(world: &World, arguments: &[&str], size: u64) -> Option<i32> {
    let child = world.command(arguments).spawn().unwrap();
    let (pid, journal) = (pid(&child), world.path("p.journal"));
    let watch = async {
        while std::fs::metadata(&journal).map_or(0, |it| it.len()) < size {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        kill_process(pid, Signal::KILL).unwrap();
    };
    tokio::join!(said(child), watch).0.code
}

pub(crate) fn pid(child: &Child) -> Pid {
    let id = child.id().unwrap();
    Pid::from_raw(id.try_into().unwrap()).unwrap()
}
