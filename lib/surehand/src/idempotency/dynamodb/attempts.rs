//! The beginnings and ends of attempts, and their count: claims, and attempts without a lease.

use super::{
    CLAIMABLE, DynamoDbStore, claimable, in_the_way,
    item::{StoredItem, entry, number, open, text},
    shortened,
};
use crate::{
    Error, ErrorKind, IdempotencyKey, Result,
    clock::epoch_ms,
    idempotency::{
        attempts::{AttemptFailure, AttemptStart, Attempts, Sending},
        claim::{Begun, Claim, ClaimRequest, Lease},
    },
};
use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

/// And it goes on with the count that is kept, or begins one. The rest is decided by what the item holds: of attempts
/// that are fewer than the limit, those that never ended are so too.
const COUNTED: &str = "(attribute_not_exists(#sending) \
        AND (attribute_not_exists(#in_progress_expiration) OR #expiration >= :now)) \
    OR (#sending = :sending AND #validation = :fingerprint AND #expiration >= :now AND #attempted_at < :at \
        AND (#attempt <= #ended OR #attempt < :limit))";

/// And no lease has ended by itself that the request minds.
const SETTLED: &str =
    "attribute_not_exists(#in_progress_expiration) OR #in_progress_expiration <= :settled";

/// The whole count, but for the attempts that go on.
const COUNT: &str =
    "#sending = :sending, #attempt = :attempt, #ended = :ended, #attempted_at = :attempted_at";

/// How often a change is tried again that depends on what an item holds, when that has changed meanwhile.
const TRIES: u32 = 4;

impl DynamoDbStore {
    pub(super) async fn claim_key(&self, request: &ClaimRequest) -> Result<Claim> {
        let is_own = |item: &StoredItem| item.text("owner") == Some(&request.owner);
        let start = Start {
            key: &request.key,
            fingerprint: &request.fingerprint,
            expires_at: request.expires_at,
            sending: &request.sending,
            limit: request.limit,
            at_ms: epoch_ms(self.clock.now()),
            open: BTreeMap::new(),
            change: "#status = :inprogress, #owner = :me, #in_progress_expiration = :until",
            values: &[
                (":me", text(&request.owner)),
                (":until", number(epoch_ms(request.until))),
            ],
            claim: Some(request),
            is_repeated: &is_own,
        };
        let acquired = |attempt: u32| {
            Claim::Acquired(Lease {
                key: request.key.clone(),
                owner: request.owner.clone(),
                attempt: attempt.max(1),
            })
        };
        Ok(match self.begin_attempt(&start).await? {
            Started::Begun(number) => acquired(number),
            Started::Taken(claim) => claim,
            Started::Met(item) => match item.taken(&request.key)? {
                // The client repeats a call whose answer was lost; then the claim in its way is its own.
                Claim::Held { .. } if is_own(&item) => acquired(item.count("attempt")),
                taken => taken,
            },
        })
    }

    pub(super) async fn begin_without_lease(&self, attempt: &AttemptStart) -> Result<Begun> {
        let at_ms = epoch_ms(attempt.at);
        let start = Start {
            key: &attempt.key,
            fingerprint: &attempt.fingerprint,
            expires_at: attempt.expires_at,
            sending: &attempt.sending,
            limit: attempt.limit,
            at_ms,
            open: BTreeMap::from([(at_ms, epoch_ms(attempt.until))]),
            change: "#status = :inprogress, #in_progress_expiration = :zero",
            values: &[(":zero", number(0))],
            claim: None,
            is_repeated: &|item| item.kept().have_open(attempt),
        };
        Ok(match self.begin_attempt(&start).await? {
            Started::Begun(number) => Begun::Begun {
                number: Some(number),
            },
            Started::Taken(claim) => Begun::Taken(claim),
            Started::Met(item) if item.is_claimable(self.clock.now()) => Begun::Begun {
                number: Some(item.count("attempt")),
            },
            Started::Met(item) => Begun::Taken(item.taken(&attempt.key)?),
        })
    }

