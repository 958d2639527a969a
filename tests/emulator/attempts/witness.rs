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
            false => "\"CUSTOMER#",
        })?;
        let id = id.split(['"', '@']).next()?;
        is_known.then(|| (id.to_owned(), call.moment))
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
