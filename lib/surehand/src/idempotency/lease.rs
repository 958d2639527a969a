//! Records whose claim is a lease: it comes first, lasts as long as the handler may run, and is then
//! completed, given back, or left, if it is not known what was done under it.

use super::{
    Idempotency, Subject,
    attempts::Suspect,
    claim::{Claim, ClaimRequest, Completion, Lease},
    store::Store,
    time_to,
};
use crate::{
    Error, ErrorKind, Record, Reply, Result, companion::Ending, dead_letter::redrive_count, redact,
};
use std::time::{Duration, SystemTime};
use tower::Service;

/// The handler's effect is there already, so it is worth some effort to write that down.
const COMPLETE_TRIES: u32 = 3;

/// An attempt under a lease.
struct UnderLease {
    request: ClaimRequest,
    ending: Ending,
    /// Whether a record that was put back says so: a message does, an invocation does not.
    is_put_back_by_message: bool,
}

impl<St: Store> Idempotency<St> {
    /// The claim comes first and lasts as long as the handler may run.
    pub(super) async fn under_lease<S>(
        &self,
        record: Record,
        mut inner: S,
        subject: Subject,
    ) -> Result<Reply>
    where
        S: Service<Record, Response = Reply, Error = Error>,
    {
        let deadline = record.deadline().clone();
        let now = self.settings.clock.now();
        let mut request = ClaimRequest::new(
            subject.key.clone(),
            subject.fingerprint.clone(),
            deadline.ends_at() + self.settings.skew,
            self.count_expires_at(now),
        );
        request.sending = self.sending(&record);
        match self.parks_unknown() {
            // The first attempt that never ended is in the way, unless it was looked at; so there are no others.
            true => request.settled = settled(&record),
            false => request.limit = self.limit(&record),
        }
        let attempt = UnderLease {
            is_put_back_by_message: record.delivery().receipt_handle.is_some(),
            ending: record.companion().ending.clone(),
            request,
        };
        let request = &attempt.request;
        let mut claimed = self.store.claim(request).await;
        while let Ok(Claim::Held { until: Some(until) }) = claimed
            && !may_come_later(&record)
        {
            // The source tries again at once, or soon, and gives up after a few times: the lease of a
            // process that died could outlast that.
            let rest = time_to(until, self.settings.clock.now());
            let (is_enough, left) = (rest < deadline.remaining(), deadline.remaining());
            // If it is not enough, an attempt that takes its time leaves less to the next one.
            tokio::time::sleep(rest.min(left)).await;
            if !is_enough {
                break;
            }
            claimed = self.store.claim(request).await;
        }
        let lease = match claimed {
            Ok(Claim::Acquired(lease)) => lease,
            Ok(Claim::Suspect(suspect)) if self.parks_unknown() => {
                return Err(self.interrupted(&suspect, &attempt));
            }
            Ok(Claim::Suspect(suspect)) => return Err(self.suspected(&subject, &suspect, &record)),
            Ok(taken) => return self.taken(&subject, taken),
            Err(error) => return Err(self.without_an_answer(error, request).await),
        };
        attempt
            .ending
            .counts(Some(lease.attempt).filter(|number| *number > 0));
        match inner.call(record).await {
            Ok(reply) => match self.complete(&lease, &subject, &reply, &deadline).await {
                Ok(()) => Ok(reply),
                Err(error) => Err(self.unknown(error, &lease, &attempt)),
            },
            Err(error) if self.parks_unknown() && attempt.ending.is_unknown() => {
                Err(self.unknown(error, &lease, &attempt))
            }
            Err(error) => {
                let reason = reason(&error);
                let counts = error.counts();
                match self.store.release(&lease, counts, &reason).await {
                    Ok(()) => Err(error),
                    Err(late) => {
                        if late.kind() == ErrorKind::Fenced {
                            // The result of the attempt that took over stands, whatever became of this one.
                            attempt.ending.is_counted_by_claims();
                        }
                        tracing::warn!(key = %lease.key, error = %format!("{late:#}"), "lease not released");
                        Err(self.after_the_lease(error, request.until))
                    }
                }
            }
        }
    }

    /// Nobody knows whether the key is leased now. If it is, the lease would be in the way of the next
    /// attempt, so its owner gives it back.
    async fn without_an_answer(&self, error: Error, request: &ClaimRequest) -> Error {
        let mut lease = Lease {
            key: request.key.clone(),
            owner: request.owner.clone(),
            attempt: 0,
        };
        let reason = reason(&error);
        let mut given_back = self.store.release(&lease, false, &reason).await;
        if is_fenced(&given_back) {
            // The claim may be yet to come. Once the store has had it, it comes to nothing.
            lease = match self.store.claim(request).await {
                Ok(Claim::Acquired(lease)) => lease,
                Ok(_) => return error,
                Err(_) => return self.after_the_lease(error, request.until),
            };
            given_back = self.store.release(&lease, false, &reason).await;
        }
        match given_back.is_ok() || is_fenced(&given_back) {
            true => error,
            false => self.after_the_lease(error, request.until),
        }
    }

