//! Runs that are stopped, changed, refused or robbed.

use super::world::{DEAD, World, letters, plan_of, source};
use futures_util::future::BoxFuture;
use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use surehand::Clock;
use surehand_redrive::{
    Accepted, Action, Apply, ApplyOptions, Destination, Entries, Entry, Journal, Ledger, Letter,
    Outcomes, Parcel, Post, Progress, Ramp, ReadOptions, Redriven, Refusal, Report, Selection,
    Stop, Undo, Unlisted,
};
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
        let undo = Undo::new(&world, post);
        let undone = undo.run(&mut letters, &mut journal, ledger);
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
    let (report, stolen) = tokio::join!(apply.run(&mut journal, &mut ledger, &mut quiet), another);
    assert_eq!(stolen.len(), 10);
    report.unwrap();
    assert_eq!(
        world.delivered_ids().into_keys().collect::<Vec<_>>(),
        [""; 0],
        "what another consumer has received must not be sent"
    );
}

/// Knows no outcome until most dead letters are received. The next answer takes longer than the visibility
/// timeout, as of a table that is far away, or throttled.
#[derive(Default)]
struct SlowOutcomes(AtomicU32);

impl Outcomes for SlowOutcomes {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move {
            let asked = self.0.fetch_add(1, Ordering::Relaxed);
            if asked == 40 {
                sleep(Duration::from_secs(300)).await;
            }
            Ok(vec![asked >= 40; redriven.len()])
        })
    }
}

#[tokio::test(start_paused = true)]
async fn letters_stay_hidden_while_many_outcomes_are_read() {
    let all = letters(3_200, None);
    let plan = plan_of(&all);
    let world = World::new(0, false, all);
    let outcomes = SlowOutcomes::default();
    let ramp = Ramp::new(&outcomes).stages([10, 3_190]);
    let apply = Apply::new(&world, &world, &plan).ramp(ramp.timeout(Duration::from_secs(900)));
    let is_over = Cell::new(false);
    let (mut journal, mut ledger) = (world.clone(), world.ledger());
    let mut quiet = |_: &_| {};
    let run = async {
        let report = apply.run(&mut journal, &mut ledger, &mut quiet).await;
        is_over.set(true);
        report.unwrap()
    };
    let others = async {
        let (mut held, mut lapsed) = (0, 0);
        while !is_over.get() {
            sleep(Duration::from_secs(1)).await;
            held = held.max(world.hidden());
            lapsed = lapsed.max(world.lapsed());
        }
        (held, lapsed)
    };
    let (report, (held, lapsed)) = tokio::join!(run, others);
    assert_eq!(report.redriven, 3_200);
    assert!(held >= 3_000, "only {held} were held");
    assert_eq!(
        lapsed, 0,
        "letters must stay hidden while their outcomes are read"
    );
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
}

/// A machine that sleeps: its monotonic clock stands still, while SQS's and the wall clock go on.
#[tokio::test(start_paused = true)]
async fn what_another_took_while_the_machine_slept_is_not_sent() {
    for (seed, fifo) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let all = letters(30, fifo.then_some("g"));
        let plan = plan_of(&all);
        let world = World::new(seed, fifo, all);
        let slept = Arc::new(AtomicU64::new(0));
        let asleep = Arc::clone(&slept);
        let start = Clock::virtual_from(SystemTime::now());
        let mut options = waves_of(3);
        options.clock = Clock::from_fn(move || {
            start.now() + Duration::from_secs(asleep.load(Ordering::Relaxed))
        });
        let apply = Apply::new(&world, &world, &plan).options(options);
        let another = async {
            sleep(Duration::from_millis(
                fastrand::Rng::with_seed(seed).u64(30..150),
            ))
            .await;
            // Ten minutes pass for all but the machine that redrives.
            slept.store(600, Ordering::Relaxed);
            world.reveal();
            std::iter::from_fn(|| world.steal()).collect::<BTreeSet<String>>()
        };
        let before = async {
            // What was sent by then, or is being sent.
            while slept.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            world.delivered_ids()
        };
        let (_, stolen, before) = tokio::join!(run(&world, &apply), another, before);
        let mut sent: BTreeSet<_> = world.delivered_ids().into_keys().collect();
        sent.retain(|id| !before.contains_key(id));
        let both: Vec<_> = sent.intersection(&stolen).collect();
        // A call that is on its way while the machine falls asleep cannot be called back.
        assert!(
            !stolen.is_empty() && both.len() <= 3,
            "seed {seed}: {both:?}"
        );
    }
}

