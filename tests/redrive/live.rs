//! FIFO queues that others use while letters are put back.

use super::world::{DEAD_FIFO, Message, World, plan_of, source};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use surehand::{
    dead_letter::FailureNote,
    record::{Attribute, AttributeValue},
};
use surehand_redrive::{Action, Apply, ApplyOptions, Ledger, Letter, Plan, Unlisted};
use tokio::time::sleep;

const GROUPS: usize = 3;
const OLD: usize = 12;
/// The consumer always refuses this message.
const POISON: &str = "old-1-5";

fn letter(id: &str, group: usize) -> Letter {
    let body = format!(r#"{{"metadata":{{"id":"{id}"}},"data":{{}}}}"#);
    let mut letter = Letter::new(id, body);
    letter.group = Some(format!("g-{group}"));
    letter.deduplication_id = Some(format!("own-{id}"));
    letter
}

/// The dead letter as its consumer parks it again.
fn parked_again(message: &Message, count: usize) -> Letter {
    let mut letter = Letter::new(format!("back-{count}"), message.body.clone());
    letter.group.clone_from(&message.group);
    let attribute = Attribute {
        data_type: "Number".into(),
        value: AttributeValue::Text("1".into()),
    };
    let name = FailureNote::REDRIVE_COUNT.to_owned();
    letter.attributes.insert(name, attribute);
    letter
}

/// Producers go on, consumers take messages and park those that they refuse, and further messages
/// die.
async fn others(world: &World, is_over: &Cell<bool>) {
    let (mut cursor, mut backs) = (0, 0);
    for tick in 0.. {
        if is_over.get() {
            return;
        }
        // When a run waits for a visibility timeout, the others need not wait in real time.
        let busy = tick < 1_000;
        sleep(Duration::from_millis(if busy { 3 } else { 500 })).await;
        let group = tick % GROUPS;
        if busy {
            let message = Message {
                group: Some(format!("g-{group}")),
                body: format!("new-{tick:06}"),
                letter_id: None,
            };
            assert!(world.publish(message, &format!("new-{tick}")));
        }
        if tick % 5 == 0 && tick < 60 {
            world.arrive(letter(&format!("late-{group}-{tick:06}"), group));
        }
        let taken: Vec<Message> = world.state().source[cursor..].to_vec();
        cursor += taken.len();
        for message in &taken {
            if message.body.contains(POISON) {
                backs += 1;
                world.arrive(parked_again(message, backs));
            }
        }
    }
}

async fn check(unlisted: Unlisted, seed: u64, faults: f64) {
    let old = (0..OLD).flat_map(|n| (0..GROUPS).map(move |group| (group, n)));
    let old: Vec<Letter> = old
        .map(|(group, n)| letter(&format!("old-{group}-{n}"), group))
        .collect();
    let plan = plan_of(&old).unlisted(unlisted);
    let world = World::new(seed, true, old.clone()).with_faults(faults);
    for letter in &old {
        // The source has seen them a minute ago.
        let id = letter.deduplication_id.as_ref().unwrap();
        world.state().remember(id);
    }
    sleep(Duration::from_secs(60)).await;
    let is_over = Cell::new(false);
    let redrive = async {
        let mut journal = world.clone();
        // Faults may end a run; the last one has none.
        for run in 0..4 {
            if run == 3 {
                world.heal();
            }
            let mut options = ApplyOptions::default();
            options.wave = 5;
            let mut ledger = world.ledger();
            let apply = Apply::new(&world, &world, &plan).options(options);
            let report = apply.run(&mut journal, &mut ledger, &mut |_| {}).await;
            if run == 3 {
                let report = report.unwrap();
                assert!(report.failed.is_empty(), "{report:?}");
            }
        }
        is_over.set(true);
    };
    tokio::join!(redrive, others(&world, &is_over));

    let queued = world.queued();
    let source = world.state().source.clone();
    let mut between = 0;
    for group in 0..GROUPS {
        let name = Some(format!("g-{group}"));
        let of_group = source.iter().filter(|message| message.group == name);
        let mut seen = BTreeSet::new();
        // A consumer that knows the event ids acts on the first of equal copies.
        let acted: Vec<&Message> = of_group.filter(|m| seen.insert(m.body.clone())).collect();
        let ids = |prefix: &str| {
            let ids = acted.iter().filter_map(|m| m.letter_id.clone());
            ids.filter(|id| id.starts_with(prefix)).collect::<Vec<_>>()
        };
        let expected: Vec<_> = (0..OLD).map(|n| format!("old-{group}-{n}")).collect();
        assert_eq!(ids("old"), expected, "seed {seed}");
        let new: Vec<_> = acted.iter().filter(|m| m.letter_id.is_none()).collect();
        assert!(new.is_sorted_by_key(|message| &message.body));

        // Messages that died meanwhile are redriven behind the others, or stay, in their order.
        let late = ids("late");
        let left = queued.iter();
        let left = left.filter(|id| id.starts_with(&format!("late-{group}-")));
        let all: Vec<_> = late.iter().chain(left).cloned().collect();
        assert!(all.is_sorted() && all.len() == 4, "{all:?}");
        match (unlisted, group) {
            (Unlisted::Hold, _) => assert!(late.is_empty()),
            // These are behind the dead letter that failed again.
            (Unlisted::Redrive, 1) => {}
            (Unlisted::Redrive, _) => assert_eq!(late.len(), 4, "seed {seed}"),
        }
        let place = |id: &str| {
            let mut places = acted.iter().enumerate();
            let found = places.find(|(_, m)| m.letter_id.as_deref() == Some(id));
            found.map(|(index, _)| index)
        };
        let first = place(&expected[0]).unwrap();
        let last = place(&expected[OLD - 1]).unwrap();
        between += acted[first..last]
            .iter()
            .filter(|m| m.letter_id.is_none())
            .count();
    }
    // A lost answer may have kept a run waiting until the producers had gone.
    assert!(faults > 0.0 || between > 10, "{between} came in between");
    let back = queued.iter().filter(|id| id.starts_with("back"));
    assert!(back.count() >= 1, "a message that is refused again stays");
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_its_order_while_messages_come_to_both_queues() {
    for unlisted in [Unlisted::Hold, Unlisted::Redrive] {
        check(unlisted, 0, 0.0).await;
        for seed in 1..40 {
            check(unlisted, seed, 0.1).await;
        }
    }
}

/// SQS accepts a message whose deduplication id it has seen in the last five minutes, and drops it.
#[tokio::test(start_paused = true)]
async fn a_letter_that_comes_back_within_five_minutes_is_delivered_again() {
    let first = letter("m", 0);
    let world = World::new(0, true, vec![first.clone()]);
    world.state().remember("own-m");
    let redrive = async |plan: &Plan| {
        let mut journal = world.clone();
        let apply = Apply::new(&world, &world, plan);
        let report = apply
            .run(&mut journal, &mut Ledger::default(), &mut |_| {})
            .await;
        assert_eq!(report.unwrap().redriven, 1);
        world.state().delivered.last().unwrap().clone()
    };
    let sent = redrive(&plan_of(&[first])).await;
    let mut ids = BTreeMap::from([(sent.deduplication_id.clone(), 1)]);
    // SQS moves it back with the ids under which it was sent; then it is parked, with another.
    for (id, deduplication_id) in [
        ("new-m".to_owned(), sent.deduplication_id),
        ("m-3".to_owned(), Some("new-m".to_owned())),
    ] {
        let mut again = letter(&id, 0);
        again.body = sent.body.clone();
        again.deduplication_id = deduplication_id;
        world.arrive(again.clone());
        let parcel = redrive(&plan_of(&[again])).await;
        *ids.entry(parcel.deduplication_id).or_default() += 1;
    }
    assert_eq!(ids.len(), 3, "{ids:?}");
    let received = world.state().source.len();
    assert_eq!((received, world.queued().len()), (3, 0));
}

/// Without a count of its redrives, a message that fails again would be redriven for ever.
#[tokio::test(start_paused = true)]
async fn a_plan_for_all_letters_takes_each_once() {
    for fifo in [false, true] {
        let mut letter = letter("m", 0);
        letter.group = letter.group.filter(|_| fifo);
        for index in 0..10 {
            let attribute = Attribute {
                data_type: "String".into(),
                value: AttributeValue::Text("x".into()),
            };
            letter.attributes.insert(format!("a{index}"), attribute);
        }
        let world = World::new(0, fifo, vec![letter]);
        world.state().bounces = true;
        let queue = if fifo { DEAD_FIFO } else { super::world::DEAD };
        let plan = Plan::new(queue)
            .to(source(fifo))
            .unlisted(Unlisted::Redrive)
            .force();
        let mut journal = world.clone();
        let apply = Apply::new(&world, &world, &plan);
        let report = apply
            .run(&mut journal, &mut Ledger::default(), &mut |_| {})
            .await
            .unwrap();
        assert_eq!((report.redriven, report.left), (1, 1), "{report:?}");
        assert_eq!(world.queued(), ["new-m"]);
        // The next plan may take it.
        world.state().bounces = false;
        let again = plan_of_all(queue, fifo);
        let apply = Apply::new(&world, &world, &again);
        let report = apply
            .run(&mut journal, &mut Ledger::default(), &mut |_| {})
            .await
            .unwrap();
        assert_eq!((report.redriven, report.left), (1, 0), "{report:?}");
    }
}

fn plan_of_all(queue: &str, fifo: bool) -> Plan {
    let mut plan = Plan::new(queue)
        .to(source(fifo))
        .unlisted(Unlisted::Redrive);
    plan.add(&Letter::new("somebody else's", "{}"), Action::Hold);
    plan
}
