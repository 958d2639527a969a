//! Records that kill their process, each among nine that are well, and what becomes of them once they are put back.
//!
//! The functions are the shop's own, and know nothing of it: between them and what they call stands a
//! proxy, which knows by the call whose record is handled, and by the connection which process it is. That one is
//! killed with SIGKILL. So each call of a handler is counted too, of whichever process.

mod case;
mod witness;

use self::{
    case::{BATCH, BATCHES, CENTS, Case, Phase, Way, way},
    witness::Witness,
};
use super::{
    books::Books,
    consumers::{Consumer, Wanted},
    dev::Dev,
    moves,
    shell::Shell,
    shop::{Mail, Message, Shop, eventually},
};
use aws_sdk_sqs::types::Message as Received;
use futures_util::future::join_all;
use serde_json::Value;
use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use surehand::dead_letter::FailureNote;
use surehand_test_support::proxy;
use tokio::sync::Mutex;

const NEIGHBOURS: usize = BATCH - 1;

/// Fewer than usual, since each death costs a visibility timeout.
const ATTEMPTS: u32 = 3;

/// How much longer than a function may run the messages of a process that died are invisible. A lease lasts a second
/// longer.
const MARGIN: Duration = Duration::from_secs(2);

/// How often a case is tried on a machine that is too busy, each time with twice the time and after the first without
/// the others: what is cut off is an attempt too, so that nothing could be said of the count.
const ROUNDS: u32 = 4;

/// How often it is looked whether time ran out.
const LOOK: Duration = Duration::from_secs(5);

/// What a function says of a record that was cut off, or for which the emulator did not answer.
const CUT_OFF: [&str; 2] = [r#""kind":"deadline""#, r#""kind":"store""#];

/// How long after each other the cases begin, so that not all that died comes back at the same time.
const APART: Duration = Duration::from_secs(3);

/// A letter in the dead-letter queue, hidden for a while.
struct Letter {
    /// That of the killer.
    batch: usize,
    message: Received,
    note: FailureNote,
}

/// A case while it is run.
struct Scene<'a> {
    dev: &'a Dev,
    shop: &'a Shop,
    case: Case,
    witness: Arc<Witness>,
    consumer: Consumer,
    /// The endpoint at which SQS moves messages.
    mover: &'a str,
}

pub(crate) async fn check(dev: &Dev, shop: &Shop, role: &str) {
    let mover = moves::start(dev, shop);
    let pauses = (0..).map(|number| APART * number);
    let alone = Mutex::new(());
    let cases = Case::all().zip(pauses).map(async |(mut case, pause)| {
        tokio::time::sleep(pause).await;
        while case.round < ROUNDS {
            let _turn = match case.round {
                0 => None,
                _ => Some(alone.lock().await),
            };
            let started = Instant::now();
            let scene = Scene::new(dev, shop, role, case, &mover).await;
            let is_valid = scene.run().await.is_some();
            let (name, took) = (case.name(), started.elapsed().as_secs_f64());
            eprintln!("{name}: {took:.1} s, {}", scene.counts());
            if is_valid {
                return case;
            }
            eprintln!("{name}: out of time, {:?}", scene.witness.faults());
            case.round += 1;
        }
        panic!("{case:?}: the machine is too busy");
    });
    let cases = join_all(cases).await;
    check_effects(&shop.books().await, &shop.mails().await, &cases);
}

fn check_effects(books: &Books, mails: &[Mail], cases: &[Case]) {
    for case in cases {
        for id in case.ids() {
            if case.is_lease {
                let to = format!("{id}@example.com");
                let count = mails.iter().filter(|mail| mail.to == to).count();
                assert_eq!(count, 1, "{id}");
            } else {
                books.check_ledger(&id, &[(id.clone(), CENTS)]);
            }
        }
    }
}

