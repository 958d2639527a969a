//! The beginnings and ends of attempts, and their count: claims, and attempts without a lease.

use super::{
    CLAIMABLE, DynamoDbStore, claimable, in_the_way,
    item::{StoredItem, number, text},
    shortened,
};
use crate::{
    Error, ErrorKind, IdempotencyKey, Result,
    clock::{epoch_ms, from_epoch_ms},
    idempotency::{
        attempts::{Attempts, Sending, Suspect},
        claim::{AttemptFailure, AttemptStart, Begun, Claim, ClaimRequest, Lease},
    },
};
use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use std::{collections::HashMap, time::SystemTime};

/// And it goes on with the count that is kept, or begins one. The rest is decided by what the item holds.
const COUNTED: &str = "(attribute_not_exists(#sending) \
        AND (attribute_not_exists(#in_progress_expiration) OR #expiration >= :now)) \
    OR (#sending = :sending AND #expiration >= :now AND #attempted_at < :at \
        AND (#attempt <= #ended OR #attempt < :limit))";

/// When the lease before this one ended, unless it was given back.
const INTERRUPTED: &str = "if_not_exists(#in_progress_expiration, :zero)";

/// How often a change is tried again that depends on what an item holds, when that has changed meanwhile.
const TRIES: u32 = 4;

impl DynamoDbStore {
    pub(super) async fn claim_key(&self, request: &ClaimRequest) -> Result<Claim> {
        let change = format!(
            "SET #status = :inprogress, #owner = :me, #in_progress_expiration = :until, \
             #expiration = :expiration, #validation = :fingerprint, #interrupted = {INTERRUPTED}"
        );
        let start = Start {
            key: &request.key,
            fingerprint: &request.fingerprint,
            expires_at: request.expires_at,
            sending: &request.sending,
            limit: request.limit,
            at_ms: epoch_ms(self.clock.now()),
            removes: ", #attempt_until, #ended_at",
            is_repeated: &|_| false,
        };
        let values = [
            (":inprogress", text("INPROGRESS")),
            (":me", text(&request.owner)),
            (":until", number(epoch_ms(request.until))),
        ];
        let acquired = |item: &StoredItem| {
            Claim::Acquired(Lease {
                key: request.key.clone(),
                owner: request.owner.clone(),
                attempt: item.count("attempt").max(1),
                interrupted: item
                    .number("interrupted")
                    .filter(|until| *until > 0)
                    .map(from_epoch_ms),
            })
        };
        match self.begin_attempt(&change, &start, &values).await? {
            Started::Begun(item) => Ok(acquired(&item)),
            Started::Suspect(suspect) => Ok(Claim::Suspect(suspect)),
            Started::Met(item) => match item.taken(&request.key)? {
                // The client repeats a call whose answer was lost; then the claim in its way is
                // its own.
                Claim::Held { .. } if item.text("owner") == Some(&request.owner) => {
                    Ok(acquired(&item))
                }
                taken => Ok(taken),
            },
        }
    }

    pub(super) async fn begin_without_lease(&self, attempt: &AttemptStart) -> Result<Begun> {
        let change = "SET #status = :inprogress, #in_progress_expiration = :zero, \
            #expiration = :expiration, #validation = :fingerprint, #attempt_until = :attempt_until";
        let (at_ms, until_ms) = (epoch_ms(attempt.at), epoch_ms(attempt.until));
        let is_repeated = |item: &StoredItem| item.is_begun(at_ms, until_ms);
        let start = Start {
            key: &attempt.key,
            fingerprint: &attempt.fingerprint,
            expires_at: attempt.expires_at,
            sending: &attempt.sending,
            limit: attempt.limit,
            at_ms,
            removes: ", #ended_at",
            is_repeated: &is_repeated,
        };
        let values = [
            (":inprogress", text("INPROGRESS")),
            (":attempt_until", number(until_ms)),
        ];
        let begun = |item: &StoredItem| Begun::Begun {
            number: Some(item.count("attempt")),
        };
        match self.begin_attempt(change, &start, &values).await? {
            Started::Begun(item) => Ok(begun(&item)),
            Started::Suspect(suspect) => Ok(Begun::Taken(Claim::Suspect(suspect))),
            Started::Met(item) if is_repeated(&item) => Ok(begun(&item)),
            Started::Met(item) => item.taken(&attempt.key).map(Begun::Taken),
        }
    }

