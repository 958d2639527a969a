//! What holds in every run.

use super::world::{Dead, Effect, Invocation, InvocationState, State};
use crate::{ErrorKind, IdempotencyKey, OnPark, dead_letter::FailureNote};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The kinds of failure with which another attempt cannot succeed: dead letters of these kinds stay
/// dead.
pub(super) const FINAL: [ErrorKind; 3] = [
    ErrorKind::Malformed,
    ErrorKind::Rejected,
    ErrorKind::KeyReused,
];

pub(super) fn is_final(kind: &str) -> bool {
    FINAL.iter().any(|known| known.as_str() == kind)
}

/// Checks that a response names messages of its batch, each once, and leaves out only messages that
/// are done or parked.
pub(super) fn answered(state: &mut State, id: usize, failed: &[String], now: Duration) {
    let batch = state.invocations[id].batch.clone();
    let of_batch: BTreeSet<&str> = batch
        .iter()
        .map(|(place, _)| state.messages.all[*place].id.as_str())
        .collect();
    let named: BTreeSet<&str> = failed.iter().map(String::as_str).collect();
    let mut problems = Vec::new();
    if named.len() < failed.len() || !named.is_subset(&of_batch) {
        problems.push(format!(
            "invocation {id} answers {failed:?}, but its batch was {of_batch:?}"
        ));
    }
    for (place, _) in &batch {
        let message = &state.messages.all[*place];
        if !named.contains(message.id.as_str()) && !state.is_settled(*place) {
            problems.push(format!(
                "{} is acked, but neither done nor parked",
                message.id
            ));
        }
    }
    problems.extend(not_held_back(state, id, &named));
    for problem in problems {
        state.violation(now, problem);
    }
}

/// Finds records that were handled after an earlier one of their lane that must be retried, or that
/// was parked if the function halts there.
fn not_held_back(state: &State, id: usize, named: &BTreeSet<&str>) -> Vec<String> {
    let mut halted: BTreeMap<&str, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for (place, _) in &state.invocations[id].batch {
        let message = &state.messages.all[*place];
        let Some(lane) = message.lane(&state.messages.queue) else {
            continue;
        };
        let is_failed = named.contains(message.id.as_str());
        let of_message = |dead: &&Dead| dead.message == *place && dead.invocation == Some(id);
        let parked = state.dead.iter().find(of_message);
        match halted.get(lane) {
            Some(by) => {
                let notes = parked.and_then(|dead| dead.note.as_ref());
                let is_skipped = notes.is_some_and(|n| n.kind == ErrorKind::Skipped.as_str());
                if !is_failed && !is_skipped {
                    problems.push(format!(
                        "{} was handled, after {by} of the same group was not",
                        message.id
                    ));
                }
            }
            None if is_failed || (parked.is_some() && state.on_park == OnPark::Halt) => {
                halted.insert(lane, &message.id);
            }
            None => {}
        }
    }
    problems
}

/// Checks that a record is parked for what its handler did: the failure is final, or its attempts are used up. Of one
/// that is not risked again, the note must not say more attempts than there were.
pub(super) fn parked(state: &mut State, message: &str, note: &FailureNote, now: Duration) {
    let is = |kind: ErrorKind| note.kind == kind.as_str();
    if is_final(&note.kind) {
        return;
    }
    let uncounted = [
        ErrorKind::Skipped,
        ErrorKind::InProgress,
        ErrorKind::Store,
        ErrorKind::Fenced,
        ErrorKind::Invocation,
    ];
    let Some(sent) = state.messages.all.iter().find(|it| it.id == message) else {
        // An outbox parks events, which no handler failed at.
        return;
    };
    let key = sent.key.as_ref();
    let begun = key.and_then(|key| state.begun.get(key)).copied();
    let is_unknown = is(ErrorKind::Interrupted) && state.parks_unknown;
    let most = match is_unknown {
        true => note.attempts,
        false => state.max_attempts,
    };
    let begun = begun.unwrap_or_default();
    if uncounted.into_iter().any(is) {
        let problem = format!("{message} is parked as {}, which is no attempt", note.kind);
        state.violation(now, problem);
    } else if begun < most || note.attempts < most {
        let problem = format!(
            "{message} is parked after {begun} attempts, {} by its note, and may have {most}",
            note.attempts
        );
        state.violation(now, problem);
    }
}

