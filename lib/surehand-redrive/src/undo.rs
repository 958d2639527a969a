//! Puts letters back into the dead-letter queue.

use crate::{
    destination::Destination,
    journal::{Book, Entry, Journal, Ledger, Progress},
    letter::{Letter, Origin},
    parcel::Parcel,
    queue::{Post, Queue},
    reader::{ReadOptions, Reader},
    transfer,
};
use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime},
};
use surehand::{Result, aws::limits::ATTRIBUTES, dead_letter::FailureNote};
use tokio::time::Instant;

/// What came of an undo. What consumers did with the letters stays done, and a letter that is not
/// consumed yet is still on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undone {
    /// How many letters are in the dead-letter queue again.
    pub restored: u64,
    /// How many need nothing: they were never taken out, or are restored already.
    pub untouched: u64,
    /// The letters that could not be put there, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Whether it ended early, because it was [asked](Undo::stop_when) to.
    pub stopped: bool,
}

const WAVE: usize = 100;
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const WAVE_BYTES: usize = 4 * 1024 * 1024;

/// Sends the letters that a redrive took out of the dead-letter queue there again: the ones put back,
/// edited or dropped.
///
/// A letter that was sent, or written down to be dropped, and is not known to be deleted, may still be
/// there. The queue is read for those, for as long as the redrive may have hidden them
/// ([`ReadOptions::visibility`]). What is found stays as it is, and counts as untouched.
///
/// A letter that was moved by SQS gets a note that says so, since SQS tells where a message came from
/// only of those it moved.
///
/// A FIFO queue has the letters of a group in their order again, up to the first that could not be
/// restored; they are behind what is in the queue already.
pub struct Undo<'a> {
    queue: &'a dyn Queue,
    post: &'a dyn Post,
    options: ReadOptions,
    stop: Option<&'a (dyn Fn() -> bool + Send + Sync)>,
}

impl<'a> Undo<'a> {
    /// The letters go to `queue` again, brought by `post`.
    pub fn new(queue: &'a dyn Queue, post: &'a dyn Post) -> Self {
        Self {
            queue,
            post,
            options: ReadOptions::default(),
            stop: None,
        }
    }

    /// Sets how the queue is read for the letters that may still be there.
    pub fn options(mut self, options: ReadOptions) -> Self {
        self.options = options;
        self
    }

    /// Ends early, after what is on the way, when `stop` says so. Another undo goes on.
    pub fn stop_when(mut self, stop: &'a (dyn Fn() -> bool + Send + Sync)) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Does it. `letters` and `ledger` are what the redrive's journal has
    /// ([`FileJournal::letters`](crate::FileJournal::letters)); the undo is written into the same
    /// journal, so that it can be taken up as well.
    ///
    /// # Errors
    /// If the queue cannot be read, or the journal not be read or written.
    pub async fn run(
        &self,
        letters: &mut (dyn Iterator<Item = Result<Letter>> + Send),
        journal: &mut dyn Journal,
        ledger: &mut Ledger,
    ) -> Result<Undone> {
        let to = Destination::Queue(self.queue.info().await?.url);
        let Looked { there, is_certain } = self.look(ledger).await?;
        let attempt = format!("undo {}", ledger.plan().unwrap_or_default());
        let mut undoing = Undoing {
            post: self.post,
            book: Book { journal, ledger },
            is_fifo: to.is_fifo(),
            to,
            wave: Vec::new(),
            bytes: 0,
            halted: HashSet::new(),
            undone: Undone::default(),
        };
        // A resume is not to delete them, now that they are to stay.
        let there = there.into_iter().map(|id| Entry::Restored {
            message_id: id.clone(),
            id,
        });
        undoing.book.write(&there.collect::<Vec<_>>()).await?;
        for letter in letters {
            if self.is_stopped() {
                undoing.undone.stopped = true;
                break;
            }
            let letter = letter?;
            match undoing.book.ledger.progress(&letter.id) {
                Some(Progress::Sent | Progress::Dropping) if !is_certain => {
                    let problem = "it may still be in the dead-letter queue, of which not all can be seen; undo again later";
                    undoing.fail(letter.id, letter.group, problem.to_owned());
                }
                Some(
                    Progress::Sent | Progress::Dropping | Progress::Done | Progress::Restoring,
                ) => {
                    undoing.add(&letter, &attempt).await?;
                }
                // What may have been sent is still there.
                _ => undoing.undone.untouched += 1,
            }
        }
        undoing.send().await?;
        Ok(undoing.undone)
    }

    /// Looks for the letters that were sent or archived, and are not known to be deleted.
    async fn look(&self, ledger: &Ledger) -> Result<Looked> {
        let at = [Progress::Sent, Progress::Dropping].map(|at| ledger.at(at));
        let open: HashSet<&String> = at.into_iter().flatten().collect();
        let mut there = HashSet::new();
        if open.is_empty() {
            let is_certain = true;
            return Ok(Looked { there, is_certain });
        }
        // Until then whoever sent them may hide them.
        let until = Instant::now() + self.options.visibility;
        let mut reader = Reader::open(self.queue, self.options.clone()).await?;
        let read = loop {
            if self.is_stopped() {
                break Ok(());
            }
            match reader.look().await {
                Ok(Some(letters)) => {
                    let ids = letters.into_iter().map(|received| received.letter.id);
                    there.extend(ids.filter(|id| open.contains(id)));
                }
                Ok(None) if there.len() == open.len() || Instant::now() >= until => break Ok(()),
                Ok(None) => {
                    let left = until.saturating_duration_since(Instant::now());
                    reader.wait(left.min(LOOK_AGAIN)).await;
                    reader.reopen();
                }
                Err(error) => break Err(error),
            }
        };
        let is_certain = reader.has_seen_all();
        reader.close().await;
        read?;
        Ok(Looked { there, is_certain })
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop())
    }
}