    pub(super) async fn end_without_lease(&self, failure: &AttemptFailure) -> Result<Begun> {
        let start = &failure.start;
        let now = self.clock.now();
        // What is most often there: the attempt as it began, or nothing.
        let mut update = match failure.has_begun || !failure.counts {
            true => self.end_begun(failure),
            false => {
                let first = Attempts::default().of(&start.sending);
                self.end_as(
                    failure,
                    first,
                    ("attribute_not_exists(#id)".into(), HashMap::new()),
                )
            }
        };
        for _ in 0..TRIES {
            let item = match update.send().await {
                Ok(output) => {
                    let item = StoredItem(output.attributes.unwrap_or_default());
                    return Ok(Begun::Begun {
                        number: Some(item.count("attempt")),
                    });
                }
                Err(error) => in_the_way(&error)?,
            };
            if !item.is_claimable(now) {
                return Ok(match item.taken(&start.key)? {
                    taken @ Claim::Completed(_) => Begun::Taken(taken),
                    // Whoever holds the key counts for itself.
                    _ => Begun::Begun { number: None },
                });
            }
            // The answer was lost, and the call repeated.
            if item.number("ended_at") == Some(epoch_ms(start.at)) {
                return Ok(Begun::Begun {
                    number: Some(item.count("attempt")),
                });
            }
            let attempts = item.attempts(now).of(&start.sending);
            // What the attempt began with is gone, or it has never begun.
            let is_gone = failure.has_begun && attempts.begun == 0;
            if is_gone || (!failure.has_begun && !failure.counts) {
                return Ok(Begun::Begun { number: None });
            }
            update = self.end_as(failure, attempts, item.unchanged());
        }
        Err(busy(&start.key))
    }

