//! Records whose claim, effects and events are one commit.

use super::{
    Idempotency, Subject,
    claim::{AttemptStart, Claim, Completion},
    commit::{Commit, Committed},
    store::Store,
};
use crate::{
    Backoff, Deadline, Error, ErrorKind, Record, Reply, Result,
    error::Disposition,
    stage::{Stage, Staged},
};
use aws_sdk_dynamodb::types::TransactWriteItem;
use std::time::Duration;
use tower::Service;

/// Between two tries of one commit. A conflict lasts as long as the other transaction.
const CONFLICT_BACKOFF: Backoff =
    Backoff::of_calls(Duration::from_millis(20), Duration::from_secs(1));

impl<St: Store> Idempotency<St> {
    /// Nothing is visible before the commit, so there is nothing to claim before, and nothing to
    /// give back after a failure.
    pub(super) async fn in_transaction<S>(
        &self,
        mut record: Record,
        mut inner: S,
        subject: Subject,
    ) -> Result<Reply>
    where
        S: Service<Record, Response = Reply, Error = Error>,
    {
        let deadline = record.deadline().clone();
        // A first receive is rarely a duplicate, and the commit finds out for free. A later one may
        // well be: a look spares its handler's run. The same call writes down that an attempt
        // begins, for whoever finds the message among the dead letters without a reason.
        let number = record.delivery().receive_count;
        if number > 1 {
            let attempt = AttemptStart {
                key: subject.key.clone(),
                fingerprint: subject.fingerprint.clone(),
                number,
                until: deadline.ends_at(),
                expires_at: self.settings.clock.now() + self.settings.expires_after,
            };
            if let Some(taken) = self.store.begin(&attempt).await? {
                return self.taken(&subject, taken);
            }
        }
        let stage = Stage::default();
        record.companion_mut().stage = Some(stage.clone());
        let reply = match inner.call(record).await {
            Ok(reply) => reply,
            Err(error) => return self.refused(&subject, error).await,
        };
        let staged = stage.take()?;
        self.commit(&subject, reply, staged, &deadline).await
    }

    /// A handler may refuse what it sees to be done already, and who did it may have been an earlier
    /// attempt at the same record. Such a record is a duplicate, and no dead letter. The read is
    /// worth its price where a record would be parked for good.
    async fn refused(&self, subject: &Subject, error: Error) -> Result<Reply> {
        if error.disposition() == Disposition::Park
            && let Some(taken @ Claim::Completed(_)) = self.store.find(&subject.key).await?
        {
            return self.taken(subject, taken);
        }
        Err(error)
    }

    pub(super) async fn commit(
        &self,
        subject: &Subject,
        reply: Reply,
        mut staged: Staged,
        deadline: &Deadline,
    ) -> Result<Reply> {
        let call = St::COMMITS.call().ok_or_else(|| {
            Error::new(
                ErrorKind::Invocation,
                "the store only leases keys, and cannot commit a transaction",
            )
        })?;
        let now = self.settings.clock.now();
        let completion = Completion {
            data: subject.stored(&reply),
            fingerprint: Some(subject.fingerprint.clone()),
            expires_at: now + self.settings.expires_after,
        };
        let writes: Vec<TransactWriteItem> = staged
            .writes
            .iter()
            .map(|staged| staged.write.clone())
            .collect();
        // Every try sends the same bytes under the same token: DynamoDB takes them for one commit.
        let owner = uuid::Uuid::now_v7().to_string();
        let commit = Commit {
            key: &subject.key,
            fingerprint: &subject.fingerprint,
            owner: &owner,
            data: completion.data.as_deref(),
            now,
            expires_at: completion.expires_at,
            writes: &writes,
            events: &staged.events,
        };
        let mut tries = 1;
        loop {
            match call(&self.store, &commit).await? {
                Committed::Done => {
                    self.remember(&subject.key, &completion);
                    return Ok(reply);
                }
                Committed::Completed(completion) => {
                    return self.taken(subject, Claim::Completed(completion));
                }
                Committed::Held { until } => return self.taken(subject, Claim::Held { until }),
                Committed::Refused { write, item } => {
                    return Err(staged.writes.swap_remove(write).refuse(item));
                }
                Committed::Conflict(what) => {
                    let pause = CONFLICT_BACKOFF.delay(tries);
                    if deadline.remaining() <= pause {
                        return Err(Error::transient(format!(
                            "the transaction was not committed in time: {what}"
                        )));
                    }
                    tokio::time::sleep(pause).await;
                    tries += 1;
                }
            }
        }
    }
}
