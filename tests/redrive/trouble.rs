//! Runs that are stopped, changed, refused or robbed.

use super::world::{DEAD, World, letters, plan_of, source};
use futures_util::future::BoxFuture;
use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};
use surehand_redrive::{
    Accepted, Action, Apply, ApplyOptions, Destination, Entries, Entry, Journal, Ledger, Letter,
    Outcomes, Parcel, Post, Progress, Ramp, Redriven, Refusal, Report, Stop, undo,
};
use surehand_test_support::known_failure;
use tokio::time::{Instant, sleep};

async fn run(world: &World, apply: &Apply<'_>) -> Report {
    let (mut journal, mut ledger) = (world.clone(), world.ledger());
    let report = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
    report.unwrap()
}

fn waves_of(wave: usize) -> ApplyOptions {
    let mut options = ApplyOptions::default();
    options.wave = wave;
    options
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let mut all = letters(8, None);
    all[0].dropped_attributes = vec!["list".into()];
    let mut plan = plan_of(&all);
    plan.add(&all[1], Action::Drop);
    plan.add(&all[2], Action::Hold);
    plan.add(&Letter::new("gone", "{}"), Action::Redrive);
    all[3].body = "another".into();
    all.push(Letter::new("unlisted", "{}"));
    let world = World::new(0, false, all);
    let apply = Apply::new(&world, &world, &plan);
    let dry = apply.dry_run(&Ledger::default()).await.unwrap();
    assert_eq!(dry.sends[&source(false)], 5);
    assert_eq!((dry.drops, dry.holds, dry.without_lists), (1, 2, 1));
    assert_eq!((dry.missing, dry.finished), (1, 0));
    assert_eq!(dry.problems.len(), 1);
    assert!(dry.problems["m-3"].contains("not the one that the plan was made for"));
    let state = || {
        let (hidden, left) = (world.hidden(), world.queued().len());
        (hidden, left, world.state().source.len())
    };
    assert_eq!(state(), (0, 9, 0));
    assert!(world.state().journal.is_empty());

    // This is after the redrive, when a death left one dead letter.
    run(&world, &apply).await;
    world.arrive(Letter::new("m-0", "{\"n\":0}"));
    let dry = apply.dry_run(&world.ledger()).await.unwrap();
    assert_eq!((dry.sends.len(), dry.finished, dry.missing), (0, 6, 1));
    let other = plan_of(&[]);
    let apply = Apply::new(&world, &world, &other);
    let error = apply.dry_run(&world.ledger()).await.unwrap_err();
    assert!(error.to_string().contains("belongs to plan"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_finishes_what_is_on_the_way() {
    for fifo in [false, true] {
        let all = letters(60, fifo.then_some("g"));
        let plan = plan_of(&all);
        let world = World::new(0, fifo, all);
        let calls = AtomicU32::new(0);
        let stop = || calls.fetch_add(1, Ordering::Relaxed) >= 3;
        let apply = Apply::new(&world, &world, &plan).options(waves_of(10));
        let stopped = run(&world, &apply.stop_when(&stop)).await;
        assert_eq!(stopped.stopped, Some(Stop::Asked));
        assert!(stopped.redriven > 0 && stopped.redriven < 60, "{stopped:?}");
        assert_eq!((stopped.not_deleted, world.hidden()), (0, 0));
        assert_eq!(stopped.left, 60 - stopped.redriven);
        let apply = Apply::new(&world, &world, &plan);
        let rest = run(&world, &apply).await;
        assert_eq!(rest.redriven, 60 - stopped.redriven);
        assert_eq!((rest.finished, world.state().source.len()), (0, 60));
    }
}

/// Never answers.
struct Silent;

impl Outcomes for Silent {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move { Ok(vec![false; redriven.len()]) })
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_long_who_wants_to_stop() {
    let all = letters(30, None);
    let plan = plan_of(&all);
    for waits_for in ["outcomes", "the rate"] {
        let world = World::new(0, false, all.clone());
        let is_asked = AtomicBool::new(false);
        let stop = || is_asked.load(Ordering::Relaxed);
        let mut options = ApplyOptions::default();
        let mut apply = Apply::new(&world, &world, &plan);
        if waits_for == "outcomes" {
            apply = apply.ramp(Ramp::new(&Silent));
        } else {
            options.rate = Some(0.001);
        }
        let apply = apply.options(options).stop_when(&stop);
        let asks = async {
            sleep(Duration::from_secs(60)).await;
            is_asked.store(true, Ordering::Relaxed);
            sleep(Duration::from_secs(3)).await;
        };
        let (report, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(63), run(&world, &apply)),
            asks
        );
        let report = report.unwrap_or_else(|_| panic!("it waits for {waits_for}"));
        assert_eq!(report.stopped, Some(Stop::Asked));
        assert_eq!((report.redriven, report.not_deleted), (1, 0));
    }
}

/// As without the permission to delete.
#[tokio::test(start_paused = true)]
async fn deletions_without_an_answer_end_and_nothing_is_sent_twice() {
    for threshold in [20, 100] {
        let all = letters(300, None);
        let plan = plan_of(&all);
        let world = World::new(0, false, all);
        world.state().deletes_fail = true;
        let mut options = ApplyOptions::default();
        options.threshold_percent = threshold;
        let apply = Apply::new(&world, &world, &plan).options(options);
        let report = run(&world, &apply).await;
        assert_eq!(report.not_deleted, report.redriven);
        match threshold {
            // These are under way when the first wave could not be deleted.
            20 => assert_eq!(
                (report.stopped, report.redriven),
                (Some(Stop::Failures), 200)
            ),
            _ => assert_eq!((report.stopped, report.redriven), (None, 300)),
        }
        world.state().deletes_fail = false;
        sleep(Duration::from_secs(600)).await;
        let apply = Apply::new(&world, &world, &plan);
        let rest = run(&world, &apply).await;
        assert_eq!(rest.finished, report.redriven);
        assert_eq!((world.queued().len(), world.state().source.len()), (0, 300));
    }
}

/// Another process takes dead letters whose visibility timeout could not be renewed, and redrives
/// them.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_another_process_may_have_is_not_sent() {
    for fifo in [false, true] {
        let all = letters(10, fifo.then_some("g"));
        let plan = plan_of(&all);
        let world = World::new(0, fifo, all);
        world.state().renewals_fail = true;
        // One in 50 s, with all ten here: most of them lapse.
        let mut options = ApplyOptions::default();
        options.rate = Some(0.02);
        let apply = Apply::new(&world, &world, &plan).options(options);
        let is_over = AtomicBool::new(false);
        let redrive = async {
            let report = run(&world, &apply).await;
            is_over.store(true, Ordering::Relaxed);
            report
        };
        let thief = async {
            let mut stolen = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(500)).await;
                // The redrive is waiting to read the first one.
                if stolen.len() < 4 && world.hidden() < world.queued().len() {
                    stolen.extend(world.steal());
                }
            }
            stolen
        };
        let (report, stolen) = tokio::join!(redrive, thief);
        let sent: Vec<_> = world.delivered_ids().into_iter().collect();
        assert_eq!(stolen.len(), 4);
        assert!(
            sent.iter()
                .all(|(id, times)| *times == 1 && !stolen.contains(id))
        );
        assert_eq!((sent.len(), world.queued().len()), (6, 0), "{report:?}");
        let missing: BTreeSet<_> = report.missing.into_iter().collect();
        assert_eq!(missing, stolen);
    }
}

