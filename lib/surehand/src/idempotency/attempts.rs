//! How attempts are counted, as the only place that knows: what one belongs to, what starts the count anew, and
//! whom earlier ones make a suspect. The stores only keep the numbers.

use crate::{
    IdempotencyKey,
    clock::{epoch_ms, from_epoch_ms},
};
use std::{collections::BTreeMap, time::SystemTime};

/// What an attempt is made for: one message, or one asynchronous invocation, however often it is delivered.
///
/// An event that is put back is another sending, whoever does it: a redrive, SQS's own move, or somebody who
/// sends it anew. Its attempts are counted from one again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sending {
    /// What all its deliveries share.
    pub id: String,
    /// When it was sent at the latest, by the function's clock; none if that is not known.
    pub at: Option<SystemTime>,
}

impl Sending {
    /// A sending with this id.
    pub fn new(id: impl Into<String>, at: Option<SystemTime>) -> Self {
        Self { id: id.into(), at }
    }
}

/// A key whose earlier attempts began and never ended: its process died, stood still, or could not write the end
/// down. Whatever killed it may do so again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspect {
    /// How many attempts there were at the sending.
    pub attempts: u32,
    /// How many of them never ended.
    pub deaths: u32,
    /// When the last one had to end, if that is known.
    pub until: Option<SystemTime>,
}

/// An attempt that is about to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptStart {
    /// The key.
    pub key: IdempotencyKey,
    /// A digest of the payload that the key stands for.
    pub fingerprint: String,
    /// When it begins, in milliseconds of the function's clock: of all attempts at the key it is the only one that
    /// did so then.
    pub at: SystemTime,
    /// When it has to end, also by another clock.
    pub until: SystemTime,
    /// When the key is forgotten; the store keeps seconds.
    pub expires_at: SystemTime,
    /// What the attempt is made for. Attempts are counted by it.
    pub sending: Sending,
    /// With how many attempts that never ended the key is refused, as a [suspect](super::Claim::Suspect); 0 is as 1.
    pub limit: u32,
}

impl AttemptStart {
    /// An attempt at `key` with this time, for one sending and without a limit.
    pub fn new(
        key: IdempotencyKey,
        fingerprint: impl Into<String>,
        at: SystemTime,
        until: SystemTime,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            key,
            fingerprint: fingerprint.into(),
            at,
            until,
            expires_at,
            sending: Sending::default(),
            limit: u32::MAX,
        }
    }
}

/// An attempt without a lease that has ended, and not by a commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptFailure {
    /// The attempt, as it began or would have.
    pub start: AttemptStart,
    /// Whether it is known to have been written down when it began.
    pub has_begun: bool,
    /// Whether it counts; else it is as if it had not begun.
    pub counts: bool,
    /// Why it failed.
    pub error: String,
}

impl AttemptFailure {
    /// The failure of an attempt that counts, and was not written down when it began.
    pub fn new(start: AttemptStart, error: impl Into<String>) -> Self {
        Self {
            start,
            has_begun: false,
            counts: true,
            error: error.into(),
        }
    }
}

/// What a store keeps of the attempts at a key, until the key is completed or expires. It is the rules of the count
/// too: a store that goes by them keeps that part of the [contract](super::Store).
///
/// All times are in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Of which sending; none if none is counted.
    pub sending: Option<String>,
    /// The digest of the payload that it had; none if that is not known.
    pub fingerprint: Option<String>,
    /// How many have begun.
    pub begun: u32,
    /// How many of those have ended.
    pub ended: u32,
    /// When the last one began; 0 if none has.
    pub at_ms: u64,
    /// Those that hold no lease and have not ended: when each began, and when it has to end. It is by this that an
    /// end is counted once, and only with the count that the attempt began with.
    pub open: BTreeMap<u64, u64>,
}

