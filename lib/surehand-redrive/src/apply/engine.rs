//! Rounds: what is read, what is sent and what is deleted go side by side.

use super::{
    Apply, Report, Status, Stop,
    returns::Returns,
    step::Step,
    stock::{Stock, Wave},
    transfer::{self, Deletion, Job},
};
use crate::{
    journal::{Book, Entry, Progress},
    letter::Letter,
    plan::{Action, Unlisted},
    queue::Received,
    ramp::Ramp,
    reader::{ReadReport, Reader},
};
use futures_util::future::join3;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use surehand::{Error, Result};
use tokio::time::Instant;

/// A round sends one wave, deletes the wave before it, and reads the one after it. Between two rounds
/// the journal is written once: what was sent, what was deleted, and what the next round begins. So
/// every step of a letter is in the journal before its next step is taken, a letter takes three rounds,
/// and a round costs one sync of the journal and the slowest of its calls.
pub(super) struct Engine<'a, 'b> {
    apply: &'b Apply<'a>,
    reader: Reader<'a>,
    book: Book<'b>,
    stock: Stock,
    /// What was read while a step of a ramp is waited for, and is more than should be in memory.
    surplus: Vec<String>,
    /// What the journal does not have yet.
    news: Vec<Entry>,
    /// What the journal has as sent, or as dropped, and is only to be deleted.
    outgoing: Vec<String>,
    /// What an earlier run sent or archived, and did not see deleted.
    inherited: HashSet<String>,
    /// Groups of which a letter stays: what comes behind it stays too.
    closed: HashSet<String>,
    /// Groups of which a letter could not be sent: nothing more of them is.
    halted: HashSet<String>,
    /// How often the deletion of a letter had no answer.
    unanswered: HashMap<String, u32>,
    sends: Tally,
    deletions: Tally,
    status: Status,
    report: Report,
    next_wave: Instant,
    step: Step,
    returns: Returns,
    /// Why nothing more is begun.
    end: Option<End>,
}

enum End {
    Stopped(Stop),
    Failed(Error),
}

/// How many were tried, and how many of them failed.
#[derive(Default)]
struct Tally {
    tried: u64,
    failed: u64,
}

