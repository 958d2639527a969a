//! What every [`Store`] promises, and every [`CommitStore`], as checks.
//!
//! Run them over your own store; each makes its own keys, so that the store need not be empty.

use crate::{
    Clock, ErrorKind, IdempotencyKey, Result,
    clock::{epoch_ms, from_epoch_ms},
    idempotency::{
        AttemptEnd, AttemptFailure, AttemptStart, Begun, Claim, ClaimRequest, Commit, CommitStore,
        Committed, Lease, Sending, Store,
    },
};
use futures_util::future::join_all;
use std::time::{Duration, SystemTime};

const LEASE: Duration = Duration::from_secs(30);
const EXPIRY: Duration = Duration::from_secs(3600);

/// Checks the whole contract of a store. `open` opens the store with the given clock; all stores
/// that it opens must share their claims.
///
/// # Panics
/// If the store breaks the contract; the message names the promise that it breaks.
pub async fn check<St: Store>(open: impl Fn(Clock) -> St) {
    let world = World {
        open,
        start: from_epoch_ms(epoch_ms(SystemTime::now())),
    };
    world.one_of_many_claims_is_granted().await;
    world.a_held_key_reports_when_its_lease_ends().await;
    world.a_completed_key_gives_its_data().await;
    world.a_released_key_is_free_immediately().await;
    world.a_lease_is_held_to_its_last_millisecond().await;
    world
        .a_late_owner_changes_nothing_while_its_successor_works()
        .await;
    world
        .a_late_owner_changes_nothing_once_its_successor_is_done()
        .await;
    world.an_owner_that_was_not_replaced_may_be_late().await;
    world.a_completed_key_is_not_released().await;
    world.a_repeated_call_has_the_effect_of_one().await;
    world.a_claim_that_comes_late_is_not_granted_again().await;
    world.an_expired_key_is_forgotten().await;
    world
        .a_lease_that_is_over_before_it_begins_is_no_lock()
        .await;
    world.a_key_is_not_forgotten_before_its_lease_ends().await;
    world
        .an_owner_without_an_answer_gives_back_its_claim()
        .await;
    world.what_was_abandoned_stays_unknown().await;
    world.keys_do_not_touch_each_other().await;
    world.a_look_finds_what_a_claim_would_meet().await;
    world.an_attempt_that_never_ended_is_reported().await;
    world.attempts_leave_their_facts().await;
    world.a_beginning_locks_nothing().await;
    world.what_is_put_back_is_counted_from_one().await;
    world.an_end_starts_the_count_anew().await;
    world.what_does_not_count_is_as_if_it_had_not_begun().await;
    world.a_suspect_is_granted_within_its_limit().await;
    world.attempts_without_a_lease_are_counted().await;
    world.any_text_is_a_key_and_data().await;
}

/// Checks the whole contract of a store that also commits. `open` is as for [`check`].
///
/// # Panics
/// If the store breaks the contract; the message names the promise that it breaks.
pub async fn check_commits<St: CommitStore>(open: impl Fn(Clock) -> St) {
    assert!(
        St::COMMITS.are_possible(),
        "a store that commits sets `Store::COMMITS`"
    );
    check(&open).await;
    let world = World {
        open,
        start: from_epoch_ms(epoch_ms(SystemTime::now())),
    };
    world.a_commit_completes_a_free_key_once().await;
    world.a_commit_meets_what_a_claim_would_meet().await;
    world.a_commit_takes_over_a_lease_that_ended().await;
    world.of_many_commits_one_is_done().await;
}

struct World<F> {
    open: F,
    start: SystemTime,
}

impl<St: Store, F: Fn(Clock) -> St> World<F> {
    /// Opens the store with a clock that shows `after` past the start.
    fn at(&self, after: Duration) -> St {
        let now = self.start + after;
        (self.open)(Clock::from_fn(move || now))
    }

    fn now(&self) -> St {
        self.at(Duration::ZERO)
    }

