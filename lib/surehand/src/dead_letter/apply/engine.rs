//! Reading, waves, limits and steps.

use super::{
    super::{
        Action, Entry, Letter, Progress, ReadReport, Reader, Received, Redriven, journal::Book,
    },
    Apply, NotFixed, Report, Status, Stop,
    transfer::{self, Job},
};
use crate::Result;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

pub(super) struct Engine<'a, 'b> {
    apply: &'b Apply<'a>,
    reader: Reader<'a>,
    book: Book<'b>,
    /// What is to be sent or dropped, in the order of its receipt.
    ready: VecDeque<Received>,
    ready_bytes: usize,
    /// What was sent or archived, and is only to be deleted.
    finished: Vec<String>,
    /// What an earlier run sent or archived, and did not see deleted.
    inherited: HashSet<String>,
    /// Groups of which a letter stays: what comes behind it stays too.
    closed: HashSet<String>,
    /// Groups of which a letter could not be sent: nothing more of them is.
    halted: HashSet<String>,
    attempted: u64,
    unsent: u64,
    status: Status,
    report: Report,
    next_wave: Instant,
    step: Step,
}

/// What of a ramp is on the way.
#[derive(Default)]
struct Step {
    index: usize,
    sent: u64,
    waiting: Vec<Redriven>,
    groups: BTreeMap<String, NotFixed>,
    failed: u64,
}

/// Bodies in memory, about.
const READY_BYTES: usize = 8 * 1024 * 1024;

impl<'a, 'b> Engine<'a, 'b> {
    pub(super) fn new(apply: &'b Apply<'a>, reader: Reader<'a>, book: Book<'b>) -> Self {
        let steps = apply.plan.steps().iter();
        let planned = steps.filter(|step| step.action != Action::Hold);
        let (mut all, mut settled) = (0, 0);
        for step in planned {
            all += 1;
            settled += u64::from(book.ledger.progress(&step.message_id) >= Some(Progress::Done));
        }
        let inherited = [Progress::Sent, Progress::Dropping].map(|at| book.ledger.at(at));
        Self {
            apply,
            reader,
            inherited: inherited.into_iter().flatten().cloned().collect(),
            book,
            ready: VecDeque::new(),
            ready_bytes: 0,
            finished: Vec::new(),
            closed: HashSet::new(),
            halted: HashSet::new(),
            attempted: 0,
            unsent: 0,
            status: Status {
                planned: all,
                settled,
                ..Status::default()
            },
            report: Report::default(),
            next_wave: Instant::now(),
            step: Step::default(),
        }
    }