/// More dead letters are read than should be in memory while the redrive waits for a step.
#[tokio::test(start_paused = true)]
async fn large_letters_are_not_kept_while_a_stage_is_waited_for() {
    for fifo in [false, true] {
        let mut all = letters(24, None);
        for (index, letter) in all.iter_mut().enumerate() {
            letter.body = format!("{index}{}", "x".repeat(512 * 1024));
            letter.group = fifo.then(|| format!("g-{}", index % 8));
        }
        let plan = plan_of(&all);
        let world = World::new(0, fifo, all);
        let outcomes = Late(AtomicU32::new(0));
        let apply = Apply::new(&world, &world, &plan).ramp(Ramp::new(&outcomes));
        let report = run(&world, &apply).await;
        assert_eq!((report.redriven, report.stopped), (24, None), "{report:?}");
        let state = world.state();
        assert_eq!(state.source.len(), 24);
        let order = |group: usize| {
            let name = format!("g-{group}");
            let of_group = state
                .source
                .iter()
                .filter(move |m| m.group == Some(name.clone()));
            of_group
                .map(|m| m.letter_id.clone().unwrap())
                .collect::<Vec<_>>()
        };
        for group in (0..8).filter(|_| fifo) {
            let ids = [group, group + 8, group + 16].map(|n| format!("m-{n}"));
            assert_eq!(order(group), ids);
        }
    }
}

