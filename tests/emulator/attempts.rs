//! Records that kill their process, each among nine that are well, and what becomes of them once they are put back.
//!
//! The functions are the shop's own, and know nothing of it: between them and what they call stands a
//! proxy, which knows by the call whose record is handled, and by the connection which process it is. That one is
//! killed with SIGKILL. So each call of a handler is counted too, of whichever process.

use super::{
    consumers::{Consumer, Wanted},
    dev::Dev,
    order::{body, line, placed},
    processes,
    shell::Shell,
    shop::{Message, Shop, eventually},
};
use aws_sdk_sqs::types::Message as Received;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use surehand::dead_letter::FailureNote;
use surehand_test_support::proxy::{self, Call, Fate, Moment};
use tokio::runtime::Handle;

/// Each of them in a queue of its own, so that it stays together; all are handled side by side.
const BATCHES: usize = 10;
const BATCH: usize = 10;
const NEIGHBOURS: usize = BATCH - 1;

/// Fewer than usual, since each death costs a visibility timeout.
const ATTEMPTS: u32 = 3;
/// So many processes at once need some seconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer messages of a process that died are invisible. Leases last a second longer than the invocation.
const MARGIN: Duration = Duration::from_secs(2);

/// How often a case is tried, each time with twice the time, on a machine that is too busy: what is cut off is an
/// attempt too, so that nothing could be said of the count.
const ROUNDS: u32 = 5;

/// How long after each other the cases begin, so that not all that died comes back at the same time.
const APART: Duration = Duration::from_secs(3);

const STOCK: i64 = 1_000;

/// How often it is asked whose a connection is: the kernel's list of them has gaps while it changes.
const TRIES: usize = 100;

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Whether the neighbours come when the killer has died once, instead of together with it.
    are_fresh: bool,
    /// notify-customer, or else reserve-stock in its transaction.
    is_lease: bool,
    round: u32,
}

/// What killers do. First they kill; once they are put back some kill again, and the others fail; then all are well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Killing,
    PutBack,
    Well,
}

/// How a dead letter is put back. Ours and SQS's send another message, as one does by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// What is received from the dead-letter queue is sent to the queue, and deleted: only the body.
    Hand,
    /// `surehand dlq apply`.
    Apply,
    /// `surehand dlq move`.
    Move,
}

/// The batch that a killer belongs to decides how it is put back.
fn way(batch: usize) -> Way {
    match batch {
        0..3 => Way::Hand,
        3..7 => Way::Apply,
        _ => Way::Move,
    }
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        let kinds = [(true, true), (false, true), (true, false), (false, false)];
        kinds.into_iter().map(|(are_fresh, is_lease)| Self {
            are_fresh,
            is_lease,
            round: 0,
        })
    }

    /// Also of its function.
    fn name(self) -> String {
        let kind = if self.is_lease { "lease" } else { "commit" };
        let neighbours = if self.are_fresh {
            "fresh"
        } else {
            "interrupted"
        };
        format!("{kind}-{neighbours}-{}", self.round)
    }

    fn timeout(self) -> Duration {
        TIMEOUT * 2_u32.pow(self.round)
    }

    /// The id of an event and its order; the killer stands at another place in each batch.
    fn id(self, batch: usize, place: usize) -> String {
        format!("{}-{batch}-{place}", self.name())
    }

    fn killer(self, batch: usize) -> String {
        self.id(batch, batch % BATCH)
    }

    fn ids(self) -> impl Iterator<Item = String> {
        (0..BATCHES).flat_map(move |batch| (0..BATCH).map(move |place| self.id(batch, place)))
    }

    /// Whether a killer kills again once it is put back, instead of failing. What is moved comes back in one batch, in
    /// which one would take the others along.
    fn kills_again(self, batch: usize) -> bool {
        // Without a transaction it dies once less, and there is time for it.
        self.is_lease && batch.is_multiple_of(2) && way(batch) != Way::Move
    }

    fn sku(self, batch: usize) -> String {
        format!("{}-{batch}", self.name())
    }

    fn message(self, batch: usize, id: &str) -> Message {
        let body = match self.is_lease {
            true => {
                let data = json!({
                    "order_id": id, "customer_id": "nobody", "email": format!("{id}@example.com"),
                });
                body(id, "shop.stock", "StockReserved", &data)
            }
            false => {
                let data = placed(id, &[line(&self.sku(batch), 1, 1)]);
                body(id, "shop.orders", "OrderPlaced", &data)
            }
        };
        Message {
            body,
            ..Message::default()
        }
    }

    /// How many deaths are not seen: of a transaction the first one at each message.
    fn unseen(self) -> u32 {
        u32::from(!self.is_lease)
    }

    /// Whether the killer, after so many deaths, takes a whole batch along that is in the middle of its work: until
    /// one death of it was seen, and after that it runs alone.
    fn takes_all_along(self, deaths: u32) -> bool {
        let has_neighbours = !self.are_fresh || deaths > 0;
        has_neighbours && deaths <= self.unseen()
    }

    /// How often a neighbour is called: each time that it is taken along, and once more.
    fn calls(self) -> u32 {
        let deaths = 0..=self.unseen();
        let along = deaths.filter(|deaths| self.takes_all_along(*deaths));
        u32::try_from(along.count()).unwrap() + 1
    }
}

