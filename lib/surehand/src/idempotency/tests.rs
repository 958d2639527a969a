use super::*;
use crate::{Deadline, Delivery, layers::Around};
use std::sync::atomic::{AtomicU32, Ordering};
use tower::ServiceExt;

const NOW: u64 = 1_000_000;

fn clock() -> Clock {
    Clock::from_fn(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

fn once() -> Idempotency<MemoryStore> {
    let store = MemoryStore::new().with_clock(clock());
    Idempotency::new(store).scope("shop").clock(clock())
}

fn record(event_id: &str, data: &Value) -> Record {
    let body = json!({"metadata": {"id": event_id}, "data": data});
    let ends_at = clock().now() + Duration::from_secs(30);
    let delivery = Delivery {
        message_id: "m-1".into(),
        ..Delivery::default()
    };
    let context = lambda_runtime::Context::default();
    let deadline = Deadline::new(ends_at, &clock());
    Record::new(delivery, body.to_string(), context, deadline).with_reply()
}

/// A handler that counts its runs and answers with the key that it was given.
#[derive(Clone, Default)]
struct Handler {
    runs: Arc<AtomicU32>,
    error: Option<ErrorKind>,
}

impl Service<Record> for Handler {
    type Response = Reply;
    type Error = Error;
    type Future = std::future::Ready<Result<Reply>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, record: Record) -> Self::Future {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let key = IdempotencyKey::from_record(&record, &());
        std::future::ready(match self.error {
            Some(kind) => Err(Error::new(kind, "as told")),
            None => key.and_then(|key| Reply::json(&key.as_str())),
        })
    }
}

#[tokio::test]
async fn a_key_is_handled_once_and_its_reply_is_given_again() {
    for keys in [0, 10] {
        let (once, handler) = (once().cache(keys), Handler::default());
        let service = once.layer(handler.clone());
        let call = || service.clone().oneshot(record("e-1", &json!({"n": 1})));
        let (first, again) = (call().await.unwrap(), call().await.unwrap());
        assert!(!first.is_duplicate() && again.is_duplicate());
        assert_eq!(first.as_json(), again.as_json());
        let key = IdempotencyKey::of_event("shop", &crate::Metadata::new("e-1"));
        assert_eq!(
            first.as_json(),
            Some(&*json!(key.as_str()).to_string()),
            "the handler is given the key that is claimed"
        );
        let other = service.clone().oneshot(record("e-1", &json!({"n": 2})));
        assert_eq!(other.await.unwrap_err().kind(), ErrorKind::KeyReused);
        assert_eq!(handler.runs.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_failure_gives_the_key_back_with_its_reason() {
    let once = once();
    let failing = Handler {
        error: Some(ErrorKind::Transient),
        ..Handler::default()
    };
    let failed = once.layer(failing).oneshot(record("e-1", &json!({})));
    assert_eq!(failed.await.unwrap_err().kind(), ErrorKind::Transient);
    let key = IdempotencyKey::of_event("shop", &crate::Metadata::new("e-1"));
    let reason = once.store.last_error(&key);
    assert_eq!(reason.as_deref(), Some("transient: as told"));
    let next = once.layer(Handler::default());
    let reply = next.oneshot(record("e-1", &json!({}))).await.unwrap();
    assert!(!reply.is_duplicate());
}

#[tokio::test]
async fn a_key_that_is_held_comes_back_when_its_lease_ends() {
    let once = once();
    let until = clock().now() + Duration::from_secs(7);
    let key = IdempotencyKey::of_event("shop", &crate::Metadata::new("e-1"));
    let request = ClaimRequest::new(key, "", until, until + Duration::from_secs(60));
    assert!(matches!(
        once.store.claim(&request).await,
        Ok(Claim::Acquired(_))
    ));
    let handler = Handler::default();
    let held = once
        .layer(handler.clone())
        .oneshot(record("e-1", &json!({})));
    let error = held.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InProgress);
    // The lease still holds in the millisecond in which it ends.
    assert_eq!(error.delay(), Some(Duration::from_millis(7_001)));
    assert_eq!(handler.runs.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn no_record_shares_a_key_for_want_of_its_own() {
    let keyless = once().key(|_: crate::Metadata| None::<String>);
    let call = keyless.layer(Handler::default());
    let error = call.oneshot(record("e-1", &json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let nameless = Idempotency::new(MemoryStore::new());
    let call = nameless.layer(Handler::default());
    let error = call.oneshot(record("e-1", &json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invocation);
}

#[tokio::test]
async fn a_panic_in_the_reading_of_a_key_is_the_records_failure() {
    let broken = once().key(|_: crate::Metadata| -> Option<String> { panic!("no key") });
    let service = Around::new(broken.layer(Handler::default()), crate::layers::caught);
    let error = service
        .oneshot(record("e-1", &json!({})))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
}

#[test]
fn a_reply_that_is_too_large_is_kept_as_its_digest() {
    let (small, large) = (
        "1".to_owned(),
        format!("\"{}\"", "x".repeat(MAX_REPLY_BYTES)),
    );
    let key = IdempotencyKey::new("k");
    let kept = restored_reply(&key, stored_reply(&small)).unwrap();
    assert_eq!(kept.as_json(), Some("1"));
    let stored = stored_reply(&large);
    assert!(stored.len() < 200, "{stored}");
    let error = restored_reply(&key, stored).unwrap_err();
    assert!(error.is_rejected());
    assert!(
        error.to_string().contains(&large.len().to_string()),
        "{error}"
    );
}