    /// What an earlier attempt has done is not known. No lease is taken, so that this stays with the key, also
    /// beyond a park: the event may be in another message too. Only where what comes back will not say that somebody
    /// put it there does the park settle it.
    fn interrupted(&self, suspect: &Suspect, attempt: &UnderLease) -> Error {
        attempt.ending.counts(Some(suspect.attempts));
        let which = match suspect.attempts {
            // It was made for another message of this event.
            0 => "an attempt at the event".to_owned(),
            number => format!("attempt {number} at the record"),
        };
        let until = jiff::Timestamp::try_from(suspect.until.unwrap_or(SystemTime::UNIX_EPOCH));
        let until = until.unwrap_or_default();
        let error = Error::new(
            ErrorKind::Interrupted,
            format!("{which} began and never ended; its lease ended at {until:.3}"),
        );
        if !attempt.is_put_back_by_message {
            let (store, reason) = (self.store.clone(), reason(&error));
            let request = ClaimRequest {
                settled: None,
                ..attempt.request.clone()
            };
            attempt.ending.once_parked(Box::pin(async move {
                let settled = match store.claim(&request).await {
                    Ok(Claim::Acquired(lease)) => store.release(&lease, false, &reason).await,
                    other => other.map(drop),
                };
                if let Err(late) = settled {
                    tracing::warn!(key = %request.key, error = %format!("{late:#}"), "end not settled");
                }
            }));
        }
        error
    }

    /// The lease ends by itself, and is not given back: what was done under it is not known.
    ///
    /// Once the record is parked, the lease is not in the way of whoever puts it back. That it is not
    /// known stays with the key, since the event may be in another message too; unless what comes back
    /// will not say that somebody put it there.
    fn unknown(&self, error: Error, lease: &Lease, attempt: &UnderLease) -> Error {
        if self.parks_unknown() {
            let (store, lease, reason) = (self.store.clone(), lease.clone(), reason(&error));
            let is_kept = attempt.is_put_back_by_message;
            attempt.ending.once_parked(Box::pin(async move {
                let settled = match is_kept {
                    true => store.abandon(&lease, &reason).await,
                    false => store.release(&lease, true, &reason).await,
                };
                if let Err(late) = settled {
                    tracing::warn!(key = %lease.key, error = %format!("{late:#}"), "lease not released");
                }
            }));
        }
        self.after_the_lease(error, attempt.request.until)
    }

    /// An attempt before the lease has ended could only find it held, and would use up a receive.
    fn after_the_lease(&self, error: Error, until: SystemTime) -> Error {
        error.not_before(time_to(until, self.settings.clock.now()))
    }

    async fn complete(
        &self,
        lease: &Lease,
        subject: &Subject,
        reply: &Reply,
        deadline: &crate::Deadline,
    ) -> Result<()> {
        let completion = Completion {
            data: subject.stored(reply),
            fingerprint: Some(subject.fingerprint.clone()),
            expires_at: self.settings.clock.now() + self.settings.expires_after,
        };
        let mut tries = 1;
        loop {
            let result = self
                .store
                .complete(lease, completion.data.as_deref(), completion.expires_at)
                .await;
            match result {
                Ok(()) => {
                    self.remember(&subject.key, &completion);
                    return Ok(());
                }
                Err(error)
                    if error.kind() == ErrorKind::Store
                        && tries < COMPLETE_TRIES
                        && !deadline.is_over() =>
                {
                    tracing::warn!(key = %lease.key, error = %format!("{error:#}"), "completion not stored, trying again");
                    tokio::time::sleep(Duration::from_millis(50) * tries).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_fenced(result: &Result<()>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::Fenced)
}

pub(super) fn reason(error: &Error) -> String {
    format!("{}: {}", error.kind(), redact::failure(error))
}

/// Until when somebody has looked at what earlier attempts did, and wants another one: who put the record back. That
/// it is received for the first time does not say so: of two copies of a record, one can wait while the attempt at
/// the other comes to its unknown end.
fn settled(record: &Record) -> Option<SystemTime> {
    let delivery = record.delivery();
    match delivery.sent_at {
        _ if redrive_count(record) == 0 => Some(SystemTime::UNIX_EPOCH),
        None if delivery.receive_count <= 1 => None,
        sent => Some(sent.unwrap_or(SystemTime::UNIX_EPOCH)),
    }
}

/// Whether the record can come back when its lease ends: a queue's can, by its receipt, and so can that
/// of a caller who waits for a reply. A stream's and an asynchronous invocation's cannot.
pub(super) fn may_come_later(record: &Record) -> bool {
    record.delivery().receipt_handle.is_some() || record.wants_reply()
}
