//! Records whose claim, effects and events are one commit.

use super::{
    Idempotency, Subject,
    attempts::{AttemptFailure, AttemptStart},
    claim::{Begun, Claim, Completion},
    commit::{Commit, Committed},
    lease::{may_come_later, reason},
    store::Store,
    time_to,
};
use crate::{
    Backoff, Deadline, Error, ErrorKind, Record, Reply, Result,
    companion::Ending,
    error::Disposition,
    stage::{Stage, Staged},
};
use aws_sdk_dynamodb::types::TransactWriteItem;
use std::time::Duration;
use tower::Service;

/// Between two tries of one commit. A conflict lasts as long as the other transaction, and DynamoDB throttles by the
/// second.
const CONFLICT_BACKOFF: Backoff =
    Backoff::of_calls(Duration::from_millis(20), Duration::from_secs(1));

impl<St: Store> Idempotency<St> {
    /// Nothing is visible before the commit, so there is nothing to claim before, and nothing to
    /// give back after a failure. What is written down is only how often it was tried.
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
        let ending = record.companion().ending.clone();
        let is_counted = is_counted(&record);
        let mut attempt = self.start(&subject, &record);
        if is_counted && self.begins(&record) {
            let begun = match self.begin(&mut attempt.start, &record).await {
                Ok(begun) => begun,
                Err(error) => return Err(self.without_a_beginning(error, attempt).await),
            };
            attempt.has_begun = match begun {
                Begun::Begun { number } => {
                    ending.counts(number);
                    number.is_some()
                }
                Begun::Taken(Claim::Suspect(suspect)) => {
                    return Err(self.suspected(&subject, &suspect, &record));
                }
                Begun::Taken(taken) => return self.taken(&subject, taken),
            };
        }
        let retries_malformed = record.companion().retries_malformed;
        let is_parked = |error: &Error| {
            let comes_back = error.kind() == ErrorKind::Malformed && retries_malformed;
            error.disposition() == Disposition::Park && !comes_back
        };
        let stage = Stage::default();
        record.companion_mut().stage = Some(stage.clone());
        let result = match inner.call(record).await {
            Ok(reply) => match stage.take() {
                Ok(staged) => self.commit(&subject, reply, staged, &deadline).await,
                Err(error) => Err(error),
            },
            // A handler may refuse what it sees to be done already, and who did it may have been an
            // earlier attempt at the same record: such a record is a duplicate, and no dead letter. The
            // read is worth its price where a record would be parked for good.
            Err(error) if is_parked(&error) && !attempt.has_begun => {
                let found = self.store.find(&subject.key).await?;
                return self.duplicate_or(error, found, &subject);
            }
            Err(error) => Err(error),
        };
        let error = match result {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        attempt.counts = error.counts();
        if attempt.has_begun || (is_counted && attempt.counts && !is_parked(&error)) {
            attempt.error = reason(&error);
            return self.failed(&subject, error, &attempt, &ending).await;
        }
        Err(error)
    }

    /// Nobody knows whether the attempt has been counted, and its handler is not called: it is taken back.
    async fn without_a_beginning(&self, error: Error, mut attempt: AttemptFailure) -> Error {
        attempt.counts = false;
        attempt.error = reason(&error);
        if let Err(late) = self.store.failed(&attempt).await {
            let (key, late) = (&attempt.start.key, format!("{late:#}"));
            tracing::warn!(%key, error = %late, "attempt not taken back");
        }
        error
    }

    fn start(&self, subject: &Subject, record: &Record) -> AttemptFailure {
        let now = self.settings.clock.now();
        // Others wait for its end by clocks of their own.
        let until = record.deadline().ends_at() + self.settings.skew;
        let mut start = AttemptStart::new(
            subject.key.clone(),
            subject.fingerprint.clone(),
            now,
            until,
            self.count_expires_at(now),
        );
        start.sending = self.sending(record);
        start.limit = self.limit(record);
        AttemptFailure::new(start, "")
    }

    /// A first delivery is rarely a duplicate, and the commit finds out for free. A later one may
    /// well be: a look spares its handler's run. The same call writes down that an attempt
    /// begins, for whoever meets a record whose process died. Where the source does not say which delivery it
    /// is, each may be a later one.
    fn begins(&self, record: &Record) -> bool {
        match record.delivery().receive_count {
            0 => self.settings.begins_first,
            1 => false,
            _ => true,
        }
    }

    async fn begin(&self, start: &mut AttemptStart, record: &Record) -> Result<Begun> {
        let mut has_waited = false;
        loop {
            let begun = self.store.begin(start).await?;
            let now = self.settings.clock.now();
            let (until, is_soon) = match &begun {
                // Its last attempt may go on elsewhere.
                Begun::Taken(Claim::Suspect(suspect)) => (suspect.until, false),
                // Another clock is ahead of this one, or a lease is nearly over.
                Begun::Taken(Claim::Held { until }) => {
                    let rest = until.map(|until| until.duration_since(now).unwrap_or_default());
                    (*until, rest.is_some_and(|rest| rest <= self.settings.skew))
                }
                _ => (None, false),
            };
            let Some(until) = until.filter(|until| is_soon || *until > now) else {
                return Ok(begun);
            };
            // Where the source tries again at once, or soon, the attempt waits in its own time.
            let waits = (is_soon && !has_waited) || (until > now && !may_come_later(record));
            let rest = time_to(until, now);
            if !waits || record.deadline().remaining() <= rest {
                return Ok(begun);
            }
            tokio::time::sleep(rest).await;
            has_waited = true;
            start.at = self.settings.clock.now();
        }
    }

    /// Writes the failure down.
    async fn failed(
        &self,
        subject: &Subject,
        error: Error,
        attempt: &AttemptFailure,
        ending: &Ending,
    ) -> Result<Reply> {
        let found = match self.store.failed(attempt).await {
            Ok(Begun::Taken(taken)) => Some(taken),
            Ok(Begun::Begun { number }) => {
                if !attempt.has_begun {
                    ending.counts(number);
                }
                None
            }
            Err(late) => {
                let (key, late) = (&subject.key, format!("{late:#}"));
                tracing::warn!(%key, error = %late, "attempt not counted");
                None
            }
        };
        self.duplicate_or(error, found, subject)
    }

    fn duplicate_or(&self, error: Error, found: Option<Claim>, subject: &Subject) -> Result<Reply> {
        match found {
            Some(taken @ Claim::Completed(_)) => self.taken(subject, taken),
            _ => Err(error),
        }
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
            let late = match call(&self.store, &commit).await? {
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
                    Error::transient(format!("the transaction was not committed in time: {what}"))
                }
                Committed::Throttled(what) => Error::new(
                    ErrorKind::Store,
                    format!("DynamoDB throttled the transaction until time was out: {what}"),
                ),
            };
            let pause = CONFLICT_BACKOFF.delay(tries);
            if deadline.remaining() <= pause {
                return Err(late);
            }
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }
}

/// Whether anything comes of the count: who waits for a reply gets the error, and where nothing is parked and the
/// source has a count of its own or none, nobody asks.
fn is_counted(record: &Record) -> bool {
    let is_asked_for = record.companion().limit.is_some() || record.delivery().receive_count > 0;
    is_asked_for && !record.wants_reply()
}