impl Attempts {
    /// What counts for an attempt that is made for `sending`, with this payload: what is kept, or nothing, if the
    /// sending is one that came later, or the payload is another.
    ///
    /// Two messages of one event can be delivered by turns. Only one that was sent after the last attempt had
    /// begun can be what somebody put back; the other one's attempts are attempts at this event as well. Two events
    /// can have one key too, if the function makes it from something else than the event's identity.
    pub fn of(self, sending: &Sending, fingerprint: &str) -> Self {
        let is_later = sending.at.is_none_or(|sent| epoch_ms(sent) >= self.at_ms);
        let payload = self.fingerprint.as_deref();
        let is_same = payload.is_none_or(|kept| kept == fingerprint);
        match &self.sending {
            Some(kept) if is_same && (*kept == sending.id || !is_later) => self,
            _ => Self {
                sending: Some(sending.id.clone()),
                fingerprint: Some(fingerprint.to_owned()),
                ..Self::default()
            },
        }
    }

    /// How many have begun and never ended.
    pub fn deaths(&self) -> u32 {
        self.begun.saturating_sub(self.ended)
    }

    /// Whether they make the key a suspect that a request with this limit does not want.
    pub fn are_suspect(&self, limit: u32) -> bool {
        self.deaths() >= limit.max(1)
    }

    /// What such a request gets. `lease` is when the last lease ended, unless its owner ended it.
    pub fn suspect(&self, lease: Option<SystemTime>) -> Suspect {
        Suspect {
            attempts: self.begun,
            deaths: self.deaths(),
            until: lease.max(self.open.values().max().copied().map(from_epoch_ms)),
        }
    }

    /// Until when an attempt must wait that would begin at `at_ms`, if another one has begun later. Either clocks
    /// differ, or it is a call that was repeated long ago, and comes late: counted once more, it would be an attempt
    /// that nobody makes. One without a lease needs a millisecond of its own, by which its end is known.
    pub fn are_ahead_of(&self, at_ms: u64, has_lease: bool) -> Option<SystemTime> {
        let is_ahead = self.at_ms > at_ms || (self.at_ms == at_ms && !has_lease);
        (is_ahead && self.sending.is_some()).then(|| from_epoch_ms(self.at_ms))
    }

    /// Whether the attempt, which holds no lease, is one of those that have not ended.
    pub fn have_open(&self, start: &AttemptStart) -> bool {
        self.open.get(&epoch_ms(start.at)) == Some(&epoch_ms(start.until))
    }

    /// With one more, which begins then and holds a lease.
    pub fn and_begin(mut self, at_ms: u64) -> Self {
        self.begun = self.begun.saturating_add(1);
        self.at_ms = at_ms;
        self
    }

    /// With one more, which holds no lease.
    pub fn and_begin_without_lease(self, start: &AttemptStart) -> Self {
        let at_ms = epoch_ms(start.at);
        let mut all = self.and_begin(at_ms);
        all.open.insert(at_ms, epoch_ms(start.until));
        all
    }

    /// With the end of the one that holds the lease. One that does not count is as if it had not begun.
    pub fn and_end(mut self, counts: bool) -> Self {
        match counts {
            true => self.ended = self.ended.saturating_add(1).min(self.begun),
            false => self.begun = self.begun.saturating_sub(1).max(self.ended),
        }
        self
    }