    pub(super) async fn run(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<()> {
        self.work(progress).await?;
        // A process may die between a deletion and its last line, and the answer to one may be lost:
        // what is not there any more is deleted.
        if self.reader.has_seen_all() {
            let open = [Progress::Sent, Progress::Dropping].map(|at| self.book.ledger.at(at));
            let gone = open.into_iter().flatten();
            let gone = gone.filter(|id| self.reader.receipt(id).is_none());
            let gone = gone.cloned().collect();
            self.done(gone).await?;
            self.tell(progress);
        }
        Ok(())
    }

    async fn work(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<()> {
        if self.book.ledger.plan().is_none() {
            let plan = self.apply.plan.header.plan.clone();
            self.book.write(&[Entry::Begun { plan }]).await?;
        }
        loop {
            self.tell(progress);
            if self.apply.stop.is_some_and(|stop| stop()) {
                self.report.stopped = Some(Stop::Asked);
                return Ok(());
            }
            self.fill().await?;
            self.pace().await;
            let wave = self.wave();
            if wave.is_empty() && self.finished.is_empty() {
                if self.step.sent > 0 && !self.settle(progress).await? {
                    return Ok(());
                }
                // Waiting may have brought letters.
                if self.ready.is_empty() && self.finished.is_empty() {
                    return Ok(());
                }
                continue;
            }
            self.execute(wave).await?;
            if self.unsent * 100 > self.attempted * u64::from(self.apply.options.threshold_percent)
            {
                self.report.stopped = Some(Stop::Failures);
                self.tell(progress);
                return Ok(());
            }
            let is_step_done = self.quota().is_some_and(|left| left == 0);
            if is_step_done && !self.settle(progress).await? {
                return Ok(());
            }
        }
    }

    pub(super) async fn close(mut self) -> (Report, ReadReport) {
        let not_deleted = self.book.ledger.count(Progress::Sent);
        self.report.not_deleted = not_deleted as u64;
        self.report.left = self.reader.held() as u64;
        if self.report.stopped.is_none() {
            for step in self.apply.plan.steps() {
                let is_settled = step.action == Action::Hold
                    || self.book.ledger.progress(&step.message_id) >= Some(Progress::Dropping)
                    || self.report.failed.contains_key(&step.message_id)
                    || self.reader.receipt(&step.message_id).is_some();
                if !is_settled {
                    self.report.missing.push(step.message_id.clone());
                }
            }
        }
        (self.report, self.reader.close().await)
    }

    fn tell(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) {
        let ramp = self.apply.ramp.as_ref();
        self.status.step = ramp.map(|ramp| (ramp.step(self.step.index), self.step.sent));
        progress(&self.status);
    }

    /// Reads until there is enough for a wave, or nothing more.
    async fn fill(&mut self) -> Result<()> {
        let wanted = self.wave_size();
        while self.ready.len() < wanted && self.ready_bytes < READY_BYTES {
            let is_all_known = self.status.settled + self.pending() >= self.status.planned;
            let takes_others = self.apply.plan.header.unlisted == super::super::Unlisted::Redrive;
            // Nothing that the plan names is still to be found.
            if is_all_known && !takes_others {
                return Ok(());
            }
            // What waits already should not wait for more.
            let letters = match self.ready.is_empty() && self.finished.is_empty() {
                true => self.reader.next().await?,
                false => self.reader.receive(Duration::ZERO).await?,
            };
            if letters.is_empty() {
                return Ok(());
            }
            for received in letters {
                self.sort(received);
            }
        }
        Ok(())
    }

    /// Letters that are here and not settled.
    fn pending(&self) -> u64 {
        let listed = self.ready.iter();
        let listed = listed.filter(|r| self.apply.plan.step(&r.letter.id).is_some());
        (listed.count() + self.finished.len()) as u64
    }

    fn sort(&mut self, received: Received) {
        let letter = &received.letter;
        match self.book.ledger.progress(&letter.id) {
            // Its send was confirmed, or it was archived to be dropped.
            Some(Progress::Sent | Progress::Done | Progress::Dropping) => {
                self.finished.push(received.letter.id);
                return;
            }
            Some(Progress::Restoring | Progress::Restored) => return self.hold(letter),
            Some(Progress::Intended) | None => {}
        }
        if self.has_returned(letter) {
            return self.hold(&received.letter);
        }
        let is_behind = |group: &String| self.closed.contains(group);
        if letter.group.as_ref().is_some_and(is_behind) {
            return self.settled(&received.letter.id);
        }
        match self.apply.action(letter) {
            Err(problem) => self.fail(letter, problem),
            Ok(Action::Hold) => self.hold(letter),
            Ok(_) => {
                self.ready_bytes += letter.body.len();
                self.ready.push_back(received);
            }
        }
    }

    /// It stays, and what is behind it in its group stays behind it.
    fn hold(&mut self, letter: &Letter) {
        if let Some(group) = &letter.group
            && self.reader.info().fifo
        {
            self.closed.insert(group.clone());
        }
    }

    /// It could not be sent, and nothing behind it may be.
    fn halt(&mut self, letter: &Letter, problem: String) {
        self.fail(letter, problem);
        self.halted.extend(letter.group.clone());
    }

    fn fail(&mut self, letter: &Letter, problem: String) {
        self.hold(letter);
        self.status.failed += 1;
        self.settled(&letter.id);
        self.report.failed.insert(letter.id.clone(), problem);
    }

    fn settled(&mut self, id: &str) {
        let is_planned = self.apply.plan.step(id);
        self.status.settled += u64::from(is_planned.is_some_and(|s| s.action != Action::Hold));
    }

    /// How many letters the ramp's step still takes; none without a ramp.
    fn quota(&self) -> Option<u64> {
        let ramp = self.apply.ramp.as_ref()?;
        Some(ramp.step(self.step.index).saturating_sub(self.step.sent))
    }

    fn wave_size(&self) -> usize {
        let mut size = self.apply.options.wave.max(1);
        if let Some(rate) = self.apply.options.rate {
            // A few waves a second: a rate is no burst a minute.
            size = size.min((rate / 4.0).ceil().max(1.0) as usize);
        }
        match self.quota() {
            Some(left) => size.min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => size,
        }
    }

    /// The next letters to send: of a group, one.
    fn wave(&mut self) -> Vec<Received> {
        let size = self.wave_size();
        let is_fifo = self.reader.info().fifo;
        let mut groups = HashSet::new();
        let (mut wave, mut later) = (Vec::new(), VecDeque::new());
        while let Some(received) = self.ready.pop_front() {
            if let Some(group) = received.letter.group.as_ref().filter(|_| is_fifo) {
                if self.halted.contains(group) {
                    self.ready_bytes -= received.letter.body.len();
                    self.settled(&received.letter.id);
                    continue;
                }
                if wave.len() >= size || !groups.insert(group.clone()) {
                    later.push_back(received);
                    continue;
                }
            } else if wave.len() >= size {
                later.push_back(received);
                continue;
            }
            self.ready_bytes -= received.letter.body.len();
            wave.push(received);
        }
        self.ready = later;
        wave
    }

    /// Waits until the rate allows another wave.
    async fn pace(&mut self) {
        let wait = self.next_wave.saturating_duration_since(Instant::now());
        self.reader.wait(wait).await;
    }

    async fn execute(&mut self, wave: Vec<Received>) -> Result<()> {
        self.reader.keep().await;
        if let Some(rate) = self.apply.options.rate {
            let now = Instant::now().max(self.next_wave);
            self.next_wave = now + Duration::from_secs_f64(wave.len() as f64 / rate.max(1e-6));
        }
        let (mut jobs, mut drops, mut intents) = (Vec::new(), Vec::new(), Vec::new());
        for Received { letter, .. } in wave {
            let prepared = self.apply.action(&letter).and_then(|action| {
                let sending = self.apply.plan.prepare(&letter, &action)?;
                Ok((action, sending))
            });
            let (action, sending) = match prepared {
                Ok(prepared) => prepared,
                Err(problem) => {
                    self.halt(&letter, problem);
                    continue;
                }
            };
            let is_new = self.book.ledger.progress(&letter.id).is_none();
            let to = sending.as_ref().map(|(to, _)| to.clone());
            match sending {
                Some((to, parcel)) => jobs.push(Job::new(&letter, to, parcel, &action)),
                None => drops.push(letter.id.clone()),
            }
            if is_new {
                let letter = Box::new(letter);
                intents.push(Entry::Intent { action, to, letter });
            }
        }
        self.book.write(&intents).await?;
        drop(intents);

        let results = transfer::send(self.apply.post, &jobs).await;
        let mut sent = Vec::new();
        for (job, result) in jobs.into_iter().zip(results) {
            self.attempted += 1;
            match result {
                Ok(message_id) => {
                    sent.push(Entry::Sent {
                        id: job.parcel.letter_id.clone(),
                        message_id: message_id.clone(),
                    });
                    self.count(job, message_id);
                }
                Err(refusal) => {
                    self.unsent += 1;
                    self.halt(&job.as_letter(), refusal.to_string());
                }
            }
        }
        self.book.write(&sent).await?;

        let mut ids = std::mem::take(&mut self.finished);
        ids.extend(drops);
        ids.extend(sent.into_iter().filter_map(|entry| match entry {
            Entry::Sent { id, .. } => Some(id),
            _ => None,
        }));
        let deleted = transfer::delete(self.apply.queue, &mut self.reader, ids).await;
        self.done(deleted).await
    }

    /// Writes down and counts what is deleted.
    async fn done(&mut self, ids: Vec<String>) -> Result<()> {
        let mut done = Vec::new();
        for id in ids {
            match self.book.ledger.progress(&id) {
                // A standard queue may show a letter once more after it was deleted.
                Some(Progress::Done) => continue,
                _ if self.inherited.remove(&id) => self.report.finished += 1,
                Some(Progress::Dropping) => {
                    self.report.dropped += 1;
                    self.status.dropped += 1;
                }
                _ => {}
            }
            self.settled(&id);
            done.push(Entry::Done { id });
        }
        self.book.write(&done).await
    }

    /// Counts a letter that was sent, and waits for it if there is a ramp.
    fn count(&mut self, job: Job, message_id: String) {
        self.status.sent += 1;
        match job.is_edit {
            true => self.report.edited += 1,
            false => self.report.redriven += 1,
        }
        self.report.without_lists += u64::from(job.lost_lists);
        self.step.sent += 1;
        if self.apply.ramp.is_none() {
            return;
        }
        let group = self.step.groups.entry(job.group.id.clone());
        let group = group.or_insert_with(|| NotFixed {
            group: job.group.clone(),
            returned: 0,
            unanswered: 0,
        });
        group.group.count += 1;
        self.step.waiting.push(Redriven {
            event_id: job.event_id.unwrap_or_else(|| message_id.clone()),
            message_id,
            letter_id: job.parcel.letter_id,
            handler: job.cause.handler,
            function: job.cause.function,
            group_id: job.group.id,
            redrive_count: job.redrive_count,
            sent_ms: crate::clock::epoch_ms(self.apply.options.clock.now()),
        });
    }

    /// Whether the letter is one that was put back by this step, and failed again.
    fn has_returned(&mut self, letter: &Letter) -> bool {
        if self.step.waiting.is_empty() {
            return false;
        }
        let event = letter.event().map(|event| event.id);
        let count = letter.redrive_count();
        // A second letter of one event may have been here all the time.
        let is_later = |redriven: &Redriven| {
            count > redriven.redrive_count
                || letter
                    .sent_at_ms
                    .is_some_and(|sent| sent >= redriven.sent_ms)
        };
        let index = self.step.waiting.iter().position(|redriven| {
            redriven.message_id == letter.id
                || (event.as_ref() == Some(&redriven.event_id) && is_later(redriven))
        });
        let Some(index) = index else {
            return false;
        };
        let redriven = self.step.waiting.swap_remove(index);
        self.step.failed += 1;
        if let Some(group) = self.step.groups.get_mut(&redriven.group_id) {
            group.returned += 1;
        }
        true
    }

    /// Waits for what the step put back. False if it ends here.
    async fn settle(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<bool> {
        let Some(ramp) = &self.apply.ramp else {
            return Ok(true);
        };
        let deadline = Instant::now() + ramp.timeout;
        loop {
            self.tell(progress);
            // If nobody answers the wait goes on: silence is no success.
            if let Ok(completed) = ramp.outcomes.completed(&self.step.waiting).await {
                let mut completed = completed.into_iter();
                let waiting = &mut self.step.waiting;
                waiting.retain(|_| !completed.next().unwrap_or(false));
            }
            if self.step.waiting.is_empty() {
                break;
            }
            if self.apply.stop.is_some_and(|stop| stop()) {
                self.report.stopped = Some(Stop::Asked);
                return Ok(false);
            }
            self.reader.reopen();
            for received in self.reader.receive(Duration::ZERO).await? {
                self.sort(received);
            }
            if self.step.waiting.is_empty() || Instant::now() >= deadline {
                break;
            }
            self.reader.wait(ramp.poll).await;
        }
        let step = std::mem::take(&mut self.step);
        let failed = step.failed + step.waiting.len() as u64;
        let mut groups = step.groups;
        for redriven in &step.waiting {
            if let Some(group) = groups.get_mut(&redriven.group_id) {
                group.unanswered += 1;
            }
        }
        let groups = groups.into_values();
        let mut not_fixed = groups.filter(|group| group.returned + group.unanswered > 0);
        self.report.not_fixed.extend(&mut not_fixed);
        self.step.index = step.index + 1;
        if failed * 100 > step.sent * u64::from(self.apply.options.threshold_percent) {
            self.report.stopped = Some(Stop::NotFixed);
            return Ok(false);
        }
        Ok(true)
    }
}

impl Job {
    /// As much of the letter as a failure needs.
    fn as_letter(&self) -> Letter {
        let mut letter = Letter::new(&*self.parcel.letter_id, "");
        letter.group.clone_from(&self.group_name);
        letter
    }
}