    /// Makes a claim at `after` past the start.
    fn request_at(&self, key: &IdempotencyKey, after: Duration) -> ClaimRequest {
        let now = self.start + after;
        ClaimRequest::new(key.clone(), "fingerprint", now + LEASE, now + EXPIRY)
    }

    fn request(&self, key: &IdempotencyKey) -> ClaimRequest {
        self.request_at(key, Duration::ZERO)
    }

    async fn acquire(&self, key: &IdempotencyKey, after: Duration) -> Lease {
        let claim = self.at(after).claim(&self.request_at(key, after)).await;
        acquired(claim)
    }

    async fn complete(&self, lease: &Lease, after: Duration, data: Option<&str>) -> Result<()> {
        let expires_at = self.start + after + EXPIRY;
        self.at(after).complete(lease, data, expires_at).await
    }

    async fn one_of_many_claims_is_granted(&self) {
        let key = new_key();
        let store = self.now();
        let claims = (0..16).map(|_| {
            let (store, request) = (store.clone(), self.request(&key));
            async move { store.claim(&request).await }
        });
        let mut granted = 0;
        for claim in join_all(claims).await {
            match claim {
                Ok(Claim::Acquired(_)) => granted += 1,
                Ok(Claim::Held { .. }) => {}
                // DynamoDB may refuse concurrent writes; that is not a grant.
                Err(error) if error.kind() == ErrorKind::Store => {}
                other => panic!("concurrent claims are granted or held, not {other:?}"),
            }
        }
        assert_eq!(granted, 1, "of concurrent claims exactly one is granted");
    }

    async fn a_held_key_reports_when_its_lease_ends(&self) {
        let key = new_key();
        self.acquire(&key, Duration::ZERO).await;
        let claim = self.now().claim(&self.request(&key)).await;
        assert_eq!(
            expect(claim),
            Claim::Held {
                until: Some(self.start + LEASE)
            },
            "a held key reports when its lease ends, in milliseconds"
        );
    }

    async fn a_completed_key_gives_its_data(&self) {
        for data in [None, Some("null"), Some(r#"{"order_id":"42 ü"}"#)] {
            let key = new_key();
            let lease = self.acquire(&key, Duration::ZERO).await;
            assert_eq!((lease.key.clone(), lease.attempt), (key.clone(), 1));
            expect(self.complete(&lease, Duration::ZERO, data).await);
            // This also holds long after the lease.
            for after in [Duration::ZERO, LEASE * 10] {
                let claim = self.at(after).claim(&self.request_at(&key, after)).await;
                let Claim::Completed(completion) = expect(claim) else {
                    panic!("a completed key stays completed until it expires");
                };
                assert_eq!(completion.data.as_deref(), data, "duplicates get the data");
                assert_eq!(
                    completion.fingerprint.as_deref(),
                    Some("fingerprint"),
                    "duplicates get the fingerprint"
                );
                let expires = epoch_ms(completion.expires_at) / 1000;
                assert_eq!(expires, epoch_ms(self.start + EXPIRY) / 1000);
            }
        }
    }

    async fn a_released_key_is_free_immediately(&self) {
        let key = new_key();
        let first = self.acquire(&key, Duration::ZERO).await;
        expect(self.now().release(&first, true, "transient: no luck").await);
        let second = self.acquire(&key, Duration::ZERO).await;
        assert_eq!(second.attempt, 2, "attempts are counted across releases");
        let late = self.complete(&first, Duration::ZERO, None).await;
        fenced(
            late,
            "a completion after the key was released and taken by another owner",
        );
        expect(self.complete(&second, Duration::ZERO, None).await);
    }

    async fn a_lease_is_held_to_its_last_millisecond(&self) {
        let key = new_key();
        self.acquire(&key, Duration::ZERO).await;
        let claim = self.at(LEASE).claim(&self.request_at(&key, LEASE)).await;
        assert!(
            matches!(expect(claim), Claim::Held { .. }),
            "a lease holds in the millisecond in which it ends"
        );
        let second = self.acquire(&key, LEASE + Duration::from_millis(1)).await;
        assert_eq!(second.attempt, 2, "attempts are counted across takeovers");
    }

    async fn a_late_owner_changes_nothing_while_its_successor_works(&self) {
        let key = new_key();
        let later = LEASE + Duration::from_secs(1);
        let a = self.acquire(&key, Duration::ZERO).await;
        let b = self.acquire(&key, later).await;
        fenced(
            self.complete(&a, later, Some("a")).await,
            "a completion after the lease was lost",
        );
        fenced(
            self.at(later).release(&a, true, "late").await,
            "a release after the lease was lost",
        );
        let claim = self.at(later).claim(&self.request_at(&key, later)).await;
        assert_eq!(
            expect(claim),
            Claim::Held {
                until: Some(self.start + later + LEASE)
            },
            "the successor still holds the key"
        );
        expect(self.complete(&b, later, Some("b")).await);
    }

    async fn a_late_owner_changes_nothing_once_its_successor_is_done(&self) {
        let key = new_key();
        let later = LEASE + Duration::from_secs(1);
        let a = self.acquire(&key, Duration::ZERO).await;
        let b = self.acquire(&key, later).await;
        expect(self.complete(&b, later, Some("b")).await);
        fenced(
            self.complete(&a, later, Some("a")).await,
            "a completion after the successor's",
        );
        fenced(
            self.at(later).release(&a, true, "late").await,
            "a release after the successor's completion",
        );
        let claim = self.at(later).claim(&self.request_at(&key, later)).await;
        let Claim::Completed(completion) = expect(claim) else {
            panic!("the successor's completion stays");
        };
        assert_eq!(
            completion.data.as_deref(),
            Some("b"),
            "the successor's result stays"
        );
    }

    async fn an_owner_that_was_not_replaced_may_be_late(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.complete(&lease, LEASE * 2, Some("late")).await);
        let claim = self.at(LEASE * 2).claim(&self.request(&key)).await;
        assert!(matches!(expect(claim), Claim::Completed(_)));
    }

