//! Claims in a DynamoDB table; the only module that knows the table.

mod commit;

use super::{
    attempts::{Attempts, Sending},
    claim::{
        AttemptEnd, AttemptFailure, AttemptHistory, AttemptStart, Begun, Claim, ClaimRequest,
        Completion, Lease,
    },
    commit::{Commit, Committed},
    store::{CommitStore, Commits, Store},
};
use crate::{
    Clock, Error, ErrorKind, IdempotencyKey, Result,
    clock::{epoch_ms, from_epoch_ms},
    description::Use,
};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use std::{collections::HashMap, time::SystemTime};

/// Keeps claims in a DynamoDB table whose partition key is the string `id`.
///
/// The items are those of Powertools for AWS Lambda, so that its functions and Surehand's can share
/// a table:
///
/// | attribute | type | |
/// |---|---|---|
/// | `id` | S | the key |
/// | `status` | S | `INPROGRESS` or `COMPLETED` |
/// | `expiration` | N | when it is forgotten, in seconds since the epoch: the table's TTL attribute |
/// | `in_progress_expiration` | N | when the lease ends, in milliseconds since the epoch; 0 once released; without it the key stays locked until `expiration` |
/// | `data` | S | the reply, as JSON |
/// | `validation` | S | the payload's digest |
///
/// and some that Powertools does not have:
///
/// | attribute | type | |
/// |---|---|---|
/// | `owner` | S | the fence |
/// | `sending` | S | what the attempts were made for, a message or an invocation; gone once the key is completed |
/// | `attempt` | N | how many attempts at it have begun |
/// | `ended` | N | how many of those have ended |
/// | `ended_at` | N | when the one without a lease began that ended last, in milliseconds since the epoch |
/// | `attempted_at` | N | when the last one began, in milliseconds since the epoch |
/// | `last_error` | S | why the last one failed |
/// | `interrupted` | N | when the lease before this one ended, if it ended by itself, in milliseconds since the epoch; else 0 |
/// | `attempt_until` | N | when an attempt without a lease has to end, in milliseconds since the epoch |
///
/// A claim, a completion and a release cost one UpdateItem each, and so does a duplicate. A claim for an event
/// whose attempts failed before it was put back costs two.
/// DynamoDB deletes expired items up to two days late; every condition looks at `expiration` itself.
#[derive(Clone, Debug)]
pub struct DynamoDbStore {
    client: Client,
    table: String,
    clock: Clock,
}

/// `expiration < :now` forgets in time what TTL has yet to delete. A released lease ended at 0.
const CLAIMABLE: &str = "attribute_not_exists(#id) OR #expiration < :now \
    OR (#status = :inprogress AND attribute_exists(#in_progress_expiration) \
        AND #in_progress_expiration < :now_ms)";

/// And it goes on with the count that is kept, or begins one. The rest is decided by what the item holds.
const COUNTED: &str = "(attribute_not_exists(#sending) \
        AND (attribute_not_exists(#in_progress_expiration) OR #expiration >= :now)) \
    OR (#sending = :sending AND #expiration >= :now AND #attempted_at < :at \
        AND (#attempt <= #ended OR #attempt < :limit))";

/// When the lease before this one ended, unless it was given back.
const INTERRUPTED: &str = "if_not_exists(#in_progress_expiration, :zero)";

/// How often a change is tried again that depends on what an item holds, when that has changed meanwhile.
const TRIES: u32 = 4;

/// An item is a few hundred bytes; DynamoDB takes 400 KB, and long errors say little more.
const MAX_ERROR_CHARS: usize = 1_000;

