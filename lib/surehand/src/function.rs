//! A source, a handler and everything between them.

mod rehearse;

use self::rehearse::RehearsalStore;
use crate::{
    Backoff, BoxError, Clock, Deadline, Error, Event, Idempotency, Metrics, OnMalformed, OnPark,
    Record, Reply, Result,
    batch::{self, Policy, RecordService},
    clock::epoch_ms,
    dead_letter::DeadLetters,
    description::{
        BatchSettings, ClaimKind, DeadLetterSettings, Description, EventType, HandlerDescription,
        IdempotencySettings,
    },
    environment::{self, Mode},
    handler::{Handler, HandlerService, Signature},
    idempotency::Store,
    layers::{Around, caught, guarded, layered},
    metrics::{Emf, Start},
    record::Batch,
    redact,
    redelivery::Redelivery,
    source::Source,
    telemetry, trace,
};
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
use crate::{DynamoDbStore, SqsDeadLetters, SqsVisibility, description::Use, source::Needs};
use futures_util::future::BoxFuture;
use lambda_runtime::{Context, LambdaEvent};
use std::{
    fmt,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll},
    time::Duration,
};
use tower::{Layer, Service, util::BoxCloneSyncService};
use tracing::{Instrument, Span};

/// A Lambda function.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// use surehand::{Envelope, Event, Function, Sqs};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// struct OrderPlaced { order_id: String }
///
/// async fn greet(order: Envelope<OrderPlaced>) -> surehand::Result<()> {
///     println!("thank you for {}", order.data.order_id);
///     Ok(())
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), surehand::BoxError> {
///     Function::from_env(Sqs, greet, ()).await?.run().await
/// }
/// ```
///
/// [`Function::from_env`] makes the usual function of its source, with AWS behind it.
/// [`Function::new`] makes a function of a handler alone, to which everything else is added step by
/// step, as tests do.
///
/// Around the handler are, from the inside: the guard against panics, the deadline, your own
/// [layers](Self::layer), idempotency, and the decision about the record (handled, retried or
/// parked).
pub struct Function<So> {
    source: Arc<So>,
    handler: RecordService,
    claims: Option<Arc<dyn Claims>>,
    policy: Policy,
    margin: Option<Duration>,
    handlers: Vec<HandlerDescription>,
    /// Of what the handlers consume, for the metrics.
    event_types: Arc<[String]>,
    publishes: Vec<EventType>,
    once: Option<IdempotencySettings>,
    emf: Option<Emf>,
}

/// The time that is kept for the response when spans are sent before it.
const RESPONSE: Duration = Duration::from_millis(50);

/// So many that a deployment can be rolled back meanwhile, with the usual backoff.
const MAX_ATTEMPTS: u32 = 5;

/// Ten concurrent records keep a batch of ten at two round trips, and a small function's memory
/// small.
const CONCURRENCY: usize = 10;

impl<So: Source> Function<So> {
    /// Makes a function that handles the records of `source` with `handler`.
    ///
    /// The handler takes `state`, or parts of it, as [`State`](crate::State): any type that is
    /// cheap to clone, or `()`.
    pub fn new<H, Args, S>(source: So, handler: H, state: S) -> Self
    where
        H: Signature<Args> + Handler<Args, S>,
        Args: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let traits = {
            let handler = handler.clone();
            move |record: &Record| handler.traits(record)
        };
        let handlers = handler.describe();
        let consumed = handlers.iter().filter_map(|it| it.consumes.as_ref());
        let event_types = consumed.map(|event| event.detail_type.clone()).collect();
        let service = HandlerService::new(handler, state);
        Self {
            source: Arc::new(source),
            handler: boxed(Around::new(service, guarded)),
            claims: None,
            policy: Policy {
                traits: Arc::new(traits),
                concurrency: CONCURRENCY,
                on_park: OnPark::default(),
                on_malformed: OnMalformed::default(),
                max_attempts: MAX_ATTEMPTS,
                backoff: Backoff::default(),
                dead_letters: None,
                redelivery: None,
                clock: Clock::system(),
                skew: Duration::from_secs(1),
            },
            margin: None,
            handlers,
            event_types,
            publishes: Vec::new(),
            once: None,
            emf: None,
        }
    }

    /// Makes the usual function of its source: that of [`Function::new`] with what the source
    /// [needs](Source::needs) around its records, from the environment's AWS configuration.
    ///
    /// ```no_run
    /// # async fn greet(user: surehand::Json<String>) -> surehand::Result<()> { Ok(()) }
    /// # async fn function() -> Result<(), surehand::BoxError> {
    /// use surehand::{Function, Sqs};
    ///
    /// Function::from_env(Sqs, greet, ()).await?.run().await
    /// # }
    /// ```
    ///
    /// | Source | Added | Variables |
    /// |---|---|---|
    /// | [`Sqs`](crate::Sqs) | [`idempotent`](Self::idempotent)`(`[`DynamoDbStore::from_env`]`)`, [`dead_letters`](Self::dead_letters)`(`[`SqsDeadLetters::from_env`]`)`, [`redelivery`](Self::redelivery)`(`[`SqsVisibility::from_env`]`)` | `IDEMPOTENCY_TABLE`, `DEAD_LETTER_QUEUE_URL`; if they are set, `MAX_ATTEMPTS` ([`max_attempts`](Self::max_attempts)) and `MAX_BACKOFF_S` (the cap of the [`backoff`](Self::backoff), in seconds) |
    /// | [`EventBridge`](crate::EventBridge), [`DynamoDbStream`](crate::DynamoDbStream), [`Direct`](crate::Direct), and a source of your own unless it sets another [need](Source::needs) | `idempotent(DynamoDbStore::from_env)` | `IDEMPOTENCY_TABLE` and, if it is set, `MAX_ATTEMPTS` |
    /// | [`OutboxStream`](crate::outbox::OutboxStream) | nothing | none |
    ///
    /// Each of them can be set again afterwards, and the last one counts, but the variables are
    /// read nevertheless. Use [`Function::new`] for a function that does not need one of them.
    ///
    /// It exists with the features `dynamodb` and `sqs`.
    ///
    /// # Errors
    /// [`ErrorKind::Invocation`](crate::ErrorKind::Invocation) if a variable is not set, which the error
    /// names, or if one that is to be a number is not a positive one.
    #[cfg(all(feature = "dynamodb", feature = "sqs"))]
    pub async fn from_env<H, Args, S>(source: So, handler: H, state: S) -> Result<Self>
    where
        H: Signature<Args> + Handler<Args, S>,
        Args: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let needs = source.needs();
        let mut function = Self::new(source, handler, state);
        if needs != Needs::Nothing {
            function = function.idempotent(DynamoDbStore::from_env().await?);
            let what = "the number of attempts after which a record is parked";
            let attempts = environment::number_if_set("MAX_ATTEMPTS", what, Use::MaxAttempts)?;
            function.policy.max_attempts = attempts.unwrap_or(MAX_ATTEMPTS);
        }
        if needs == Needs::Queue {
            let what = "the seconds that may pass at most between two attempts";
            if let Some(cap) = environment::number_if_set("MAX_BACKOFF_S", what, Use::MaxBackoff)? {
                let cap = Duration::from_secs(cap.into());
                function.policy.backoff = function.policy.backoff.capped(cap);
            }
            function = function
                .dead_letters(SqsDeadLetters::from_env().await?)
                .redelivery(SqsVisibility::from_env().await);
        }
        Ok(function)
    }

    /// Handles each record once: by its event id if given a [`Store`], or as configured by an
    /// [`Idempotency`].
    ///
    /// # Panics
    /// If a handler takes a [`Transaction`](crate::Transaction) and the store cannot commit one
    /// ([`Store::COMMITS`]): that handler could never handle a record.
    pub fn idempotent<St: Store>(mut self, idempotency: impl Into<Idempotency<St>>) -> Self {
        let commits = |handler: &&HandlerDescription| handler.claim == ClaimKind::Transaction;
        let committing = self.handlers.iter().find(commits);
        assert!(
            St::COMMITS.are_possible() || committing.is_none(),
            "the handler {} takes a `Transaction`, but the store {} cannot commit transactions: give the function a store that implements `CommitStore` and sets `Store::COMMITS`, such as `DynamoDbStore`",
            committing.map_or("", |handler| &handler.name),
            std::any::type_name::<St>(),
        );
        let idempotency = idempotency.into();
        self.policy.skew = idempotency.skew();
        self.once = Some(idempotency.describe());
        self.claims = Some(Arc::new(idempotency));
        self
    }

    /// Puts a tower layer around the handler, inside idempotency: it sees a record once it is
    /// claimed. A later layer is outside an earlier one.
    ///
    /// The service that the layer makes is cloned for each record, and called once. It may rely on the record
    /// being this attempt's alone, and on the handler inside being stopped at the deadline. It promises to answer
    /// `Ok` only if the record is done, because that completes the claim, or commits what a
    /// [`Transaction`](crate::Transaction) has staged; with another `Ok` than the handler's it gives duplicates
    /// another reply. Its errors and its panics are treated like a handler's. It is itself not stopped at the
    /// deadline, but dropped shortly before the response is due: what takes long belongs in the handler.
    ///
    /// It may pass on another record than it was called with, such as one with the body that it has decrypted
    /// ([`Record::new`]): that is handled in the same attempt, under the same key. In a task of its own it passes on
    /// the record itself, or a clone.
    ///
    /// What it has for the handler goes into the record's [extensions](Record::extensions):
    ///
    /// ```
    /// # #[cfg(not(feature = "testing"))] fn main() {}
    /// # #[cfg(feature = "testing")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
    /// use surehand::{
    ///     Function, Record, Result, Sqs,
    ///     testing::{self, Message},
    /// };
    /// use tower::util::MapRequestLayer;
    ///
    /// #[derive(Clone)]
    /// struct Region(&'static str);
    ///
    /// async fn greet(record: Record) -> Result<()> {
    ///     let Region(name) = record.extensions.get().expect("the layer leaves it");
    ///     assert_eq!(*name, "eu");
    ///     Ok(())
    /// }
    ///
    /// let region = MapRequestLayer::new(|mut record: Record| {
    ///     record.extensions.insert(Region("eu"));
    ///     record
    /// });
    /// let function = Function::new(Sqs, greet, ()).layer(region);
    /// let event = testing::sqs_event("users", [Message::body("{}")]);
    /// let response = function.invoke(event, testing::context()).await?;
    /// assert!(testing::failed_ids(&response).is_empty());
    /// # Ok(()) }
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<BoxCloneSyncService<Record, Reply, Error>>,
        L::Service:
            Service<Record, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
        <L::Service as Service<Record>>::Future: Send + 'static,
    {
        // This is inside idempotency, so that a layer's panic releases the lease as a handler's
        // does.
        self.handler = boxed(Around::new(layer.layer(self.handler), layered));
        self
    }

    /// Sets the destination of records that cannot be handled. Without one they stay in their
    /// source, which eventually moves them to its own dead-letter queue, without a reason.
    pub fn dead_letters(mut self, destination: impl DeadLetters) -> Self {
        self.policy.dead_letters = Some(Arc::new(destination));
        self
    }

    /// Sets how the source learns when to deliver a failed record again. Without it the queue
    /// delivers records again when their visibility timeout ends.
    pub fn redelivery(mut self, redelivery: impl Redelivery) -> Self {
        self.policy.redelivery = Some(Arc::new(redelivery));
        self
    }

    /// Sets how many attempts are made at a record before it is parked; 5 unless set.
    ///
    /// An attempt counts once the handler is called, if it fails with a kind that
    /// [counts](crate::ErrorKind::counts), or never ends: a record whose process died so many times, and twice at
    /// least, is parked before it runs again (once later in a transaction from a queue, where the first death is not
    /// seen). Whatever keeps a record from its handler does not count, such as another
    /// attempt's lease, a group that waits, or a store that does not answer. Completion, expiry of the key,
    /// and being put back in any way start the count anew.
    ///
    /// The count is kept with the claim. A function that is not idempotent has its records' receives
    /// instead, where its source counts them. Without [dead letters](Self::dead_letters) there is no limit but
    /// the source's own.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.policy.max_attempts = attempts.max(1);
        self
    }

    /// Sets the delay before the next attempt for errors that set none themselves.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// Sets how many records of a batch are handled concurrently; 10 unless set.
    pub fn concurrency(mut self, records: usize) -> Self {
        self.policy.concurrency = records;
        self
    }

    /// Sets what happens to the rest of a message group when one of its records is parked.
    pub fn on_park(mut self, on_park: OnPark) -> Self {
        self.policy.on_park = on_park;
        self
    }

    /// Sets what happens to records that cannot be read; they are parked unless set.
    pub fn on_malformed(mut self, on_malformed: OnMalformed) -> Self {
        self.policy.on_malformed = on_malformed;
        self
    }

    /// What happens to the rest of a message group when one of its records is parked.
    #[cfg(feature = "testing")]
    pub(crate) fn halts(&self) -> OnPark {
        self.policy.on_park
    }

    /// How many attempts are made at a record before it is parked.
    #[cfg(feature = "testing")]
    pub(crate) fn attempts(&self) -> u32 {
        self.policy.max_attempts
    }

    /// Sets how long before the invocation's end handlers are stopped; the larger of 500 ms and 5 %
    /// of the invocation's time unless set. In this time leases are released and failures reported.
    pub fn deadline_margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Declares that the function publishes `E`, so that `surehand check` can compare the
    /// template's rules with it. It does not change what the function does.
    pub fn publishes<E: Event>(mut self) -> Self {
        let event = EventType::of::<E>();
        if !self.publishes.contains(&event) {
            self.publishes.push(event);
        }
        self
    }

    /// Writes [metrics](crate::Metrics) under a namespace, or as configured by an [`Emf`]. Without
    /// it the environment decides when the function is [run](Self::run): see [`Emf`].
    pub fn metrics(mut self, metrics: impl Into<Emf>) -> Self {
        self.emf = Some(metrics.into());
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.policy.clock = clock;
        self
    }

    /// Handles one event as on Lambda, but without needing Lambda: tests call it.
    ///
    /// # Errors
    /// If the invocation fails: the event cannot be answered, or a record failed and the source has
    /// no partial failures; the error is then the handler's own.
    pub async fn invoke(&self, event: So::Event, context: Context) -> Result<So::Response> {
        self.handle(event, context, false, &Span::none()).await
    }

    /// Runs one invocation with its metrics, which are written when it ends, in whatever way. The span
    /// is the invocation's own; whoever calls a function in a program has another one around it.
    async fn handle(
        &self,
        event: So::Event,
        context: Context,
        is_cold: bool,
        invocation: &Span,
    ) -> Result<So::Response> {
        let start = Start {
            function: &context.env_config.function_name,
            request_id: &context.request_id,
            version: &context.env_config.version,
            is_cold,
            now_ms: epoch_ms(self.policy.clock.now()),
            event_types: Arc::clone(&self.event_types),
        };
        let (metrics, _flush) = Metrics::start(self.emf.as_ref(), start);
        let (batch, deadline) = self.split(event, context)?;
        let service = self.service(None);
        trace::trigger(invocation, &batch.records);
        let span = trace::batch(&batch.records);
        let outcomes = batch::run(&service, batch, &deadline, &self.policy, &metrics);
        let outcomes = outcomes.instrument(span).await;
        self.source.join(outcomes)
    }

    /// Splits an event into its records, and computes until when they may be handled.
    fn split(&self, event: So::Event, context: Context) -> Result<(Batch, Deadline)> {
        let mut deadline = Deadline::new(context.deadline(), &self.policy.clock);
        if let Some(margin) = self.margin {
            deadline = deadline.with_margin(margin);
        }
        let batch = self.source.split(event, context, deadline.clone())?;
        Ok((batch, deadline))
    }

    /// Makes the service that handles a record. In a rehearsal the claims are made in the
    /// rehearsal's own store.
    fn service(&self, rehearsal: Option<&RehearsalStore>) -> RecordService {
        let handler = self.handler.clone();
        match &self.claims {
            Some(claims) => claims.around(handler, rehearsal),
            None => handler,
        }
    }

    /// Runs one invocation with its span, which has ended when this returns.
    pub(crate) async fn handle_in_span(
        &self,
        event: So::Event,
        context: Context,
        is_cold: bool,
    ) -> Result<So::Response> {
        let span = telemetry::invocation_span(&context, is_cold);
        let invoked = async {
            let result = self.handle(event, context, is_cold, &span).await;
            if let Err(error) = &result {
                trace::failed(error.kind());
                tracing::error!(kind = %error.kind(), error = redact::failure(error), "invocation failed");
            }
            result
        };
        invoked.instrument(span.clone()).await
    }

    /// Describes what the function is made of. Its variables are only known in a process that was
    /// started to be [described](crate::description).
    pub fn describe(&self) -> Description {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Description {
            surehand: env!("CARGO_PKG_VERSION").to_owned(),
            source: self.source.kind().to_owned(),
            handlers: self.handlers.clone(),
            publishes: self.publishes.clone(),
            batch: BatchSettings {
                concurrency: self.policy.concurrency,
                on_park: match self.policy.on_park {
                    OnPark::Proceed => "proceed".to_owned(),
                    OnPark::Halt => "halt".to_owned(),
                },
                max_attempts: self.policy.max_attempts,
                backoff_base_ms: milliseconds(self.policy.backoff.base),
                backoff_cap_ms: milliseconds(self.policy.backoff.cap),
                backoff_factor: self.policy.backoff.factor,
                backoff_least_percent: self.policy.backoff.least_percent,
                margin_ms: self.margin.map(milliseconds),
            },
            idempotency: self.once.clone(),
            dead_letters: (self.policy.dead_letters.as_ref()).map(|dead_letters| {
                DeadLetterSettings {
                    destination: dead_letters.kind().to_owned(),
                }
            }),
            redelivery: (self.policy.redelivery.as_ref()).map(|it| it.kind().to_owned()),
            tables: environment::recorded_entities(),
            variables: environment::recorded(),
        }
    }

    /// Runs the function on Lambda, until Lambda ends the process. With `SUREHAND_DESCRIBE=1` in
    /// the environment it prints its [description](crate::description) instead and returns; with
    /// `SUREHAND_REHEARSE=1` it [rehearses](crate::rehearsal) the events on its standard input.
    ///
    /// # Errors
    /// If the process does not run on Lambda, or Lambda's runtime interface fails; or if the function
    /// is to park what ended without its end being known ([`OnUnknown::Park`](crate::OnUnknown::Park)),
    /// and has no dead letters.
    pub async fn run(self) -> Result<(), BoxError> {
        self.check()?;
        match Mode::current() {
            Mode::Describe => {
                let description = serde_json::to_string(&self.describe())?;
                writeln!(std::io::stdout(), "{description}")?;
                Ok(())
            }
            Mode::Rehearse => self.rehearse().await,
            Mode::Serve => self.serve().await,
        }
    }

    /// Whether it parks what ended without its end being known.
    pub(crate) fn parks_unknown(&self) -> bool {
        self.claims.as_ref().is_some_and(|it| it.parks_unknown())
    }

    fn check(&self) -> Result<(), BoxError> {
        if self.parks_unknown() && self.policy.dead_letters.is_none() {
            return Err("the function parks attempts whose end is not known (`OnUnknown::Park`), and has nowhere to park them: give it `.dead_letters(…)`".into());
        }
        Ok(())
    }

    async fn serve(mut self) -> Result<(), BoxError> {
        telemetry::init();
        if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
            return Err("the environment variables of Lambda are not set, so this function cannot run here: run it with `surehand dev` or `sam local invoke`, or call `Function::invoke` in a test".into());
        }
        self.emf = self.emf.or_else(Emf::from_env);
        if let Some(emf) = &self.emf {
            emf.check()?;
        }
        let service = Invocations {
            function: Arc::new(self),
            cold: Arc::new(AtomicBool::new(is_started_on_demand())),
        };
        lambda_runtime::run_concurrent(service).await
    }
}

