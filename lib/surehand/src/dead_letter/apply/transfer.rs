//! Sends and deletes: the calls, their entries' results, and what is tried again.

use super::super::{
    Action, Cause, Destination, Group, Letter, Parcel, Post, Queue, Refusal, reader::pause,
};
use crate::aws::limits::ENTRIES;
use futures_util::future::join_all;

/// A letter to be sent.
pub(super) struct Job {
    pub(super) to: Destination,
    pub(super) parcel: Parcel,
    /// The message group that it has in the dead-letter queue.
    pub(super) group: Option<String>,
    pub(super) is_edit: bool,
    pub(super) lost_lists: bool,
    /// What a ramp has to know.
    pub(super) story: Option<Story>,
}

/// How to recognise a letter that comes back, and what it is counted as.
pub(super) struct Story {
    pub(super) event_id: Option<String>,
    pub(super) group: Group,
    pub(super) cause: Cause,
    pub(super) redrive_count: u32,
}

const ATTEMPTS: u32 = 4;

impl Job {
    pub(super) fn new(
        letter: &Letter,
        to: Destination,
        parcel: Parcel,
        action: &Action,
        has_ramp: bool,
    ) -> Self {
        let story = || {
            // Of an edit, the event is the new one.
            let sent = Letter::new(&*letter.id, &*parcel.body);
            let event = sent.event().map(|event| event.id);
            Story {
                // Without an id of its own the event goes by its message's, which will be another.
                event_id: event.filter(|id| *id != letter.id),
                group: Group::of(letter),
                cause: letter.cause(),
                redrive_count: letter.redrive_count(),
            }
        };
        Self {
            to,
            group: letter.group.clone(),
            is_edit: matches!(action, Action::Edit { .. }),
            lost_lists: !letter.dropped_attributes.is_empty(),
            story: has_ramp.then(story),
            parcel,
        }
    }
}

/// The id that each job's destination gave it, or why it does not have it. A refusal may also mean
/// that nobody knows.
pub(super) async fn send(post: &dyn Post, jobs: &[Job]) -> Vec<Result<String, Refusal>> {
    let parcels: Vec<_> = jobs.iter().map(|job| (&job.to, &job.parcel)).collect();
    send_parcels(post, &parcels).await
}

/// The same for parcels.
pub(crate) async fn send_parcels(
    post: &dyn Post,
    parcels: &[(&Destination, &Parcel)],
) -> Vec<Result<String, Refusal>> {
    let mut results: Vec<Result<String, Refusal>> = parcels
        .iter()
        .map(|_| Err(Refusal::transient("NotSent", "it was not sent")))
        .collect();
    let mut waiting: Vec<usize> = (0..parcels.len()).collect();
    for attempt in 0..ATTEMPTS {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    Done,
    /// Its receipt is good for nothing any more.
    Stale,
    /// Nobody knows.
    Unanswered,
}

/// Deletes the letters, each given by its id and its receipt, which the result has as well.
pub(super) async fn delete(
    queue: &dyn Queue,
    letters: Vec<(String, String)>,
) -> Vec<(String, String, Deletion)> {
    let mut waiting = letters;
    let mut results = Vec::with_capacity(waiting.len());
    for attempt in 0..ATTEMPTS {
        let calls = waiting.chunks(ENTRIES).map(|chunk| {
            let receipts = chunk.iter().map(|(_, receipt)| receipt.clone());
            let receipts: Vec<_> = receipts.collect();
            async move { queue.delete(&receipts).await.unwrap_or_default() }
        });
        let answers = join_all(calls).await;
        let round = std::mem::take(&mut waiting);
        for (chunk, answers) in round.chunks(ENTRIES).zip(answers) {
            for (index, (id, receipt)) in chunk.iter().cloned().enumerate() {
                match answers.get(index) {
                    Some(Ok(())) => results.push((id, receipt, Deletion::Done)),
                    Some(Err(refusal)) if refusal.permanent => {
                        results.push((id, receipt, Deletion::Stale));
                    }
                    _ => waiting.push((id, receipt)),
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
    results.extend(unanswered.map(|(id, receipt)| (id, receipt, Deletion::Unanswered)));
    results
}
