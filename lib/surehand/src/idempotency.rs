//! Handling each record once: claims on keys, between the source and the handler.
//!
//! A function is idempotent by [`Function::idempotent`](crate::Function::idempotent), with a store:
//! [`DynamoDbStore`], or [`MemoryStore`] in tests. [`Idempotency`] sets more, such as another key than the event's
//! id, and [`Idempotency::once`] is the same for a program that is not a Lambda function.
//!
//! 1. **Claim.** Before the handler runs, the store leases the record's [`IdempotencyKey`] to this attempt, for
//!    as long as the invocation may last. A key that is completed has its record acknowledged with the kept reply;
//!    a key that another attempt holds has it come back later.
//! 2. **Complete or release.** After the handler succeeded its claim is completed, and kept for 30 days unless set
//!    otherwise. After it failed the claim is released.
//! 3. **Commit instead.** For a handler that takes a [`Transaction`](crate::Transaction) nothing is leased: its
//!    effects, its events and the completed claim are written together, all or nothing.
//!
//! A store of your own implements [`Store`], and [`CommitStore`] if it commits transactions as well. What it must
//! promise is written at [`Store`], and is a test suite too, `surehand::testing::store_contract`. The other types
//! of this module are what those two traits ask and answer.

mod attempts;
mod claim;
#[cfg(feature = "dynamodb")]
mod commit;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod in_flight;
mod lease;
pub(crate) mod memory;
#[cfg(feature = "dynamodb")]
mod request;
mod store;
#[cfg(test)]
mod tests;
#[cfg(feature = "dynamodb")]
mod transaction;

pub use attempts::{AttemptFailure, AttemptStart, Attempts, Sending, Suspect};
pub use claim::{AttemptEnd, AttemptHistory, Begun, Claim, ClaimRequest, Completion, Lease};
#[cfg(feature = "dynamodb")]
pub use commit::{Commit, Committed};
#[cfg(feature = "dynamodb")]
pub use dynamodb::DynamoDbStore;
pub use memory::MemoryStore;
#[cfg(feature = "dynamodb")]
pub use request::Handled;
#[cfg(feature = "dynamodb")]
pub use store::CommitStore;
pub use store::{Commits, Store};

pub use crate::key::{IdempotencyKey, IntoKey, KeyStyle};

use crate::{
    Clock, Deadline, Error, ErrorKind, Record, Reply, Result, clock::epoch_ms,
    description::IdempotencySettings, extract::FromRecord, layers::take_ready,
};
use futures_util::future::BoxFuture;
use in_flight::InFlight;
use lru::LruCache;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tower::{Layer, Service};

/// How a function makes sure that it handles each record once.
///
/// ```
/// use std::time::Duration;
/// use serde::Deserialize;
/// use surehand::{Direct, Function, Idempotency, Json, MemoryStore};
///
/// #[derive(Deserialize)]
/// struct PlaceOrder { request_id: String }
///
/// async fn place_order(request: Json<PlaceOrder>) -> surehand::Result<String> {
///     Ok(format!("placed {}", request.0.request_id))
/// }
///
/// let once = Idempotency::new(MemoryStore::new())
///     .key(|request: Json<PlaceOrder>| request.0.request_id)
///     .expires_after(Duration::from_secs(3600));
/// let function = Function::new(Direct, place_order, ()).idempotent(once);
/// ```
///
/// The key is made from the event's [identity](crate::Metadata::identity), its source, type and id, unless
/// [`key`](Self::key) says otherwise: an id alone says which event it is only within its source. Beside the key a digest of the event's
/// type and payload is kept: the same key with another type or payload is [`ErrorKind::KeyReused`],
/// and parked.
#[derive(Clone)]
pub struct Idempotency<St> {
    store: St,
    settings: Arc<Settings>,
    completed: Option<Arc<Mutex<LruCache<IdempotencyKey, Completion>>>>,
    in_flight: InFlight,
}

#[derive(Clone)]
struct Settings {
    scope: Option<String>,
    style: KeyStyle,
    /// None if the key is the event's own.
    key: Option<Arc<ReadKey>>,
    expires_after: Duration,
    skew: Duration,
    on_unknown: OnUnknown,
    begins_first: bool,
    clock: Clock,
}