/// Stands between the functions of a case and what they call, and sees each record that is handled.
struct Witness {
    case: Case,
    /// The folder of the functions' processes.
    folder: PathBuf,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    phase: Phase,
    /// How often each record's handler was called in a phase.
    calls: BTreeMap<(Phase, String), u32>,
    /// The records whose effects are there.
    done: BTreeSet<String>,
    batches: [Batch; BATCHES],
    /// What must not be; a panic here would be nobody's.
    faults: Vec<String>,
}

#[derive(Default)]
struct Batch {
    deaths: u32,
    /// The connections of those that are in the middle of their work.
    held: Vec<[SocketAddr; 2]>,
    /// How many neighbours were done at each death.
    done: Vec<usize>,
}

impl Witness {
    fn new(case: Case, dev: &Dev) -> Self {
        Self {
            case,
            folder: dev.folder().join("tmp"),
            seen: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the handler was called for it in this phase.
    fn calls(&self, phase: Phase, id: &str) -> u32 {
        let calls = self.seen().calls.get(&(phase, id.to_owned())).copied();
        calls.unwrap_or_default()
    }

    fn decide(&self, call: &Call) -> Fate {
        let Some((id, moment)) = self.record(call) else {
            return Fate::Pass;
        };
        let mut seen = self.seen();
        if moment == Moment::After {
            seen.done.insert(id);
            return Fate::Pass;
        }
        let Some((number, is_killer)) = self.place(&id) else {
            seen.faults.push(format!("{id} is handled"));
            return Fate::Pass;
        };
        let phase = seen.phase;
        *seen.calls.entry((phase, id)).or_default() += 1;
        let is_first = phase == Phase::Killing;
        let batch = &mut seen.batches[number];
        if is_first && self.case.takes_all_along(batch.deaths) {
            batch.held.push(call.ends);
            match batch.held.len() {
                BATCH => self.kill(seen, number),
                _ => self.wait_for_death(seen, number, call.ends),
            }
            return Fate::Cut;
        }
        match phase {
            Phase::Killing | Phase::PutBack
                if is_killer && (is_first || self.case.kills_again(number)) =>
            {
                batch.held.push(call.ends);
                self.kill(seen, number);
                Fate::Cut
            }
            // An answer after which the client does not try again.
            Phase::PutBack => {
                let refusal = json!({ "__type": "ValidationException", "message": "ill" });
                Fate::Answer(400, refusal.to_string())
            }
            Phase::Killing | Phase::Well => Fate::Pass,
        }
    }

    /// The record whose handler calls this, and whether it begins with it, or has its effect after it.
    fn record(&self, call: &Call) -> Option<(String, Moment)> {
        let known = match self.case.is_lease {
            true => ["POST /v2/email/outbound-emails"; 2],
            false => ["BatchGetItem", "TransactWriteItems"],
        };
        let calls = [(known[0], Moment::Before), (known[1], Moment::After)];
        let is_known = calls.contains(&(&*call.action, call.moment));
        let (_, id) = call.body.split_once(match self.case.is_lease {
            true => "\"ToAddresses\":[\"",
            false => "\"ORDER#",
        })?;
        let id = id.split(['"', '@']).next()?;
        is_known.then(|| (id.to_owned(), call.moment))
    }

    /// The number of its batch, and whether it is the killer.
    fn place(&self, id: &str) -> Option<(usize, bool)> {
        let place = id.strip_prefix(&self.case.name())?.strip_prefix('-')?;
        let number = place.split_once('-')?.0.parse().ok()?;
        (number < BATCHES).then(|| (number, id == self.case.killer(number)))
    }

    /// Kills the process that all who are held belong to.
    fn kill(&self, mut seen: MutexGuard<'_, Seen>, number: usize) {
        let held = std::mem::take(&mut seen.batches[number].held);
        // The other batches go on.
        drop(seen);
        let function = self.case.name();
        let is_killed = (0..TRIES).any(|_| {
            let mut processes = processes::functions_below(&self.folder);
            processes.retain(|process| process.function == function);
            let process = processes::with_connections(processes, &held);
            let is_killed = process.is_some_and(|process| processes::kill(&process));
            if !is_killed {
                std::thread::sleep(Duration::from_millis(10));
            }
            is_killed
        });
        let mut seen = self.seen();
        if !is_killed {
            let fault = format!("batch {number} is not one process, in {:?}", seen.phase);
            seen.faults.push(fault);
            return;
        }
        let killer = self.case.killer(number);
        let is_neighbour = |id: &&String| {
            let place = self.place(id);
            place.is_some_and(|(batch, _)| batch == number) && **id != killer
        };
        let done = seen.done.iter().filter(is_neighbour).count();
        let batch = &mut seen.batches[number];
        batch.done.push(done);
        batch.deaths += 1;
        self.changed.notify_all();
    }

    /// Holds up a call until its process is dead.
    fn wait_for_death(&self, seen: MutexGuard<'_, Seen>, number: usize, ends: [SocketAddr; 2]) {
        let deaths = seen.batches[number].deaths;
        let lives = |seen: &mut Seen| seen.batches[number].deaths == deaths;
        let waited = self
            .changed
            .wait_timeout_while(seen, self.case.timeout(), lives);
        let (mut seen, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            // Its time is out too.
            seen.batches[number].held.retain(|held| *held != ends);
            let fault = format!("batch {number} was not handled together");
            seen.faults.push(fault);
        }
    }
}

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
    let mover = mover(dev, shop);
    let pauses = (0..).map(|number| APART * number);
    let cases = Case::all().zip(pauses).map(async |(mut case, pause)| {
        tokio::time::sleep(pause).await;
        while case.round < ROUNDS {
            let started = Instant::now();
            let scene = Scene::new(dev, shop, role, case, &mover).await;
            let is_valid = scene.run().await.is_some();
            let (name, took) = (case.name(), started.elapsed().as_secs_f64());
            eprintln!("{name}: {took:.1} s, {}", scene.counts());
            if is_valid {
                return case;
            }
            let faults = &scene.witness.seen().faults;
            eprintln!("{name}: out of time, {faults:?}");
            case.round += 1;
        }
        panic!("{case:?}: the machine is too busy");
    });
    let cases = join_all(cases).await;
    let books = shop.settled("orders that killed", |_| true).await;
    for case in cases.iter().filter(|case| !case.is_lease) {
        for id in case.ids() {
            assert_eq!(books.reservations[&id], "RESERVED");
            assert_eq!(books.events_of(&id), ["StockReserved"], "{id}");
        }
        for batch in 0..BATCHES {
            let left = books.stock[&case.sku(batch)];
            assert_eq!(left, STOCK - BATCH as i64, "{}", case.sku(batch));
        }
    }
    let mut mails = BTreeMap::<String, u32>::new();
    for mail in shop.mails().await {
        *mails.entry(mail.to).or_default() += 1;
    }
    let ids = cases.into_iter().filter(|case| case.is_lease);
    for id in ids.flat_map(Case::ids) {
        let count = mails.get(&format!("{id}@example.com"));
        assert_eq!(count, Some(&1), "{id}");
    }
}

impl<'a> Scene<'a> {
    async fn new(dev: &'a Dev, shop: &'a Shop, role: &str, case: Case, mover: &'a str) -> Self {
        let witness = Arc::new(Witness::new(case, dev));
        let deciding = Arc::clone(&witness);
        let endpoint = proxy::start(&dev.stack.endpoint, move |call| deciding.decide(call));
        let (like, package, service) = match case.is_lease {
            true => ("NotifyCustomer", "notify-customer", "SESV2"),
            false => ("ReserveStock", "reserve-stock", "DYNAMODB"),
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
        for batch in 0..BATCHES {
            shop.stock(&case.sku(batch), STOCK).await;
        }
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
        self.send().await;
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

    /// Sends the batches, the neighbours together with the killer or once it has died.
    async fn send(&self) {
        let (case, shop) = (self.case, self.shop);
        let send = async |is_wanted: &dyn Fn(bool) -> bool| {
            let sent = self.consumer.queues.iter().enumerate();
            let sent = sent.map(async |(batch, queue)| {
                let ids = (0..BATCH).map(|place| case.id(batch, place));
                let ids = ids.filter(|id| is_wanted(*id == case.killer(batch)));
                let messages: Vec<Message> = ids.map(|id| case.message(batch, &id)).collect();
                shop.send_to(&queue.url, &messages).await;
            });
            join_all(sent).await;
        };
        if case.are_fresh {
            send(&|is_killer| is_killer).await;
            self.consumer.read(shop, true).await;
            eventually("each killer has died once", async || {
                let seen = self.witness.seen();
                seen.batches.iter().all(|batch| batch.deaths > 0)
            })
            .await;
            self.consumer.read(shop, false).await;
            send(&|is_killer| !is_killer).await;
            eventually("the killers are back", async || {
                let visible = self.consumer.visible(shop).await;
                visible.iter().all(|count| *count == BATCH)
            })
            .await;
        } else {
            send(&|_| true).await;
        }
        self.consumer.read(shop, true).await;
    }

    /// Waits until the killers are dead letters, and nothing else waits; none if some time ran out.
    async fn parked(&self) -> Option<()> {
        eventually("the killers are parked", async || {
            self.shop.depth(&self.consumer.letters).await >= BATCHES
        })
        .await;
        self.done().await
    }

    /// Waits until the queues are empty; none if some time ran out.
    async fn done(&self) -> Option<()> {
        eventually("nothing waits", async || {
            self.consumer.waiting(self.shop).await == 0
        })
        .await;
        if self.ran_out_of_time() {
            self.consumer.read(self.shop, false).await;
            return None;
        }
        let faults = &self.witness.seen().faults;
        assert!(faults.is_empty(), "{}: {faults:?}", self.case.name());
        Some(())
    }

    /// Whether other batches were lost than those that were killed, or records were cut off.
    fn ran_out_of_time(&self) -> bool {
        let function = self.case.name();
        let unfinished = self.dev.unfinished();
        let lost = unfinished.get(&function).map_or(0, |it| it.batches);
        let killed: u32 = self.witness.seen().batches.iter().map(|it| it.deaths).sum();
        let log = self.dev.log();
        let mut of_function = log.iter().filter(|line| line["function_name"] == *function);
        lost != killed as usize || of_function.any(|line| line["kind"] == "deadline")
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
        self.witness.seen().phase = phase;
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
            let is_bounded = (1..=case.calls()).contains(&calls);
            assert!(is_killer || is_bounded, "{id}: {calls} calls");
            // From then on the killer has died more often than any other.
            let known = case.calls() as usize;
            let done = self.witness.seen().batches[batch].done[known];
            assert_eq!(done, NEIGHBOURS, "{id}");
        }
    }

    /// How many handlers were called how often, of neighbours and of killers by phase and way.
    fn counts(&self) -> String {
        let mut neighbours = BTreeMap::<u32, usize>::new();
        let mut killers = BTreeMap::<(Phase, Way, u32), usize>::new();
        for ((phase, id), calls) in &self.witness.seen().calls {
            match self.witness.place(id).unwrap() {
                (batch, true) => *killers.entry((*phase, way(batch), *calls)).or_default() += 1,
                (_, false) => *neighbours.entry(*calls).or_default() += 1,
            }
        }
        let killers = killers.iter().map(|((phase, way, calls), count)| {
            format!("{count} killers {calls} calls ({phase:?}, {way:?})")
        });
        let killers: Vec<String> = killers.collect();
        format!("neighbours by calls {neighbours:?}; {}", killers.join(", "))
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// Starts what answers SQS's calls that move messages, which this emulator does not know: what is moved is a new
/// message, with a new id and time.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html>
fn mover(dev: &Dev, shop: &Shop) -> String {
    let (sqs, runtime) = (shop.sqs.clone(), Handle::current());
    let tasks = Mutex::new(BTreeMap::<String, Value>::new());
    proxy::start(&dev.stack.endpoint, move |call| {
        let is_start = match &*call.action {
            "StartMessageMoveTask" => true,
            "ListMessageMoveTasks" => false,
            _ => return Fate::Pass,
        };
        let asked: Value = serde_json::from_str(&call.body).unwrap();
        let arn = |name: &str| asked[name].as_str().unwrap().to_owned();
        let from = arn("SourceArn");
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match is_start {
            true => {
                let moved = runtime.block_on(move_all(&sqs, &from, &arn("DestinationArn")));
                let task = json!({
                    "SourceArn": from, "Status": "COMPLETED", "StartedTimestamp": 0,
                    "ApproximateNumberOfMessagesMoved": moved,
                    "ApproximateNumberOfMessagesToMove": moved,
                });
                tasks.insert(from, task);
                json!({ "TaskHandle": "task" })
            }
            false => json!({ "Results": [tasks[&from]] }),
        };
        Fate::Answer(200, answer.to_string())
    })
}

async fn move_all(sqs: &aws_sdk_sqs::Client, from: &str, to: &str) -> usize {
    let url = async |arn: &str| {
        let named = sqs
            .get_queue_url()
            .queue_name(arn.rsplit(':').next().unwrap());
        named.send().await.unwrap().queue_url.unwrap()
    };
    let (from, to) = (url(from).await, url(to).await);
    let mut moved = 0;
    loop {
        let request = sqs.receive_message().queue_url(&from);
        let request = request.message_attribute_names("All");
        let received = request.send().await.unwrap().messages.unwrap_or_default();
        let Some(message) = received.first() else {
            return moved;
        };
        let send = sqs.send_message().queue_url(&to);
        let send = send.message_body(message.body().unwrap());
        let send = send.set_message_attributes(message.message_attributes.clone());
        send.send().await.unwrap();
        let delete = sqs.delete_message().queue_url(&from);
        let delete = delete.receipt_handle(message.receipt_handle().unwrap());
        delete.send().await.unwrap();
        moved += 1;
    }
}