    pub(super) async fn end_without_lease(&self, failure: &AttemptFailure) -> Result<Begun> {
        let start = &failure.start;
        let now = self.clock.now();
        // What is most often there: the attempt as it began, or nothing.
        let mut update = match failure.has_begun || !failure.counts {
            true => self.end_open(failure),
            false => {
                let first = Attempts::default().and_failed(failure).unwrap_or_default();
                let nothing = ("attribute_not_exists(#id)".into(), HashMap::new());
                self.count_failure(failure, &first, nothing)
            }
        };
        for _ in 0..TRIES {
            let item = match update.send().await {
                Ok(output) => {
                    let item = StoredItem(output.attributes.unwrap_or_default());
                    let number = Some(item.count("attempt"));
                    return Ok(Begun::Begun { number });
                }
                Err(error) => in_the_way(&error)?,
            };
            let is_claimable = item.is_claimable(now);
            if !is_claimable && let taken @ Claim::Completed(_) = item.taken(&start.key)? {
                return Ok(Begun::Taken(taken));
            }
            let kept = item.attempts(now);
            // Whoever holds the key counts for itself.
            let failed = match is_claimable && !failure.has_begun && failure.counts {
                true => kept.clone().and_failed(failure),
                false => None,
            };
            let Some(attempts) = failed else {
                // The answer was lost, and the call repeated.
                let is_last = kept.at_ms == epoch_ms(start.at);
                let number = is_last.then_some(kept.begun);
                return Ok(Begun::Begun { number });
            };
            update = self.count_failure(failure, &attempts, item.unchanged());
        }
        Err(busy(&start.key))
    }

    /// Writes down that an attempt begins, if the key can be claimed. Else it is what stands in the way.
    async fn begin_attempt(&self, start: &Start<'_>) -> Result<Started> {
        let now = self.clock.now();
        let set = format!(
            "SET {}, #expiration = :expiration, #validation = :fingerprint",
            start.change
        );
        let common = |update: UpdateItemFluentBuilder| {
            let mut update = update
                .expression_attribute_values(":inprogress", text("INPROGRESS"))
                .expression_attribute_values(":fingerprint", text(start.fingerprint))
                .expression_attribute_values(
                    ":expiration",
                    number(epoch_ms(start.expires_at) / 1000),
                )
                .return_values(ReturnValue::UpdatedNew)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
            for (name, value) in start.values {
                update = update.expression_attribute_values(*name, value.clone());
            }
            update
        };
        let mut sent = common(self.count_one_more(start, &set, now)).send().await;
        let mut tries = 0;
        loop {
            let item = match &sent {
                Ok(output) => {
                    let item = StoredItem(output.attributes.clone().unwrap_or_default());
                    return Ok(Started::Begun(item.count("attempt")));
                }
                Err(error) => in_the_way(error)?,
            };
            let is_repeated = !item.is_expired(now) && (start.is_repeated)(&item);
            if !item.is_claimable(now) || is_repeated {
                return Ok(Started::Met(item));
            }
            let kept = item.attempts(now);
            if let until @ Some(_) = kept.are_ahead_of(start.at_ms, start.claim.is_some()) {
                return Ok(Started::Taken(Claim::Held { until }));
            }
            let attempts = kept.of(start.sending, start.fingerprint);
            // Of what is forgotten no attempt is left whose end could be unknown.
            let lease = item.lease_until().filter(|_| !item.is_expired(now));
            let is_minded = start.claim.is_some_and(|claim| claim.minds(lease));
            if attempts.are_suspect(start.limit) || is_minded {
                return Ok(Started::Taken(Claim::Suspect(attempts.suspect(lease))));
            }
            tries += 1;
            if tries > TRIES {
                return Err(busy(start.key));
            }
            let mut attempts = attempts.and_begin(start.at_ms);
            attempts.open.extend(&start.open);
            let (unchanged, was) = item.unchanged();
            let change = format!("{set}, {}", count(&attempts));
            let update = self
                .update(start.key, &change, &unchanged)
                .set_expression_attribute_values(Some(was));
            sent = common(counts(update, &attempts)).send().await;
        }
    }