impl<'a> Scene<'a> {
    async fn new(dev: &'a Dev, shop: &'a Shop, role: &str, case: Case, mover: &'a str) -> Self {
        let witness = Arc::new(Witness::new(case, dev));
        let deciding = Arc::clone(&witness);
        let endpoint = proxy::start(&dev.stack.endpoint, move |call| deciding.decide(call));
        let (like, package, service) = match case.is_lease {
            true => ("NotifyCustomer", "notify-customer", "SESV2"),
            false => ("CustomerLedger", "customer-ledger", "DYNAMODB"),
        };
        let wanted = Wanted {
            name: &case.name(),
            like: &format!("{like}FunctionName"),
            package: &format!("{package}.zip"),
            timeout: case.timeout(),
            visibility: case.timeout() + MARGIN,
            queues: BATCHES,
            variables: &[
                (&format!("AWS_ENDPOINT_URL_{service}"), endpoint),
                ("MAX_ATTEMPTS", ATTEMPTS.to_string()),
                ("MAX_BACKOFF_S", "1".to_owned()),
            ],
        };
        let consumer = Consumer::deploy(dev, shop, role, wanted).await;
        Self {
            dev,
            shop,
            case,
            witness,
            consumer,
            mover,
        }
    }

    /// None if some time ran out.
    async fn run(&self) -> Option<()> {
        let began = jiff::Timestamp::now();
        self.send().await?;
        self.parked().await?;
        self.check_letters(Phase::Killing, began).await;
        self.check_neighbours();

        let shell = Shell::new(self.dev, self.shop, &self.case.name()).await;
        let again = jiff::Timestamp::now();
        self.put_back(Phase::PutBack, &shell).await;
        self.parked().await?;
        self.check_letters(Phase::PutBack, again).await;

        self.put_back(Phase::Well, &shell).await;
        self.done().await?;
        assert_eq!(self.shop.depth(&self.consumer.letters).await, 0);
        for id in self.case.ids() {
            let (_, is_killer) = self.witness.place(&id).unwrap();
            let calls = [Phase::PutBack, Phase::Well].map(|it| self.witness.calls(it, &id));
            match is_killer {
                true => assert_eq!(calls[1], 1, "{id}"),
                false => assert_eq!(calls, [0, 0], "{id}"),
            }
        }
        Some(())
    }

    /// Sends the batches, the neighbours together with the killer or once it has died; none if some time ran out.
    async fn send(&self) -> Option<()> {
        let (case, shop) = (self.case, self.shop);
        let send = async |is_wanted: &dyn Fn(bool) -> bool| {
            let sent = self.consumer.queues.iter().enumerate();
            let sent = sent.map(async |(batch, queue)| {
                let ids = (0..BATCH).map(|place| case.id(batch, place));
                let ids = ids.filter(|id| is_wanted(*id == case.killer(batch)));
                let messages: Vec<Message> = ids.map(|id| case.message(&id)).collect();
                shop.send_to(&queue.url, &messages).await;
            });
            join_all(sent).await;
        };
        if case.are_fresh {
            send(&|is_killer| is_killer).await;
            self.consumer.read(shop, true).await;
            self.until("each killer has died once", async || {
                self.witness.deaths().iter().all(|deaths| *deaths > 0)
            })
            .await?;
            self.consumer.read(shop, false).await;
            send(&|is_killer| !is_killer).await;
            self.until("the killers are back", async || {
                let visible = self.consumer.visible(shop).await;
                visible.iter().all(|count| *count == BATCH)
            })
            .await?;
        } else {
            send(&|_| true).await;
        }
        self.consumer.read(shop, true).await;
        Some(())
    }

    /// Waits until the killers are dead letters, and nothing else waits; none if some time ran out.
    async fn parked(&self) -> Option<()> {
        self.until("the killers are parked", async || {
            self.shop.depth(&self.consumer.letters).await >= BATCHES
        })
        .await?;
        self.done().await
    }

    /// Waits until the queues are empty; none if some time ran out.
    async fn done(&self) -> Option<()> {
        self.until("nothing waits", async || {
            self.consumer.waiting(self.shop).await == 0
        })
        .await?;
        let unfinished = self.dev.unfinished();
        let lost = unfinished.get(&self.case.name());
        let killed: u32 = self.witness.deaths().iter().sum();
        if self.ran_out_of_time() || lost.map_or(0, |it| it.batches) != killed as usize {
            return None;
        }
        let faults = self.witness.faults();
        assert!(faults.is_empty(), "{}: {faults:?}", self.case.name());
        Some(())
    }

