//! The keys that this process is working on.

use crate::IdempotencyKey;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard};

/// Lets one record of a key through at a time.
///
/// Between processes the store decides, at the price of a retry; within one a record can simply
/// wait.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<IdempotencyKey, Arc<Turnstile<()>>>>>);

/// The right to work on a key; the next in line gets it on drop.
#[derive(Debug)]
pub(super) struct Turn {
    in_flight: InFlight,
    key: IdempotencyKey,
    guard: Option<OwnedMutexGuard<()>>,
}

impl InFlight {
    pub(super) async fn enter(&self, key: &IdempotencyKey) -> Turn {
        let turnstile = Arc::clone(self.turnstiles().entry(key.clone()).or_default());
        // Made before the wait, so that a wait that is given up cleans up as well.
        let mut turn = Turn {
            in_flight: self.clone(),
            key: key.clone(),
            guard: None,
        };
        turn.guard = Some(turnstile.lock_owned().await);
        turn
    }

    fn turnstiles(&self) -> std::sync::MutexGuard<'_, HashMap<IdempotencyKey, Arc<Turnstile<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turnstiles = self.in_flight.turnstiles();
        self.guard = None;
        // Everybody who waits holds the turnstile too, and takes it only under this lock.
        if let Some(turnstile) = turnstiles.get(&self.key)
            && Arc::strong_count(turnstile) == 1
        {
            turnstiles.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_nothing_left_behind() {
        let in_flight = InFlight::default();
        let key = IdempotencyKey::new("k");
        let first = in_flight.enter(&key).await;
        let given_up = tokio::time::timeout(Duration::from_secs(1), in_flight.enter(&key)).await;
        assert!(given_up.is_err());
        let other = in_flight.enter(&IdempotencyKey::new("other")).await;
        let waiting = tokio::spawn({
            let (in_flight, key) = (in_flight.clone(), key.clone());
            async move { drop(in_flight.enter(&key).await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
        drop(other);
        assert!(in_flight.turnstiles().is_empty());
    }
}