/// Reports success from the twentieth question on.
struct Late(AtomicU32);

impl Outcomes for Late {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        let knows = self.0.fetch_add(1, Ordering::Relaxed) % 20 == 19;
        Box::pin(async move { Ok(vec![knows; redriven.len()]) })
    }
}

/// A plan is a file, which may be changed before the resume.
#[tokio::test(start_paused = true)]
async fn a_resume_does_what_the_plan_says_now() {
    for fifo in [false, true] {
        for (before, after) in [
            (Action::Redrive, Action::Drop),
            (Action::Redrive, Action::Hold),
            (Action::Drop, Action::Redrive),
            (Action::Drop, Action::Hold),
        ] {
            let all = letters(3, fifo.then_some("g"));
            let mut plan = plan_of(&[]);
            plan.header.queue = if fifo { super::world::DEAD_FIFO } else { DEAD }.into();
            plan = plan.to(source(fifo));
            for letter in &all {
                plan.add(letter, before.clone());
            }
            let world = World::new(0, fifo, all.clone());
            // It dies with the intents in the journal, before any message is sent or deleted.
            for life in 1.. {
                let apply = Apply::new(&world, &world, &plan);
                let life = Duration::from_millis(life);
                let _ = tokio::time::timeout(life, run(&world, &apply)).await;
                sleep(Duration::from_secs(200)).await;
                if world.ledger().progress("m-0").is_some() {
                    break;
                }
            }
            assert!(world.state().source.is_empty() && world.queued().len() == 3);
            for letter in &all {
                plan.add(letter, after.clone());
            }
            let report = run(&world, &Apply::new(&world, &world, &plan)).await;
            let sent = world.state().source.len();
            match after {
                Action::Hold => assert_eq!((sent, world.queued().len()), (0, 3)),
                Action::Drop => assert_eq!((sent, world.queued().len()), (0, 0)),
                _ => assert_eq!((sent, world.queued().len()), (3, 0)),
            }
            assert_eq!(report.not_deleted, 0);
        }
    }
}

/// Refuses one letter.
struct Refusing<'a>(&'a World, &'a str);