/// What becomes of a record whose last attempt began and never ended: its process died, stood still,
/// or was out of time, and nobody knows what it has done.
///
/// Also unknown is the end of an attempt whose handler was stopped, at the deadline or by a layer, while
/// its process lived on.
///
/// It concerns handlers with effects outside the store. What a
/// [`Transaction`](crate::Transaction) stages is either committed with the claim or was never done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// It is tried again, and its effects may happen twice.
    #[default]
    Retry,
    /// It is parked as [`ErrorKind::Interrupted`], for somebody to look at. Its effects happen once or
    /// not at all. Put back, it is tried again.
    ///
    /// Until it is put back, no attempt begins: if the destination refuses it, or the process dies, it
    /// comes back to be parked, and so is every other message of the event. Put it back with
    /// `surehand dlq`, or as SQS moves it: a message that is sent anew by hand is parked as well. Where
    /// the source has no messages, the park itself settles it. The function needs
    /// [dead letters](crate::Function::dead_letters), and does not start without. Whoever waits for a
    /// reply gets the error each time.
    Park,
}

type ReadKey = dyn Fn(&Record) -> Result<Option<Value>> + Send + Sync;

/// A redrive must still find the record: source and dead-letter queue keep messages for 14 days
/// each at most, and somebody has to look at them.
const EXPIRES_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longer than anybody remembers, and not so long that times overflow.
const FOR_EVER: Duration = Duration::from_secs(1_000 * 365 * 24 * 60 * 60);
/// How far two machines' clocks may be apart.
const SKEW: Duration = Duration::from_secs(1);
/// Attempts are counted for longer than any delay between two of them.
const COUNTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const CACHED_KEYS: usize = 1_000;
/// Larger replies are fetched again rather than kept in memory.
const MAX_CACHED_BYTES: usize = 4 * 1024;
/// DynamoDB takes 400 KB an item; beyond this a reply is replaced by its digest.
const MAX_REPLY_BYTES: usize = 350 * 1024;

impl<St: Store> Idempotency<St> {
    /// Claims in `store`, by each event's source, type and id, for 30 days.
    pub fn new(store: St) -> Self {
        Self {
            store,
            settings: Arc::new(Settings {
                scope: None,
                style: KeyStyle::default(),
                key: None,
                expires_after: EXPIRES_AFTER,
                skew: SKEW,
                on_unknown: OnUnknown::default(),
                begins_first: true,
                clock: Clock::system(),
            }),
            completed: new_cache(CACHED_KEYS),
            in_flight: InFlight::default(),
        }
    }

    /// Takes the key from the record: `read` gets anything that a handler could take, and returns
    /// text or JSON, or an `Option` of either.
    ///
    /// A record without a key, or with an empty one, is malformed. It never shares a key with
    /// others. So is one whose key the [style](Self::style) cannot write as those do who share the table.
    pub fn key<T, K>(mut self, read: impl Fn(T) -> K + Send + Sync + 'static) -> Self
    where
        T: FromRecord<()>,
        K: IntoKey,
    {
        let settings = self.settings_mut();
        settings.key = Some(Arc::new(move |record| {
            Ok(read(T::from_record(record, &())?).into_key())
        }));
        self
    }

    /// Sets what keys are unique within; the function's name unless set.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.settings_mut().scope = Some(scope.into());
        self
    }

    /// Sets how keys are written.
    pub fn style(mut self, style: KeyStyle) -> Self {
        self.settings_mut().style = style;
        self
    }

    /// Sets how long a key is remembered; 30 days unless set. A duplicate that comes later is
    /// handled again, and so is a dead letter that is put back later.
    pub fn expires_after(mut self, time: Duration) -> Self {
        self.settings_mut().expires_after = time.min(FOR_EVER);
        self
    }

