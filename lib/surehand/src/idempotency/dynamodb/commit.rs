//! Commits: one TransactWriteItems, or one PutItem where the claim is all there is.

use super::{CLAIMABLE, DynamoDbStore, StoredItem, claimable, names, number, text, unavailable};
use crate::{
    Error, Result,
    clock::epoch_ms,
    idempotency::{
        claim::Claim,
        commit::{Commit, Committed},
    },
    outbox,
    stage::Item,
    transaction::{MAX_ACTIONS, MAX_ITEM_BYTES, MAX_TRANSACTION_BYTES, item_bytes, write_bytes},
};
use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};
use sha2::{Digest, Sha256};

/// The claim's item takes events while it stays below this: a quarter of what DynamoDB takes, since
/// the relay writes the item again to mark them as published, and pays by its size.
const MAX_CLAIM_BYTES: usize = 100 * 1024;

impl DynamoDbStore {
    pub(super) async fn commit_all(&self, commit: &Commit<'_>) -> Result<Committed> {
        let (claim, events) = self.claim_item(commit)?;
        if commit.writes.is_empty() && events.is_empty() {
            return self.put_claim(commit, claim).await;
        }
        let mut actions = vec![self.claim_action(commit, claim)?];
        actions.extend_from_slice(commit.writes);
        for event in events {
            let put = Put::builder()
                .table_name(&self.table)
                .set_item(Some(event))
                .build()?;
            actions.push(TransactWriteItem::builder().put(put).build());
        }
        check_limits(&actions)?;
        self.transact(commit, actions).await
    }

    /// The completed claim, with the events that find room in it, and an item for each that does
    /// not. If the claim is forgotten before its events may be, those have an item of their own.
    fn claim_item(&self, commit: &Commit<'_>) -> Result<(Item, Vec<Item>)> {
        let now_ms = epoch_ms(commit.now);
        let expiration = number(epoch_ms(commit.expires_at) / 1000);
        // Once a key has expired, another commit may overwrite its item, and TTL deletes it.
        let waits_until = commit.now + outbox::RETENTION;
        let retention = number(epoch_ms(commit.expires_at.max(waits_until)) / 1000);
        let is_kept = commit.expires_at >= waits_until;
        let event_item = |number: usize, events| {
            let id = format!("{}#event#{}#{number}", commit.key, commit.owner);
            let mut item = outbox::attributes(&id, events, now_ms);
            item.extend([
                ("id".into(), text(&id)),
                ("status".into(), text("EVENT")),
                ("expiration".into(), retention.clone()),
            ]);
            item
        };
        let mut claim = Item::from([
            ("id".into(), text(commit.key.as_str())),
            ("status".into(), text("COMPLETED")),
            ("expiration".into(), expiration),
            ("validation".into(), text(commit.fingerprint)),
            ("owner".into(), text(commit.owner)),
            ("attempted_at".into(), number(now_ms)),
        ]);
        if let Some(data) = commit.data {
            claim.insert("data".into(), text(data));
        }
        let mut room = MAX_CLAIM_BYTES.saturating_sub(item_bytes(&claim));
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (index, event) in commit.events.iter().enumerate() {
            let event = outbox::event_value(event);
            let size = item_bytes(&Item::from([(String::new(), event.clone())]));
            if size <= room && outside.is_empty() {
                room -= size;
                inside.push(event);
                continue;
            }
            outside.push(event_item(index + 1, vec![event]));
        }
        match inside.is_empty() {
            true => {}
            false if is_kept => {
                claim.extend(outbox::attributes(commit.key.as_str(), inside, now_ms));
            }
            false => outside.insert(0, event_item(0, inside)),
        }
        Ok((claim, outside))
    }

