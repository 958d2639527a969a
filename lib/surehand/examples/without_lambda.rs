//! How does a service that is not a Lambda function handle each request once?
//!
//! By `Idempotency::once`: the key comes with the request, and the writes are committed together with the
//! claim and the reply.
//!
//! `cargo run -p surehand --example without_lambda --features testing`

use serde::{Deserialize, Serialize};
use serde_json::json;
use surehand::{Error, ErrorKind, Idempotency, MemoryStore, Result, idempotency::Handled};

#[derive(Clone, Serialize)]
struct Payment {
    account: String,
    cents: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    cents: u64,
}

/// What the service does with `POST /payments`; `key` is the request's header `Idempotency-Key`.
async fn pay(
    once: &Idempotency<MemoryStore>,
    key: &str,
    payment: Payment,
) -> Result<Handled<Receipt>> {
    let request = payment.clone();
    once.once(key, request, async move |tx| {
        if payment.cents == 0 {
            return Err(Error::rejected("there is nothing to pay"));
        }
        tx.put_item("payments", &json!({ "id": key, "cents": payment.cents }));
        Ok(Receipt {
            cents: payment.cents,
        })
    })
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = MemoryStore::new();
    let once = Idempotency::new(store.clone()).scope("payments");
    let payment = |cents| Payment {
        account: "ada".into(),
        cents,
    };

    let first = pay(&once, "k-1", payment(500)).await?;
    let again = pay(&once, "k-1", payment(500)).await?;
    println!("{first:?}, and when the client asks again {again:?}");
    assert_eq!((first.is_duplicate, again.is_duplicate), (false, true));
    assert_eq!(first.reply, again.reply);

    let other = pay(&once, "k-1", payment(700))
        .await
        .expect_err("it is refused");
    println!("another payment under the same key: {other}");
    assert_eq!(other.kind(), ErrorKind::KeyReused);

    assert!(
        pay(&once, "k-2", payment(0))
            .await
            .expect_err("it is refused")
            .is_rejected()
    );
    assert_eq!(store.writes().len(), 1);
    Ok(())
}
