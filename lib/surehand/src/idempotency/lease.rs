//! Records whose claim is a lease: it comes first, lasts as long as the handler may run, and is then
//! completed, given back, or left, if it is not known what was done under it.

use super::{
    Idempotency, Subject,
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
        // What is parked for the first attempt that never ended is granted, and then not run.
        request.limit = match self.parks_unknown() {
            true => u32::MAX,
            false => self.limit(&record),
        };
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
            Ok(Claim::Suspect(suspect)) => return Err(self.suspected(&subject, &suspect, &record)),
            Ok(taken) => return self.taken(&subject, taken),
            Err(error) => return Err(self.without_an_answer(error, &record, &attempt).await),
        };
        if let Some(until) = self.unsettled(&lease, &record) {
            return Err(self.interrupted(&lease, until, &attempt));
        }
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
                let counts = error.kind().counts();
                match self.store.release(&lease, counts, &reason).await {
                    Ok(()) => Err(error),
                    Err(late) => {
                        tracing::warn!(key = %lease.key, error = %format!("{late:#}"), "lease not released");
                        Err(self.after_the_lease(error, request.until))
                    }
                }
            }
        }
    }

    /// Nobody knows whether the key is leased now. If it is, the lease would be in the way of the next
    /// attempt, so its owner gives it back.
    async fn without_an_answer(
        &self,
        error: Error,
        record: &Record,
        attempt: &UnderLease,
    ) -> Error {
        let request = &attempt.request;
        let mut lease = Lease {
            key: request.key.clone(),
            owner: request.owner.clone(),
            attempt: 0,
            interrupted: None,
        };
        if self.parks_unknown() {
            // What is given back leaves no trace of an attempt before it whose end is not known. The
            // same claim again tells of one.
            match self.store.claim(request).await {
                Ok(Claim::Acquired(again)) => lease = again,
                Ok(_) => return error,
                Err(_) => return self.after_the_lease(error, request.until),
            }
            if let Some(until) = self.unsettled(&lease, record) {
                return self.interrupted(&lease, until, attempt);
            }
        }
        match self.store.release(&lease, false, &reason(&error)).await {
            Ok(()) => error,
            Err(other) if other.kind() == ErrorKind::Fenced => error,
            Err(_) => self.after_the_lease(error, request.until),
        }
    }

    /// When the lease of an earlier attempt ended whose end is not known, and which nobody who put the
    /// record back has looked at. None where that makes no difference.
    fn unsettled(&self, lease: &Lease, record: &Record) -> Option<SystemTime> {
        let until = lease.interrupted.filter(|_| self.parks_unknown())?;
        (!is_put_back_after(until, record)).then_some(until)
    }

    /// What an earlier attempt has done is not known. The lease on the key is kept, and with it what is
    /// known, until the record is parked.
    fn interrupted(&self, lease: &Lease, until: SystemTime, attempt: &UnderLease) -> Error {
        let until = jiff::Timestamp::try_from(until).unwrap_or_default();
        attempt
            .ending
            .counts(Some(lease.attempt.saturating_sub(1).max(1)));
        let which = match lease.attempt.saturating_sub(1) {
            // It was made for another message of this event.
            0 => "an attempt at the event".to_owned(),
            number => format!("attempt {number} at the record"),
        };
        let error = Error::new(
            ErrorKind::Interrupted,
            format!("{which} began and never ended; its lease ended at {until:.3}"),
        );
        self.unknown(error, lease, attempt)
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
        let rest = time_to(until, self.settings.clock.now());
        let delay = error.delay().unwrap_or_default().max(rest);
        error.with_retry_after(delay)
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

pub(super) fn reason(error: &Error) -> String {
    format!("{}: {}", error.kind(), redact::failure(error))
}

/// Whether somebody has put the record back since that time, and so has looked at what an attempt did
/// whose lease ended then, and wants another one. That it is received for the first time does not say so: of two
/// copies of a record, one can wait while the attempt at the other comes to its unknown end.
fn is_put_back_after(lease_ended: SystemTime, record: &Record) -> bool {
    let delivery = record.delivery();
    let is_later = match delivery.sent_at {
        Some(sent) => lease_ended <= sent,
        None => delivery.receive_count <= 1,
    };
    redrive_count(record) > 0 && is_later
}

/// Whether the record can come back when its lease ends: a queue's can, by its receipt, and so can that
/// of a caller who waits for a reply. A stream's and an asynchronous invocation's cannot.
pub(super) fn may_come_later(record: &Record) -> bool {
    record.delivery().receipt_handle.is_some() || record.wants_reply()
}
