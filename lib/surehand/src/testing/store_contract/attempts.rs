//! How attempts are counted, with a lease and without.

use super::{EXPIRY, LEASE, World, acquired, expect, fenced, new_key};
use crate::{
    Clock, IdempotencyKey,
    idempotency::{AttemptEnd, AttemptFailure, AttemptStart, Begun, Claim, Lease, Sending, Store},
};
use std::time::Duration;

impl<St: Store, F: Fn(Clock) -> St> World<F> {
    pub(super) async fn attempts(&self) {
        self.what_was_abandoned_stays_unknown().await;
        self.an_attempt_that_never_ended_is_reported().await;
        self.attempts_leave_their_facts().await;
        self.a_beginning_locks_nothing().await;
        self.what_is_put_back_is_counted_from_one().await;
        self.an_end_starts_the_count_anew().await;
        self.what_does_not_count_is_as_if_it_had_not_begun().await;
        self.a_suspect_is_granted_within_its_limit().await;
        self.attempts_without_a_lease_are_counted().await;
    }

    async fn what_was_abandoned_stays_unknown(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.now().abandon(&lease, "stopped").await);
        let later = LEASE + Duration::from_secs(1);
        let next = self.acquire(&key, later).await;
        assert!(
            next.interrupted.is_some(),
            "how an abandoned attempt ended is not known"
        );
        expect(self.at(later).release(&next, true, "no").await);
        let last = self.acquire(&key, later).await;
        assert_eq!(last.interrupted, None, "the one after it said how it ended");
        // A store may leave leases to end by themselves.
        if let Err(error) = self.at(later).abandon(&lease, "late").await {
            fenced(Err(error), "a replaced owner's end");
        }
        let held = self.at(later).claim(&self.request_at(&key, later)).await;
        assert!(
            matches!(expect(held), Claim::Held { .. }),
            "a replaced owner abandons nothing"
        );
    }

    async fn an_attempt_that_never_ended_is_reported(&self) {
        let key = new_key();
        let first = self.acquire(&key, Duration::ZERO).await;
        assert_eq!(
            first.interrupted, None,
            "there was no attempt before the first"
        );
        let later = LEASE + Duration::from_secs(1);
        let request = self.request_at(&key, later);
        let second = acquired(self.at(later).claim(&request).await);
        let ended = Some(self.start + LEASE);
        assert_eq!(second.interrupted, ended, "the lease ended by itself");
        let repeated = acquired(self.at(later).claim(&request).await);
        assert_eq!(
            repeated, second,
            "a claim whose answer was lost says the same"
        );
        let last = later + LEASE + Duration::from_secs(1);
        let third = self.acquire(&key, last).await;
        assert_eq!(
            third.interrupted,
            Some(self.start + later + LEASE),
            "the second lease ended by itself as well"
        );
        expect(self.at(last).release(&third, true, "no").await);
        let fourth = self.acquire(&key, last).await;
        assert_eq!(fourth.interrupted, None, "the third said how it ended");
    }

    /// Returns without a check if the store keeps no facts.
    async fn attempts_leave_their_facts(&self) {
        let key = new_key();
        let facts = || async { expect(self.now().history(&key).await) };
        assert_eq!(facts().await, None, "a new key has no facts");
        let lease = self.acquire(&key, Duration::ZERO).await;
        let Some(first) = facts().await else { return };
        assert_eq!((first.attempts, first.end), (1, AttemptEnd::Unknown));
        assert_eq!(first.started_at, Some(self.start));
        assert_eq!(first.deadline, Some(self.start + LEASE));
        expect(self.now().release(&lease, true, "busy").await);
        let released = facts().await.expect("the facts of a released key");
        assert_eq!(released.end, AttemptEnd::Released);
        assert_eq!(released.last_error.as_deref(), Some("busy"));
        assert_eq!(released.deadline, None, "no attempt is under way");
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.complete(&lease, Duration::ZERO, None).await);
        let completed = facts().await.expect("the facts of a completed key");
        assert_eq!(completed.end, AttemptEnd::Completed);
    }

    async fn a_beginning_locks_nothing(&self) {
        let key = new_key();
        let begin = |ms: u64, after| {
            let start = self.start_at(&key, after + Duration::from_millis(ms));
            let store = self.at(after);
            async move { expect(store.begin(&start).await) }
        };
        let is_free = |begun: Begun| matches!(begun, Begun::Begun { .. });
        let first = begin(0, Duration::ZERO).await;
        assert!(is_free(first), "a new key is free");
        if let Some(facts) = expect(self.now().history(&key).await) {
            assert_eq!((facts.attempts, facts.end), (1, AttemptEnd::Unknown));
            assert_eq!(facts.deadline, Some(self.start + LEASE));
        }
        let second = begin(1, Duration::ZERO).await;
        assert!(is_free(second), "it stays free");
        let lease = self.acquire(&key, Duration::ZERO).await;
        assert_eq!(
            lease.interrupted, None,
            "a beginning is not a lease that could end"
        );
        let held = Claim::Held {
            until: Some(self.start + LEASE),
        };
        assert_eq!(
            begin(2, LEASE).await,
            Begun::Taken(held),
            "a beginning meets a lease"
        );
        expect(self.complete(&lease, Duration::ZERO, Some("1")).await);
        let found = begin(3, Duration::ZERO).await;
        assert!(
            matches!(&found, Begun::Taken(Claim::Completed(done)) if done.data.as_deref() == Some("1")),
            "a beginning meets a completion, with its data: {found:?}"
        );
    }

    /// A claim for the sending, which is granted; its attempt.
    async fn attempt(&self, key: &IdempotencyKey, sending: &Sending, after: Duration) -> Lease {
        let mut request = self.request_at(key, after);
        request.sending = sending.clone();
        acquired(self.at(after).claim(&request).await)
    }

    async fn fail(&self, lease: &Lease, after: Duration) {
        expect(self.at(after).release(lease, true, "busy").await);
    }

    async fn what_is_put_back_is_counted_from_one(&self) {
        let key = new_key();
        let sent = |id: &str, s: u64| {
            let at = self.start + Duration::from_secs(s);
            Sending::new(id, Some(at))
        };
        let s = Duration::from_secs;
        // (what, when it was sent, when it is attempted, which attempt that is)
        for (id, sent_s, at_s, number) in [
            ("a", 0, 10, 1),
            ("a", 0, 20, 2),
            // A copy that waited is the same event; one that was sent later was put back.
            ("b", 5, 30, 3),
            ("c", 35, 40, 1),
            ("a", 0, 50, 2),
            ("c", 35, 60, 3),
        ] {
            let lease = self.attempt(&key, &sent(id, sent_s), s(at_s)).await;
            assert_eq!(lease.attempt, number, "{id} at {at_s} s");
            self.fail(&lease, s(at_s)).await;
        }
        let again = self.attempt(&key, &Sending::new("d", None), s(70)).await;
        assert_eq!(again.attempt, 1, "another invocation");
    }

    async fn an_end_starts_the_count_anew(&self) {
        let sending = Sending::new("a", None);
        let expired = EXPIRY + Duration::from_secs(2);
        for is_completed in [true, false] {
            let key = new_key();
            let first = self.attempt(&key, &sending, Duration::ZERO).await;
            self.fail(&first, Duration::ZERO).await;
            let second = self.attempt(&key, &sending, Duration::ZERO).await;
            assert_eq!(second.attempt, 2);
            match is_completed {
                true => expect(self.complete(&second, Duration::ZERO, None).await),
                false => self.fail(&second, Duration::ZERO).await,
            }
            let later = self.attempt(&key, &sending, expired).await;
            assert_eq!(later.attempt, 1, "completed: {is_completed}");
        }
    }

    async fn what_does_not_count_is_as_if_it_had_not_begun(&self) {
        let key = new_key();
        for _ in 0..3 {
            let lease = self.acquire(&key, Duration::ZERO).await;
            assert_eq!(lease.attempt, 1);
            for _ in 0..2 {
                let given_back = self.now().release(&lease, false, "no time").await;
                expect(given_back);
            }
        }
    }

    async fn a_suspect_is_granted_within_its_limit(&self) {
        let key = new_key();
        let sending = Sending::new("a", None);
        self.attempt(&key, &sending, Duration::ZERO).await;
        let later = LEASE + Duration::from_secs(1);
        let claim = |limit, sending: &Sending| {
            let mut request = self.request_at(&key, later);
            (request.limit, request.sending) = (limit, sending.clone());
            let store = self.at(later);
            async move { expect(store.claim(&request).await) }
        };
        for limit in [0, 1] {
            let Claim::Suspect(suspect) = claim(limit, &sending).await else {
                panic!("a suspect is not granted to a limit of {limit}");
            };
            assert_eq!((suspect.attempts, suspect.deaths), (1, 1));
            assert_eq!(suspect.until, Some(self.start + LEASE));
        }
        let second = acquired(Ok(claim(2, &sending).await));
        assert_eq!(second.attempt, 2, "within the limit");
        self.fail(&second, later).await;
        let Claim::Suspect(suspect) = claim(2, &sending).await else {
            panic!("what never ended is not forgotten for a failure");
        };
        assert_eq!((suspect.attempts, suspect.deaths), (2, 1));
        let put_back = acquired(Ok(claim(0, &Sending::new("b", None)).await));
        assert_eq!(put_back.attempt, 1, "what is put back is no suspect");
    }

    /// The start of an attempt without a lease, which is always wanted.
    fn start_at(&self, key: &IdempotencyKey, at: Duration) -> AttemptStart {
        AttemptStart {
            key: key.clone(),
            fingerprint: "fingerprint".into(),
            at: self.start + at,
            until: self.start + at + LEASE,
            expires_at: self.start + EXPIRY,
            sending: Sending::new("a", None),
            limit: u32::MAX,
        }
    }

    /// Returns without a check if the store counts no such attempts.
    async fn attempts_without_a_lease_are_counted(&self) {
        let key = new_key();
        let ms = Duration::from_millis;
        let begin = async |at| {
            let start = self.start_at(&key, ms(at));
            number(expect(self.at(ms(at)).begin(&start).await))
        };
        let fail = async |at, has_begun, counts| {
            let failure = AttemptFailure {
                start: self.start_at(&key, ms(at)),
                has_begun,
                counts,
                error: "busy".into(),
            };
            number(expect(self.at(ms(at)).failed(&failure).await))
        };
        let Some(first) = begin(0).await else { return };
        assert_eq!(
            (first, begin(0).await),
            (1, Some(1)),
            "a repeated beginning"
        );
        for _ in 0..2 {
            assert_eq!(fail(0, true, true).await, Some(1), "a repeated end");
        }
        assert_eq!(begin(1).await, Some(2));
        fail(1, true, false).await;
        assert_eq!(begin(2).await, Some(2), "what did not count");
        // Two at once, the first of which ends while the second goes on.
        assert_eq!(begin(3).await, Some(3));
        fail(2, true, true).await;
        let facts = expect(self.now().history(&key).await);
        let facts = facts.expect("the facts of a key that is counted");
        assert_eq!((facts.attempts, facts.unended), (3, 1), "one goes on");
        let wanted = AttemptStart {
            limit: 0,
            ..self.start_at(&key, ms(4))
        };
        let suspect = expect(self.at(ms(4)).begin(&wanted).await);
        assert!(
            matches!(suspect, Begun::Taken(Claim::Suspect(_))),
            "what never ended makes a suspect, not {suspect:?}"
        );
        for _ in 0..2 {
            // It is the first attempt's end that is repeated here.
            fail(2, true, true).await;
        }
        fail(3, true, true).await;
        for _ in 0..2 {
            assert_eq!(fail(5, false, true).await, Some(4), "without a beginning");
        }
        // A beginning whose answer was lost is taken back, and only that.
        assert_eq!(begin(6).await, Some(5));
        fail(6, false, false).await;
        fail(7, false, false).await;
        assert_eq!(begin(8).await, Some(5), "it is as if it had not begun");
        fail(8, true, true).await;
        // What an attempt began with may be gone by its end, and leaves nothing then.
        let gone = AttemptFailure {
            start: self.start_at(&new_key(), ms(0)),
            has_begun: true,
            counts: true,
            error: "busy".into(),
        };
        assert_eq!(number(expect(self.now().failed(&gone).await)), None);
        let facts = expect(self.now().history(&gone.start.key).await);
        assert_eq!(facts, None, "the end of what is gone writes nothing");
        let fresh = new_key();
        let failure = AttemptFailure {
            start: self.start_at(&fresh, ms(6)),
            has_begun: false,
            counts: true,
            error: "busy".into(),
        };
        let counted = number(expect(self.at(ms(6)).failed(&failure).await));
        assert_eq!(counted, Some(1), "the first one, without a beginning");
        let lease = self.acquire(&fresh, ms(7)).await;
        expect(self.complete(&lease, ms(7), Some("done")).await);
        let met = expect(self.at(ms(8)).failed(&failure).await);
        assert!(
            matches!(met, Begun::Taken(Claim::Completed(_))),
            "a failure meets a completion, not {met:?}"
        );
    }
}

#[track_caller]
fn number(begun: Begun) -> Option<u32> {
    match begun {
        Begun::Begun { number } => number,
        Begun::Taken(claim) => panic!("an attempt begins, and does not meet {claim:?}"),
    }
}