    /// Writes down that an attempt begins, if the key can be claimed: `change` is made, and the attempt counted.
    /// Else it is what stands in the way.
    async fn begin_attempt(
        &self,
        change: &str,
        start: &Start<'_>,
        values: &[(&str, AttributeValue)],
    ) -> Result<Started> {
        let now = self.clock.now();
        let common = |update: UpdateItemFluentBuilder| {
            let mut update = update
                .expression_attribute_values(":fingerprint", text(start.fingerprint))
                .expression_attribute_values(
                    ":expiration",
                    number(epoch_ms(start.expires_at) / 1000),
                )
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":at", number(start.at_ms))
                .return_values(ReturnValue::UpdatedNew)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
            for (name, value) in values {
                update = update.expression_attribute_values(*name, value.clone());
            }
            update
        };
        let counted = format!(
            "{change}, #attempted_at = :at, #sending = :sending, \
             #attempt = if_not_exists(#attempt, :zero) + :one, #ended = if_not_exists(#ended, :zero) \
             REMOVE #data{}",
            start.removes
        );
        let condition = format!("({CLAIMABLE}) AND ({COUNTED})");
        let update = self
            .update(start.key, &counted, &condition)
            .set_expression_attribute_values(Some(claimable(now)))
            .expression_attribute_values(":sending", text(&start.sending.id))
            .expression_attribute_values(":limit", number(u64::from(start.limit)))
            .expression_attribute_values(":one", number(1));
        let mut sent = common(update).send().await;
        let absolute = format!(
            "{change}, #attempted_at = :at, #sending = :sending, #attempt = :attempt, #ended = :ended \
             REMOVE #data{}",
            start.removes
        );
        let mut tries = 0;
        loop {
            let item = match &sent {
                Ok(output) => {
                    return Ok(Started::Begun(StoredItem(
                        output.attributes.clone().unwrap_or_default(),
                    )));
                }
                Err(error) => in_the_way(error)?,
            };
            if !item.is_claimable(now) || (start.is_repeated)(&item) {
                return Ok(Started::Met(item));
            }
            let attempts = item.attempts(now).of(start.sending);
            if attempts.are_suspect(start.limit) {
                let until = item.until().map(from_epoch_ms);
                return Ok(Started::Suspect(attempts.suspect(until)));
            }
            tries += 1;
            if tries > TRIES {
                return Err(busy(start.key));
            }
            let attempts = attempts.and_begin(start.at_ms);
            let (unchanged, was) = item.unchanged();
            // Of what is forgotten no attempt is left whose end could be unknown.
            let change = match item.is_expired(now) {
                true => absolute.replace(INTERRUPTED, ":zero"),
                false => absolute.clone(),
            };
            let update = self
                .update(start.key, &change, &unchanged)
                .set_expression_attribute_values(Some(was));
            sent = common(counts(update, &attempts)).send().await;
        }
    }

    /// Ends the attempt that is the last one to have begun.
    fn end_begun(&self, failure: &AttemptFailure) -> UpdateItemFluentBuilder {
        let start = &failure.start;
        let change = match failure.counts {
            true => {
                "SET #ended = #ended + :one, #ended_at = :at, #last_error = :error \
                 REMOVE #attempt_until"
            }
            false => {
                "SET #attempt = #attempt - :one, #ended_at = :at, #last_error = :error \
                 REMOVE #attempt_until"
            }
        };
        let condition = "#attempted_at = :at AND #attempt_until = :until AND #ended < #attempt";
        self.update(&start.key, change, condition)
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":at", number(epoch_ms(start.at)))
            .expression_attribute_values(":until", number(epoch_ms(start.until)))
            .expression_attribute_values(":error", text(&shortened(&failure.error)))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Ends the attempt as one of those that are kept, if the item is still what they were read from.
    fn end_as(
        &self,
        failure: &AttemptFailure,
        attempts: Attempts,
        (unchanged, was): (String, HashMap<String, AttributeValue>),
    ) -> UpdateItemFluentBuilder {
        const COUNTED: &str = "SET #sending = :sending, #attempt = :attempt, #ended = :ended, #ended_at = :at, \
             #last_error = :error";
        let start = &failure.start;
        let at_ms = epoch_ms(start.at);
        let whole = format!(
            "{COUNTED}, #status = :inprogress, #in_progress_expiration = :zero, \
             #expiration = :expiration, #validation = :fingerprint, #attempted_at = :at \
             REMOVE #attempt_until, #data"
        );
        let update = if failure.has_begun {
            // Another one has begun since, and goes on.
            let update = self.update(&start.key, COUNTED, &unchanged);
            update.set_expression_attribute_values(Some(was))
        } else {
            let expiration = epoch_ms(start.expires_at) / 1000;
            self.update(&start.key, &whole, &unchanged)
                .set_expression_attribute_values(Some(was))
                .expression_attribute_values(":inprogress", text("INPROGRESS"))
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":expiration", number(expiration))
                .expression_attribute_values(":fingerprint", text(&start.fingerprint))
        };
        let attempts = match failure.has_begun {
            true => attempts,
            false => attempts.and_begin(at_ms),
        };
        let update = update
            .expression_attribute_values(":at", number(at_ms))
            .expression_attribute_values(":error", text(&shortened(&failure.error)))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        counts(update, &attempts.and_end(failure.counts))
    }
}

/// What an attempt begins with, with a lease or without.
struct Start<'a> {
    key: &'a IdempotencyKey,
    fingerprint: &'a str,
    expires_at: SystemTime,
    sending: &'a Sending,
    limit: u32,
    at_ms: u64,
    /// What else is removed.
    removes: &'static str,
    /// Whether the item says that this very attempt has begun: an answer was lost, and the call repeated.
    is_repeated: &'a (dyn Fn(&StoredItem) -> bool + Sync),
}

enum Started {
    /// With what was written.
    Begun(StoredItem),
    Suspect(Suspect),
    /// With what is in the way.
    Met(StoredItem),
}

/// With the counts in [`Attempts`].
fn counts(update: UpdateItemFluentBuilder, attempts: &Attempts) -> UpdateItemFluentBuilder {
    let sending = attempts.sending.as_deref().unwrap_or_default();
    update
        .expression_attribute_values(":sending", text(sending))
        .expression_attribute_values(":attempt", number(u64::from(attempts.begun)))
        .expression_attribute_values(":ended", number(u64::from(attempts.ended)))
}

fn busy(key: &IdempotencyKey) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the key {key} was changed by others, {TRIES} times in a row"),
    )
}
