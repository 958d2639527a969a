//! Claims in a DynamoDB table; the only module that knows the table.

mod commit;

use super::{
    claim::{AttemptEnd, AttemptHistory, AttemptStart, Claim, ClaimRequest, Completion, Lease},
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
/// | `attempts` | N | how often the key was claimed |
/// | `attempted_at` | N | when it last was, in milliseconds since the epoch |
/// | `last_error` | S | why it was last released |
/// | `interrupted` | N | when the lease before this one ended, if it ended by itself, in milliseconds since the epoch; else 0 |
/// | `attempt_until` | N | when an attempt without a lease has to end, in milliseconds since the epoch |
///
/// A claim, a completion and a release cost one UpdateItem each, and so does a duplicate.
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

    /// An update that is made if the key can be claimed.
    fn take(
        &self,
        key: &IdempotencyKey,
        change: &str,
        fingerprint: &str,
        expires_at: SystemTime,
    ) -> UpdateItemFluentBuilder {
        self.update(key, change, CLAIMABLE)
            .set_expression_attribute_values(Some(claimable(self.clock.now())))
            .expression_attribute_values(":fingerprint", text(fingerprint))
            .expression_attribute_values(":expiration", number(epoch_ms(expires_at) / 1000))
            .expression_attribute_values(":zero", number(0))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    async fn give_back(&self, lease: &Lease, ended_ms: u64, error: &str) -> Result<()> {
        let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
        let change = "SET #in_progress_expiration = :ended, #last_error = :error";
        let update = self
            .update(&lease.key, change, "#owner = :me AND #status = :inprogress")
            .expression_attribute_values(":inprogress", text("INPROGRESS"))
            .expression_attribute_values(":ended", number(ended_ms))
            .expression_attribute_values(":error", text(&error));
        self.update_as_owner(lease, update).await
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
        let change = "SET #status = :inprogress, #owner = :me, #in_progress_expiration = :until, \
            #expiration = :expiration, #validation = :fingerprint, \
            #attempts = if_not_exists(#attempts, :zero) + :one, #attempted_at = :now_ms, \
            #interrupted = if_not_exists(#in_progress_expiration, :zero) \
            REMOVE #data, #attempt_until";
        let sent = self
            .take(
                &request.key,
                change,
                &request.fingerprint,
                request.expires_at,
            )
            .expression_attribute_values(":me", text(&request.owner))
            .expression_attribute_values(":until", number(epoch_ms(request.until)))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await;
        let acquired = |item: &StoredItem| {
            Claim::Acquired(Lease {
                key: request.key.clone(),
                owner: request.owner.clone(),
                attempt: item.attempts().unwrap_or(1),
                interrupted: item
                    .number("interrupted")
                    .filter(|until| *until > 0)
                    .map(from_epoch_ms),
            })
        };
        match sent {
            Ok(output) => Ok(acquired(&StoredItem(output.attributes.unwrap_or_default()))),
            Err(error) => {
                let item = in_the_way(&error)?;
                match item.taken(&request.key)? {
                    // The client repeats a call whose answer was lost; then the claim in its way is
                    // its own.
                    Claim::Held { .. } if item.text("owner") == Some(&request.owner) => {
                        Ok(acquired(&item))
                    }
                    taken => Ok(taken),
                }
            }
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
                 REMOVE #in_progress_expiration"
            }
            None => {
                "SET #status = :completed, #expiration = :expiration REMOVE #in_progress_expiration"
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
        let now_ms = epoch_ms(self.clock.now());
        let is_over = |name: &str, now: u64| item.number(name).is_some_and(|then| then < now);
        let claimable = is_over("expiration", now_ms / 1000)
            || (item
                .text("status")
                .is_some_and(|status| status == "INPROGRESS")
                && is_over("in_progress_expiration", now_ms));
        if claimable {
            Ok(None)
        } else {
            item.taken(key).map(Some)
        }
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Option<Claim>> {
        let change = "SET #status = :inprogress, #in_progress_expiration = :zero, \
            #expiration = :expiration, #validation = :fingerprint, #attempts = :number, \
            #attempted_at = :now_ms, #attempt_until = :attempt_until REMOVE #data";
        let sent = self
            .take(
                &attempt.key,
                change,
                &attempt.fingerprint,
                attempt.expires_at,
            )
            .expression_attribute_values(":number", number(u64::from(attempt.number)))
            .expression_attribute_values(":attempt_until", number(epoch_ms(attempt.until)))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(None),
            Err(error) => in_the_way(&error)?.taken(&attempt.key).map(Some),
        }
    }

    async fn history(&self, key: &IdempotencyKey) -> Result<Option<AttemptHistory>> {
        Ok(self.item(key).await?.map(|item| item.history()))
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        // It still holds in the millisecond in which it ends.
        let ended = epoch_ms(self.clock.now()).saturating_sub(1).max(1);
        self.give_back(lease, ended, error).await
    }

    async fn release(&self, lease: &Lease, error: &str) -> Result<()> {
        self.give_back(lease, 0, error).await
    }
}

/// An item of the table, whoever wrote it.
struct StoredItem(HashMap<String, AttributeValue>);

impl StoredItem {
    fn text(&self, name: &str) -> Option<&String> {
        self.0.get(name)?.as_s().ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_n().ok()?.parse().ok()
    }

    fn attempts(&self) -> Option<u32> {
        self.number("attempts")?.try_into().ok()
    }

    fn history(&self) -> AttemptHistory {
        let until = self.number("in_progress_expiration").filter(|ms| *ms > 0);
        let deadline = until.or_else(|| self.number("attempt_until"));
        let is_completed = self.text("status").is_some_and(|s| s == "COMPLETED");
        AttemptHistory {
            attempts: self.attempts().unwrap_or_default(),
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
