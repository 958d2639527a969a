//! Puts letters back into the dead-letter queue.

use super::{
    Destination, Entry, FailureNote, Journal, Ledger, Letter, Origin, Parcel, Post, Progress,
    apply::send_parcels, journal::Book,
};
use crate::{Attribute, AttributeValue, Result};
use std::collections::BTreeMap;

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
}

const WAVE: usize = 100;

/// Sends the letters that a redrive took out of the dead-letter queue at `queue_url` there again: the
/// ones put back, edited or dropped.
///
/// `letters` and `ledger` are what the redrive's journal has
/// ([`FileJournal::letters`](super::FileJournal::letters)); the undo is written into the same journal,
/// so that it can be taken up as well. A letter that was moved by SQS gets a note that says so, since
/// SQS tells where a message came from only of those it moved.
///
/// # Errors
/// If the journal cannot be read or written.
pub async fn undo(
    queue_url: &str,
    post: &dyn Post,
    letters: &mut (dyn Iterator<Item = Result<Letter>> + Send),
    journal: &mut dyn Journal,
    ledger: &mut Ledger,
) -> Result<Undone> {
    let to = Destination::Queue(queue_url.to_owned());
    let attempt = format!("undo {}", ledger.plan().unwrap_or_default());
    let mut book = Book { journal, ledger };
    let mut undone = Undone::default();
    let mut parcels: Vec<Parcel> = Vec::new();
    let is_fifo = to.is_fifo();
    let mut bytes = 0;
    for letter in letters {
        let letter = with_origin(letter?);
        match book.ledger.progress(&letter.id) {
            Some(Progress::Sent | Progress::Done | Progress::Restoring) => {}
            // What may have been sent is still there, and so is what was about to be dropped, or it
            // is taken up by a resume.
            _ => {
                undone.untouched += 1;
                continue;
            }
        }
        match Parcel::restored(&letter, &to, &attempt) {
            Err(problem) => {
                undone.failed.insert(letter.id, problem);
            }
            Ok(parcel) => {
                // One of a group at a time.
                let is_after = |other: &Parcel| is_fifo && other.group == parcel.group;
                if parcels.len() >= WAVE || bytes > (8 << 20) || parcels.iter().any(is_after) {
                    restore(&to, post, &mut book, &mut parcels, &mut undone).await?;
                    bytes = 0;
                }
                bytes += parcel.size();
                parcels.push(parcel);
            }
        }
    }
    restore(&to, post, &mut book, &mut parcels, &mut undone).await?;
    Ok(undone)
}

async fn restore(
    to: &Destination,
    post: &dyn Post,
    book: &mut Book<'_>,
    parcels: &mut Vec<Parcel>,
    undone: &mut Undone,
) -> Result<()> {
    let restoring = parcels.iter().map(|parcel| Entry::Restoring {
        id: parcel.letter_id.clone(),
    });
    let restoring: Vec<_> = restoring.collect();
    book.write(&restoring).await?;
    let sends: Vec<_> = parcels.iter().map(|parcel| (to, parcel)).collect();
    let results = send_parcels(post, &sends).await;
    let mut restored = Vec::new();
    for (parcel, result) in parcels.drain(..).zip(results) {
        match result {
            Ok(message_id) => restored.push(Entry::Restored {
                id: parcel.letter_id,
                message_id,
            }),
            Err(refusal) => {
                undone.failed.insert(parcel.letter_id, refusal.to_string());
            }
        }
    }
    undone.restored += restored.len() as u64;
    book.write(&restored).await
}

fn with_origin(mut letter: Letter) -> Letter {
    let Origin::MovedBySqs {
        source_arn: Some(source_arn),
        earlier,
    } = letter.origin()
    else {
        return letter;
    };
    let event = letter.event();
    let note = FailureNote {
        kind: "moved_by_sqs".into(),
        message: letter.cause().message,
        chain: Vec::new(),
        handler: earlier
            .as_ref()
            .map(|note| note.handler.clone())
            .unwrap_or_default(),
        function: earlier
            .as_ref()
            .map(|note| note.function.clone())
            .unwrap_or_default(),
        request_id: String::new(),
        event_id: event.as_ref().map(|event| event.id.clone()),
        event_type: event.and_then(|event| event.event_type),
        attempts: letter.receive_count,
        first_failure: None,
        last_failure: jiff::Timestamp::now().to_string(),
        source_queue: Some(source_arn),
        redrive_count: letter.redrive_count(),
    };
    let has_room =
        letter.attributes.len() < 10 || letter.attributes.contains_key(FailureNote::ATTRIBUTE);
    if let Some(json) = serde_json::to_string(&note).ok().filter(|_| has_room) {
        let note = Attribute {
            data_type: "String".into(),
            value: AttributeValue::Text(json),
        };
        letter
            .attributes
            .insert(FailureNote::ATTRIBUTE.into(), note);
    }
    letter
}
