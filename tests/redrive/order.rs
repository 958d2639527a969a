//! FIFO queues, limits and reading.

use super::world::{DEAD, DEAD_FIFO, World, letters, plan_of, source};
use futures_util::future::BoxFuture;
use std::{sync::Mutex, time::Duration};
use surehand::{
    Metadata,
    record::{Attribute, AttributeValue},
};
use surehand_redrive::{
    Accepted, Action, Apply, ApplyOptions, Destination, Entries, Ledger, Outcomes, Parcel, Plan,
    Post, Ramp, ReadOptions, Reader, Redriven, Refusal, Stop, Undo, Unlisted,
};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_long_group_goes_back_in_order_with_deduplication_ids_of_its_own() {
    let world = World::new(1, true, letters(35, Some("g")));
    for index in 0..35 {
        world.state().remember(&format!("own-{index}"));
    }
    let plan = Plan::new(DEAD_FIFO)
        .to(source(true))
        .unlisted(Unlisted::Redrive);
    let mut journal = world.clone();
    let report = Apply::new(&world, &world, &plan)
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!((report.redriven, report.left), (35, 0), "{report:?}");
    let order: Vec<_> = world
        .state()
        .delivered
        .iter()
        .map(|p| p.letter_id.clone())
        .collect();
    let expected: Vec<_> = (0..35).map(|index| format!("m-{index}")).collect();
    assert_eq!(order, expected);
    assert!(world.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_complete_and_gives_everything_back() {
    for (seed, faults) in [(2, 0.0), (2, 0.1), (3, 0.1), (4, 0.1), (5, 0.1)] {
        let world = World::new(seed, false, letters(1_000, None)).with_faults(faults);
        let mut options = ReadOptions::default();
        // Messages that a lost answer held become visible after the visibility timeout.
        options.patience = options.visibility * 2;
        let mut reader = Reader::open(&world, options).await.unwrap();
        let mut ids = std::collections::BTreeSet::new();
        loop {
            let letters = reader.next().await.unwrap();
            if letters.is_empty() {
                break;
            }
            for received in letters {
                assert!(ids.insert(received.letter.id), "nothing is read twice");
            }
            // In all, longer than the visibility timeout.
            reader.wait(Duration::from_secs(40)).await;
        }
        world.heal();
        let hidden = world.hidden();
        let report = reader.close().await;
        assert_eq!((ids.len(), report.complete), (1_000, true), "{report:?}");
        assert!(hidden >= 900, "{hidden} are held");
        assert!(world.hidden() as u64 <= report.not_released);
        assert!(faults > 0.0 || report.not_released == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_moves_messages_itself_is_not_read_by_accident() {
    let world = World::new(2, false, letters(3, None));
    world.state().redrive_policy = Some("{}".into());
    let error = Reader::open(&world, ReadOptions::default())
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("redrive policy of its own"),
        "{error}"
    );
    let mut options = ReadOptions::default();
    options.despite_redrive_policy = true;
    assert!(Reader::open(&world, options).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_an_undo_restores_all() {
    let all = letters(200, None);
    let mut plan = Plan::new(DEAD).to(source(false));
    for letter in &all {
        plan.add(letter, Action::Redrive);
    }
    let world = World::new(3, false, all.clone());
    let mut options = ApplyOptions::default();
    options.rate = Some(20.0);
    let start = Instant::now();
    let mut journal = world.clone();
    let report = Apply::new(&world, &world, &plan)
        .options(options)
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(report.redriven, 200);
    let seconds = start.elapsed().as_secs_f64();
    assert!(
        (9.5..16.0).contains(&seconds),
        "{seconds} s for 200 letters at 20 a second"
    );

    // Now all dead letters are restored, from the journal.
    let mut ledger = world.ledger();
    let mut archive = all.into_iter().map(Ok);
    let undo = Undo::new(&world, &world);
    let undone = undo.run(&mut archive, &mut journal, &mut ledger);
    assert_eq!(undone.await.unwrap().restored, 200);
    assert_eq!(world.state().delivered.len(), 400);
}

struct Refuses;

impl Post for Refuses {
    fn send<'a>(
        &'a self,
        _: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, surehand::Result<Entries<Accepted>>> {
        let refusal = Refusal::permanent("AccessDenied", "no");
        Box::pin(async move { Ok(vec![Err(refusal); parcels.len()]) })
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_stop_and_leave_everything() {
    let letters = letters(300, None);
    let plan = plan_of(&letters);
    let world = World::new(3, false, letters);
    let mut journal = world.clone();
    let report = Apply::new(&world, &Refuses, &plan)
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(report.stopped, Some(Stop::Failures));
    assert_eq!((report.failed.len(), report.redriven), (100, 0), "one wave");
    assert!(report.failed["m-0"].contains("AccessDenied"));
    assert_eq!((world.left().len(), world.hidden()), (300, 0));
}

/// Handles all events, or none.
struct Handled(bool);

impl Outcomes for Handled {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move { Ok(vec![self.0; redriven.len()]) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_ramp_goes_on_only_with_what_is_fixed() {
    for (handled, redriven) in [(true, 300), (false, 1)] {
        let letters = letters(300, None);
        let plan = plan_of(&letters);
        let world = World::new(3, false, letters);
        let mut journal = world.clone();
        let mut stages = Vec::new();
        let outcomes = Handled(handled);
        let report = Apply::new(&world, &world, &plan)
            .ramp(Ramp::new(&outcomes))
            .run(&mut journal, &mut Ledger::default(), &mut |status| {
                stages.extend(status.stage.map(|(size, _)| size));
            })
            .await
            .unwrap();
        assert_eq!(report.redriven, redriven, "{report:?}");
        stages.dedup();
        if handled {
            assert_eq!(stages, [1, 5, 20, 100, 500]);
            assert!(report.not_fixed.is_empty() && report.stopped.is_none());
        } else {
            assert_eq!(report.stopped, Some(Stop::NotFixed));
            assert_eq!(report.not_fixed.len(), 1);
            assert_eq!(report.not_fixed[0].unanswered, 1);
        }
    }
}

/// Every fourth dead letter fails, and the redrive counts that as success.
struct Mostly;

impl Outcomes for Mostly {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        let is_fourth = |it: &Redriven| it.letter_id.ends_with(['3', '7']);
        Box::pin(async move { Ok(redriven.iter().map(|it| !is_fourth(it)).collect()) })
    }
}

/// Knows what becomes of what goes to one place, and nothing of the rest.
struct OnlyOf(Destination);

impl Outcomes for OnlyOf {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        let is_known = |it: &Redriven| it.to == self.0;
        Box::pin(async move { Ok(redriven.iter().map(is_known).collect()) })
    }

    fn check<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(async move {
            match *to == self.0 {
                true => Ok(()),
                false => Err(surehand::Error::rejected(
                    "its function has a key of its own",
                )),
            }
        })
    }
}

/// Two queues share one for their dead letters, and of one of them the outcomes cannot be known.
#[tokio::test(start_paused = true)]
async fn a_ramp_sends_nothing_whose_outcome_it_would_wait_for_in_vain() {
    let mut all = letters(12, None);
    for (index, letter) in all.iter_mut().enumerate() {
        let queue = ["source", "other"][usize::from(index % 6 == 5)];
        letter.source_arn = Some(format!("arn:aws:sqs:r:1:{queue}"));
    }
    let mut plan = Plan::new(DEAD);
    for letter in &all {
        plan.add(letter, Action::Redrive);
    }
    let world = World::new(3, false, all);
    let outcomes = OnlyOf(source(false));
    let begun = Instant::now();
    let report = Apply::new(&world, &world, &plan)
        .ramp(Ramp::new(&outcomes))
        .run(&mut world.clone(), &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(
        (report.redriven, report.failed.len()),
        (10, 2),
        "{report:?}"
    );
    for id in ["m-5", "m-11"] {
        assert_eq!(report.failed[id], "its function has a key of its own");
    }
    assert!(report.not_fixed.is_empty(), "{report:?}");
    let waited = begun.elapsed();
    assert!(waited < std::time::Duration::from_secs(60), "{waited:?}");
    assert_eq!(world.state().delivered.len(), 10);
}

/// Handles what it is asked for, and keeps which events that was.
#[derive(Default)]
struct Asked(Mutex<Vec<Metadata>>);

impl Outcomes for Asked {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        let events = redriven.iter().map(|it| it.event.clone());
        self.0.lock().unwrap().extend(events);
        Box::pin(async move { Ok(vec![true; redriven.len()]) })
    }
}

/// Its consumer claims the key of the event that it finds there.
#[tokio::test(start_paused = true)]
async fn a_ramp_asks_for_the_event_in_a_messages_attributes() {
    let mut letters = letters(3, None);
    for letter in &mut letters {
        for (name, text) in [
            ("specversion", "1.0"),
            ("source", "/house/1"),
            ("type", "moved"),
            ("id", &format!("of-{}", letter.id)),
        ] {
            let attribute = Attribute {
                data_type: "String".into(),
                value: AttributeValue::Text(text.into()),
            };
            letter.attributes.insert(format!("ce_{name}"), attribute);
        }
    }
    let events = letters.iter().map(|it| it.event().unwrap().identity());
    let mut events: Vec<Metadata> = events.collect();
    let plan = plan_of(&letters);
    let world = World::new(3, false, letters);
    let asked = Asked::default();
    let report = Apply::new(&world, &world, &plan)
        .ramp(Ramp::new(&asked))
        .run(&mut world.clone(), &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(report.redriven, 3, "{report:?}");
    let mut asked = asked.0.into_inner().unwrap();
    for events in [&mut events, &mut asked] {
        events.sort_by(|a, b| a.id.cmp(&b.id));
    }
    assert_eq!(asked, events);
    assert_eq!(asked[0].source.as_deref(), Some("/house/1"));
}

/// The event's key was completed, long ago and for another payload.
#[tokio::test(start_paused = true)]
async fn what_reuses_a_key_is_not_handled_because_the_key_is() {
    let mut letters = letters(30, None);
    for letter in &mut letters {
        let note = serde_json::json!({
            "kind": "key_reused", "message": "the key was used before", "chain": [], "handler": "h",
            "function": "f", "request_id": "r", "attempts": 1,
            "last_failure": "2026-11-21T10:00:00Z", "redrive_count": 0,
        });
        letter.body = format!(r#"{{"metadata":{{"id":"{}"}},"data":{{}}}}"#, letter.id);
        let note = Attribute {
            data_type: "String".into(),
            value: AttributeValue::Text(note.to_string()),
        };
        letter.attributes.insert("SurehandFailure".into(), note);
    }
    let plan = plan_of(&letters);
    let world = World::new(3, false, letters);
    let mut journal = world.clone();
    let report = Apply::new(&world, &world, &plan)
        .ramp(Ramp::new(&Handled(true)).timeout(Duration::from_secs(10)))
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!(
        (report.stopped, report.redriven),
        (Some(Stop::NotFixed), 1),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_that_fails_in_several_stages_is_told_once() {
    let letters = letters(60, None);
    let plan = plan_of(&letters);
    let world = World::new(3, false, letters);
    let mut options = ApplyOptions::default();
    options.threshold_percent = 50;
    let mut journal = world.clone();
    let report = Apply::new(&world, &world, &plan)
        .ramp(Ramp::new(&Mostly).timeout(Duration::from_secs(10)))
        .options(options)
        .run(&mut journal, &mut Ledger::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!((report.redriven, report.not_fixed.len()), (60, 1));
    let group = &report.not_fixed[0];
    assert_eq!((group.unanswered, group.returned), (12, 0));
}