/// The process dies between the journal's "sent" and the deletion, and the queue's counts lag behind.
#[tokio::test(start_paused = true)]
async fn what_is_still_hidden_is_not_taken_for_deleted() {
    let mut resumed = 0;
    for (life, fifo) in (5..60).flat_map(|life| [(life, false), (life, true)]) {
        let all = letters(5, fifo.then_some("g"));
        let plan = plan_of(&all);
        let world = World::new(0, fifo, all);
        let apply = Apply::new(&world, &world, &plan);
        let life = Duration::from_millis(life);
        if tokio::time::timeout(life, run(&world, &apply))
            .await
            .is_ok()
        {
            break;
        }
        world.state().counts_lag = true;
        resumed += world.ledger().count(Progress::Sent);
        let report = run(&world, &apply).await;
        assert_eq!(report.not_deleted, 0, "{life:?}: {report:?}");
        let ledger = world.ledger();
        for id in world.queued() {
            assert_ne!(
                ledger.progress(&id),
                Some(Progress::Done),
                "{id} is still there"
            );
        }
        // Another plan doubles nothing.
        sleep(Duration::from_secs(300)).await;
        run(&world, &apply).await;
        let (sent, left) = (world.delivered_ids(), world.queued());
        assert_eq!((sent.len(), left.len()), (5, 0), "{life:?}");
    }
    assert!(resumed > 0, "no process died with letters sent");
}

#[tokio::test(start_paused = true)]
async fn an_undo_doubles_nothing_that_is_still_there() {
    for (fifo, dropped) in [(false, false), (true, false), (false, true)] {
        let all = letters(30, fifo.then_some("g"));
        let mut plan = plan_of(&all);
        if dropped {
            all.iter()
                .for_each(|letter| _ = plan.add(letter, Action::Drop));
        }
        let world = World::new(0, fifo, all.clone());
        world.state().deletes_fail = true;
        let mut options = waves_of(10);
        options.threshold_percent = 100;
        let apply = Apply::new(&world, &world, &plan).options(options);
        let _ = tokio::time::timeout(Duration::from_secs(30), run(&world, &apply)).await;
        world.state().deletes_fail = false;
        let at = [Progress::Sent, Progress::Dropping].map(|at| world.ledger().count(at));
        let open = at.into_iter().sum::<usize>() as u64;
        assert!(open > 0);
        let (mut journal, mut ledger) = (world.clone(), world.ledger());
        let mut archive = all.into_iter().map(Ok);
        let undo = Undo::new(&world, &world);
        let undone = undo.run(&mut archive, &mut journal, &mut ledger);
        let undone = undone.await.unwrap();
        assert_eq!((undone.restored, undone.untouched), (0, 30), "{undone:?}");
        assert_eq!(world.ledger().count(Progress::Restored) as u64, open);
        // A resume knows that they are to stay.
        let report = run(&world, &Apply::new(&world, &world, &plan)).await;
        assert_eq!(report.finished, 0, "{report:?}");
        assert!(world.queued().len() as u64 >= open);
    }
}