impl DynamoDbStore {
    /// The claims in `table`. The client keeps its own time limits.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
            clock: Clock::system(),
        }
    }

    /// The claims in the table that the environment variable `IDEMPOTENCY_TABLE` names, with the
    /// environment's AWS configuration. A call that gets no answer in 2 s is repeated, as
    /// [`aws::with_time_limits`](crate::aws::with_time_limits) says.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env() -> Result<Self> {
        let table = crate::environment::used("IDEMPOTENCY_TABLE", Use::IdempotencyTable)?;
        let client = Client::new(crate::aws::limited_config().await);
        Ok(Self::new(client, table))
    }

    /// The same table, with another clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    async fn item(&self, key: &IdempotencyKey) -> Result<Option<StoredItem>> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", text(key.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(output.item.map(StoredItem))
    }

    fn update(
        &self,
        key: &IdempotencyKey,
        change: &str,
        condition: &str,
    ) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("id", text(key.as_str()))
            .update_expression(change)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names(&[change, condition])))
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

    /// Ends the lease at `ended_ms`, and makes `change` if that is the first time.
    async fn give_back(
        &self,
        lease: &Lease,
        ended_ms: u64,
        change: &str,
        error: &str,
    ) -> Result<()> {
        let change = format!("SET #in_progress_expiration = :until, #last_error = :error{change}");
        let update = self
            .update(
                &lease.key,
                &change,
                "#owner = :me AND #status = :inprogress AND #in_progress_expiration > :zero",
            )
            .expression_attribute_values(":inprogress", text("INPROGRESS"))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":until", number(ended_ms))
            .expression_attribute_values(":error", text(&shortened(error)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = match change.contains(":one") {
            true => update.expression_attribute_values(":one", number(1)),
            false => update,
        };
        let update = update.expression_attribute_values(":me", text(&lease.owner));
        let Err(error) = update.send().await else {
            return Ok(());
        };
        let item = in_the_way(&error)?;
        // The answer was lost, and the call repeated.
        let is_own = item.text("owner") == Some(&lease.owner);
        let is_over = item.number("in_progress_expiration") == Some(0);
        match is_own && is_over {
            true => Ok(()),
            false => Err(lease.fenced()),
        }
    }

    /// Only the owner may; the answer to a repeated call is that of the first.
    async fn update_as_owner(&self, lease: &Lease, update: UpdateItemFluentBuilder) -> Result<()> {
        let update = update.expression_attribute_values(":me", text(&lease.owner));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => in_the_way(&error).and(Err(lease.fenced())),
        }
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
    Suspect(super::attempts::Suspect),
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

fn shortened(error: &str) -> String {
    error.chars().take(MAX_ERROR_CHARS).collect()
}

fn busy(key: &IdempotencyKey) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the key {key} was changed by others, {TRIES} times in a row"),
    )
}

/// The attributes that expressions name: `#owner` is `owner`.
fn names(expressions: &[&str]) -> HashMap<String, String> {
    let is_part = |c: char| c == '#' || c == '_' || c.is_ascii_alphanumeric();
    let words = expressions
        .iter()
        .flat_map(|text| text.split(|c| !is_part(c)));
    words
        .filter_map(|word| Some((word.to_owned(), word.strip_prefix('#')?.to_owned())))
        .collect()
}

/// The values in [`CLAIMABLE`].
fn claimable(now: SystemTime) -> HashMap<String, AttributeValue> {
    let now_ms = epoch_ms(now);
    [
        (":now", number(now_ms / 1000)),
        (":now_ms", number(now_ms)),
        (":inprogress", text("INPROGRESS")),
    ]
    .map(|(placeholder, value)| (placeholder.to_owned(), value))
    .into()
}

/// The item that does not meet an update's condition.
fn in_the_way(error: &SdkError<UpdateItemError>) -> Result<StoredItem> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            Ok(StoredItem(failed.item.clone().unwrap_or_default()))
        }
        _ => Err(unavailable(error)),
    }
}

impl CommitStore for DynamoDbStore {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        self.commit_all(commit).await
    }
}

impl Store for DynamoDbStore {
    const COMMITS: Commits<Self> = Commits::with_claims();

    fn kind(&self) -> &'static str {
        "dynamodb"
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
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

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        // The status is no part of the condition, so that a repeated call finds the owner unchanged
        // and succeeds like the first.
        let change = match data {
            Some(_) => {
                "SET #status = :completed, #expiration = :expiration, #data = :data \
                 REMOVE #in_progress_expiration, #attempt_until, #sending, #attempt, #ended, #ended_at"
            }
            None => {
                "SET #status = :completed, #expiration = :expiration \
                 REMOVE #in_progress_expiration, #attempt_until, #sending, #attempt, #ended, #ended_at"
            }
        };
        let mut update = self
            .update(&lease.key, change, "#owner = :me")
            .expression_attribute_values(":completed", text("COMPLETED"))
            .expression_attribute_values(":expiration", number(epoch_ms(expires_at) / 1000));
        if let Some(data) = data {
            update = update.expression_attribute_values(":data", text(data));
        }
        self.update_as_owner(lease, update).await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        let Some(item) = self.item(key).await? else {
            return Ok(None);
        };
        if item.is_claimable(self.clock.now()) {
            Ok(None)
        } else {
            item.taken(key).map(Some)
        }
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Begun> {
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

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
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

    async fn history(&self, key: &IdempotencyKey) -> Result<Option<AttemptHistory>> {
        Ok(self.item(key).await?.map(|item| item.history()))
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        // It still holds in the millisecond in which it ends.
        let ended = epoch_ms(self.clock.now()).saturating_sub(1).max(1);
        self.give_back(lease, ended, "", error).await
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        let change = match counts {
            true => ", #ended = if_not_exists(#ended, :zero) + :one",
            false => ", #attempt = #attempt - :one",
        };
        self.give_back(lease, 0, change, error).await
    }
}

/// An item of the table, whoever wrote it.
#[derive(Default)]
struct StoredItem(HashMap<String, AttributeValue>);

/// What changes with each attempt, and with its end.
const CHANGING: [&str; 6] = [
    "status",
    "in_progress_expiration",
    "sending",
    "attempt",
    "ended",
    "attempted_at",
];

impl StoredItem {
    fn text(&self, name: &str) -> Option<&String> {
        self.0.get(name)?.as_s().ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_n().ok()?.parse().ok()
    }