    /// Sets how far clocks may be apart: so much longer than the invocation a lease lasts. 1 s
    /// unless set.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.settings_mut().skew = skew.min(FOR_EVER);
        self
    }

    /// Sets what becomes of a record whose last attempt began and never ended; tried again unless
    /// set.
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.settings_mut().on_unknown = on_unknown;
        self
    }

    /// Sets whether a transaction's attempt is written down before it is made where the source does not say
    /// that it is the first: a stream, or an asynchronous invocation of a function that has
    /// [dead letters](crate::Function::dead_letters). It is, unless set otherwise, at the
    /// price of one write to the store an attempt. Without it, a record whose process dies in the handler leaves no
    /// trace: it is never parked for that, and tried until its source gives up.
    ///
    /// A lease counts with its claim, which comes first anyway. From SQS only later deliveries begin so.
    pub fn begin_first(mut self, begins: bool) -> Self {
        self.settings_mut().begins_first = begins;
        self
    }

    /// Sets how many completed keys are remembered in the process, which spares a call for
    /// duplicates that arrive soon; 1,000 unless set, and 0 for none.
    pub fn cache(mut self, keys: usize) -> Self {
        self.completed = new_cache(keys);
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings_mut().clock = clock;
        self
    }

    pub(crate) fn describe(&self) -> IdempotencySettings {
        IdempotencySettings {
            store: self.store.kind().to_owned(),
            key: match self.settings.key {
                None => "event_id".to_owned(),
                Some(_) => "custom".to_owned(),
            },
            style: self.settings.style.as_str().to_owned(),
            scope: self.settings.scope.clone(),
            expires_after_s: self.settings.expires_after.as_secs(),
        }
    }

    pub(crate) fn skew(&self) -> Duration {
        self.settings.skew
    }

    pub(crate) fn parks_unknown(&self) -> bool {
        self.settings.on_unknown == OnUnknown::Park
    }

    /// The same settings with claims elsewhere, and nothing remembered.
    pub(crate) fn with_store<Other>(&self, store: Other) -> Idempotency<Other> {
        Idempotency {
            store,
            settings: Arc::clone(&self.settings),
            completed: None,
            in_flight: InFlight::default(),
        }
    }

    fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

fn new_cache(keys: usize) -> Option<Arc<Mutex<LruCache<IdempotencyKey, Completion>>>> {
    Some(Arc::new(Mutex::new(LruCache::new(NonZeroUsize::new(
        keys,
    )?))))
}

impl<St: Store> From<St> for Idempotency<St> {
    fn from(store: St) -> Self {
        Self::new(store)
    }
}

impl<St> fmt::Debug for Idempotency<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("scope", &self.settings.scope)
            .field("style", &self.settings.style)
            .field("expires_after", &self.settings.expires_after)
            .finish_non_exhaustive()
    }
}

impl<St: Clone, S> Layer<S> for Idempotency<St> {
    type Service = IdempotencyService<S, St>;
    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyService {
            inner,
            idempotency: self.clone(),
        }
    }
}

/// The service that [`Idempotency`] makes as a layer.
#[derive(Clone, Debug)]
pub struct IdempotencyService<S, St> {
    inner: S,
    idempotency: Idempotency<St>,
}

impl<S, St> Service<Record> for IdempotencyService<S, St>
where
    St: Store,
    S: Service<Record, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, record: Record) -> Self::Future {
        let inner = take_ready(&mut self.inner);
        let idempotency = self.idempotency.clone();
        Box::pin(async move { idempotency.handle(record, inner).await })
    }
}

/// What a claim is about.
struct Subject {
    key: IdempotencyKey,
    fingerprint: String,
    wants_reply: bool,
}

impl<St: Store> Idempotency<St> {
    async fn handle<S>(&self, mut record: Record, inner: S) -> Result<Reply>
    where
        S: Service<Record, Response = Reply, Error = Error>,
    {
        let subject = self.subject(&record)?;
        let deadline = record.deadline().clone();
        // Of two records of one key in this process the second waits, and finds the first's result.
        // Which of the two is looked at first is fixed, so that a simulated run can be repeated.
        let _turn = tokio::select! {
            biased;
            turn = self.in_flight.enter(&subject.key) => turn,
            () = deadline.cancelled() => return Err(Deadline::not_started()),
        };
        if let Some(completion) = self.cached(&subject.key) {
            return subject.duplicate(completion);
        }
        record.companion_mut().key = Some(subject.key.clone());
        record.companion().ending.is_counted_by_claims();
        #[cfg(feature = "dynamodb")]
        if record.companion().commits {
            return self.in_transaction(record, inner, subject).await;
        }
        self.under_lease(record, inner, subject).await
    }

    /// What a record gets whose key is not free.
    fn taken(&self, subject: &Subject, claim: Claim) -> Result<Reply> {
        match claim {
            Claim::Completed(completion) => {
                self.remember(&subject.key, &completion);
                subject.duplicate(completion)
            }
            Claim::Held { until } => Err(held(&subject.key, until, self.settings.clock.now())),
            Claim::Acquired(_) | Claim::Suspect(_) => Err(Error::new(
                ErrorKind::Store,
                format!("the store gave out {} and took it back", subject.key),
            )),
        }
    }