/// Checks that the redrive policy moves a message, without a reason, only if its last invocation
/// could not park it: it died, stood still, or got no answer.
pub(super) fn moved(state: &mut State, place: usize, now: Duration) {
    let message = &state.messages.all[place];
    let name = message.id.clone();
    let excused = message.was_acked
        || message.last_invocation.is_none_or(|id| {
            let invocation = &state.invocations[id];
            invocation.state != InvocationState::Answered
                || invocation.frozen_at.is_some()
                || invocation.store_failed
                || !invocation.park_failed.is_empty()
        });
    state.note(now, format_args!("{name} is MOVED by the redrive policy"));
    if !excused {
        state.violation(
            now,
            format!("{name} is dead without a reason, though it could have been parked"),
        );
    }
}

/// Checks what holds when the queue is empty, before the redrive.
pub(super) fn quiet(state: &mut State, now: Duration) {
    let mut problems = Vec::new();
    for place in 0..state.messages.all.len() {
        if !state.is_settled(place) {
            let id = &state.messages.all[place].id;
            problems.push(format!("{id} is lost: neither done nor dead"));
        }
    }
    problems.extend(dead_letters(state));
    problems.extend(order(state));
    problems.extend(order_in_batches(state));
    for problem in problems {
        state.violation(now, problem);
    }
}

/// Checks what holds in the end, after dead letters were redriven without any faults.
pub(super) fn end(state: &mut State, now: Duration) {
    let mut problems = effects(state);
    for place in 0..state.messages.all.len() {
        let message = &state.messages.all[place];
        let reasons = state.dead.iter().filter(|dead| dead.message == place);
        let is_final = reasons
            .filter_map(|dead| dead.note.as_ref())
            .any(|note| is_final(&note.kind));
        if message.is_redriven && !state.is_done(message) && !is_final {
            problems.push(format!(
                "{} is not handled, though nothing fails any more",
                message.id
            ));
        }
    }
    problems.extend(dead_letters(state));
    for problem in problems {
        state.violation(now, problem);
    }
}

/// Checks that a parked dead letter has its reason, and that one that can never be handled had no
/// effect.
fn dead_letters(state: &State) -> Vec<String> {
    let mut problems = Vec::new();
    for dead in &state.dead {
        let message = &state.messages.all[dead.message];
        let Some(note) = &dead.note else {
            continue;
        };
        if note.kind.is_empty() || note.message.is_empty() {
            problems.push(format!("{} was parked without a reason", message.id));
        }
        let had_effect = |key: &IdempotencyKey| {
            let log = state.keys.get(key);
            log.is_some_and(|log| log.is_completed) || state.effects.iter().any(|e| e.key == *key)
        };
        // A reused key did have an effect: that of the other payload.
        let is_refused = is_final(&note.kind) && note.kind != ErrorKind::KeyReused.as_str();
        if is_refused && message.key.as_ref().is_some_and(had_effect) {
            problems.push(format!(
                "{} is dead as {}, but had an effect",
                message.id, note.kind
            ));
        }
    }
    problems
}

/// Checks that on a FIFO queue first effects are in the order in which their messages were sent. A
/// dead letter has left the order.
fn order(state: &State) -> Vec<String> {
    if !state.messages.queue.is_fifo {
        return Vec::new();
    }
    let dead: BTreeSet<&IdempotencyKey> = state
        .dead
        .iter()
        .filter_map(|dead| state.messages.all[dead.message].key.as_ref())
        .collect();
    let mut latest: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for message in &state.messages.all {
        let (Some(key), Some(event_id)) = (&message.key, message.event_id.as_deref()) else {
            continue;
        };
        if dead.contains(key) || !seen.insert(key) {
            continue;
        }
        let Some(at) = first_effect(state, key) else {
            continue;
        };
        match latest.get(message.group.as_str()) {
            Some((before, other)) if *before > at => problems.push(format!(
                "{event_id} had its effect before {other}, which was sent before it to the same group"
            )),
            _ => drop(latest.insert(&message.group, (at, event_id))),
        }
    }
    problems
}