    /// Counts the attempt as one more of its sending, without a look at the item.
    fn count_one_more(
        &self,
        start: &Start<'_>,
        set: &str,
        now: SystemTime,
    ) -> UpdateItemFluentBuilder {
        let mut change = format!(
            "{set}, #attempted_at = :at, #sending = :sending, \
             #attempt = if_not_exists(#attempt, :none) + :one, #ended = if_not_exists(#ended, :none) \
             REMOVE #data"
        );
        let mut condition = format!("({CLAIMABLE}) AND ({COUNTED})");
        let mut values = claimable(now);
        let mut with = |name: &str, value| values.insert(name.to_owned(), value);
        with(":sending", text(&start.sending.id));
        with(":limit", number(u64::from(start.limit)));
        with(":at", number(start.at_ms));
        with(":none", number(0));
        with(":one", number(1));
        if !start.open.is_empty() {
            change.push_str(" ADD #open :open");
            with(":open", open(&start.open));
        }
        if let Some(settled) = start.claim.and_then(|claim| claim.settled) {
            condition.push_str(&format!(" AND ({SETTLED})"));
            with(":settled", number(epoch_ms(settled)));
        }
        self.update(start.key, &change, &condition)
            .set_expression_attribute_values(Some(values))
    }

    /// Ends an attempt that has begun, if its end is not known.
    fn end_open(&self, failure: &AttemptFailure) -> UpdateItemFluentBuilder {
        let start = &failure.start;
        let change = match failure.counts {
            true => "SET #ended = #ended + :one, #last_error = :error DELETE #open :ends",
            false => "SET #attempt = #attempt - :one, #last_error = :error DELETE #open :ends",
        };
        let (at_ms, until_ms) = (epoch_ms(start.at), epoch_ms(start.until));
        self.update(&start.key, change, "contains(#open, :one_of)")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":one_of", text(&entry(at_ms, until_ms)))
            .expression_attribute_values(":ends", open(&BTreeMap::from([(at_ms, until_ms)])))
            .expression_attribute_values(":error", text(&shortened(&failure.error)))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Writes the count with an attempt that was not written down when it began, if the item is still what the count
    /// was made from.
    fn count_failure(
        &self,
        failure: &AttemptFailure,
        attempts: &Attempts,
        (unchanged, was): (String, HashMap<String, AttributeValue>),
    ) -> UpdateItemFluentBuilder {
        let start = &failure.start;
        let change = format!(
            "SET #status = :inprogress, #in_progress_expiration = :zero, #expiration = :expiration, \
             #validation = :fingerprint, #last_error = :error, {}",
            count(attempts)
        );
        let update = self
            .update(&start.key, &change, &unchanged)
            .set_expression_attribute_values(Some(was))
            .expression_attribute_values(":inprogress", text("INPROGRESS"))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":expiration", number(epoch_ms(start.expires_at) / 1000))
            .expression_attribute_values(":fingerprint", text(&start.fingerprint))
            .expression_attribute_values(":error", text(&shortened(&failure.error)))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        counts(update, attempts)
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
    /// When it began, and has to end, if it holds no lease.
    open: BTreeMap<u64, u64>,
    /// What is set beside the count, and its values.
    change: &'a str,
    values: &'a [(&'a str, AttributeValue)],
    claim: Option<&'a ClaimRequest>,
    /// Whether the item says that this very attempt has begun: an answer was lost, and the call repeated.
    is_repeated: &'a (dyn Fn(&StoredItem) -> bool + Sync),
}

enum Started {
    /// As this one.
    Begun(u32),
    /// This stands against it.
    Taken(Claim),
    /// The item is not free, or says that the attempt has begun.
    Met(StoredItem),
}

/// What sets the whole count, and removes a reply.
fn count(attempts: &Attempts) -> String {
    match attempts.open.is_empty() {
        true => format!("{COUNT} REMOVE #data, #open"),
        false => format!("{COUNT}, #open = :open REMOVE #data"),
    }
}

/// The values in it.
fn counts(update: UpdateItemFluentBuilder, attempts: &Attempts) -> UpdateItemFluentBuilder {
    let sending = attempts.sending.as_deref().unwrap_or_default();
    let update = match attempts.open.is_empty() {
        true => update,
        false => update.expression_attribute_values(":open", open(&attempts.open)),
    };
    update
        .expression_attribute_values(":sending", text(sending))
        .expression_attribute_values(":attempt", number(u64::from(attempts.begun)))
        .expression_attribute_values(":ended", number(u64::from(attempts.ended)))
        .expression_attribute_values(":attempted_at", number(attempts.at_ms))
}

fn busy(key: &IdempotencyKey) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the key {key} was changed by others, {TRIES} times in a row"),
    )
}