/// What the dead-letter queue has of a redrive that did not end.
struct Looked {
    /// The letters that are still there.
    there: HashSet<String>,
    /// Whether all that is in the queue was seen.
    is_certain: bool,
}

struct Undoing<'a> {
    post: &'a dyn Post,
    book: Book<'a>,
    to: Destination,
    is_fifo: bool,
    wave: Vec<Parcel>,
    bytes: usize,
    /// Groups of which a letter could not be restored.
    halted: HashSet<String>,
    undone: Undone,
}

impl Undoing<'_> {
    async fn add(&mut self, letter: &Letter, attempt: &str) -> Result<()> {
        let noted = with_origin(letter).map(|noted| Parcel::restored(&noted, &self.to, attempt));
        let parcel = match noted {
            Some(Ok(parcel)) => Ok(parcel),
            // There was no room for a note.
            _ => Parcel::restored(letter, &self.to, attempt),
        };
        let parcel = match parcel {
            Ok(parcel) => parcel,
            Err(problem) => {
                self.fail(letter.id.clone(), letter.group.clone(), problem);
                return Ok(());
            }
        };
        // One of a group at a time.
        let is_behind = |other: &Parcel| self.is_fifo && other.group == parcel.group;
        let is_full = self.wave.len() >= WAVE || self.bytes >= WAVE_BYTES;
        if is_full || self.wave.iter().any(is_behind) {
            self.send().await?;
        }
        // The journal of a redrive that was resumed may have a letter twice.
        if self.wave.iter().any(|it| it.letter_id == parcel.letter_id)
            || self.book.ledger.progress(&parcel.letter_id) == Some(Progress::Restored)
        {
            return Ok(());
        }
        if parcel
            .group
            .as_ref()
            .is_some_and(|it| self.halted.contains(it))
        {
            let problem = "a letter before it in its group could not be restored".to_owned();
            self.fail(parcel.letter_id, parcel.group, problem);
            return Ok(());
        }
        self.bytes += parcel.size();
        self.wave.push(parcel);
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let wave = std::mem::take(&mut self.wave);
        self.bytes = 0;
        let restoring = wave.iter().map(|parcel| Entry::Restoring {
            id: parcel.letter_id.clone(),
        });
        let restoring: Vec<_> = restoring.collect();
        self.book.write(&restoring).await?;
        let sends: Vec<_> = wave.iter().map(|parcel| (&self.to, parcel)).collect();
        let results = transfer::send(self.post, &sends, &|_| true).await;
        let mut restored = Vec::new();
        for (parcel, result) in wave.into_iter().zip(results) {
            match result {
                Ok(message_id) => restored.push(Entry::Restored {
                    id: parcel.letter_id,
                    message_id,
                }),
                Err(refusal) => self.fail(parcel.letter_id, parcel.group, refusal.to_string()),
            }
        }
        self.undone.restored += restored.len() as u64;
        self.book.write(&restored).await
    }

    fn fail(&mut self, id: String, group: Option<String>, problem: String) {
        self.undone.failed.insert(id, problem);
        self.halted.extend(group.filter(|_| self.is_fifo));
    }
}

/// The letter with a note that says where it came from, if SQS moved it.
fn with_origin(letter: &Letter) -> Option<Letter> {
    let Origin::MovedBySqs {
        source_arn: Some(source_arn),
        earlier,
    } = letter.origin()
    else {
        return None;
    };
    let message = letter.cause().message;
    let mut note = FailureNote::about("moved_by_sqs", message, SystemTime::now());
    if let Some(earlier) = earlier {
        (note.handler, note.function) = (earlier.handler, earlier.function);
    }
    if let Some(event) = letter.event() {
        (note.event_id, note.event_type) = (Some(event.id), event.event_type);
    }
    note.attempts = letter.receive_count;
    note.source_queue = Some(source_arn);
    note.redrive_count = letter.redrive_count();
    let mut letter = letter.clone();
    let name = FailureNote::ATTRIBUTE;
    if letter.attributes.len() < ATTRIBUTES || letter.attributes.contains_key(name) {
        letter.attributes.insert(name.into(), note.to_attribute());
    } else {
        letter.body = note.around(&letter.body);
    }
    Some(letter)
}