/// Checks that in a batch the effects of a lane are in the lane's order. A dead letter has left the
/// order, since its commit may still have been on its way.
fn order_in_batches(state: &State) -> Vec<String> {
    let dead: BTreeSet<usize> = state.dead.iter().map(|dead| dead.message).collect();
    let mut problems = Vec::new();
    for (id, invocation) in state.invocations.iter().enumerate() {
        let mut latest: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (place, _) in &invocation.batch {
            let message = &state.messages.all[*place];
            let lane = message.lane(&state.messages.queue);
            let event_id = message.event_id.as_deref();
            let (Some(lane), Some(key), Some(event_id)) = (lane, &message.key, event_id) else {
                continue;
            };
            // The effect may be that of a message whose park got no answer, and that was handled then.
            if !seen.insert(key) || dead.contains(place) {
                continue;
            }
            let of_invocation = |effect: &&Effect| effect.invocation == Some(id);
            let own = all_effects(state, key).filter(of_invocation);
            let Some(at) = own.map(|effect| effect.at).min() else {
                continue;
            };
            match latest.get(lane) {
                Some((before, other)) if *before > at => problems.push(format!(
                    "{event_id} had its effect before {other}, which is before it in the batch"
                )),
                _ => drop(latest.insert(lane, (at, event_id))),
            }
        }
    }
    problems
}

fn all_effects<'a>(state: &'a State, key: &'a IdempotencyKey) -> impl Iterator<Item = &'a Effect> {
    let commits = state.keys.get(key).into_iter();
    let effects = state.effects.iter();
    commits
        .flat_map(|log| &log.commits)
        .chain(effects.filter(move |effect| effect.key == *key))
}

fn first_effect(state: &State, key: &IdempotencyKey) -> Option<usize> {
    all_effects(state, key).map(|effect| effect.at).min()
}

/// Checks that commits happen once. Effects outside the store happen once unless a fault came
/// between an effect and its completion, or a process went on after it had lost its lease.
fn effects(state: &State) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, log) in &state.keys {
        let event = state.event_of(key);
        if log.commits.len() > 1 {
            problems.push(format!("{event} was committed {} times", log.commits.len()));
        }
        let effects: Vec<&Effect> = state.effects.iter().filter(|e| e.key == *key).collect();
        if log.by_lease && effects.is_empty() && !state.effects.is_empty() {
            problems.push(format!("{event} is completed, but had no effect"));
        }
        if state.parks_unknown {
            let of_key = state
                .messages
                .all
                .iter()
                .filter(|m| m.key.as_ref() == Some(key));
            let most = 1 + of_key.filter(|message| message.is_redriven).count();
            if effects.len() > most {
                problems.push(format!(
                    "{event} had its effect {} times, and at most {most} were asked for",
                    effects.len()
                ));
            }
            continue;
        }
        for pair in effects.windows(2) {
            if !is_excused(state, pair[0], pair[1]) {
                problems.push(format!(
                    "{event} had its effect twice without a fault that explains it"
                ));
            }
        }
    }
    problems
}

fn is_excused(state: &State, first: &Effect, second: &Effect) -> bool {
    let of = |effect: &Effect| effect.invocation.map(|id| &state.invocations[id]);
    let (Some(before), Some(after)) = (of(first), of(second)) else {
        return false;
    };
    let by_then = |at: &usize| *at <= second.at;
    let stood_still = |invocation: &Invocation| invocation.frozen_at.as_ref().is_some_and(by_then);
    stood_still(before)
        || stood_still(after)
        || before.ended_at.as_ref().is_some_and(by_then)
        || before
            .incomplete
            .iter()
            .any(|(key, at)| *key == first.key && by_then(at))
}
