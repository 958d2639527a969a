//! Reads a queue without losing sight of what was read.

use crate::{
    queue::{Queue, QueueInfo, Received},
    time::Moment,
};
use futures_util::{
    StreamExt as _,
    future::{Either, join_all, select},
    stream,
};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use surehand::{Clock, Error, Result, aws::limits::ENTRIES};
use tokio::time::{Instant, sleep_until};

/// Reads every letter of a queue once, and gives them back at the end.
///
/// What was read stays hidden, and the visibility timeout is renewed, until [`close`](Self::close)
/// gives all of it back: nothing is read twice, and whoever waits for the queue gets it at once. If
/// the process dies, the letters come back after [`ReadOptions::visibility`].
///
/// The reader keeps ids and receipts of what it has read, and no bodies. SQS lets nobody hold more
/// than 120,000 messages of a queue: the rest is counted in [`ReadReport::left`].
///
/// A queue has been read when several receives in a row found nothing *and* the queue's own counts
/// say that nothing is left but what is held here. SQS answers single receives with nothing though
/// something is there. Of a FIFO queue's group no more than the first ten messages are shown while
/// those are held: the rest is counted in [`ReadReport::left`].
pub struct Reader<'a> {
    queue: &'a dyn Queue,
    options: ReadOptions,
    info: QueueInfo,
    holds: Holds,
    next_beat: Moment,
    read: u64,
    search: Search,
    ended: Option<End>,
}

/// How long nothing was found.
#[derive(Default)]
struct Search {
    since: Option<Instant>,
    empty: u32,
}

/// What a few receives gave, and when what they gave is visible again at the earliest.
pub(crate) struct Receipts {
    results: Vec<Result<Vec<Received>>>,
    until: Moment,
}

/// How a queue is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadOptions {
    /// How long letters are hidden, renewed at half of it. 10 minutes unless set; 12 hours at most.
    pub visibility: Duration,
    /// How long one receive waits for a message. 2 s unless set; 20 s at most.
    pub wait: Duration,
    /// How many receives go on at once, on queues that keep no order. 4 unless set.
    pub receivers: usize,
    /// How long to go on when nothing is found though the queue says that there is something.
    /// 30 s unless set.
    pub patience: Duration,
    /// Read also a queue that has a redrive policy: reading counts as receiving, so that SQS may move
    /// messages on.
    pub despite_redrive_policy: bool,
    /// Tells the time, beside the monotonic clock, which stands still while the machine sleeps.
    pub clock: Clock,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            visibility: Duration::from_secs(600),
            wait: Duration::from_secs(2),
            receivers: 4,
            patience: Duration::from_secs(30),
            despite_redrive_policy: false,
            clock: Clock::system(),
        }
    }
}

/// What came of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadReport {
    /// How many letters were read.
    pub read: u64,
    /// Whether that is all of them.
    pub complete: bool,
    /// How many there are besides, about.
    pub left: u64,
    /// How many could not be given back, and come back when their visibility timeout ends.
    pub not_released: u64,
}

/// Which letters are held. Who works while the reader renews the visibility timeouts has a clone.
#[derive(Clone)]
pub(crate) struct Holds {
    by_id: Arc<Mutex<HashMap<String, Hold>>>,
    clock: Clock,
}

struct Hold {
    receipt: String,
    until: Moment,
}

impl Holds {
    fn new(clock: Clock) -> Self {
        Self {
            by_id: Arc::default(),
            clock,
        }
    }

    fn by_id(&self) -> MutexGuard<'_, HashMap<String, Hold>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::now(&self.clock)
    }

    /// Whether a letter is held, so that no other consumer can have it.
    pub(crate) fn has(&self, id: &str) -> bool {
        let now = self.now();
        self.by_id()
            .get(id)
            .is_some_and(|hold| !hold.until.is_over(now))
    }

    fn extend(&self, id: &str, until: Moment) {
        if let Some(hold) = self.by_id().get_mut(id) {
            hold.until = until;
        }
    }

    fn is_empty(&self) -> bool {
        self.by_id().is_empty()
    }

    fn len(&self) -> usize {
        self.by_id().len()
    }
}

#[derive(Clone, Copy)]
struct End {
    complete: bool,
    /// What was not read is behind what is held here.
    is_certain: bool,
    left: u64,
}

/// How often in a visibility timeout renewals are looked to. A hold is renewed in the second half of its
/// timeout, so that one renewal may fail before it lapses.
const BEATS: u32 = 4;

const EMPTY_RECEIVES: u32 = 3;
const ATTEMPTS: u32 = 4;
/// Calls with ten entries that go on at once.
const CALLS: usize = 8;

