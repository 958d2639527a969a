//! Claims in a DynamoDB table; the only module that knows the table.

mod attempts;
mod commit;
mod item;

use super::{
    attempts::{AttemptFailure, AttemptStart},
    claim::{AttemptHistory, Begun, Claim, ClaimRequest, Lease},
    commit::{Commit, Committed},
    store::{CommitStore, Commits, Store},
};
use crate::{Clock, Error, ErrorKind, IdempotencyKey, Result, clock::epoch_ms, description::Use};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use item::{StoredItem, number, text};
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
/// | `attempted_at` | N | when the last one began, in milliseconds since the epoch |
/// | `last_error` | S | why the last one failed |
/// | `open` | SS | the attempts without a lease that have not ended: when each began, a hyphen, and when it has to end, in milliseconds since the epoch |
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

fn shortened(error: &str) -> String {
    error.chars().take(MAX_ERROR_CHARS).collect()
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
        self.claim_key(request).await
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
                 REMOVE #in_progress_expiration, #sending, #attempt, #ended, #open"
            }
            None => {
                "SET #status = :completed, #expiration = :expiration \
                 REMOVE #in_progress_expiration, #sending, #attempt, #ended, #open"
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
        self.begin_without_lease(attempt).await
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        self.end_without_lease(failure).await
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
