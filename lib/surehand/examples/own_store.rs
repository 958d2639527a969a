//! How are claims kept somewhere else than in DynamoDB?
//!
//! By a `Store`. This one is a map behind a lock; a table or a cache that can compare and set does the same.
//! The contract that every store must keep is a test suite, which is run here.
//!
//! `cargo run -p surehand --example own_store --features testing`

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use surehand::{
    Clock, Error, ErrorKind, Function, IdempotencyKey, Json, Result, Sqs,
    idempotency::{Attempts, Claim, ClaimRequest, Completion, Lease, Store},
    testing::{self, Message, store_contract},
};

#[derive(Clone, Default)]
struct MapStore {
    rows: Arc<Mutex<HashMap<IdempotencyKey, Row>>>,
    clock: Clock,
}

struct Row {
    lease: Lease,
    attempts: Attempts,
    fingerprint: String,
    expires_at: SystemTime,
    status: Status,
}

enum Status {
    Held { until: SystemTime },
    Released,
    Completed { data: Option<String> },
}

impl Row {
    /// What stands against a claim.
    fn taken(&self, now: SystemTime) -> Option<Claim> {
        match &self.status {
            _ if self.expires_at < now => None,
            Status::Completed { data } => Some(Claim::Completed(Completion {
                data: data.clone(),
                fingerprint: Some(self.fingerprint.clone()),
                expires_at: self.expires_at,
            })),
            Status::Held { until } if *until >= now => Some(Claim::Held {
                until: Some(*until),
            }),
            Status::Held { .. } | Status::Released => None,
        }
    }

    /// When the last lease ends or ended, if nothing else has ended it.
    fn held_until(&self) -> Option<SystemTime> {
        match self.status {
            Status::Held { until } => Some(until),
            Status::Released | Status::Completed { .. } => None,
        }
    }
}

impl MapStore {
    /// Each call holds the lock from its first look to its last write: of two claims one comes first.
    fn rows(&self) -> MutexGuard<'_, HashMap<IdempotencyKey, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fence: nothing is changed in the name of an owner that was replaced.
fn owned<'a>(rows: &'a mut HashMap<IdempotencyKey, Row>, lease: &Lease) -> Result<&'a mut Row> {
    let row = rows.get_mut(&lease.key);
    row.filter(|row| row.lease.owner == lease.owner)
        .ok_or_else(|| Error::new(ErrorKind::Fenced, "another attempt has taken the key over"))
}

impl Store for MapStore {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let mut rows = self.rows();
        let now = self.clock.now();
        let now_ms = now.duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now_ms.unwrap_or_default().as_millis();
        let now_ms = now_ms.try_into().unwrap_or(u64::MAX);
        let mut attempts = Attempts::default();
        // What has expired is forgotten.
        if let Some(row) = rows.get(&request.key).filter(|row| row.expires_at >= now) {
            let taken = row.taken(now);
            let is_done = matches!(taken, Some(Claim::Completed(_)));
            if row.lease.owner == request.owner && !is_done {
                // A call that was repeated, because its answer was lost, was granted before.
                return Ok(Claim::Acquired(row.lease.clone()));
            }
            if let Some(taken) = taken {
                return Ok(taken);
            }
            // How often it was tried; an attempt whose process died makes it a suspect.
            attempts = row.attempts.clone();
            if let until @ Some(_) = attempts.are_ahead_of(now_ms, true) {
                return Ok(Claim::Held { until });
            }
            attempts = attempts.of(&request.sending, &request.fingerprint);
            // A lease that ended by itself: nobody knows what its attempt has done.
            let ended = row.held_until();
            if attempts.are_suspect(request.limit) || request.minds(ended) {
                return Ok(Claim::Suspect(attempts.suspect(ended)));
            }
        }
        let attempts = attempts.of(&request.sending, &request.fingerprint);
        let attempts = attempts.and_begin(now_ms);
        let lease = Lease {
            key: request.key.clone(),
            owner: request.owner.clone(),
            attempt: attempts.begun,
        };
        let row = Row {
            lease: lease.clone(),
            attempts,
            fingerprint: request.fingerprint.clone(),
            expires_at: request.expires_at,
            status: Status::Held {
                until: request.until,
            },
        };
        rows.insert(request.key.clone(), row);
        Ok(Claim::Acquired(lease))
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        let mut rows = self.rows();
        let row = owned(&mut rows, lease)?;
        let data = data.map(str::to_owned);
        row.status = Status::Completed { data };
        row.attempts = Attempts::default();
        row.expires_at = expires_at;
        Ok(())
    }

    async fn release(&self, lease: &Lease, counts: bool, _error: &str) -> Result<()> {
        let mut rows = self.rows();
        let row = owned(&mut rows, lease)?;
        if matches!(row.status, Status::Completed { .. }) {
            return Err(Error::new(ErrorKind::Fenced, "the key is completed"));
        }
        if matches!(row.status, Status::Held { .. }) {
            row.attempts = row.attempts.clone().and_end(counts);
        }
        row.status = Status::Released;
        Ok(())
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        let now = self.clock.now();
        Ok(self.rows().get(key).and_then(|row| row.taken(now)))
    }
}

async fn greet(Json(name): Json<String>) -> Result<()> {
    println!("welcome, {name}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = MapStore::default();
    store_contract::check(|clock| MapStore {
        clock,
        ..store.clone()
    })
    .await;
    println!("the store keeps the contract");

    let function = Function::new(Sqs, greet, ()).idempotent(store.clone());
    let message = Message::body(r#""Ada""#);
    let before = store.rows().len();
    for _ in 0..2 {
        let event = testing::sqs_event("users", [message.clone()]);
        function.invoke(event, testing::context()).await?;
    }
    assert_eq!(store.rows().len(), before + 1);
    Ok(())
}
