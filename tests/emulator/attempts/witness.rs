//! What stands between the functions and what they call.

use super::case::{BATCH, BATCHES, Case, Phase};
use crate::emulator::{dev::Dev, processes};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use surehand_test_support::proxy::{Call, Fate, Moment};

/// How often it is asked whose a connection is: the kernel's list of them has gaps while it changes.
const TRIES: usize = 100;

/// Stands between the functions of a case and what they call, and sees each record that is handled.
pub(super) struct Witness {
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
    /// What must not be. A panic in a proxy's thread would be noticed by none.
    faults: Vec<String>,
}

impl Seen {
    fn count(&mut self, id: &str) {
        let calls = self.calls.entry((self.phase, id.to_owned()));
        *calls.or_default() += 1;
    }
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
    pub(super) fn new(case: Case, dev: &Dev) -> Self {
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

    pub(super) fn enter(&self, phase: Phase) {
        self.seen().phase = phase;
    }

    /// How often the handler was called for the record in this phase.
    pub(super) fn calls(&self, phase: Phase, id: &str) -> u32 {
        let calls = self.seen().calls.get(&(phase, id.to_owned())).copied();
        calls.unwrap_or_default()
    }

    pub(super) fn all_calls(&self) -> BTreeMap<(Phase, String), u32> {
        self.seen().calls.clone()
    }

    /// How often the killer of each batch has killed.
    pub(super) fn deaths(&self) -> Vec<u32> {
        self.seen().batches.iter().map(|it| it.deaths).collect()
    }

    /// How many neighbours were done at each death in a batch.
    pub(super) fn done_at_deaths(&self, batch: usize) -> Vec<usize> {
        self.seen().batches[batch].done.clone()
    }

    /// What must not be.
    pub(super) fn faults(&self) -> Vec<String> {
        self.seen().faults.clone()
    }

    pub(super) fn decide(&self, call: &Call) -> Fate {
        let Some(id) = self.record(call) else {
            return Fate::Pass;
        };
        let (begins, ends) = self.calls_of_a_handler();
        let is_begun = call.action == begins;
        if call.moment == Moment::After {
            let mut seen = self.seen();
            if is_begun {
                seen.count(&id);
            }
            if call.action == ends {
                seen.done.insert(id);
            }
            return Fate::Pass;
        }
        match is_begun {
            true => self.begin(&id, call.ends),
            false => Fate::Pass,
        }
    }

    /// The call by which a handler begins, and the one by which it has its effect.
    fn calls_of_a_handler(&self) -> (&'static str, &'static str) {
        const MAIL: &str = "POST /v2/email/outbound-emails";
        match self.case.is_lease {
            true => (MAIL, MAIL),
            false => ("BatchGetItem", "TransactWriteItems"),
        }
    }

    /// The record that a handler calls this for.
    fn record(&self, call: &Call) -> Option<String> {
        let (begins, ends) = self.calls_of_a_handler();
        let (_, id) = call.body.split_once(match self.case.is_lease {
            true => "\"ToAddresses\":[\"",
            false => "\"CUSTOMER#",
        })?;
        let id = id.split(['"', '@']).next()?;
        [begins, ends]
            .contains(&&*call.action)
            .then(|| id.to_owned())
    }

    /// What becomes of a handler's call. One that passes is counted once it is answered: if its connection has
    /// broken, the client makes it again.
    fn begin(&self, id: &str, ends: [SocketAddr; 2]) -> Fate {
        let mut seen = self.seen();
        let Some((number, is_killer)) = self.place(id) else {
            seen.faults.push(format!("{id} is handled"));
            return Fate::Pass;
        };
        let phase = seen.phase;
        let is_first = phase == Phase::Killing;
        let is_along = is_first && self.case.takes_all_along(seen.batches[number].deaths);
        let kills = is_killer && (is_first || self.case.kills_again(number));
        if is_along || (kills && phase != Phase::Well) {
            seen.count(id);
            seen.batches[number].held.push(ends);
            let is_complete = !is_along || seen.batches[number].held.len() == BATCH;
            match is_complete {
                true => self.kill(seen, number),
                false => self.wait_for_death(seen, number, ends),
            }
            return Fate::Cut;
        }
        if phase == Phase::PutBack {
            seen.count(id);
            // An answer after which the client does not try again.
            let refusal = json!({ "__type": "ValidationException", "message": "ill" });
            return Fate::Answer(400, refusal.to_string());
        }
        Fate::Pass
    }

    /// The number of its batch, and whether it is the killer.
    pub(super) fn place(&self, id: &str) -> Option<(usize, bool)> {
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