    /// With the failure of one that holds no lease. None if that changes nothing: its end is known, or its count is
    /// over.
    pub fn and_failed(mut self, failure: &AttemptFailure) -> Option<Self> {
        let start = &failure.start;
        let at_ms = epoch_ms(start.at);
        if self.have_open(start) {
            self.open.remove(&at_ms);
            return Some(self.and_end(failure.counts));
        }
        // One that another has overtaken cannot be told from one that is known.
        let is_new = !failure.has_begun && failure.counts && at_ms > self.at_ms;
        is_new.then(|| {
            let all = self.of(&start.sending, &start.fingerprint);
            all.and_begin(at_ms).and_end(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_epoch_ms;

    fn kept(sending: &str, begun: u32, ended: u32) -> Attempts {
        Attempts {
            sending: Some(sending.into()),
            fingerprint: Some("payload".into()),
            begun,
            ended,
            at_ms: 1_000,
            ..Attempts::default()
        }
    }

    #[test]
    fn a_sending_that_came_later_is_counted_from_one() {
        let begun_with = |sending: &str, sent: Option<u64>, payload: &str| {
            let sending = Sending::new(sending, sent.map(from_epoch_ms));
            let kept = kept("m-1", 4, 3).of(&sending, payload);
            kept.and_begin(2_000).begun
        };
        let begun = |sending: &str, sent| begun_with(sending, sent, "payload");
        assert_eq!(begun("m-1", Some(500)), 5, "the same message");
        assert_eq!(begun("m-2", Some(500)), 5, "a copy that waited meanwhile");
        assert_eq!(begun("m-2", Some(1_000)), 1, "it was put back");
        assert_eq!(begun("m-2", None), 1, "another invocation");
        assert_eq!(begun("m-1", None), 5, "the same invocation");
        let other = begun_with("m-2", Some(500), "other");
        assert_eq!(other, 1, "another event under the key");
        let first = Attempts::default().of(&Sending::new("m-1", None), "payload");
        assert_eq!(first.and_begin(2_000).begun, 1);
    }

    #[test]
    fn what_never_ended_makes_a_suspect() {
        assert!(!kept("m", 3, 3).are_suspect(0));
        let once = kept("m", 3, 2);
        assert_eq!(once.deaths(), 1);
        assert!(once.are_suspect(0) && once.are_suspect(1) && !once.are_suspect(2));
        let uncounted = once.clone().and_end(false);
        assert_eq!((uncounted.begun, uncounted.ended), (2, 2));
        let failed = once.and_end(true);
        assert_eq!((failed.begun, failed.ended), (3, 3));
    }

    fn start(sending: &str, at_ms: u64, until_ms: u64) -> AttemptStart {
        let [at, until] = [at_ms, until_ms].map(from_epoch_ms);
        let mut start = AttemptStart::new(IdempotencyKey::new("k"), "payload", at, until, until);
        start.sending = Sending::new(sending, Some(from_epoch_ms(500)));
        start
    }

    #[test]
    fn an_end_is_counted_once_and_with_its_own_count() {
        let (first, second) = (start("m-1", 2_000, 9_000), start("m-2", 3_000, 8_000));
        let both = kept("m-1", 1, 1).and_begin_without_lease(&first);
        let both = both.and_begin_without_lease(&second);
        let until = |all: &Attempts| all.suspect(None).until;
        assert_eq!(until(&both), Some(first.until), "the last one to end");
        let failed = |all: &Attempts, start: &AttemptStart| {
            let mut failure = AttemptFailure::new(start.clone(), "");
            failure.has_begun = true;
            all.clone().and_failed(&failure)
        };
        let one = failed(&both, &first).unwrap();
        assert_eq!((one.begun, one.ended), (3, 2));
        assert_eq!(until(&one), Some(second.until), "which goes on");
        assert_eq!(failed(&one, &first), None, "a repeated end");
        // What was sent later begins the count anew.
        let later = Sending::new("m-3", None);
        let put_back = both.of(&later, "payload").and_begin(4_000);
        assert_eq!(failed(&put_back, &first), None, "another count");
        assert_eq!(failed(&put_back, &second), None, "another count");
    }

    #[test]
    fn what_comes_late_is_no_attempt() {
        let all = kept("m-1", 1, 1);
        for (at_ms, has_lease, is_late) in [
            (999, true, true),
            (1_000, true, false),
            (1_000, false, true),
            (1_001, false, false),
        ] {
            let until = all.are_ahead_of(at_ms, has_lease);
            let expected = is_late.then(|| from_epoch_ms(1_000));
            assert_eq!(until, expected, "{at_ms}, lease: {has_lease}");
        }
        assert_eq!(Attempts::default().are_ahead_of(0, false), None);
        // Without a beginning: it is known, or was overtaken.
        let failed = |at_ms| {
            let failure = AttemptFailure::new(start("m-1", at_ms, at_ms), "");
            all.clone().and_failed(&failure).map(|it| it.begun)
        };
        assert_eq!((failed(1_000), failed(1_001)), (None, Some(2)));
    }
}
