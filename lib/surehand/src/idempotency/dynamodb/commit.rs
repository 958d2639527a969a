//! Commits: one TransactWriteItems, or one PutItem where the claim is all there is.

use super::{
    CLAIMABLE, DynamoDbStore, claimable,
    item::{StoredItem, number, text},
    names, unavailable,
};
use crate::{
    Error, ErrorKind, Result,
    clock::epoch_ms,
    idempotency::{
        claim::Claim,
        commit::{Commit, Committed},
    },
    outbox,
    stage::{Item, table},
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
        let (claim, events) = claim_item(commit);
        if commit.writes.is_empty() && events.is_empty() {
            return self.put_claim(commit, claim).await;
        }
        let actions = actions(&self.table, commit, claim, events)?;
        self.transact(commit, actions).await
    }

    /// Fails as the commit would before anything is sent.
    pub(crate) fn takes(commit: &Commit<'_>) -> Result<()> {
        let (claim, events) = claim_item(commit);
        // No limit is one of the table's name.
        actions("claims", commit, claim, events).map(drop)
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
                Ok(Committed::Throttled(busy.to_string()))
            }
            Some(_) if error.code() == Some("ThrottlingException") => {
                let message = error.message().unwrap_or("no message");
                Ok(Committed::Throttled(message.to_owned()))
            }
            // A request that DynamoDB does not take as it is will not be taken next time.
            Some(_) if error.code() == Some("ValidationException") => Err(invalid(&error)),
            Some(_) => {
                let message = error.message().unwrap_or_default();
                let problem = refused(&self.table, commit.writes, error.code(), message);
                Err(problem.map_or_else(
                    || unavailable(&error),
                    |it| Error::new(ErrorKind::Store, it),
                ))
            }
            _ => Err(unavailable(&error)),
        }
    }
}

/// Everything that is written, the claim first. What is too large is known before anything is sent.
fn actions(
    table: &str,
    commit: &Commit<'_>,
    claim: Item,
    events: Vec<Item>,
) -> Result<Vec<TransactWriteItem>> {
    let claim = Put::builder()
        .table_name(table)
        .set_item(Some(claim))
        .condition_expression(CLAIMABLE)
        .set_expression_attribute_names(Some(names(&[CLAIMABLE])))
        .set_expression_attribute_values(Some(claimable(commit.now)))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()?;
    let mut actions = vec![TransactWriteItem::builder().put(claim).build()];
    actions.extend_from_slice(commit.writes);
    for event in events {
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(event))
            .build()?;
        actions.push(TransactWriteItem::builder().put(put).build());
    }
    check_limits(&actions)?;
    Ok(actions)
}

/// The completed claim, with the events that find room in it, and an item for each that does
/// not. If the claim is forgotten before its events may be, those have an item of their own.
fn claim_item(commit: &Commit<'_>) -> (Item, Vec<Item>) {
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
    (claim, outside)
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
        Claim::Acquired(_) | Claim::Suspect(_) => Committed::Conflict("the claim was free".into()),
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
    let (mut conflict, mut throttled) = (None, None);
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
            met @ "TransactionConflict" => {
                conflict.get_or_insert_with(|| format!("action {index} met a {met}"));
            }
            met @ ("ThrottlingError" | "ProvisionedThroughputExceeded") => {
                throttled.get_or_insert_with(|| format!("action {index} met a {met}"));
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
    if let Some(what) = throttled {
        return Ok(Committed::Throttled(what));
    }
    Ok(Committed::Conflict(conflict.unwrap_or_else(|| {
        "the transaction was cancelled without a reason".into()
    })))
}

/// What DynamoDB refused because of a table that the handler writes to, and not because of the
/// claim's. None if that is not known.
fn refused(
    claims: &str,
    writes: &[TransactWriteItem],
    code: Option<&str>,
    message: &str,
) -> Option<String> {
    let mut tables: Vec<&str> = writes.iter().map(table).collect();
    tables.sort_unstable();
    tables.dedup();
    match code? {
        // The message names the resource, and with it the action.
        "AccessDeniedException" => {
            let is_named = |table: &&&str| {
                let resource = format!(":table/{table}");
                let rest = message.split(&resource).nth(1);
                **table != claims && rest.is_some_and(|rest| !rest.starts_with(is_of_name))
            };
            // A table may also be given by its ARN.
            let is_arn = |table: &&&str| table.starts_with("arn:") && message.contains(**table);
            let table = tables.iter().find(|it| is_named(it) || is_arn(it))?;
            Some(format!(
                "the table {table}, to which the handler has staged a write, refused the transaction: {message}"
            ))
        }
        "ResourceNotFoundException" => {
            tables.retain(|table| *table != claims);
            Some(format!(
                "DynamoDB does not find a table of the transaction, which are {claims} for the claim and {} for what the handler has staged: {message}",
                tables.join(", ")
            ))
            .filter(|_| !tables.is_empty())
        }
        _ => None,
    }
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

fn invalid(error: &SdkError<TransactWriteItemsError>) -> Error {
    Error::rejected(format!(
        "DynamoDB does not take the transaction: {}",
        error.message().unwrap_or("no message")
    ))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_table_that_it_is_about() {
        let put = |table: &str| {
            let put = Put::builder().table_name(table).item("id", text("1"));
            TransactWriteItem::builder()
                .put(put.build().unwrap())
                .build()
        };
        let writes = [put("stock"), put("stock-levels"), put("claims")];
        let said = |code: &str, message: &str| refused("claims", &writes, Some(code), message);
        let denied = |table: &str| {
            let message = format!(
                "User: arn:aws:sts::1:assumed-role/reserve is not authorized to perform: dynamodb:PutItem on resource: arn:aws:dynamodb:eu-central-1:1:table/{table} because no identity-based policy allows the dynamodb:PutItem action"
            );
            said("AccessDeniedException", &message)
        };
        for table in ["stock", "stock-levels"] {
            let problem = denied(table).unwrap();
            let expected = format!("the table {table}, to which the handler has staged a write");
            assert!(problem.starts_with(&expected), "{problem}");
        }
        assert_eq!(denied("claims"), None);
        let missing = said("ResourceNotFoundException", "Requested resource not found");
        let missing = missing.unwrap();
        assert!(
            missing.contains("claims for the claim and stock, stock-levels for what"),
            "{missing}"
        );
        assert_eq!(said("InternalServerError", "stock"), None);
    }
}