impl Post for Refusing<'_> {
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, surehand::Result<Entries<Accepted>>> {
        Box::pin(async move {
            let mut results = Vec::new();
            for parcel in parcels {
                results.push(match parcel.letter_id == self.1 {
                    true => Err(Refusal::permanent("No", "not this one")),
                    false => self
                        .0
                        .send(to, std::slice::from_ref(parcel))
                        .await?
                        .remove(0),
                });
            }
            Ok(results)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_keeps_the_order_of_groups() {
    let mut all = letters(30, None);
    for (index, letter) in all.iter_mut().enumerate() {
        letter.group = Some(format!("g-{}", index % 3));
        letter.source_arn = Some("arn:aws:sqs:r:1:source.fifo".into());
    }
    // The largest possible message has no room for a note.
    all[6].body = "x".repeat(1 << 20);
    let plan = plan_of(&all);
    let world = World::new(0, true, all.clone());
    let report = run(&world, &Apply::new(&world, &world, &plan)).await;
    assert_eq!(report.redriven, 30);
    world.state().source.clear();

    let refusing = Refusing(&world, "m-9");
    let undo = async |post: &dyn Post, ledger: &mut Ledger| {
        // An interrupted and resumed redrive may send dead letters twice.
        let twice = [&all[..4], &all[..]].concat();
        let mut letters = twice.into_iter().map(Ok);
        let mut journal = world.clone();
        let undone = undo(
            "https://sqs.local/1/dead.fifo",
            post,
            &mut letters,
            &mut journal,
            ledger,
        );
        undone.await.unwrap()
    };
    let undone = undo(&refusing, &mut world.ledger()).await;
    // m-9 is of g-0, as m-12, m-15, … are.
    assert_eq!(
        (undone.restored, undone.failed.len()),
        (23, 7),
        "{undone:?}"
    );
    assert!(undone.failed["m-12"].contains("before it in its group"));
    let undone = undo(&world, &mut world.ledger()).await;
    assert_eq!((undone.restored, undone.failed.len()), (7, 0), "{undone:?}");
    let source = world.state().source.clone();
    for group in 0..3 {
        let name = Some(format!("g-{group}"));
        let of_group = source.iter().filter(|m| m.group == name);
        let ids: Vec<_> = of_group.map(|m| m.letter_id.clone().unwrap()).collect();
        let expected: Vec<_> = (0..10).map(|n| format!("m-{}", group + 3 * n)).collect();
        assert_eq!(ids, expected);
    }
    assert_eq!(world.ledger().count(Progress::Restored), 30);
    let restored = world.state().delivered.split_off(30);
    let noted = restored.iter().filter(|p| !p.attributes.is_empty());
    assert_eq!(noted.count(), 29);
    let letter = restored.iter().find(|p| p.letter_id == "m-6").unwrap();
    assert_eq!(letter.body.len(), 1 << 20);
}

/// A service that confirms what was not sent: another body, or other attributes.
struct Garbling {
    body: bool,
}

impl Post for Garbling {
    fn send<'a>(
        &'a self,
        _: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, surehand::Result<Entries<Accepted>>> {
        let results = parcels.iter().map(|parcel| {
            let (mut body, mut attributes) = (parcel.body_md5(), parcel.attributes_md5());
            let garbled = if self.body {
                &mut body
            } else {
                &mut attributes
            };
            *garbled = "0".repeat(32);
            Ok(Accepted {
                message_id: "new".into(),
                body_md5: Some(body),
                attributes_md5: Some(attributes),
            })
        });
        let results = results.collect();
        Box::pin(async move { Ok(results) })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_must_be_what_was_sent() {
    for body in [true, false] {
        let all = letters(3, None);
        let plan = plan_of(&all);
        let world = World::new(0, false, all);
        let post = Garbling { body };
        let report = run(&world, &Apply::new(&world, &post, &plan)).await;
        assert_eq!((report.redriven, report.failed.len()), (0, 3), "{report:?}");
        assert!(report.failed["m-0"].contains("another message"));
        assert_eq!((world.queued().len(), report.not_deleted), (3, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_letter_that_is_refused_its_group_waits() {
    let mut all = letters(12, None);
    for (index, letter) in all.iter_mut().enumerate() {
        letter.group = Some(format!("g-{}", index % 2));
    }
    let plan = plan_of(&all);
    let world = World::new(0, true, all);
    let refusing = Refusing(&world, "m-2");
    let mut options = ApplyOptions::default();
    options.threshold_percent = 100;
    let apply = Apply::new(&world, &refusing, &plan).options(options);
    let report = run(&world, &apply).await;
    let failed: Vec<_> = report.failed.keys().map(String::as_str).collect();
    assert_eq!((report.redriven, failed), (7, vec!["m-2"]));
    let waiting: Vec<_> = [2, 4, 6, 8, 10].map(|n| format!("m-{n}")).into();
    assert_eq!(world.queued(), waiting);
    assert_eq!((report.left, world.hidden()), (5, 0));
    let rest = run(&world, &Apply::new(&world, &world, &plan)).await;
    assert_eq!((rest.redriven, rest.left), (5, 0));
    let source = world.state().source.clone();
    let of_group = source.iter().filter(|m| m.group.as_deref() == Some("g-0"));
    let ids: Vec<_> = of_group.filter_map(|m| m.letter_id.clone()).collect();
    assert_eq!(ids, [&["m-0".to_owned()], &waiting[..]].concat());
}

/// A journal whose second write takes five minutes.
struct Stalling(World, u32);

impl Journal for Stalling {
    fn append<'a>(&'a mut self, entries: &'a [Entry]) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(async move {
            self.1 += 1;
            if self.1 == 2 {
                sleep(Duration::from_secs(300)).await;
            }
            self.0.append(entries).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_took_while_the_journal_stood_still_is_not_sent() {
    known_failure("R10", async {
        let all = letters(10, None);
        let plan = plan_of(&all);
        let world = World::new(0, false, all);
        let apply = Apply::new(&world, &world, &plan);
        let (mut journal, mut ledger) = (Stalling(world.clone(), 0), world.ledger());
        let another = async {
            sleep(Duration::from_secs(200)).await;
            std::iter::from_fn(|| world.steal()).collect::<BTreeSet<String>>()
        };
        let mut quiet = |_: &_| {};
        let (report, stolen) =
            tokio::join!(apply.run(&mut journal, &mut ledger, &mut quiet), another);
        assert_eq!(stolen.len(), 10);
        report.unwrap();
        assert_eq!(
            world.delivered_ids().into_keys().collect::<Vec<_>>(),
            [""; 0],
            "what another consumer has received must not be sent"
        );
    })
    .await;
}

/// Asks for one outcome after the other, with the latency of a distant region.
struct OneByOne;

impl Outcomes for OneByOne {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move {
            let count = u32::try_from(redriven.len()).unwrap();
            sleep(count * Duration::from_millis(60)).await;
            Ok(vec![true; redriven.len()])
        })
    }
}

#[tokio::test(start_paused = true)]
async fn letters_stay_hidden_while_many_outcomes_are_read() {
    known_failure("R11", async {
        let mut all = letters(3_200, None);
        let plan = plan_of(&all);
        all.extend((0..100).map(|n| Letter::new(format!("unlisted-{n}"), "{}")));
        let world = World::new(0, false, all);
        let apply = Apply::new(&world, &world, &plan).ramp(Ramp::new(&OneByOne));
        let (began, is_over) = (Instant::now(), Cell::new(false));
        let (mut journal, mut ledger) = (world.clone(), world.ledger());
        let mut quiet = |_: &_| {};
        let run = async {
            let report = apply.run(&mut journal, &mut ledger, &mut quiet).await;
            is_over.set(true);
            report.unwrap()
        };
        let others = async {
            let mut most = 0;
            while !is_over.get() {
                sleep(Duration::from_secs(1)).await;
                // The first seconds are for receiving all of them.
                if began.elapsed() > Duration::from_secs(30) && !is_over.get() {
                    most = most.max(world.queued().len() - world.hidden());
                }
            }
            most
        };
        let (report, visible) = tokio::join!(run, others);
        assert_eq!(report.redriven, 3_200);
        assert_eq!(
            visible, 0,
            "letters must stay hidden while their outcomes are read"
        );
    })
    .await;
}

/// All dead letters but one are handled.
struct AllBut(&'static str);

impl Outcomes for AllBut {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        let completed = redriven.iter().map(|it| it.letter_id != self.0);
        Box::pin(std::future::ready(Ok(completed.collect())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_ramp_leaves_the_group_of_a_letter_that_was_not_handled() {
    known_failure("R12", async {
        let mut all = letters(30, Some("g"));
        for (index, letter) in all.iter_mut().enumerate() {
            if index % 3 != 0 {
                letter.group = Some(format!("alone-{index}"));
            }
        }
        let plan = plan_of(&all);
        let world = World::new(0, true, all);
        let outcomes = AllBut("m-0");
        let apply = Apply::new(&world, &world, &plan).ramp(Ramp::new(&outcomes).stages([5]));
        let (mut journal, mut ledger) = (world.clone(), world.ledger());
        let report = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
        report.unwrap();
        let state = world.state();
        let of_group = state.source.iter();
        let of_group = of_group.filter(|message| message.group.as_deref() == Some("g"));
        let sent: Vec<&str> = of_group.filter_map(|it| it.letter_id.as_deref()).collect();
        assert_eq!(
            sent,
            ["m-0"],
            "behind a letter that was not handled its group must wait"
        );
    })
    .await;
}