    fn count(&self, name: &str) -> u32 {
        let count = self.number(name).unwrap_or_default();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.number("expiration")
            .is_some_and(|then| then < epoch_ms(now) / 1000)
    }

    /// What [`CLAIMABLE`] asks.
    fn is_claimable(&self, now: SystemTime) -> bool {
        let is_in_progress = self.text("status").is_some_and(|it| it == "INPROGRESS");
        let until = self.number("in_progress_expiration");
        let is_over = until.is_some_and(|then| then < epoch_ms(now));
        self.0.is_empty() || self.is_expired(now) || (is_in_progress && is_over)
    }

    /// The attempts that count for one that is made now.
    fn attempts(&self, now: SystemTime) -> Attempts {
        if self.is_expired(now) {
            return Attempts::default();
        }
        Attempts {
            sending: self.text("sending").cloned(),
            begun: self.count("attempt"),
            ended: self.count("ended"),
            at_ms: self.number("attempted_at").unwrap_or_default(),
        }
    }

    /// When the last attempt had to end, unless it has.
    fn until(&self) -> Option<u64> {
        let until = self.number("in_progress_expiration").filter(|ms| *ms > 0);
        until.or_else(|| self.number("attempt_until"))
    }

    fn is_begun(&self, at_ms: u64, until_ms: u64) -> bool {
        self.number("attempted_at") == Some(at_ms) && self.number("attempt_until") == Some(until_ms)
    }

    /// A condition that holds as long as the item is this one, and its values.
    fn unchanged(&self) -> (String, HashMap<String, AttributeValue>) {
        let mut values = HashMap::new();
        let parts = CHANGING.map(|name| match self.0.get(name) {
            Some(value) => {
                values.insert(format!(":was_{name}"), value.clone());
                format!("#{name} = :was_{name}")
            }
            None => format!("attribute_not_exists(#{name})"),
        });
        (parts.join(" AND "), values)
    }

    fn history(&self) -> AttemptHistory {
        let deadline = self.until();
        let is_completed = self.text("status").is_some_and(|s| s == "COMPLETED");
        let (begun, ended) = (self.count("attempt"), self.count("ended"));
        AttemptHistory {
            attempts: begun,
            unended: begun.saturating_sub(ended),
            started_at: self.number("attempted_at").map(from_epoch_ms),
            deadline: deadline.filter(|_| !is_completed).map(from_epoch_ms),
            last_error: self.text("last_error").cloned(),
            end: match deadline {
                _ if is_completed => AttemptEnd::Completed,
                Some(_) => AttemptEnd::Unknown,
                None => AttemptEnd::Released,
            },
        }
    }

    /// Why the key could not be claimed.
    fn taken(&self, key: &IdempotencyKey) -> Result<Claim> {
        let expires_at = from_epoch_ms(
            self.number("expiration")
                .unwrap_or_default()
                .saturating_mul(1000),
        );
        match self.text("status").map(String::as_str) {
            Some("COMPLETED") => Ok(Claim::Completed(Completion {
                data: self.text("data").cloned(),
                fingerprint: self
                    .text("validation")
                    .filter(|text| !text.is_empty())
                    .cloned(),
                expires_at,
            })),
            Some("INPROGRESS") => Ok(Claim::Held {
                until: self.number("in_progress_expiration").map(from_epoch_ms),
            }),
            status => Err(Error::new(
                ErrorKind::Store,
                format!(
                    "the item {} in the idempotency table has the status {status:?}, and INPROGRESS or COMPLETED was expected",
                    key
                ),
            )),
        }
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn unavailable<E>(error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    // Whoever reads that a table did not answer looks for a network, and not for a right.
    let what = match error.code() {
        Some(_) => "refused the call",
        None => "did not answer",
    };
    let why = crate::aws::describe(error);
    Error::new(
        ErrorKind::Store,
        format!("the idempotency table {what}: {why}"),
    )
}
