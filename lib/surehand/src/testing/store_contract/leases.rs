//! Claims under a lease: who is granted a key, and who may end it.

use super::{EXPIRY, LEASE, World, acquired, expect, fenced, new_key};
use crate::{
    Clock, ErrorKind, IdempotencyKey,
    clock::epoch_ms,
    idempotency::{Claim, ClaimRequest, Lease, Store},
};
use futures_util::future::join_all;
use std::time::Duration;

impl<St: Store, F: Fn(Clock) -> St> World<F> {
    pub(super) async fn leases(&self) {
        self.one_of_many_claims_is_granted().await;
        self.a_held_key_reports_when_its_lease_ends().await;
        self.a_completed_key_gives_its_data().await;
        self.a_released_key_is_free_immediately().await;
        self.a_lease_is_held_to_its_last_millisecond().await;
        self.a_late_owner_changes_nothing_while_its_successor_works()
            .await;
        self.a_late_owner_changes_nothing_once_its_successor_is_done()
            .await;
        self.an_owner_that_was_not_replaced_may_be_late().await;
        self.a_completed_key_is_not_released().await;
        self.a_repeated_call_has_the_effect_of_one().await;
        self.a_claim_that_comes_late_is_not_granted_again().await;
        self.an_expired_key_is_forgotten().await;
        self.a_lease_that_is_over_before_it_begins_is_no_lock()
            .await;
        self.a_key_is_not_forgotten_before_its_lease_ends().await;
        self.an_owner_without_an_answer_gives_back_its_claim().await;
        self.keys_do_not_touch_each_other().await;
        self.a_look_finds_what_a_claim_would_meet().await;
        self.any_text_is_a_key_and_data().await;
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
        };
        fenced(
            self.now().release(&blind, false, "no answer").await,
            "what was never claimed is nobody's to give back",
        );
        acquired(self.now().claim(&request).await);
        expect(self.now().release(&blind, false, "no answer").await);
        self.acquire(&key, Duration::ZERO).await;
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