    /// What a record gets that is free, and whose earlier attempts never ended: it waits until it can run
    /// alone, and is parked if its attempts are used up.
    fn suspected(&self, subject: &Subject, suspect: &Suspect, record: &Record) -> Error {
        let companion = record.companion();
        let is_used_up = companion
            .limit
            .is_some_and(|limit| suspect.deaths >= most_deaths(limit));
        if !is_used_up {
            if !companion.has_neighbours {
                return Error::new(
                    ErrorKind::Store,
                    format!(
                        "the store refuses the key {}, although {} attempts that never ended are not too many",
                        subject.key, suspect.deaths
                    ),
                );
            }
            companion.ending.is_suspect(suspect.deaths);
            return waits_alone(&subject.key, suspect);
        }
        let now = self.settings.clock.now();
        match suspect.until {
            // It may go on elsewhere.
            Some(until) if until > now => held(&subject.key, Some(until), now),
            until => {
                companion.ending.counts(Some(suspect.attempts));
                used_up(suspect, until)
            }
        }
    }

    /// Why a record is parked before it runs, of whose attempts this would be one too many: its park was refused, or
    /// its process died before that. None if it has attempts left.
    async fn has_had_all(
        &self,
        subject: &Subject,
        record: &Record,
        number: Option<u32>,
    ) -> Option<Error> {
        let most = record.companion().limit?;
        let number = number.filter(|number| *number > most)?;
        let history = self.store.history(&subject.key).await.ok().flatten()?;
        // This one is among those that have not ended. Of the others that have not, one may have died with a neighbour.
        if history.attempts.saturating_sub(history.unended) < most {
            return None;
        }
        record.companion().ending.counts(Some(number - 1));
        Some(failed_last(history.last_error))
    }

    /// With how many attempts that never ended the record is not to be handled now.
    fn limit(&self, record: &Record) -> u32 {
        let companion = record.companion();
        match companion.has_neighbours {
            true => 0,
            false => companion.limit.map_or(u32::MAX, most_deaths),
        }
    }

    /// What attempts at the record are counted by.
    fn sending(&self, record: &Record) -> Sending {
        let delivery = record.delivery();
        let id = delivery.sending_id.as_ref().unwrap_or(&delivery.message_id);
        match delivery.sent_at {
            // A message that is put back has another id, unless an emulator leaves it the old one.
            Some(sent) => Sending::new(
                format!("{id}@{}", epoch_ms(sent)),
                Some(sent + self.settings.skew),
            ),
            None => Sending::new(id, None),
        }
    }

    /// When what is known of attempts is forgotten that have not completed the key.
    fn count_expires_at(&self, now: SystemTime) -> SystemTime {
        now + self.settings.expires_after.max(COUNTED_FOR)
    }

    fn subject(&self, record: &Record) -> Result<Subject> {
        let style = self.settings.style;
        let value = match &self.settings.key {
            None => Some(style.identity(&record.event()?.metadata)),
            Some(read) => read(record)?,
        };
        let value = value.ok_or_else(|| {
            Error::malformed(format!(
                "record {} has no idempotency key; its function's `.key(…)` must find one in every record",
                record.id()
            ))
        })?;
        style.check(&value).map_err(|problem| {
            Error::malformed(format!(
                "the idempotency key of record {} {problem}",
                record.id()
            ))
        })?;
        let scope = match &self.settings.scope {
            Some(scope) => scope.as_str(),
            None => record.context().env_config.function_name.as_str(),
        };
        if scope.is_empty() {
            return Err(Error::new(
                ErrorKind::Invocation,
                "the function has no name, and keys without a scope would be shared: set `Idempotency::scope`",
            ));
        }
        // A key from elsewhere can be that of a body in which there is no event.
        let (detail_type, data) = match record.event() {
            Ok(event) => (event.metadata.detail_type.as_deref(), event.data.as_str()),
            Err(_) => (None, record.body()),
        };
        Ok(Subject {
            key: style.key(scope, &value),
            fingerprint: style.fingerprint(detail_type, data),
            wants_reply: record.wants_reply(),
        })
    }

    fn cached(&self, key: &IdempotencyKey) -> Option<Completion> {
        let cache = self.completed.as_ref()?;
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        let completion = cache.get(key)?;
        if completion.expires_at <= self.settings.clock.now() {
            cache.pop(key);
            return None;
        }
        Some(completion.clone())
    }