impl<'a> Reader<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// If the queue does not answer, or has a redrive policy and the options do not allow that.
    pub async fn open(queue: &'a dyn Queue, options: ReadOptions) -> Result<Self> {
        let info = persistently(|| queue.info()).await?;
        if let Some(policy) = &info.redrive_policy
            && !options.despite_redrive_policy
        {
            return Err(Error::rejected(format!(
                "{} has a redrive policy of its own ({policy}): reading it would move messages on; read it only if you mean to",
                info.url
            )));
        }
        let holds = Holds::new(options.clock.clone());
        Ok(Self {
            queue,
            next_beat: holds.now().after(options.visibility / BEATS),
            options,
            info,
            holds,
            read: 0,
            search: Search::default(),
            ended: None,
        })
    }

    /// What the queue said when it was last asked.
    pub fn info(&self) -> &QueueInfo {
        &self.info
    }

    /// The next letters, in the order in which they came; none at the end.
    ///
    /// # Errors
    /// If the queue does not answer, several times in a row.
    pub async fn next(&mut self) -> Result<Vec<Received>> {
        loop {
            match self.look().await? {
                Some(letters) if letters.is_empty() => {}
                Some(letters) => return Ok(letters),
                None => return Ok(Vec::new()),
            }
        }
    }

    /// One receive's worth of looking for letters: maybe nothing; none at the end.
    pub(crate) async fn look(&mut self) -> Result<Option<Vec<Received>>> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let since = *self.search.since.get_or_insert_with(Instant::now);
        let letters = self.receive(self.options.wait).await?;
        if !letters.is_empty() {
            self.search = Search::default();
            return Ok(Some(letters));
        }
        self.search.empty += 1;
        if self.search.empty < EMPTY_RECEIVES {
            return Ok(Some(letters));
        }
        self.info = persistently(|| self.queue.info()).await?;
        let others = self.info.in_flight.saturating_sub(self.holds.len() as u64);
        let left = self.info.visible + self.info.delayed + others;
        // Its other messages wait for those that are held here.
        let is_blocked = self.info.fifo && !self.holds.is_empty() && others == 0;
        if left == 0 || is_blocked || since.elapsed() >= self.options.patience {
            self.ended = Some(End {
                complete: left == 0,
                is_certain: left == 0 || is_blocked,
                left,
            });
            return Ok(None);
        }
        Ok(Some(letters))
    }

    /// Looks once, and gives what is new. Nothing says that there is no more.
    pub(crate) async fn receive(&mut self, wait: Duration) -> Result<Vec<Received>> {
        self.keep().await;
        let receipts = self.calls(self.options.receivers, wait).await;
        self.took(receipts)
    }

    /// Receives, up to so many at once. What they give is to be [taken](Self::took).
    pub(crate) fn calls(
        &self,
        count: usize,
        wait: Duration,
    ) -> impl Future<Output = Receipts> + Send + use<'a> {
        let count = match self.info.fifo {
            true => count.min(1),
            false => count.min(self.options.receivers.max(1)),
        };
        let (queue, visibility) = (self.queue, self.options.visibility);
        let clock = self.options.clock.clone();
        async move {
            // Counted from before the calls: it ends there at the earliest.
            let until = Moment::now(&clock).after(visibility);
            let receive = || persistently(|| queue.receive(ENTRIES, visibility, wait));
            let results = join_all((0..count).map(|_| receive())).await;
            Receipts { results, until }
        }
    }

    /// Holds what was received, and gives what is new.
    pub(crate) fn took(&mut self, receipts: Receipts) -> Result<Vec<Received>> {
        let Receipts { results, until } = receipts;
        let mut letters = Vec::new();
        let mut failed = None;
        for result in results {
            match result {
                Ok(received) => letters.extend(received),
                Err(error) => failed = Some(error),
            }
        }
        let mut held = self.holds.by_id();
        letters.retain(|received| {
            let receipt = received.receipt.clone();
            let hold = Hold { receipt, until };
            // A standard queue may show a message twice; the last receipt is the valid one.
            let is_new = held.insert(received.letter.id.clone(), hold).is_none();
            self.read += u64::from(is_new);
            is_new
        });
        drop(held);
        match failed {
            // What the others got is worth more than the error, which will be there again.
            Some(error) if letters.is_empty() => Err(error),
            _ => Ok(letters),
        }
    }

    /// Whether a letter that is not held here is not in the queue, or is behind one that is held.
    pub(crate) fn has_seen_all(&self) -> bool {
        self.ended.is_some_and(|end| end.is_certain)
    }

    /// Lets the end be looked for again: something may have become visible.
    pub(crate) fn reopen(&mut self) {
        self.search = Search::default();
        self.ended = None;
    }

    /// Goes on holding what is held while other work goes on.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T> + Send) -> T {
        let mut work = pin!(work);
        loop {
            let beat = pin!(async {
                sleep_until(self.next_beat.instant()).await;
                self.keep().await;
            });
            match select(work.as_mut(), beat).await {
                Either::Left((result, _)) => return result,
                Either::Right(((), _)) => {}
            }
        }
    }

    /// Waits, and goes on holding what is held.
    pub async fn wait(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        loop {
            let until = end.min(self.next_beat.instant());
            sleep_until(until).await;
            self.keep().await;
            if until == end {
                return;
            }
        }
    }

    /// Renews the visibility timeouts if it is time to.
    pub async fn keep(&mut self) {
        let now = self.holds.now();
        if !self.next_beat.is_over(now) {
            return;
        }
        let visibility = self.options.visibility;
        let soon = now.after(visibility * 3 / 5);
        let mut due: Vec<_> = (self.holds.by_id().iter())
            .filter(|(_, hold)| hold.until.is_over(soon))
            .map(|(id, hold)| (hold.until, id.clone(), hold.receipt.clone()))
            .collect();
        due.sort_by_key(|(until, ..)| until.instant());
        let due = due.into_iter().map(|(_, id, receipt)| (id, receipt));
        // A renewal that fails is no error: what comes back is known, and gets its new receipt.
        self.change(due.collect(), visibility).await;
        self.next_beat = now.after(visibility / BEATS);
    }

    /// The receipt of a letter that is held.
    pub(crate) fn receipt(&self, id: &str) -> Option<String> {
        self.holds.by_id().get(id).map(|hold| hold.receipt.clone())
    }

    /// Which letters are held, also while the reader is busy.
    pub(crate) fn holds(&self) -> Holds {
        self.holds.clone()
    }

    /// Gives letters back, so that they can be read again.
    pub(crate) async fn release(&mut self, ids: Vec<String>) {
        let taken = |id: String| self.holds.by_id().remove_entry(&id);
        let held = ids.into_iter().filter_map(taken);
        let held = held.map(|(id, hold)| (id, hold.receipt)).collect();
        // Those that cannot be given back come back by themselves.
        self.change(held, Duration::ZERO).await;
    }

    /// Holds a letter no longer: it was deleted, or its receipt is good for nothing.
    pub(crate) fn forget(&mut self, id: &str) {
        self.holds.by_id().remove(id);
    }

    /// How many letters are held.
    pub fn held(&self) -> usize {
        self.holds.len()
    }

    /// Gives back what is held.
    pub async fn close(self) -> ReadReport {
        let end = match self.ended {
            Some(end) => end,
            None => self.unfinished().await,
        };
        let held = std::mem::take(&mut *self.holds.by_id());
        let all: Vec<_> = held
            .into_iter()
            .map(|(id, hold)| (id, hold.receipt))
            .collect();
        let count = all.len();
        let released = self.change(all, Duration::ZERO).await.len();
        ReadReport {
            read: self.read,
            complete: end.complete,
            left: end.left,
            not_released: (count - released) as u64,
        }
    }

    /// Nobody has looked for the end.
    async fn unfinished(&self) -> End {
        let (info, held) = match self.queue.info().await {
            Ok(info) => (info, self.holds.len() as u64),
            Err(_) => (self.info.clone(), 0),
        };
        let left = (info.visible + info.delayed + info.in_flight).saturating_sub(held);
        End {
            complete: false,
            is_certain: false,
            left,
        }
    }

    /// Changes visibility timeouts, and gives the ids of those that were. A call that is slow holds up no
    /// other: the next letters would lapse meanwhile.
    async fn change(&self, letters: Vec<(String, String)>, visibility: Duration) -> Vec<String> {
        let calls = letters.chunks(ENTRIES).map(|chunk| {
            let chunk = chunk.to_vec();
            self.change_some(chunk, visibility)
        });
        let calls: Vec<_> = calls.collect();
        let changed = stream::iter(calls).buffer_unordered(CALLS);
        changed.concat().await
    }

    /// As many as one call takes.
    async fn change_some(
        &self,
        mut waiting: Vec<(String, String)>,
        visibility: Duration,
    ) -> Vec<String> {
        let mut changed = Vec::new();
        for attempt in 0..ATTEMPTS {
            if !visibility.is_zero() {
                // What has lapsed may be another consumer's by now. SQS may accept its old receipt all
                // the same, and would then hide the message from its new owner.
                waiting.retain(|(id, _)| self.holds.has(id));
            }
            if waiting.is_empty() {
                break;
            }
            // Counted from before the call: it ends there at the earliest.
            let until = self.holds.now().after(visibility);
            let receipts: Vec<_> = waiting.iter().map(|(_, receipt)| receipt.clone()).collect();
            let results = self.queue.change_visibility(&receipts, visibility).await;
            let results = results.unwrap_or_default();
            let tried = std::mem::take(&mut waiting);
            for (index, (id, receipt)) in tried.into_iter().enumerate() {
                match results.get(index) {
                    Some(Ok(())) => {
                        self.holds.extend(&id, until);
                        changed.push(id);
                    }
                    Some(Err(refusal)) if refusal.permanent => {}
                    _ => waiting.push((id, receipt)),
                }
            }
            if !waiting.is_empty() {
                pause(attempt).await;
            }
        }
        changed
    }
}

/// Calls again after a failure, a few times.
pub(crate) async fn persistently<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 0;
    loop {
        match call().await {
            Err(_) if attempt + 1 < ATTEMPTS => pause(attempt).await,
            result => return result,
        }
        attempt += 1;
    }
}

/// 100 ms, 200 ms, 400 ms, …
pub(crate) async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(100) * 2_u32.saturating_pow(attempt.min(6))).await;
}
