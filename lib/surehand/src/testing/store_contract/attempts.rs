//! How attempts are counted, with a lease and without.

use super::{EXPIRY, LEASE, World, acquired, expect, fenced, new_key};
use crate::{
    Clock, IdempotencyKey,
    idempotency::{
        AttemptEnd, AttemptFailure, AttemptStart, Begun, Claim, Lease, Sending, Store, Suspect,
    },
};
use std::time::{Duration, SystemTime};

impl<St: Store, F: Fn(Clock) -> St> World<F> {
    pub(super) async fn attempts(&self) {
        self.what_was_abandoned_stays_unknown().await;
        self.what_nobody_knows_is_in_the_way_until_it_is_settled()
            .await;
        self.a_claim_that_comes_late_is_no_attempt().await;
        self.attempts_leave_their_facts().await;
        self.a_beginning_locks_nothing().await;
        self.what_is_put_back_is_counted_from_one().await;
        self.another_payload_is_counted_from_one().await;
        self.an_end_starts_the_count_anew().await;
        self.what_does_not_count_is_as_if_it_had_not_begun().await;
        self.a_suspect_is_granted_within_its_limit().await;
        self.attempts_without_a_lease_are_counted().await;
        self.the_end_of_what_was_overtaken_is_counted_for_no_other()
            .await;
        self.when_attempts_have_to_end_is_kept_while_one_goes_on()
            .await;
        self.what_comes_late_is_no_attempt().await;
    }

    /// A claim of somebody who has looked at what attempts did until then.
    async fn claim_settled(
        &self,
        key: &IdempotencyKey,
        after: Duration,
        settled: SystemTime,
    ) -> Claim {
        let mut request = self.request_at(key, after);
        request.settled = Some(settled);
        expect(self.at(after).claim(&request).await)
    }

