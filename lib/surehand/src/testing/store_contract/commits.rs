//! Commits: a claim with its effects and events, at once.

use super::{EXPIRY, LEASE, World, expect, fenced, new_key};
use crate::{
    Clock, ErrorKind, IdempotencyKey, Result,
    idempotency::{Claim, Commit, CommitStore, Committed},
};
use futures_util::future::join_all;
use std::time::Duration;

impl<St: CommitStore, F: Fn(Clock) -> St> World<F> {
    pub(super) async fn commits(&self) {
        self.a_commit_completes_a_free_key_once().await;
        self.a_commit_meets_what_a_claim_would_meet().await;
        self.a_commit_takes_over_a_lease_that_ended().await;
        self.of_many_commits_one_is_done().await;
    }

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
                Ok(Committed::Completed(_) | Committed::Conflict(_) | Committed::Throttled(_)) => {}
                Err(error) if error.kind() == ErrorKind::Store => {}
                other => panic!("concurrent commits are done or duplicates, not {other:?}"),
            }
        }
        assert_eq!(done, 1, "of concurrent commits exactly one is done");
    }
}