    /// Waits until the condition holds, and stops the function if some time runs out meanwhile.
    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) -> Option<()> {
        let is_over = Cell::new(false);
        let looked = Cell::new(Instant::now());
        eventually(what, async || {
            if looked.get().elapsed() > LOOK {
                looked.set(Instant::now());
                is_over.set(self.ran_out_of_time());
            }
            is_over.get() || condition().await
        })
        .await;
        if is_over.get() {
            self.consumer.read(self.shop, false).await;
            return None;
        }
        Some(())
    }

    /// Whether an invocation or a record was cut off, or the emulator did not answer a call in time.
    fn ran_out_of_time(&self) -> bool {
        let name = self.case.name();
        let invocation = format!("Lambda {name}: Task timed out");
        let function = format!("\"function_name\":\"{name}\"");
        let log = self.dev.emulator_log();
        log.lines().any(|line| {
            let is_cut_off = CUT_OFF.iter().any(|kind| line.contains(kind));
            line.contains(&invocation) || is_cut_off && line.contains(&function)
        })
    }

    /// Receives all dead letters, and hides them. On a machine that is too busy the answer to a park comes too
    /// late, and the letter is parked again: of such ones there is one afterwards.
    async fn receive(&self) -> Vec<Letter> {
        let mut letters = BTreeMap::new();
        loop {
            let request = self.shop.sqs.receive_message();
            let request = request.queue_url(&self.consumer.letters);
            let request = request.max_number_of_messages(10).visibility_timeout(60);
            let request = request.message_attribute_names("All");
            let received = request.send().await.unwrap().messages.unwrap_or_default();
            if received.is_empty() {
                break;
            }
            for message in received {
                let body: Value = serde_json::from_str(message.body().unwrap()).unwrap();
                let id = body["detail"]["metadata"]["id"].as_str().unwrap();
                let (batch, is_killer) = self.witness.place(id).unwrap();
                assert!(is_killer, "{id} is a dead letter: {message:?}");
                let note = message.message_attributes.as_ref();
                let note = note.and_then(|it| it[FailureNote::ATTRIBUTE].string_value());
                let letter = Letter {
                    batch,
                    note: serde_json::from_str(note.unwrap()).unwrap(),
                    message,
                };
                if let Some(twice) = letters.insert(batch, letter) {
                    eprintln!("parked twice: {:?}", twice.note);
                    self.delete(&twice).await;
                }
            }
        }
        assert_eq!(letters.len(), BATCHES, "letters");
        letters.into_values().collect()
    }

    async fn delete(&self, letter: &Letter) {
        let delete = self.shop.sqs.delete_message();
        let delete = delete.queue_url(&self.consumer.letters);
        let delete = delete.receipt_handle(letter.message.receipt_handle().unwrap());
        delete.send().await.unwrap();
    }

    async fn show_again(&self, letter: &Letter) {
        let request = self.shop.sqs.change_message_visibility();
        let request = request.queue_url(&self.consumer.letters);
        let request = request.receipt_handle(letter.message.receipt_handle().unwrap());
        request.visibility_timeout(0).send().await.unwrap();
    }

    /// Checks that the killers are parked, each with its reason, its attempts and its times.
    async fn check_letters(&self, phase: Phase, began: jiff::Timestamp) {
        let now = jiff::Timestamp::now();
        for letter in self.receive().await {
            self.show_again(&letter).await;
            let (note, batch) = (&letter.note, letter.batch);
            let is_within = |time: &str| {
                let time: jiff::Timestamp = time.parse().unwrap();
                (began..=now).contains(&time)
            };
            let has_killed = phase == Phase::Killing || self.case.kills_again(batch);
            assert_eq!(note.attempts, ATTEMPTS, "{note:?}");
            assert!(is_within(&note.last_failure), "{note:?}");
            assert_eq!(note.function, self.case.name());
            match has_killed {
                true => {
                    assert_eq!(note.kind, "interrupted", "{note:?}");
                    let said = format!(
                        "{ATTEMPTS} attempts at the record began and never ended; the last one had time until "
                    );
                    let until = note.message.strip_prefix(&said);
                    assert!(until.is_some_and(is_within), "{note:?}");
                }
                false => assert_eq!(note.kind, "transient", "{note:?}"),
            }
            // Who sends a body by hand leaves out what else the message carries.
            let is_known = phase == Phase::PutBack && way(batch) != Way::Hand;
            assert_eq!(note.redrive_count, u32::from(is_known), "{note:?}");
            let id = self.case.killer(batch);
            let unseen = if has_killed { self.case.unseen() } else { 0 };
            let calls = self.witness.calls(phase, &id);
            assert_eq!(calls, ATTEMPTS + unseen, "{id} in {phase:?}");
        }
    }

    /// Puts the letters back, each in its way.
    async fn put_back(&self, phase: Phase, shell: &Shell) {
        self.witness.enter(phase);
        // What failed again at once would be among those that are still to be put back.
        self.consumer.read(self.shop, false).await;
        let mut to_apply = Vec::new();
        for letter in self.receive().await {
            match way(letter.batch) {
                Way::Hand => self.send_by_hand(&letter).await,
                Way::Apply => to_apply.push(self.case.killer(letter.batch)),
                Way::Move => {}
            }
            if way(letter.batch) != Way::Hand {
                self.show_again(&letter).await;
            }
        }
        let letters = name_of(&self.consumer.letters);
        let plan = format!("{phase:?}");
        let mut arguments = vec!["plan", "--queue", letters, "--out", &plan];
        arguments.extend(to_apply.iter().flat_map(|id| ["--id", id]));
        shell.ends(0, &arguments).await;
        let said = shell.ends(0, &["apply", &plan, "--yes", "--no-ramp"]).await;
        let moved = (0..BATCHES)
            .filter(|batch| way(*batch) == Way::Move)
            .count();
        assert_eq!(said, format!("{} put back, {moved} left\n", to_apply.len()));

        let to = name_of(&self.consumer.queues[BATCHES - 1].url);
        let mut command = shell.elsewhere(&["move", "--queue", letters, "--to", to, "--yes"]);
        command.envs(self.dev.stack.variables());
        command.env("AWS_ENDPOINT_URL", self.mover);
        let said = shell.run(command).await;
        let expected = format!("{moved} letters were moved to {to}\n");
        assert_eq!((said.code, &said.out), (Some(0), &expected), "{said:?}");
        self.consumer.read(self.shop, true).await;
    }

    async fn send_by_hand(&self, letter: &Letter) {
        let queue = &self.consumer.queues[letter.batch].url;
        let send = self.shop.sqs.send_message().queue_url(queue);
        let send = send.message_body(letter.message.body().unwrap());
        send.send().await.unwrap();
        self.delete(letter).await;
    }

    /// Checks how often the handlers of those that are well were called, and that the killer ran after them.
    fn check_neighbours(&self) {
        let case = self.case;
        for id in case.ids() {
            let (batch, is_killer) = self.witness.place(&id).unwrap();
            let calls = self.witness.calls(Phase::Killing, &id);
            // One that is still at work when the killer is killed is called once more.
            let most = case.calls() + 1;
            assert!(
                is_killer || (1..=most).contains(&calls),
                "{id}: {calls} calls"
            );
            // What has begun beside the killer has died as often, and may have its turn after it.
            if case.are_fresh {
                let done = self.witness.done_at_deaths(batch)[most as usize];
                assert_eq!(done, NEIGHBOURS, "{id}");
            }
        }
    }

    /// How many handlers were called how often, of neighbours and of killers by phase and way.
    fn counts(&self) -> String {
        let mut neighbours = BTreeMap::<u32, usize>::new();
        let mut killers = BTreeMap::<(Phase, Way, u32), usize>::new();
        for ((phase, id), calls) in self.witness.all_calls() {
            match self.witness.place(&id).unwrap() {
                (batch, true) => *killers.entry((phase, way(batch), calls)).or_default() += 1,
                (_, false) => *neighbours.entry(calls).or_default() += 1,
            }
        }
        format!(
            "neighbours by their calls: {neighbours:?}; killers by phase, way and calls: {killers:?}"
        )
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}