    async fn a_completed_key_is_not_released(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.complete(&lease, Duration::ZERO, None).await);
        fenced(
            self.now().release(&lease, true, "too late").await,
            "a release after the own completion",
        );
        let claim = self.now().claim(&self.request(&key)).await;
        assert!(matches!(expect(claim), Claim::Completed(_)));
    }

    async fn a_repeated_call_has_the_effect_of_one(&self) {
        let key = new_key();
        let request = self.request(&key);
        let first = acquired(self.now().claim(&request).await);
        let again = acquired(self.now().claim(&request).await);
        assert_eq!(first, again, "a repeated claim is the same claim");
        for _ in 0..2 {
            expect(self.now().release(&first, true, "no luck").await);
        }
        let lease = self.acquire(&key, Duration::ZERO).await;
        for _ in 0..2 {
            expect(self.complete(&lease, Duration::ZERO, Some("done")).await);
        }
        let claim = self.now().claim(&self.request(&key)).await;
        assert!(matches!(expect(claim), Claim::Completed(_)));
    }

    /// The caller gave up the call and repeated it, and is done by the time it arrives.
    async fn a_claim_that_comes_late_is_not_granted_again(&self) {
        let key = new_key();
        let request = self.request(&key);
        let lease = acquired(self.now().claim(&request).await);
        expect(self.complete(&lease, Duration::ZERO, Some("done")).await);
        let late = expect(self.now().claim(&request).await);
        assert!(
            matches!(&late, Claim::Completed(c) if c.data.as_deref() == Some("done")),
            "a completed key is not granted to any owner, but the late claim got {late:?}"
        );
    }

    async fn an_expired_key_is_forgotten(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.complete(&lease, Duration::ZERO, Some("old")).await);
        let before = EXPIRY - Duration::from_secs(1);
        let claim = self.at(before).claim(&self.request_at(&key, before)).await;
        assert!(
            matches!(expect(claim), Claim::Completed(_)),
            "not expired yet"
        );
        let after = EXPIRY + Duration::from_secs(2);
        let lease = self.acquire(&key, after).await;
        expect(self.complete(&lease, after, None).await);
        let claim = self.at(after).claim(&self.request_at(&key, after)).await;
        let Claim::Completed(completion) = expect(claim) else {
            panic!("an expired key can be completed again");
        };
        assert_eq!(
            completion.data, None,
            "nothing is left of the expired completion"
        );
    }

    async fn a_lease_that_is_over_before_it_begins_is_no_lock(&self) {
        let key = new_key();
        let mut request = self.request(&key);
        request.until = self.start - Duration::from_secs(1);
        acquired(self.now().claim(&request).await);
        self.acquire(&key, Duration::ZERO).await;
    }

    async fn a_key_is_not_forgotten_before_its_lease_ends(&self) {
        let key = new_key();
        let soon = self.start + Duration::from_secs(1);
        let request = ClaimRequest::new(key.clone(), "fingerprint", self.start + LEASE, soon);
        acquired(self.now().claim(&request).await);
        let later = LEASE - Duration::from_secs(1);
        let claim = self.at(later).claim(&self.request_at(&key, later)).await;
        assert!(
            matches!(expect(claim), Claim::Held { .. }),
            "a lease holds until its end, however short the expiry"
        );
    }

    async fn an_owner_without_an_answer_gives_back_its_claim(&self) {
        let key = new_key();
        let request = self.request(&key);
        let blind = Lease {
            key: key.clone(),
            owner: request.owner.clone(),
            attempt: 0,
            interrupted: None,
        };
        fenced(
            self.now().release(&blind, false, "no answer").await,
            "what was never claimed is nobody's to give back",
        );
        acquired(self.now().claim(&request).await);
        expect(self.now().release(&blind, false, "no answer").await);
        self.acquire(&key, Duration::ZERO).await;
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

    async fn keys_do_not_touch_each_other(&self) {
        let (a, b) = (new_key(), new_key());
        let lease = self.acquire(&a, Duration::ZERO).await;
        expect(self.complete(&lease, Duration::ZERO, None).await);
        self.acquire(&b, Duration::ZERO).await;
    }

    async fn a_look_finds_what_a_claim_would_meet(&self) {
        let key = new_key();
        let look = |after| {
            let (store, key) = (self.at(after), key.clone());
            async move { expect(store.find(&key).await) }
        };
        assert_eq!(
            look(Duration::ZERO).await,
            None,
            "a look at a new key finds nothing"
        );
        let lease = self.acquire(&key, Duration::ZERO).await;
        let held = Claim::Held {
            until: Some(self.start + LEASE),
        };
        assert_eq!(
            look(LEASE).await,
            Some(held),
            "a look finds the lease that a claim would meet"
        );
        let later = LEASE + Duration::from_millis(1);
        assert_eq!(
            look(later).await,
            None,
            "a look does not find a lease that ended"
        );
        expect(self.complete(&lease, Duration::ZERO, Some("1")).await);
        let found = look(later).await;
        assert!(
            matches!(&found, Some(Claim::Completed(completion)) if completion.data.as_deref() == Some("1")),
            "a look finds the completion that a claim would meet, with its data: {found:?}"
        );
        let expired = EXPIRY + Duration::from_secs(2);
        assert_eq!(
            look(expired).await,
            None,
            "a look does not find an expired completion"
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

    async fn any_text_is_a_key_and_data(&self) {
        let text = "ü \u{1F600} \" \\ # \n :me attribute_not_exists(id)";
        let key = IdempotencyKey::new(format!("{text}{}", new_key()));
        let lease = self.acquire(&key, Duration::ZERO).await;
        expect(self.complete(&lease, Duration::ZERO, Some(text)).await);
        let claim = self.now().claim(&self.request(&key)).await;
        let Claim::Completed(completion) = expect(claim) else {
            panic!("any text is a key");
        };
        assert_eq!(completion.data.as_deref(), Some(text), "any text is data");
    }
}

impl<St: CommitStore, F: Fn(Clock) -> St> World<F> {
    async fn commit(
        &self,
        key: &IdempotencyKey,
        owner: &str,
        after: Duration,
    ) -> Result<Committed> {
        let now = self.start + after;
        let commit =
            Commit::new(key, "fingerprint", owner, now, now + EXPIRY).with_data(Some("committed"));
        self.at(after).commit(&commit).await
    }

    async fn a_commit_completes_a_free_key_once(&self) {
        let key = new_key();
        for _ in 0..2 {
            let done = expect(self.commit(&key, "a", Duration::ZERO).await);
            assert_eq!(
                done,
                Committed::Done,
                "a repeated commit is the same commit"
            );
        }
        let Committed::Completed(completion) = expect(self.commit(&key, "b", Duration::ZERO).await)
        else {
            panic!("another commit finds the key completed");
        };
        assert_eq!(
            completion.data.as_deref(),
            Some("committed"),
            "duplicates get the data"
        );
        assert_eq!(completion.fingerprint.as_deref(), Some("fingerprint"));
        let claim = self.now().claim(&self.request(&key)).await;
        assert!(
            matches!(expect(claim), Claim::Completed(_)),
            "a claim meets the commit"
        );
        let expired = EXPIRY + Duration::from_secs(2);
        let again = expect(self.commit(&key, "b", expired).await);
        assert_eq!(
            again,
            Committed::Done,
            "an expired key can be committed again"
        );
    }

    async fn a_commit_meets_what_a_claim_would_meet(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        let held = Committed::Held {
            until: Some(self.start + LEASE),
        };
        assert_eq!(
            expect(self.commit(&key, "b", LEASE).await),
            held,
            "a commit meets a lease"
        );
        expect(self.now().release(&lease, true, "no luck").await);
        let done = expect(self.commit(&key, "b", Duration::ZERO).await);
        assert_eq!(done, Committed::Done, "a released key is free for a commit");
    }

    async fn a_commit_takes_over_a_lease_that_ended(&self) {
        let key = new_key();
        let lease = self.acquire(&key, Duration::ZERO).await;
        let later = LEASE + Duration::from_millis(1);
        let done = expect(self.commit(&key, "b", later).await);
        assert_eq!(done, Committed::Done);
        fenced(
            self.complete(&lease, later, Some("late")).await,
            "a completion after a commit took over the key",
        );
        fenced(
            self.at(later).release(&lease, true, "late").await,
            "a release after a commit took over the key",
        );
    }

    async fn of_many_commits_one_is_done(&self) {
        let key = new_key();
        let owners: Vec<String> = (0..16).map(|owner| format!("owner-{owner}")).collect();
        let commits = owners
            .iter()
            .map(|owner| self.commit(&key, owner, Duration::ZERO));
        let mut done = 0;
        for commit in join_all(commits).await {
            match commit {
                Ok(Committed::Done) => done += 1,
                Ok(Committed::Completed(_) | Committed::Conflict(_)) => {}
                Err(error) if error.kind() == ErrorKind::Store => {}
                other => panic!("concurrent commits are done or duplicates, not {other:?}"),
            }
        }
        assert_eq!(done, 1, "of concurrent commits exactly one is done");
    }
}

fn new_key() -> IdempotencyKey {
    IdempotencyKey::new(format!("contract#{}", uuid::Uuid::now_v7()))
}

#[track_caller]
fn expect<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {error:?}"))
}

#[track_caller]
fn acquired(claim: Result<Claim>) -> Lease {
    match expect(claim) {
        Claim::Acquired(lease) => lease,
        other => panic!("a free key is acquired, not {other:?}"),
    }
}

#[track_caller]
fn number(begun: Begun) -> Option<u32> {
    match begun {
        Begun::Begun { number } => number,
        Begun::Taken(claim) => panic!("an attempt begins, and does not meet {claim:?}"),
    }
}

#[track_caller]
fn fenced(result: Result<()>, what: &str) {
    match result {
        Err(error) if error.kind() == ErrorKind::Fenced => {}
        other => panic!("{what} is refused as fenced, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    #[tokio::test]
    async fn the_memory_store_keeps_the_contract() {
        let store = MemoryStore::new();
        check(|clock| store.clone().with_clock(clock)).await;
    }
}