    async fn what_was_abandoned_stays_unknown(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.now().abandon(&lease, "stopped").await);
        let later = LEASE + Duration::from_secs(1);
        let never = SystemTime::UNIX_EPOCH;
        let minded = self.claim_settled(&key, later, never).await;
        assert!(
            matches!(minded, Claim::Suspect(_)),
            "how an abandoned attempt ended is not known: {minded:?}"
        );
        let next = self.acquire(&key, later).await;
        expect(self.at(later).release(&next, true, "no").await);
        let last = acquired(Ok(self.claim_settled(&key, later, never).await));
        // A store may leave leases to end by themselves.
        if let Err(error) = self.at(later).abandon(&lease, "late").await {
            fenced(Err(error), "a replaced owner's end");
        }
        let held = self.at(later).claim(&self.request_at(&key, later)).await;
        assert!(
            matches!(expect(held), Claim::Held { .. }),
            "a replaced owner abandons nothing"
        );
        expect(self.at(later).release(&last, true, "no").await);
    }

    async fn what_nobody_knows_is_in_the_way_until_it_is_settled(&self) {
        let key = new_key();
        let s = Duration::from_secs;
        self.acquire(&key, s(0)).await;
        let later = LEASE + s(1);
        for _ in 0..2 {
            let Claim::Suspect(suspect) = self.claim_settled(&key, later, self.start).await else {
                panic!("a lease that ended by itself is in the way of who minds");
            };
            assert_eq!(
                (suspect.attempts, suspect.until),
                (1, Some(self.start + LEASE)),
                "a claim that is refused is no attempt, and the lease ended when it did"
            );
        }
        let mut other = self.request_at(&key, later);
        (other.settled, other.sending) = (Some(self.start), Sending::new("other", None));
        let refused = expect(self.at(later).claim(&other).await);
        assert!(
            matches!(refused, Claim::Suspect(Suspect { attempts: 0, .. })),
            "also of another message of the event, not {refused:?}"
        );
        let second = acquired(Ok(self
            .claim_settled(&key, later, self.start + LEASE)
            .await));
        assert_eq!(second.attempt, 2, "who has looked at it is granted the key");
        expect(self.at(later).release(&second, true, "no").await);
        let third = acquired(Ok(self.claim_settled(&key, later, self.start).await));
        assert_eq!(third.attempt, 3, "the second said how it ended");
        let expired = EXPIRY + later + s(2);
        let fresh = acquired(Ok(self.claim_settled(&key, expired, self.start).await));
        assert_eq!(fresh.attempt, 1, "of what is forgotten no end is unknown");
    }

    /// A call that was repeated, and is answered, may come once more. Counted, it would be an attempt that nobody
    /// makes.
    async fn a_claim_that_comes_late_is_no_attempt(&self) {
        let key = new_key();
        let (first, second) = (Duration::ZERO, Duration::from_secs(1));
        let request = self.request_at(&key, first);
        for _ in 0..2 {
            let lease = acquired(self.at(first).claim(&request).await);
            assert_eq!(lease.attempt, 1, "a repeated claim is one attempt");
            expect(self.at(first).release(&lease, true, "busy").await);
        }
        let lease = self.acquire(&key, second).await;
        expect(self.at(second).release(&lease, true, "busy").await);
        let late = expect(self.at(first).claim(&request).await);
        assert!(
            !matches!(late, Claim::Acquired(_)),
            "a claim from before the last attempt is not granted, but it got {late:?}"
        );
        assert_eq!(self.acquire(&key, second * 2).await.attempt, 3);
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
        let soon = Duration::from_millis(2);
        let mut request = self.request_at(&key, soon);
        request.settled = Some(self.start);
        let lease = acquired(self.at(soon).claim(&request).await);
        let held = Claim::Held {
            until: Some(self.start + soon + LEASE),
        };
        assert_eq!(
            begin(3, LEASE).await,
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

    /// Two events of one key, the second of which was sent before the first was last attempted.
    async fn another_payload_is_counted_from_one(&self) {
        let key = new_key();
        let sent = |id: &str| Sending::new(id, Some(self.start));
        let soon = Duration::from_secs(1);
        self.attempt(&key, &sent("a"), soon).await;
        let later = LEASE + soon * 2;
        let mut request = self.request_at(&key, later);
        (request.sending, request.limit) = (sent("b"), 0);
        let same = expect(self.at(later).claim(&request).await);
        assert!(
            matches!(same, Claim::Suspect(_)),
            "a copy is counted with the first, and not granted as {same:?}"
        );
        request.fingerprint = "other".into();
        let lease = acquired(self.at(later).claim(&request).await);
        assert_eq!(lease.attempt, 1, "another payload");
        self.fail(&lease, later).await;
        let first = self.attempt(&key, &sent("a"), later * 2).await;
        assert_eq!(first.attempt, 1, "the first one after the other");
        self.fail(&first, later * 2).await;

        let mut start = self.start_at(&key, later * 3);
        start.sending = sent("b");
        let begin =
            async |start: &AttemptStart| number(expect(self.at(later * 3).begin(start).await));
        let Some(second) = begin(&start).await else {
            return;
        };
        assert_eq!(second, 2, "a copy without a lease");
        start.at += Duration::from_millis(1);
        (start.fingerprint, start.limit) = ("other".into(), 0);
        assert_eq!(begin(&start).await, Some(1), "another payload without one");
        start.at += Duration::from_millis(1);
        start.fingerprint = "third".into();
        assert_eq!(self.end(&start, false, true).await, Some(1), "its failure");
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
        let Claim::Suspect(suspect) = claim(1, &sending).await else {
            panic!("what never ended is not forgotten for a failure");
        };
        assert_eq!((suspect.attempts, suspect.deaths), (2, 1));
        let third = acquired(Ok(claim(2, &sending).await));
        assert_eq!(third.attempt, 3, "what ended is not counted against it");
        self.fail(&third, later).await;
        let put_back = acquired(Ok(claim(0, &Sending::new("b", None)).await));
        assert_eq!(put_back.attempt, 1, "what is put back is no suspect");
    }

    /// An attempt without a lease, which is always wanted.
    fn start_at(&self, key: &IdempotencyKey, at: Duration) -> AttemptStart {
        let (at, expires_at) = (self.start + at, self.start + EXPIRY);
        let mut start = AttemptStart::new(key.clone(), "fingerprint", at, at + LEASE, expires_at);
        start.sending = Sending::new("a", None);
        start
    }

    /// Its failure; the number that it has then.
    async fn end(&self, start: &AttemptStart, has_begun: bool, counts: bool) -> Option<u32> {
        let mut failure = AttemptFailure::new(start.clone(), "busy");
        (failure.has_begun, failure.counts) = (has_begun, counts);
        let after = start.at.duration_since(self.start).unwrap_or_default();
        number(expect(self.at(after).failed(&failure).await))
    }

    /// Returns without a check if the store counts no such attempts.
    async fn attempts_without_a_lease_are_counted(&self) {
        let key = new_key();
        let start = |ms| self.start_at(&key, Duration::from_millis(ms));
        let begin = async |ms| {
            let start = start(ms);
            number(expect(
                self.at(Duration::from_millis(ms)).begin(&start).await,
            ))
        };
        let fail = async |ms, has_begun, counts| self.end(&start(ms), has_begun, counts).await;
        let Some(first) = begin(1).await else { return };
        assert_eq!(
            (first, begin(1).await),
            (1, Some(1)),
            "a repeated beginning"
        );
        for _ in 0..2 {
            assert_eq!(fail(1, true, true).await, Some(1), "a repeated end");
        }
        assert_eq!(begin(2).await, Some(2));
        fail(2, true, false).await;
        assert_eq!(begin(3).await, Some(2), "what did not count");
        // Two at once, the first of which ends while the second goes on.
        assert_eq!(begin(4).await, Some(3));
        fail(3, true, true).await;
        assert_eq!(self.facts(&key).await, (3, 1), "one goes on");
        let mut wanted = start(5);
        wanted.limit = 0;
        let suspect = expect(self.at(Duration::from_millis(5)).begin(&wanted).await);
        assert!(
            matches!(suspect, Begun::Taken(Claim::Suspect(_))),
            "what never ended makes a suspect, not {suspect:?}"
        );
        for _ in 0..2 {
            // It is the first attempt's end that is repeated here.
            fail(3, true, true).await;
        }
        fail(4, true, true).await;
        for _ in 0..2 {
            assert_eq!(fail(6, false, true).await, Some(4), "without a beginning");
        }
        // A beginning whose answer was lost is taken back, and only that.
        assert_eq!(begin(7).await, Some(5));
        fail(7, false, false).await;
        fail(8, false, false).await;
        assert_eq!(begin(9).await, Some(5), "it is as if it had not begun");
        fail(9, true, true).await;
        // What an attempt began with may be gone by its end, and leaves nothing then.
        let gone = self.start_at(&new_key(), Duration::ZERO);
        assert_eq!(self.end(&gone, true, true).await, None);
        let facts = expect(self.now().history(&gone.key).await);
        assert_eq!(facts, None, "the end of what is gone writes nothing");
        let fresh = self.start_at(&new_key(), Duration::from_millis(6));
        let counted = self.end(&fresh, false, true).await;
        assert_eq!(counted, Some(1), "the first one, without a beginning");
        let later = Duration::from_millis(7);
        let lease = self.acquire(&fresh.key, later).await;
        expect(self.complete(&lease, later, Some("done")).await);
        let failure = AttemptFailure::new(fresh, "busy");
        let met = expect(self.at(later).failed(&failure).await);
        assert!(
            matches!(met, Begun::Taken(Claim::Completed(_))),
            "a failure meets a completion, not {met:?}"
        );
    }

    /// How many attempts there were, and how many of them never ended.
    async fn facts(&self, key: &IdempotencyKey) -> (u32, u32) {
        let facts = expect(self.now().history(key).await);
        let facts = facts.expect("the facts of a key that is counted");
        (facts.attempts, facts.unended)
    }

    /// An attempt without a lease at this sending, and its number, if such attempts are counted.
    async fn begun(
        &self,
        key: &IdempotencyKey,
        (id, sent_s): (&str, Option<u64>),
        at_s: u64,
        lasts_s: u64,
    ) -> Option<(AttemptStart, u32)> {
        let s = Duration::from_secs;
        let mut start = self.start_at(key, s(at_s));
        start.until = start.at + s(lasts_s);
        start.sending = Sending::new(id, sent_s.map(|sent_s| self.start + s(sent_s)));
        let number = number(expect(self.at(s(at_s)).begin(&start).await))?;
        Some((start, number))
    }

    /// Until when a suspect's attempts go on.
    async fn goes_on_until(&self, key: &IdempotencyKey, at_s: u64) -> Option<Duration> {
        let mut start = self.start_at(key, Duration::from_secs(at_s));
        (start.sending.at, start.limit) = (Some(self.start), 0);
        let begun = expect(self.at(Duration::from_secs(at_s)).begin(&start).await);
        let Begun::Taken(Claim::Suspect(suspect)) = begun else {
            panic!("what goes on makes a suspect, not {begun:?}");
        };
        suspect.until?.duration_since(self.start).ok()
    }

    async fn the_end_of_what_was_overtaken_is_counted_for_no_other(&self) {
        let key = new_key();
        let begun = async |id, sent_s, at_s| self.begun(&key, (id, sent_s), at_s, 30).await;
        let Some((a, _)) = begun("a", Some(0), 10).await else {
            return;
        };
        // A copy that waited goes on with the count.
        let (b, number) = begun("b", Some(0), 20).await.expect("it counts");
        assert_eq!(number, 2);
        self.end(&b, true, true).await;
        assert_eq!(self.facts(&key).await, (2, 1), "the copy's end");
        // It was put back, while the first attempt still runs.
        let (c, number) = begun("c", Some(25), 30).await.expect("it counts");
        assert_eq!(number, 1);
        for counts in [true, false] {
            assert_eq!(self.end(&a, true, counts).await, None);
            assert_eq!(self.facts(&key).await, (1, 1), "an end of another count");
        }
        let until = self.goes_on_until(&key, 31).await;
        assert_eq!(until, Some(Duration::from_secs(60)), "it still goes on");
        self.end(&c, true, true).await;
        assert_eq!(self.facts(&key).await, (1, 0), "its own end");
        // Two invocations by turns, neither of which says when it was sent.
        let (d, _) = begun("d", None, 40).await.expect("it counts");
        begun("e", None, 41).await.expect("it counts");
        let (again, number) = begun("d", None, 42).await.expect("it counts");
        assert_eq!(number, 1, "another invocation was between them");
        self.end(&d, true, true).await;
        assert_eq!(self.facts(&key).await, (1, 1), "an earlier count");
        self.end(&again, true, true).await;
        assert_eq!(self.facts(&key).await, (1, 0));
    }

    async fn when_attempts_have_to_end_is_kept_while_one_goes_on(&self) {
        let key = new_key();
        let begun = async |at_s, lasts_s| self.begun(&key, ("a", Some(0)), at_s, lasts_s).await;
        let Some((a, _)) = begun(10, 100).await else {
            return;
        };
        // It began in an older invocation, whose time is out first.
        let (b, _) = begun(20, 30).await.expect("it counts");
        let first = Some(Duration::from_secs(110));
        assert_eq!(self.goes_on_until(&key, 21).await, first, "the last to end");
        self.end(&b, true, true).await;
        assert_eq!(
            self.goes_on_until(&key, 22).await,
            first,
            "the first goes on"
        );
        if let Some(facts) = expect(self.now().history(&key).await) {
            assert_eq!(
                (facts.end, facts.deadline),
                (AttemptEnd::Released, Some(a.until)),
                "the last one ended, and another one goes on"
            );
        }
        self.end(&a, true, true).await;
        let (c, _) = begun(30, 30).await.expect("it counts");
        let last = Some(Duration::from_secs(60));
        assert_eq!(self.goes_on_until(&key, 31).await, last, "all others ended");
        // The lease that another attempt takes meanwhile does not hide it.
        let (sending, then) = (Sending::new("a", None), Duration::from_secs(40));
        let lease = self.attempt(&key, &sending, then).await;
        self.fail(&lease, then).await;
        assert_eq!(self.goes_on_until(&key, 41).await, last, "beside a lease");
        self.end(&c, true, true).await;
        assert_eq!(self.facts(&key).await, (4, 0));
    }

    /// A call that was repeated, and is answered, may come once more.
    async fn what_comes_late_is_no_attempt(&self) {
        let key = new_key();
        let begun = async |at_s| self.begun(&key, ("a", Some(0)), at_s, 30).await;
        let Some((a, _)) = begun(10).await else {
            return;
        };
        self.end(&a, true, true).await;
        let (b, _) = begun(20).await.expect("it counts");
        let again = expect(self.at(Duration::from_secs(10)).begin(&a).await);
        let held = Claim::Held { until: Some(b.at) };
        assert_eq!(again, Begun::Taken(held.clone()), "before the last one");
        let mut other = b.clone();
        other.until += Duration::from_secs(1);
        let same = expect(self.at(Duration::from_secs(20)).begin(&other).await);
        assert_eq!(same, Begun::Taken(held), "another one at the same time");
        // Whether it is known, or the last one has overtaken it, cannot be told.
        for counts in [true, false] {
            self.end(&a, false, counts).await;
            self.end(&a, true, counts).await;
        }
        assert_eq!(self.facts(&key).await, (2, 1));
        self.end(&b, true, true).await;
        assert_eq!(self.facts(&key).await, (2, 0));
    }
}

#[track_caller]
fn number(begun: Begun) -> Option<u32> {
    match begun {
        Begun::Begun { number } => number,
        Begun::Taken(claim) => panic!("an attempt begins, and does not meet {claim:?}"),
    }
}
