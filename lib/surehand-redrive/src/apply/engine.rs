//! Rounds: what is read, what is sent and what is deleted go side by side.

use super::{
    Apply,
    counts::Counts,
    deletions::Deletions,
    job::Job,
    order::Order,
    pacing::Pacing,
    report::{Report, Status, Stop},
    returns::Returns,
    stage::Stage,
    stock::{Stock, Wave},
};
use crate::{
    destination::Destination,
    journal::{Book, Entry, Journal, Ledger, Progress},
    letter::Letter,
    plan::{Action, Unlisted},
    queue::Received,
    ramp::Ramp,
    reader::{ReadReport, Reader},
    transfer::{self, Deletion},
};
use futures_util::future::join3;
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use surehand::{Error, Result};
use tokio::time::Instant;

impl Apply<'_> {
    /// Does it. `ledger` is what the journal said when it was opened; empty for a new one.
    ///
    /// # Errors
    /// If the queue cannot be read, or the journal not written: nothing is done then that is not
    /// announced. If the journal belongs to another plan, or the plan to another queue.
    pub async fn run(
        &self,
        journal: &mut dyn Journal,
        ledger: &mut Ledger,
        progress: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<Report> {
        self.check(ledger)?;
        let reader = self.open().await?;
        if let Err(error) = self.check_rights().await {
            reader.close().await;
            return Err(error);
        }
        let mut engine = Engine::new(self, reader, Book { journal, ledger });
        let result = engine.run(progress).await;
        let (report, read) = engine.close().await;
        result?;
        Ok(Report {
            left: read.left + report.left,
            ..report
        })
    }
}

/// A round sends one wave, deletes the wave before it, and reads the one after it. Between two rounds
/// the journal is written once: what was sent, what was deleted, and what the next round begins. So
/// every step of a letter is in the journal before its next step is taken, a letter takes three rounds,
/// and a round costs one sync of the journal and the slowest of its calls.
struct Engine<'a, 'b> {
    apply: &'b Apply<'a>,
    reader: Reader<'a>,
    book: Book<'b>,
    /// What the journal does not have yet.
    news: Vec<Entry>,
    stock: Stock,
    order: Order,
    pacing: Pacing,
    deletions: Deletions,
    counts: Counts<'b>,
    /// Of a ramp: what is on the way.
    stage: Stage,
    /// Of a ramp: whether it will know what becomes of what is sent there.
    answers: BTreeMap<Destination, Result<(), String>>,
    returns: Returns,
    /// Until when letters that were sent may be hidden by a reader that died, or by a deletion without
    /// an answer.
    settled_at: Instant,
    /// Why nothing more is begun.
    end: Option<End>,
}

enum End {
    Stopped(Stop),
    Failed(Error),
}

/// How often it is checked whether to stop, while there is nothing to do.
const TICK: Duration = Duration::from_millis(200);

impl<'a, 'b> Engine<'a, 'b> {
    fn new(apply: &'b Apply<'a>, reader: Reader<'a>, book: Book<'b>) -> Self {
        Self {
            apply,
            news: Vec::new(),
            stock: Stock::default(),
            order: Order::new(reader.info().fifo),
            pacing: Pacing::new(&apply.options),
            deletions: Deletions::default(),
            counts: Counts::new(apply.plan, book.ledger),
            stage: Stage::default(),
            answers: BTreeMap::new(),
            returns: Returns::since(apply.options.clock.now()),
            settled_at: Instant::now() + apply.options.settle(),
            end: None,
            reader,
            book,
        }
    }