    fn remember(&self, key: &IdempotencyKey, completion: &Completion) {
        let size = completion.data.as_ref().map_or(0, String::len);
        if let Some(cache) = &self.completed
            && size <= MAX_CACHED_BYTES
        {
            cache
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .put(key.clone(), completion.clone());
        }
    }
}

impl Subject {
    /// What is kept of the reply for duplicates.
    fn stored(&self, reply: &Reply) -> Option<String> {
        reply
            .as_json()
            .filter(|_| self.wants_reply)
            .map(stored_reply)
    }

    fn duplicate(&self, completion: Completion) -> Result<Reply> {
        // A completion without a digest was written by somebody who keeps none.
        if completion
            .fingerprint
            .as_ref()
            .is_some_and(|f| *f != self.fingerprint)
        {
            return Err(Error::new(
                ErrorKind::KeyReused,
                format!("the key {} was used before, for another payload", self.key),
            ));
        }
        let reply = match completion.data {
            Some(data) if self.wants_reply => restored_reply(&self.key, data)?,
            None if self.wants_reply => Reply::from_json("null".into()),
            _ => Reply::none(),
        };
        Ok(reply.into_duplicate())
    }
}

/// With how many attempts that never ended a record is parked before it runs again, which may have so many attempts.
/// One may have been ended by a neighbour's death; from the second on the record was alone.
fn most_deaths(attempts: u32) -> u32 {
    attempts.max(2)
}

/// Why a record is not handled whose earlier attempts began and never ended.
fn waits_alone(key: &IdempotencyKey, suspect: &Suspect) -> Error {
    Error::new(
        ErrorKind::Skipped,
        format!(
            "{} of {} attempts at {key} began and never ended: it waits until it can run alone",
            suspect.deaths, suspect.attempts
        ),
    )
}

/// Why a record is parked before it runs again.
fn used_up(suspect: &Suspect, until: Option<SystemTime>) -> Error {
    let Suspect {
        attempts, deaths, ..
    } = suspect;
    let last = until.and_then(|until| jiff::Timestamp::try_from(until).ok());
    let last = last.map_or_else(String::new, |until| {
        format!("; the last one had time until {until:.3}")
    });
    Error::new(
        ErrorKind::Interrupted,
        match attempts == deaths {
            true => format!("{attempts} attempts at the record began and never ended{last}"),
            false => {
                format!("{deaths} of {attempts} attempts at the record began and never ended{last}")
            }
        },
    )
}

/// The failure of the last attempt, as it was written down.
fn failed_last(reason: Option<String>) -> Error {
    let reason = reason.unwrap_or_else(|| "its attempts are used up".to_owned());
    let known = reason.split_once(": ");
    let known = known.and_then(|(kind, text)| Some((ErrorKind::counted(kind)?, text)));
    match known {
        Some((kind, text)) => Error::new(kind, text),
        None => Error::transient(reason),
    }
}

/// How long to wait for the end of a lease, which still holds in the millisecond in which it ends.
fn time_to(until: SystemTime, now: SystemTime) -> Duration {
    until.duration_since(now).unwrap_or_default() + Duration::from_millis(1)
}

fn held(key: &IdempotencyKey, until: Option<SystemTime>, now: SystemTime) -> Error {
    let error = Error::new(
        ErrorKind::InProgress,
        match until {
            Some(_) => format!("another attempt holds the key {key}"),
            None => format!("the key {key} is locked without a time limit"),
        },
    );
    match until {
        Some(until) => error.with_retry_after(time_to(until, now)),
        None => error,
    }
}

/// The field of a stored reply that says that the reply itself was too large.
const DIGEST: &str = "surehand_reply_digest";

fn stored_reply(reply: &str) -> String {
    if reply.len() <= MAX_REPLY_BYTES {
        return reply.to_owned();
    }
    json!({ DIGEST: format!("sha256:{}", hex::encode(Sha256::digest(reply))), "bytes": reply.len() })
        .to_string()
}

fn restored_reply(key: &IdempotencyKey, data: String) -> Result<Reply> {
    let digest = data
        .contains(DIGEST)
        .then(|| serde_json::from_str::<Value>(&data).ok())
        .flatten()
        .filter(|value| value[DIGEST].is_string());
    match digest {
        None => Ok(Reply::from_json(data)),
        Some(value) => Err(Error::rejected(format!(
            "the request was handled before, and its reply of {} bytes was too large to be kept (key {key}, {})",
            value["bytes"],
            value[DIGEST].as_str().unwrap_or_default()
        ))),
    }
}
