//! Requests of programs that are no Lambda functions, each handled once.

use super::{Idempotency, Subject, claim::Claim, store::CommitStore};
use crate::{
    Deadline, Error, ErrorKind, Reply, Result, Transaction, lineage::Lineage, stage::Stage,
};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// How long a commit goes on that conflicts with others.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`Idempotency::once`] made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled<T> {
    /// What the handler returned, in this call or in the one that came before.
    pub reply: T,
    /// True if the request was handled before, and this call did nothing.
    pub is_duplicate: bool,
}

impl<St: CommitStore> Idempotency<St> {
    /// Handles a request once, in a program that is no Lambda function: a service, a job, a command.
    ///
    /// `handle` gets a [`Transaction`] as a function's handler does. What it stages is committed
    /// together with the claim on `key` and with its reply: one call to DynamoDB, all of it or nothing.
    /// Another call with this key, now or until the claim is
    /// [forgotten](Self::expires_after), by this process or another, gets the first one's reply.
    /// Its handler may run, but nothing of what it stages happens.
    ///
    /// The key is what the caller repeats when it asks again, such as the header `Idempotency-Key` of a
    /// request over HTTP. `request` is what it asks for; with another request under the same key
    /// nothing is done. [`Idempotency::scope`] must be set; events name it as their producer.
    ///
    /// ```
    /// use serde_json::json;
    /// use surehand::{Error, ErrorKind, Idempotency, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
    /// let once = Idempotency::new(MemoryStore::new()).scope("checkout");
    /// let pay = |key: &'static str, cents: u64| once.once(key, cents, async move |tx| {
    ///     if cents == 0 {
    ///         return Err(Error::rejected("nothing to pay"));
    ///     }
    ///     tx.put_item("payments", &json!({ "id": key, "cents": cents }));
    ///     Ok(format!("paid {cents} cents"))
    /// });
    /// let first = pay("k-1", 500).await?;
    /// let again = pay("k-1", 500).await?;
    /// assert_eq!((first.is_duplicate, again.is_duplicate), (false, true));
    /// assert_eq!(first.reply, again.reply);
    /// let other = pay("k-1", 700).await.unwrap_err();
    /// assert_eq!(other.kind(), ErrorKind::KeyReused);
    /// # Ok(()) }
    /// ```
    ///
    /// The future can be dropped at any time, as by a timeout. Then it is not known whether the commit
    /// happened, and the same call again finds out. A commit that conflicts with others is tried again
    /// for 10 s at most.
    ///
    /// # Errors
    /// The handler's own, unless it turns out that the request was handled before; what the handler
    /// gave a staged write for its condition ([`StagedCondition::or`](crate::transaction::StagedCondition::or));
    /// and those of a function's records, of kind
    /// [`Malformed`](ErrorKind::Malformed) without a key,
    /// [`KeyReused`](ErrorKind::KeyReused),
    /// [`Rejected`](ErrorKind::Rejected) if what is staged is too large,
    /// [`InProgress`](ErrorKind::InProgress) if somebody holds the key under a lease,
    /// [`Transient`](ErrorKind::Transient) and [`Store`](ErrorKind::Store). After any of them nothing
    /// happened, but after the last two it may have, and only the same call again can tell.
    pub async fn once<T, Fut>(
        &self,
        key: &str,
        request: impl Serialize,
        handle: impl FnOnce(Transaction) -> Fut,
    ) -> Result<Handled<T>>
    where
        T: Serialize + DeserializeOwned,
        Fut: Future<Output = Result<T>>,
    {
        let (scope, subject) = self.request(key, &serde_json::to_string(&request)?)?;
        let _turn = self.in_flight.enter(&subject.key).await;
        if let Some(completion) = self.cached(&subject.key) {
            return restored(subject.duplicate(completion)?);
        }
        let stage = Stage::default();
        let lineage = Lineage::of_request(subject.key.clone());
        let value = match handle(Transaction::new(stage.clone(), lineage, scope)).await {
            Ok(value) => value,
            // What the handler does not like may be what it did itself, when it was asked before.
            Err(error) => match self.store.find(&subject.key).await? {
                Some(taken @ Claim::Completed(_)) => return restored(self.taken(&subject, taken)?),
                _ => return Err(error),
            },
        };
        let staged = stage.take()?;
        let clock = &self.settings.clock;
        let deadline = Deadline::new(clock.now() + PATIENCE, clock);
        let reply = Reply::json(&value)?;
        let reply = self.commit(&subject, reply, staged, &deadline).await?;
        if reply.is_duplicate() {
            return restored(reply);
        }
        Ok(Handled {
            reply: value,
            is_duplicate: false,
        })
    }

    fn request(&self, key: &str, request: &str) -> Result<(&str, Subject)> {
        let settings = &self.settings;
        let scope = settings.scope.as_deref().filter(|scope| !scope.is_empty());
        let scope = scope.ok_or_else(|| {
            Error::new(
                ErrorKind::Invocation,
                "keys without a scope would be shared with whoever else uses the table: set `Idempotency::scope`",
            )
        })?;
        if key.is_empty() {
            return Err(Error::malformed("the request has no idempotency key"));
        }
        let subject = Subject {
            key: settings.style.key(scope, &key.into()),
            fingerprint: settings.style.fingerprint(None, request),
            wants_reply: true,
        };
        Ok((scope, subject))
    }
}

fn restored<T: DeserializeOwned>(reply: Reply) -> Result<Handled<T>> {
    let json = reply.as_json().unwrap_or("null");
    let reply = serde_json::from_str(json).map_err(|error| {
        Error::rejected(format!(
            "the request was handled before, and what was kept of its reply is of another type: {error}"
        ))
    })?;
    Ok(Handled {
        reply,
        is_duplicate: true,
    })
}