    async fn run(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<()> {
        if self.book.ledger.plan().is_none() {
            let header = &self.apply.plan.header;
            self.news.push(Entry::Begun {
                plan: header.plan.clone(),
                queue_arn: header.queue_arn.clone(),
            });
        }
        loop {
            self.tell(progress);
            self.watch();
            let jobs = self.choose().await;
            self.commit().await?;
            if !jobs.is_empty() || self.deletions.len() > 0 {
                self.round(jobs).await;
            } else if !self.idle(progress).await? && !self.settle().await {
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

    /// Waits until what was sent before, and is not seen, would be visible again if it were still there:
    /// the queue's counts lag behind, and do not tell. True if it is to be looked for then.
    async fn settle(&mut self) -> bool {
        let is_open = [Progress::Sent, Progress::Dropping]
            .into_iter()
            .flat_map(|at| self.book.ledger.at(at))
            .any(|id| self.reader.receipt(id).is_none() && !self.deletions.is_given_up(id));
        if self.end.is_some() || !is_open || Instant::now() >= self.settled_at {
            return false;
        }
        let left = self.settled_at - Instant::now();
        self.reader.wait(left.min(TICK)).await;
        self.reader.reopen();
        true
    }

    async fn close(mut self) -> (Report, ReadReport) {
        let not_deleted = self.book.ledger.count(Progress::Sent);
        let mut report = self.counts.report;
        report.not_deleted = not_deleted as u64;
        report.left = self.reader.held() as u64;
        if let Some(End::Stopped(stop)) = self.end.take() {
            report.stopped = Some(stop);
        } else {
            for step in self.apply.plan.steps() {
                let is_accounted_for = step.action == Action::Hold
                    || self.book.ledger.progress(&step.message_id) >= Some(Progress::Dropping)
                    || report.failed.contains_key(&step.message_id);
                if !is_accounted_for {
                    let is_here = self.reader.receipt(&step.message_id).is_some();
                    let left = match is_here {
                        true => &mut report.held_back,
                        false => &mut report.missing,
                    };
                    left.push(step.message_id.clone());
                }
            }
        }
        (report, self.reader.close().await)
    }

    fn tell(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) {
        let ramp = self.apply.ramp.as_ref();
        let stage = ramp.map(|ramp| (ramp.stage(self.stage.index), self.stage.sent));
        self.counts.status.stage = stage;
        progress(&self.counts.status);
    }

    /// Sees whether to end here. What is on the way is finished all the same.
    fn watch(&mut self) {
        if self.end.is_some() {
            return;
        }
        let threshold = self.apply.options.threshold_percent;
        if self.apply.is_stopped() {
            self.end = Some(End::Stopped(Stop::Asked));
        } else if self.counts.is_beyond(threshold) {
            self.end = Some(End::Stopped(Stop::Failures));
        }
    }

    /// How many letters the ramp's stage still takes; none without a ramp.
    fn quota(&self) -> Option<u64> {
        let ramp = self.apply.ramp.as_ref()?;
        Some(ramp.stage(self.stage.index).saturating_sub(self.stage.sent))
    }

    fn wave_size(&self) -> usize {
        self.pacing.wave_size(self.quota())
    }

    /// The next letters to send, of a group one. The journal has to have their intents before.
    async fn choose(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let now = Instant::now();
        let size = self.wave_size();
        if self.end.is_some() || !self.pacing.wait(now).is_zero() || size == 0 {
            return jobs;
        }
        self.stock.forget_lapsed(&mut self.reader, HashSet::new());
        let busy = self.stage.busy();
        let Wave { letters, behind } = self.stock.take(size, self.order.halted(), &busy);
        let behind = behind.iter();
        behind.for_each(|letter| self.counts.settled(&letter.id));
        let mut count = 0;
        for letter in letters {
            count += u32::from(self.begin(letter, &mut jobs).await);
        }
        self.pacing.begin(count, now);
        jobs
    }

    /// False if the letter cannot be what the plan wants it to be.
    async fn begin(&mut self, letter: Letter, jobs: &mut Vec<Job>) -> bool {
        let action = self.apply.planned(&letter).clone();
        let prepared = match self.apply.plan.prepare(&letter, &action) {
            Ok(Some((to, parcel))) => self.answers(&to).await.map(|()| Some((to, parcel))),
            other => other,
        };
        let (to, is_announced) = match prepared {
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
                    self.deletions.push(letter.id.clone());
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

    /// Whether a ramp will know what becomes of what is sent there. The error says why not.
    async fn answers(&mut self, to: &Destination) -> Result<(), String> {
        let Some(ramp) = &self.apply.ramp else {
            return Ok(());
        };
        if !self.answers.contains_key(to) {
            let check = ramp.outcomes.check(to);
            let answers = self.reader.during(check).await;
            let answers = answers.map_err(|error| error.to_string());
            self.answers.insert(to.clone(), answers);
        }
        self.answers.get(to).cloned().unwrap_or(Ok(()))
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
                let is_dropped = self.book.ledger.progress(id) == Some(Progress::Dropping);
                self.counts.deleted(id, is_dropped);
            }
        }
        self.book.write(&news).await?;
        for entry in news {
            match entry {
                Entry::Sent { id, .. } => self.deletions.push(id),
                Entry::Intent {
                    to: None, letter, ..
                } => self.deletions.push(letter.id),
                Entry::Done { id } => self.counts.settled(&id),
                _ => {}
            }
        }
        Ok(())
    }

    async fn round(&mut self, jobs: Vec<Job>) {
        self.reader.keep().await;
        let sends: Vec<_> = jobs.iter().map(|job| (&job.to, &job.parcel)).collect();
        // Time has passed since the letters were chosen: the journal was written.
        let holds = self.reader.holds();
        let is_held = |id: &str| holds.has(id);
        let deletions = self.due_deletions();
        let work = join3(
            self.reader.calls(self.receives(), Duration::ZERO),
            transfer::send(self.apply.post, &sends, &is_held),
            transfer::delete(self.apply.queue, deletions),
        );
        let (received, sent, deleted) = self.reader.during(work).await;
        let mut lapsed = HashSet::new();
        for (job, result) in jobs.into_iter().zip(sent) {
            match result {
                Ok(message_id) => self.sent(job, message_id),
                // Another consumer may have it by now; if not, it comes back.
                Err(refusal) if transfer::was_not_tried(&refusal) => {
                    self.reader.forget(&job.parcel.letter_id);
                    lapsed.extend(job.group);
                }
                Err(refusal) => {
                    self.counts.not_sent();
                    let (id, group) = (&job.parcel.letter_id, job.group.as_deref());
                    self.halt(id, group, refusal.to_string());
                }
            }
        }
        self.stock.forget_lapsed(&mut self.reader, lapsed);
        match self.reader.took(received) {
            Ok(letters) => letters.into_iter().for_each(|letter| self.sort(letter)),
            Err(error) => self.end = Some(End::Failed(error)),
        }
        for (id, receipt, deletion) in deleted {
            let has_come_back = self.reader.receipt(&id).as_ref() != Some(&receipt);
            let is_answered = !matches!(deletion, Deletion::Unanswered(_)) || has_come_back;
            self.counts.tried_to_delete(is_answered);
            match deletion {
                Deletion::Done => {
                    self.reader.forget(&id);
                    self.news.push(Entry::Done { id });
                }
                // It was received once more meanwhile.
                _ if has_come_back => self.deletions.push(id),
                // It comes back when its visibility timeout ends, if it is still there.
                Deletion::Stale => self.reader.forget(&id),
                Deletion::Unanswered(why) => {
                    self.reader.forget(&id);
                    self.counts.report.not_deleted_because = Some(why);
                    self.settled_at = Instant::now() + self.apply.options.read.visibility;
                    self.deletions.count_unanswered(id);
                }
            }
        }
    }

    /// What is to be deleted now, by id and receipt. A letter that is dropped is only deleted while it
    /// is held: another consumer may have received it, and may be handling it.
    fn due_deletions(&mut self) -> Vec<(String, String)> {
        let holds = self.reader.holds();
        let mut due = Vec::new();
        for id in self.deletions.take() {
            let is_dropped = self.book.ledger.progress(&id) == Some(Progress::Dropping);
            match self.reader.receipt(&id) {
                Some(_) if is_dropped && !holds.has(&id) => self.reader.forget(&id),
                Some(receipt) => due.push((id, receipt)),
                None => {}
            }
        }
        due
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
        let pending = (listed.count() + self.deletions.len()) as u64;
        self.apply.plan.header.unlisted != Unlisted::Redrive
            && self.counts.status.settled + pending >= self.counts.status.planned
    }

    /// Nothing that is to be sent or dropped waits here or is still to be found.
    fn has_all(&self) -> bool {
        self.stock.is_empty() && self.knows_all()
    }

    /// Nothing is on the way: waits, reads, or sees what became of a stage. False at the end.
    async fn idle(&mut self, progress: &mut (dyn FnMut(&Status) + Send)) -> Result<bool> {
        if self.end.is_some() {
            return Ok(false);
        }
        if self.quota() != Some(0) {
            let busy = self.stage.busy();
            let is_free =
                |letter: &Letter| !letter.group.as_ref().is_some_and(|it| busy.contains(it));
            if self.stock.letters().any(is_free) {
                let wait = self.pacing.wait(Instant::now());
                self.reader.wait(wait.min(TICK)).await;
                return Ok(true);
            }
            // What is left waits for the outcome of what is before it in its group.
            if self.stock.is_empty()
                && !self.knows_all()
                && let Some(letters) = self.reader.look().await?
            {
                letters.into_iter().for_each(|letter| self.sort(letter));
                return Ok(true);
            }
        }
        let ramp = self.apply.ramp.as_ref().filter(|_| self.stage.sent > 0);
        let Some(ramp) = ramp else {
            return Ok(false);
        };
        self.await_stage(ramp, progress).await?;
        Ok(self.end.is_none() && !self.has_all())
    }

    fn sort(&mut self, received: Received) {
        let letter = &received.letter;
        self.stock.see(letter);
        match self.book.ledger.progress(&letter.id) {
            // Its send was confirmed.
            Some(Progress::Sent | Progress::Done) => {
                let id = received.letter.id;
                match self.deletions.is_given_up(&id) {
                    true => self.counts.settled(&id),
                    false => self.deletions.push(id),
                }
                return;
            }
            Some(Progress::Restoring | Progress::Restored) => {
                return self.order.close(letter.group.as_deref());
            }
            Some(Progress::Intended | Progress::Dropping) | None => {}
        }
        let is_listed = self.apply.plan.step(&letter.id).is_some();
        if self.stage.has_returned(letter) {
            // What is behind it in the stock is not sent, either.
            return self.order.halt(letter.group.as_deref());
        }
        if !is_listed && self.returns.has(letter) {
            return self.order.close(letter.group.as_deref());
        }
        if self.order.is_closed(letter.group.as_deref()) {
            return self.counts.settled(&letter.id);
        }
        match self.apply.action(letter) {
            Err(problem) => {
                self.order.close(letter.group.as_deref());
                self.counts.failed(&letter.id, problem);
            }
            Ok(Action::Hold) => self.order.close(letter.group.as_deref()),
            // Those that failed again are among what is read meanwhile.
            Ok(_) if self.stage.is_awaited => self.stock.push_or_spare(received),
            Ok(_) => self.stock.push(received),
        }
    }

    /// It could not be sent, and nothing behind it may be.
    fn halt(&mut self, id: &str, group: Option<&str>, problem: String) {
        self.order.halt(group);
        self.counts.failed(id, problem);
    }

    /// A letter's destination has it, and the journal is to be told.
    fn sent(&mut self, job: Job, message_id: String) {
        self.counts.sent(&job);
        if self.apply.plan.header.unlisted == Unlisted::Redrive {
            self.returns.expect(&job.parcel.body);
        }
        self.news.push(Entry::Sent {
            id: job.parcel.letter_id.clone(),
            message_id: message_id.clone(),
        });
        let now = self.apply.options.clock.now();
        self.stage.count(job, message_id, now);
    }

    /// Waits for what the stage put back, and sees whether another stage is to follow.
    async fn await_stage(
        &mut self,
        ramp: &Ramp<'_>,
        progress: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<()> {
        let deadline = Instant::now() + ramp.timeout;
        self.stage.is_awaited = true;
        loop {
            self.tell(progress);
            // Without an answer the wait goes on: silence is not success.
            let completed = ramp.outcomes.completed(&self.stage.waiting);
            if let Ok(completed) = self.reader.during(completed).await {
                self.stage.complete(&completed);
            }
            if self.stage.waiting.is_empty() {
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
            if self.stage.waiting.is_empty() || Instant::now() >= deadline {
                break;
            }
            self.reader.wait(ramp.poll).await;
        }
        let surplus = self.stock.take_surplus();
        self.reader.release(surplus).await;
        for group in self.stage.busy() {
            self.order.halt(Some(&group));
        }
        let (not_fixed, is_fixed) = self.stage.end(self.apply.options.threshold_percent);
        for fails in not_fixed {
            self.counts.report.add_not_fixed(fails);
        }
        // After the last stage there is nothing left to stop.
        if !is_fixed && !self.has_all() {
            self.end = Some(End::Stopped(Stop::NotFixed));
        }
        Ok(())
    }
}
