//! A store that says what it was asked for.

use serde_json::value::RawValue;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use surehand::{
    Direct, Error, ErrorKind, Function, Idempotency, IdempotencyKey, Json, Result,
    idempotency::{Claim, ClaimRequest, KeyStyle, Lease, Store},
    testing,
};

/// A record's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) key: String,
    pub(crate) fingerprint: String,
}

/// Returns the claim for a request with this text whose key is `key`.
pub(crate) fn claimed(style: KeyStyle, scope: &str, key: &str, request: &str) -> Claimed {
    async fn handle() -> Result<()> {
        Ok(())
    }
    let spy = Spy::default();
    let key = key.to_owned();
    let once = Idempotency::new(spy.clone())
        .style(style)
        .scope(scope)
        .key(move |_: Json<Box<RawValue>>| key.clone());
    let function = Function::new(Direct, handle, ()).idempotent(once);
    let request = RawValue::from_string(request.to_owned()).expect("the request is JSON");
    let error = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(function.invoke(request, testing::context()))
        .expect_err("the spy grants nothing");
    let asked = spy.asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked
        .clone()
        .unwrap_or_else(|| panic!("nothing was claimed: {error:#}"))
}

#[derive(Clone, Default)]
struct Spy {
    asked: Arc<Mutex<Option<Claimed>>>,
}

fn nothing() -> Error {
    Error::new(ErrorKind::Store, "a spy grants nothing")
}

impl Store for Spy {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let claimed = Claimed {
            key: request.key.to_string(),
            fingerprint: request.fingerprint.clone(),
        };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(claimed);
        Err(nothing())
    }

    async fn complete(&self, _: &Lease, _: Option<&str>, _: SystemTime) -> Result<()> {
        Err(nothing())
    }

    async fn release(&self, _: &Lease, _: bool, _: &str) -> Result<()> {
        Err(nothing())
    }

    async fn find(&self, _: &IdempotencyKey) -> Result<Option<Claim>> {
        Err(nothing())
    }
}