/// How often a deletion without an answer is begun again, each time its letter comes back.
const DELETIONS: u32 = 3;
/// How long nobody looks whether to stop, while there is nothing to do.
const TICK: Duration = Duration::from_millis(200);

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
        let now = apply.options.clock.now();
        Self {
            apply,
            reader,
            inherited: inherited.into_iter().flatten().cloned().collect(),
            book,
            stock: Stock::default(),
            surplus: Vec::new(),
            news: Vec::new(),
            outgoing: Vec::new(),
            closed: HashSet::new(),
            halted: HashSet::new(),
            unanswered: HashMap::new(),
            sends: Tally::default(),
            deletions: Tally::default(),
            status: Status {
                planned: all,
                settled,
                ..Status::default()
            },
            report: Report::default(),
            next_wave: Instant::now(),
            step: Step::default(),
            returns: Returns::since(now),
            end: None,
        }
    }

    pub(super) async fn run(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<()> {
        if self.book.ledger.plan().is_none() {
            let plan = self.apply.plan.header.plan.clone();
            self.news.push(Entry::Begun { plan });
        }
        loop {
            self.tell(progress);
            self.watch();
            let jobs = self.choose();
            self.commit().await?;
            if !jobs.is_empty() || !self.outgoing.is_empty() {
                self.round(jobs).await;
            } else if !self.idle(progress).await? {
                break;
            }
        }
        if let Some(End::Failed(error)) = self.end.take_if(|end| matches!(end, End::Failed(_))) {
            return Err(error);
        }
        // A process may die between a deletion and its last line, and the answer to one may be lost:
        // what is not there any more is deleted.
        if self.reader.has_seen_all() {
            let open = [Progress::Sent, Progress::Dropping].map(|at| self.book.ledger.at(at));
            let gone = open.into_iter().flatten();
            let gone = gone.filter(|id| self.reader.receipt(id).is_none());
            let done = gone.map(|id| Entry::Done { id: id.clone() });
            self.news.extend(done);
            self.commit().await?;
            self.tell(progress);
        }
        Ok(())
    }

    pub(super) async fn close(mut self) -> (Report, ReadReport) {
        let not_deleted = self.book.ledger.count(Progress::Sent);
        self.report.not_deleted = not_deleted as u64;
        self.report.left = self.reader.held() as u64;
        if let Some(End::Stopped(stop)) = self.end.take() {
            self.report.stopped = Some(stop);
        } else {
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

    /// Sees whether to end here. What is on the way is finished all the same.
    fn watch(&mut self) {
        if self.end.is_some() {
            return;
        }
        let threshold = self.apply.options.threshold_percent;
        if self.apply.is_stopped() {
            self.end = Some(End::Stopped(Stop::Asked));
        } else if self.sends.is_beyond(threshold) || self.deletions.is_beyond(threshold) {
            self.end = Some(End::Stopped(Stop::Failures));
        }
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

    /// The next letters to send, of a group one. The journal has to have their intents before.
    fn choose(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let now = Instant::now();
        let size = self.wave_size();
        if self.end.is_some() || now < self.next_wave || size == 0 {
            return jobs;
        }
        self.stock.forget_lapsed(&mut self.reader, now);
        let is_fifo = self.reader.info().fifo;
        let Wave { letters, behind } = self.stock.take(size, is_fifo.then_some(&self.halted));
        behind.iter().for_each(|letter| self.settled(&letter.id));
        let mut count = 0;
        for letter in letters {
            count += u32::from(self.begin(letter, &mut jobs));
        }
        if let Some(rate) = self.apply.options.rate {
            let spaced = Duration::from_secs_f64(f64::from(count) / rate.max(1e-6));
            self.next_wave = now.max(self.next_wave) + spaced;
        }
        jobs
    }

    /// False if the letter cannot be what the plan wants it to be.
    fn begin(&mut self, letter: Letter, jobs: &mut Vec<Job>) -> bool {
        let action = self.apply.planned(&letter.id).clone();
        let (to, is_announced) = match self.apply.plan.prepare(&letter, &action) {
            Err(problem) => {
                self.halt(&letter.id, letter.group.as_deref(), problem);
                return false;
            }
            Ok(Some((to, parcel))) => {
                let has_ramp = self.apply.ramp.is_some();
                jobs.push(Job::new(&letter, to.clone(), parcel, &action, has_ramp));
                let progress = self.book.ledger.progress(&letter.id);
                (Some(to), progress == Some(Progress::Intended))
            }
            Ok(None) => {
                let progress = self.book.ledger.progress(&letter.id);
                let is_announced = progress == Some(Progress::Dropping);
                if is_announced {
                    self.outgoing.push(letter.id.clone());
                }
                (None, is_announced)
            }
        };
        if !is_announced {
            let letter = Box::new(letter);
            self.news.push(Entry::Intent { action, to, letter });
        }
        true
    }

    /// Writes the journal, and does what may be done once it has been written.
    async fn commit(&mut self) -> Result<()> {
        let mut news = std::mem::take(&mut self.news);
        // A standard queue may show a letter once more after it was deleted.
        news.retain(|entry| match entry {
            Entry::Done { id } => self.book.ledger.progress(id) != Some(Progress::Done),
            _ => true,
        });
        for entry in &news {
            if let Entry::Done { id } = entry {
                self.count_deleted(id);
            }
        }
        self.book.write(&news).await?;
        for entry in news {
            match entry {
                Entry::Sent { id, .. } => self.outgoing.push(id),
                Entry::Intent {
                    to: None, letter, ..
                } => self.outgoing.push(letter.id),
                Entry::Done { id } => self.settled(&id),
                _ => {}
            }
        }
        Ok(())
    }

    fn count_deleted(&mut self, id: &str) {
        if self.inherited.remove(id) {
            self.report.finished += 1;
        } else if self.book.ledger.progress(id) == Some(Progress::Dropping) {
            self.report.dropped += 1;
            self.status.dropped += 1;
        }
    }

    async fn round(&mut self, jobs: Vec<Job>) {
        self.reader.keep().await;
        let outgoing = std::mem::take(&mut self.outgoing);
        let outgoing = outgoing.into_iter().filter_map(|id| {
            let receipt = self.reader.receipt(&id)?.to_owned();
            Some((id, receipt))
        });
        let work = join3(
            self.reader.calls(self.receives(), Duration::ZERO),
            transfer::send(self.apply.post, &jobs),
            transfer::delete(self.apply.queue, outgoing.collect()),
        );
        let (received, sent, deleted) = self.reader.during(work).await;
        for (job, result) in jobs.into_iter().zip(sent) {
            self.sends.tried += 1;
            match result {
                Ok(message_id) => self.count_sent(job, message_id),
                Err(refusal) => {
                    self.sends.failed += 1;
                    let (id, group) = (&job.parcel.letter_id, job.group.as_deref());
                    self.halt(id, group, refusal.to_string());
                }
            }
        }
        match self.reader.took(received) {
            Ok(letters) => letters.into_iter().for_each(|letter| self.sort(letter)),
            Err(error) => self.end = Some(End::Failed(error)),
        }
        for (id, receipt, deletion) in deleted {
            self.deletions.tried += 1;
            match deletion {
                Deletion::Done => {
                    self.reader.forget(&id);
                    self.news.push(Entry::Done { id });
                }
                // It has come back a moment ago.
                _ if self.reader.receipt(&id) != Some(&*receipt) => self.outgoing.push(id),
                // It comes back when its visibility timeout ends, if it is still there.
                Deletion::Stale => self.reader.forget(&id),
                Deletion::Unanswered => {
                    self.deletions.failed += 1;
                    self.reader.forget(&id);
                    *self.unanswered.entry(id).or_default() += 1;
                }
            }
        }
    }

    /// How many receives the next wave needs, beside what is there.
    fn receives(&self) -> usize {
        if self.end.is_some() || self.knows_all() {
            return 0;
        }
        self.stock.receives(self.wave_size())
    }

    /// Nothing that the plan names is still to be found.
    fn knows_all(&self) -> bool {
        let listed = self.stock.letters();
        let listed = listed.filter(|letter| self.apply.plan.step(&letter.id).is_some());
        let pending = (listed.count() + self.outgoing.len()) as u64;
        self.apply.plan.header.unlisted != Unlisted::Redrive
            && self.status.settled + pending >= self.status.planned
    }

    /// Nothing that is to be sent or dropped waits here or is still to be found.
    fn has_all(&self) -> bool {
        self.stock.is_empty() && self.knows_all()
    }

    /// Nothing is on the way: waits, reads, or sees what became of a step. False at the end.
    async fn idle(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<bool> {
        if self.end.is_some() {
            return Ok(false);
        }
        if self.quota() != Some(0) {
            if !self.stock.is_empty() {
                let wait = self.next_wave.saturating_duration_since(Instant::now());
                self.reader.wait(wait.min(TICK)).await;
                return Ok(true);
            }
            if !self.knows_all()
                && let Some(letters) = self.reader.look().await?
            {
                letters.into_iter().for_each(|letter| self.sort(letter));
                return Ok(true);
            }
        }
        let ramp = self.apply.ramp.as_ref().filter(|_| self.step.sent > 0);
        let Some(ramp) = ramp else {
            return Ok(false);
        };
        self.settle(ramp, progress).await?;
        Ok(self.end.is_none() && !self.has_all())
    }

    fn sort(&mut self, received: Received) {
        let letter = &received.letter;
        self.stock.see(letter);
        match self.book.ledger.progress(&letter.id) {
            // Its send was confirmed.
            Some(Progress::Sent | Progress::Done) => {
                let id = received.letter.id;
                match self.unanswered.get(&id).is_some_and(|n| *n >= DELETIONS) {
                    true => self.settled(&id),
                    false => self.outgoing.push(id),
                }
                return;
            }
            Some(Progress::Restoring | Progress::Restored) => {
                return self.hold(letter.group.as_deref());
            }
            Some(Progress::Intended | Progress::Dropping) | None => {}
        }
        let is_listed = self.apply.plan.step(&letter.id).is_some();
        if self.step.has_returned(letter) || (!is_listed && self.returns.has(letter)) {
            return self.hold(letter.group.as_deref());
        }
        let is_behind = |group: &String| self.closed.contains(group);
        if letter.group.as_ref().is_some_and(is_behind) {
            return self.settled(&received.letter.id);
        }
        match self.apply.action(letter) {
            Err(problem) => self.fail(&letter.id, letter.group.as_deref(), problem),
            Ok(Action::Hold) => self.hold(letter.group.as_deref()),
            Ok(_) if self.has_surplus() => self.surplus.push(received.letter.id),
            Ok(_) => self.stock.push(received),
        }
    }

    /// It stays, and what is behind it in its group stays behind it.
    fn hold(&mut self, group: Option<&str>) {
        if let Some(group) = group
            && self.reader.info().fifo
        {
            self.closed.insert(group.to_owned());
        }
    }

    /// It could not be sent, and nothing behind it may be.
    fn halt(&mut self, id: &str, group: Option<&str>, problem: String) {
        self.fail(id, group, problem);
        self.halted.extend(group.map(str::to_owned));
    }

    fn fail(&mut self, id: &str, group: Option<&str>, problem: String) {
        self.hold(group);
        self.status.failed += 1;
        self.settled(id);
        self.report.failed.insert(id.to_owned(), problem);
    }

    fn settled(&mut self, id: &str) {
        let is_planned = self.apply.plan.step(id);
        self.status.settled += u64::from(is_planned.is_some_and(|s| s.action != Action::Hold));
    }

    /// Counts a letter that was sent, and has the journal told.
    fn count_sent(&mut self, job: Job, message_id: String) {
        self.status.sent += 1;
        match job.is_edit {
            true => self.report.edited += 1,
            false => self.report.redriven += 1,
        }
        self.report.without_lists += u64::from(job.lost_lists);
        if self.apply.plan.header.unlisted == Unlisted::Redrive {
            self.returns.expect(&job.parcel.body);
        }
        self.news.push(Entry::Sent {
            id: job.parcel.letter_id.clone(),
            message_id: message_id.clone(),
        });
        let now = self.apply.options.clock.now();
        self.step.count(job, message_id, now);
    }

    /// Letters are read while a step is waited for, since those that failed again are among them. The
    /// others are more than anybody needs now.
    fn has_surplus(&self) -> bool {
        !self.surplus.is_empty() || (self.step.is_awaited && self.stock.is_full())
    }

    /// Waits for what the step put back, and sees whether another step is to follow.
    async fn settle(
        &mut self,
        ramp: &Ramp<'_>,
        progress: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<()> {
        let deadline = Instant::now() + ramp.timeout;
        self.step.is_awaited = true;
        loop {
            self.tell(progress);
            // If nobody answers the wait goes on: silence is no success.
            if let Ok(completed) = ramp.outcomes.completed(&self.step.waiting).await {
                self.step.complete(&completed);
            }
            if self.step.waiting.is_empty() {
                break;
            }
            if self.apply.is_stopped() {
                self.end = Some(End::Stopped(Stop::Asked));
                return Ok(());
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
        let surplus = std::mem::take(&mut self.surplus);
        self.reader.release(surplus).await;
        let (not_fixed, is_fixed) = self.step.end(self.apply.options.threshold_percent);
        for fails in not_fixed {
            self.report.add_not_fixed(fails);
        }
        // After the last step there is nothing left to stop.
        if !is_fixed && !self.has_all() {
            self.end = Some(End::Stopped(Stop::NotFixed));
        }
        Ok(())
    }
}

impl Tally {
    fn is_beyond(&self, percent: u32) -> bool {
        self.failed * 100 > self.tried * u64::from(percent)
    }
}
