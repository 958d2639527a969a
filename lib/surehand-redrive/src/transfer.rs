//! Sends and deletes: the calls, their entries' results, and what is tried again.

use crate::{
    destination::Destination,
    parcel::Parcel,
    queue::{Post, Queue},
    reader::pause,
};
use futures_util::future::join_all;
use surehand::aws::{Refusal, limits::ENTRIES};

const ATTEMPTS: u32 = 4;

/// The code of a parcel that was never given to its destination.
const NOT_SENT: &str = "NotSent";

/// Whether the refusal is that of a parcel which was never given to its destination.
pub(crate) fn was_not_tried(refusal: &Refusal) -> bool {
    refusal.code == NOT_SENT
}

/// Sends parcels: the id that each one's destination gave it, or why it does not have it. A refusal may
/// also mean that it is not known whether it was sent.
///
/// Before each attempt `may_send` is asked for each letter: time passes between the attempts, in which
/// another consumer may receive it.
pub(crate) async fn send(
    post: &dyn Post,
    parcels: &[(&Destination, &Parcel)],
    may_send: &(dyn Fn(&str) -> bool + Send + Sync),
) -> Vec<Result<String, Refusal>> {
    let mut results: Vec<Result<String, Refusal>> = parcels
        .iter()
        .map(|_| Err(Refusal::transient(NOT_SENT, "it was not sent")))
        .collect();
    let mut waiting: Vec<usize> = (0..parcels.len()).collect();
    for attempt in 0..ATTEMPTS {
        waiting.retain(|&index| may_send(&parcels[index].1.letter_id));
        let calls = chunks(parcels, &waiting).into_iter().map(async |chunk| {
            let to = parcels[chunk[0]].0;
            let entries: Vec<Parcel> = chunk.iter().map(|&i| parcels[i].1.clone()).collect();
            (chunk, post.send(to, &entries).await)
        });
        waiting.clear();
        for (chunk, answer) in join_all(calls).await {
            let mut answers = match answer {
                Ok(entries) => entries.into_iter().map(Some).collect(),
                Err(error) => {
                    let refusal = Refusal::transient("CallFailed", error.to_string());
                    vec![Some(Err(refusal)); chunk.len()]
                }
            };
            answers.resize(chunk.len(), None);
            for (index, answer) in chunk.into_iter().zip(answers) {
                let answer = answer.unwrap_or_else(|| Err(Refusal::unanswered()));
                let mut is_over = true;
                results[index] = match answer {
                    Ok(accepted) => {
                        // What was garbled once is there; once more would not make it better.
                        let (to, parcel) = parcels[index];
                        parcel.check(to, &accepted).map(|()| accepted.message_id)
                    }
                    Err(refusal) => {
                        is_over = refusal.permanent;
                        Err(refusal)
                    }
                };
                if !is_over {
                    waiting.push(index);
                }
            }
        }
        if waiting.is_empty() {
            break;
        }
        if attempt + 1 < ATTEMPTS {
            pause(attempt).await;
        }
    }
    results
}

/// Calls of one destination, ten entries and as many bytes each as it takes.
fn chunks(parcels: &[(&Destination, &Parcel)], waiting: &[usize]) -> Vec<Vec<usize>> {
    let mut chunks: Vec<(Vec<usize>, usize)> = Vec::new();
    for &index in waiting {
        let (to, parcel) = parcels[index];
        let size = parcel.size();
        let open = chunks.iter_mut().rev().find(|(chunk, used)| {
            parcels[chunk[0]].0 == to && chunk.len() < ENTRIES && used + size <= to.max_call_size()
        });
        match open {
            Some((chunk, used)) => {
                chunk.push(index);
                *used += size;
            }
            None => chunks.push((vec![index], size)),
        }
    }
    chunks.into_iter().map(|(chunk, _)| chunk).collect()
}

/// What came of deleting a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    Done,
    /// Its receipt is no longer valid.
    Stale,
    /// It is not known whether it is deleted; what the service said of it.
    Unanswered(String),
}

/// Deletes the letters, each given by its id and its receipt, which the result has as well.
pub(crate) async fn delete(
    queue: &dyn Queue,
    letters: Vec<(String, String)>,
) -> Vec<(String, String, Deletion)> {
    let mut waiting = letters;
    let mut results = Vec::with_capacity(waiting.len());
    let mut last = "the queue did not answer".to_owned();
    for attempt in 0..ATTEMPTS {
        let calls = waiting.chunks(ENTRIES).map(|chunk| {
            let receipts = chunk.iter().map(|(_, receipt)| receipt.clone());
            let receipts: Vec<_> = receipts.collect();
            async move { queue.delete(&receipts).await }
        });
        let answers = join_all(calls).await;
        let round = std::mem::take(&mut waiting);
        for (chunk, answers) in round.chunks(ENTRIES).zip(answers) {
            let answers = answers.unwrap_or_else(|error| {
                last = error.to_string();
                Vec::new()
            });
            for (index, (id, receipt)) in chunk.iter().cloned().enumerate() {
                match answers.get(index) {
                    Some(Ok(())) => results.push((id, receipt, Deletion::Done)),
                    Some(Err(refusal)) if refusal.permanent => {
                        results.push((id, receipt, Deletion::Stale));
                    }
                    Some(Err(refusal)) => {
                        last = refusal.to_string();
                        waiting.push((id, receipt));
                    }
                    None => waiting.push((id, receipt)),
                }
            }
        }
        if waiting.is_empty() {
            return results;
        }
        if attempt + 1 < ATTEMPTS {
            pause(attempt).await;
        }
    }
    let unanswered = waiting.into_iter();
    let unanswered =
        unanswered.map(|(id, receipt)| (id, receipt, Deletion::Unanswered(last.clone())));
    results.extend(unanswered);
    results
}