/// A letter whose deletion had no answer may be there, or hidden for as long as the redrive hid it: the search for it
/// takes minutes.
#[tokio::test(start_paused = true)]
async fn an_undo_that_is_asked_to_stop_does_so_while_it_looks() {
    let all = letters(30, None);
    let plan = plan_of(&all);
    let world = World::new(0, false, all.clone());
    world.state().deletes_fail = true;
    let mut options = waves_of(10);
    options.threshold_percent = 100;
    let apply = Apply::new(&world, &world, &plan).options(options);
    let _ = tokio::time::timeout(Duration::from_secs(30), run(&world, &apply)).await;
    assert!(world.ledger().count(Progress::Sent) > 0);
    world.state().deletes_fail = false;

    let begun = Instant::now();
    let is_asked = move || begun.elapsed() >= Duration::from_secs(5);
    let (mut journal, mut ledger) = (world.clone(), world.ledger());
    let before = {
        let state = world.state();
        (state.journal.len(), state.delivered.len())
    };
    let mut archive = all.into_iter().map(Ok);
    let undo = Undo::new(&world, &world).stop_when(&is_asked);
    let undone = undo.run(&mut archive, &mut journal, &mut ledger);
    let undone = undone.await.unwrap();
    assert!(undone.stopped, "{undone:?}");
    assert_eq!((undone.restored, undone.untouched), (0, 0), "{undone:?}");
    assert!(begun.elapsed() < ReadOptions::default().visibility / 2);
    let state = world.state();
    assert_eq!(
        (state.journal.len(), state.delivered.len()),
        before,
        "nothing was done"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_could_not_be_deleted() {
    let all = letters(300, None);
    let plan = plan_of(&all);
    let world = World::new(0, false, all);
    world.state().deletes_are_denied = true;
    let apply = Apply::new(&world, &world, &plan);
    let (mut journal, mut ledger) = (world.clone(), world.ledger());
    let error = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("allow sqs:DeleteMessage"), "{error}");
    assert_eq!(world.state().source.len(), 0);
    assert_eq!(world.hidden(), 0);

    // And a deletion that has no answer says why.
    world.state().deletes_are_denied = false;
    world.state().deletes_fail = true;
    let report = run(&world, &apply).await;
    let why = report.not_deleted_because.unwrap();
    assert!(why.contains("the service does not answer"), "{why}");
}

/// What a plan does not name is only put back if it would have been selected.
#[tokio::test(start_paused = true)]
async fn a_selection_holds_for_what_a_plan_does_not_name() {
    for fifo in [false, true] {
        let mut all = letters(20, None);
        for (index, letter) in all.iter_mut().enumerate() {
            letter.sent_at_ms = Some(1_000 * (index as u64 % 2));
            letter.group = fifo.then(|| format!("g-{}", index % 2));
        }
        let selection = Selection {
            since_ms: Some(1_000),
            ..Selection::default()
        };
        let empty = plan_of(&[]).header.plan;
        let mut plan = plan_of(if fifo { &all[1..2] } else { &[] })
            .unlisted(Unlisted::Redrive)
            .selection(selection);
        plan.header.plan = empty;
        let mut file = Vec::new();
        plan.write(&mut file).unwrap();
        let plan = surehand_redrive::Plan::read(&*file).unwrap();
        let world = World::new(0, fifo, all);
        let dry = Apply::new(&world, &world, &plan);
        let dry = dry.dry_run(&Ledger::default()).await.unwrap();
        // A FIFO queue shows the first ten messages of its groups until they are deleted.
        let shown = if fifo { 5 } else { 10 };
        assert_eq!(dry.sends[&source(fifo)], shown);
        let report = run(&world, &Apply::new(&world, &world, &plan)).await;
        assert_eq!((report.redriven, report.left), (10, 10), "{report:?}");
        let sent = world.delivered_ids();
        assert!(
            sent.keys()
                .all(|id| id[2..].parse::<u32>().unwrap() % 2 == 1)
        );
    }
}

/// Of a group one letter is on the way, also within a stage: behind one that fails the others wait.
#[tokio::test(start_paused = true)]
async fn a_ramp_has_one_letter_of_a_group_on_the_way() {
    let all = letters(12, Some("g"));
    let plan = plan_of(&all);
    for (failing, expected) in [("m-0", 1), ("m-4", 5), ("none", 12)] {
        let world = World::new(0, true, all.clone());
        let outcomes = AllBut(failing);
        let ramp = Ramp::new(&outcomes).timeout(Duration::from_secs(60));
        let apply = Apply::new(&world, &world, &plan).ramp(ramp.stages([100]));
        let report = run(&world, &apply).await;
        assert_eq!(report.redriven, expected, "{failing}: {report:?}");
    }
}