    fn claim_action(&self, commit: &Commit<'_>, claim: Item) -> Result<TransactWriteItem> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(claim))
            .condition_expression(CLAIMABLE)
            .set_expression_attribute_names(Some(names(&[CLAIMABLE])))
            .set_expression_attribute_values(Some(claimable(commit.now)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    async fn put_claim(&self, commit: &Commit<'_>, claim: Item) -> Result<Committed> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(claim))
            .condition_expression(CLAIMABLE)
            .set_expression_attribute_names(Some(names(&[CLAIMABLE])))
            .set_expression_attribute_values(Some(claimable(commit.now)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Committed::Done),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    taken(commit, failed.item.clone())
                }
                Some(PutItemError::TransactionConflictException(conflict)) => {
                    Ok(Committed::Conflict(conflict.to_string()))
                }
                _ => Err(unavailable(&error)),
            },
        }
    }

    async fn transact(
        &self,
        commit: &Commit<'_>,
        actions: Vec<TransactWriteItem>,
    ) -> Result<Committed> {
        let sent = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .client_request_token(token(commit.owner))
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Committed::Done),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancellation(commit, cancelled.cancellation_reasons())
            }
            Some(TransactWriteItemsError::TransactionInProgressException(busy)) => {
                Ok(Committed::Conflict(busy.to_string()))
            }
            Some(TransactWriteItemsError::ProvisionedThroughputExceededException(busy)) => {
                Ok(Committed::Conflict(busy.to_string()))
            }
            Some(_) if error.code() == Some("ThrottlingException") => {
                Ok(Committed::Conflict("throttled".into()))
            }
            // A request that DynamoDB does not take as it is will not be taken next time.
            Some(_) if error.code() == Some("ValidationException") => Err(invalid(&error)),
            _ => Err(unavailable(&error)),
        }
    }
}

/// A token has at most 36 characters, and an owner is one commit with one set of bytes.
fn token(owner: &str) -> String {
    if owner.len() <= 36 {
        return owner.to_owned();
    }
    hex::encode(Sha256::digest(owner))[..36].to_owned()
}

/// Why the claim could not be made; unless it is there because an earlier call made it.
fn taken(commit: &Commit<'_>, item: Option<Item>) -> Result<Committed> {
    let item = StoredItem(item.unwrap_or_default());
    if item
        .text("owner")
        .is_some_and(|owner| owner == commit.owner)
    {
        return Ok(Committed::Done);
    }
    Ok(match item.taken(commit.key)? {
        Claim::Completed(completion) => Committed::Completed(completion),
        Claim::Held { until } => Committed::Held { until },
        Claim::Acquired(_) => Committed::Conflict("the claim was free".into()),
    })
}

/// One reason for each action, in their order, the claim's first. A claim that is taken decides;
/// what the writes met then is no business of this attempt. If the claim was not looked at, nothing
/// is decided: the writes may have met what an earlier attempt at this record did.
fn cancellation(commit: &Commit<'_>, reasons: &[CancellationReason]) -> Result<Committed> {
    const REFUSED: &str = "ConditionalCheckFailed";
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    if let Some(claim) = reasons.first()
        && code(claim) == REFUSED
    {
        return taken(commit, claim.item.clone());
    }
    let was_read = reasons.first().is_some_and(|claim| code(claim) == "None");
    let mut conflict = None;
    for (index, reason) in reasons.iter().enumerate() {
        match code(reason).as_str() {
            "None" => {}
            REFUSED if !was_read => {}
            REFUSED if index > 0 && index <= commit.writes.len() => {
                return Ok(Committed::Refused {
                    write: index - 1,
                    item: reason.item.clone(),
                });
            }
            "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded" => {
                conflict.get_or_insert_with(|| code(reason));
            }
            other => {
                // A write that does not fit the item it meets, for example: what is wrong may be the
                // item, and mended by the next attempt.
                return Err(Error::transient(format!(
                    "action {index} of the transaction was refused with {other}: {}",
                    reason.message().unwrap_or("no message")
                )));
            }
        }
    }
    Ok(Committed::Conflict(conflict.unwrap_or_else(|| {
        "the transaction was cancelled without a reason".into()
    })))
}

fn invalid(error: &SdkError<TransactWriteItemsError>) -> Error {
    Error::rejected(format!(
        "DynamoDB does not take the transaction: {}",
        error.message().unwrap_or("no message")
    ))
}

/// What is too large is known before anything is sent.
fn check_limits(actions: &[TransactWriteItem]) -> Result<()> {
    if actions.len() > MAX_ACTIONS {
        return Err(Error::rejected(format!(
            "{} actions with the claim's, and DynamoDB takes {MAX_ACTIONS} in a transaction",
            actions.len()
        )));
    }
    let mut total = 0;
    for (index, action) in actions.iter().enumerate() {
        let bytes = write_bytes(action);
        if bytes > MAX_ITEM_BYTES {
            let what = match index {
                0 => "the claim with its reply and events".to_owned(),
                _ => format!("staged write {index}"),
            };
            return Err(Error::rejected(format!(
                "{what} has {bytes} bytes, and DynamoDB takes {MAX_ITEM_BYTES} an item"
            )));
        }
        total += bytes;
    }
    if total > MAX_TRANSACTION_BYTES {
        return Err(Error::rejected(format!(
            "{total} bytes, and DynamoDB takes {MAX_TRANSACTION_BYTES} in a transaction"
        )));
    }
    Ok(())
}