/// An [`Idempotency`] over any store.
trait Claims: Send + Sync {
    fn around(&self, handler: RecordService, rehearsal: Option<&RehearsalStore>) -> RecordService;

    fn parks_unknown(&self) -> bool;
}

impl<St: Store> Claims for Idempotency<St> {
    fn parks_unknown(&self) -> bool {
        Self::parks_unknown(self)
    }

    fn around(&self, handler: RecordService, rehearsal: Option<&RehearsalStore>) -> RecordService {
        // Reading the key runs the user's code too, and so does a store that the user wrote.
        match rehearsal {
            None => boxed(Around::new(self.layer(handler), caught)),
            Some(store) => {
                let rehearsed = self.with_store(store.clone());
                boxed(Around::new(rehearsed.layer(handler), caught))
            }
        }
    }
}

fn boxed<Svc>(service: Svc) -> RecordService
where
    Svc: Service<Record, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
    Svc::Future: Send + 'static,
{
    BoxCloneSyncService::new(service)
}

impl<So> fmt::Debug for Function<So> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("source", &std::any::type_name::<So>())
            .field("idempotent", &self.claims.is_some())
            .finish_non_exhaustive()
    }
}

/// Whether Lambda started the process for an invocation that waits for it. Otherwise it was started in advance.
fn is_started_on_demand() -> bool {
    std::env::var("AWS_LAMBDA_INITIALIZATION_TYPE").map_or(true, |kind| kind == "on-demand")
}

/// The service that Lambda's runtime calls.
struct Invocations<So> {
    function: Arc<Function<So>>,
    cold: Arc<AtomicBool>,
}

impl<So> Clone for Invocations<So> {
    fn clone(&self) -> Self {
        Self {
            function: Arc::clone(&self.function),
            cold: Arc::clone(&self.cold),
        }
    }
}

impl<So: Source> Service<LambdaEvent<So::Event>> for Invocations<So> {
    type Response = So::Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<So::Response>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<So::Event>) -> Self::Future {
        let function = Arc::clone(&self.function);
        let cold = self.cold.swap(false, Ordering::Relaxed);
        Box::pin(async move {
            let ends_at = event.context.deadline();
            let result = function
                .handle_in_span(event.payload, event.context, cold)
                .await;
            let now = function.policy.clock.now();
            let left = ends_at.duration_since(now).unwrap_or_default();
            trace::flush(left.saturating_sub(RESPONSE)).await;
            result
        })
    }
}
