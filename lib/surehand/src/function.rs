//! A source, a handler and everything between them.

mod rehearse;

use crate::{
    Backoff, BoxError, Clock, Deadline, Error, Event, Idempotency, MemoryStore, Metrics,
    OnMalformed, OnPark, Record, Reply, Result,
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
    layers::{Around, caught, guarded},
    metrics::{Emf, Start},
    record::Batch,
    redelivery::Redelivery,
    source::Source,
    telemetry, trace,
};
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
use crate::{DynamoDbStore, SqsDeadLetters, SqsVisibility, source::Needs};
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
use tracing::Instrument;

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
/// [`Function::from_env`] is the usual function of its source, with AWS behind it. [`Function::new`] is a
/// handler alone, to which everything else is added one by one, as tests do.
///
/// Around the handler are, from the inside: panics caught, the deadline, your own
/// [layers](Self::layer), idempotency, and what becomes of the record.
pub struct Function<So> {
    source: Arc<So>,
    handler: RecordService,
    claims: Option<Arc<dyn Claims>>,
    policy: Policy,
    margin: Option<Duration>,
    handlers: Vec<HandlerDescription>,
    publishes: Vec<EventType>,
    once: Option<IdempotencySettings>,
    emf: Option<Emf>,
}

/// What the response is left with when spans are sent off before it.
const RESPONSE: Duration = Duration::from_millis(50);

/// Ten records at once keep a batch of ten at two round trips, and a small function's memory small.
const CONCURRENCY: usize = 10;

impl<So: Source> Function<So> {
    /// A function that handles what `source` delivers with `handler`.
    ///
    /// `state` is what the handler takes by [`State`](crate::State): anything that is cheap to
    /// clone, or `()`.
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
                backoff: Backoff::default(),
                dead_letters: None,
                redelivery: None,
                clock: Clock::system(),
            },
            margin: None,
            handlers,
            publishes: Vec::new(),
            once: None,
            emf: None,
        }
    }

    /// The usual function of its source: [`Function::new`], and what the source
    /// [needs](Source::needs) around its records, with the environment's AWS configuration.
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
    /// | [`Sqs`](crate::Sqs) | [`idempotent`](Self::idempotent)`(`[`DynamoDbStore::from_env`]`)`, [`dead_letters`](Self::dead_letters)`(`[`SqsDeadLetters::from_env`]`)`, [`redelivery`](Self::redelivery)`(`[`SqsVisibility::from_env`]`)` | `IDEMPOTENCY_TABLE`, `DEAD_LETTER_QUEUE_URL`, and, if it is set, `MAX_RECEIVE_COUNT` |
    /// | [`EventBridge`](crate::EventBridge), [`DynamoDbStream`](crate::DynamoDbStream), [`Direct`](crate::Direct), and a source of your own that does not say otherwise | `idempotent(DynamoDbStore::from_env)` | `IDEMPOTENCY_TABLE` |
    /// | [`OutboxStream`](crate::outbox::OutboxStream) | nothing | none |
    ///
    /// Each of the three can be set again afterwards, and the last one counts; the variables are read
    /// all the same. A function that has no use for one of them is made by [`Function::new`].
    ///
    /// It exists with the features `dynamodb` and `sqs`.
    ///
    /// # Errors
    /// [`ErrorKind::Invocation`](crate::ErrorKind::Invocation) if a variable is not set, which the error
    /// names, or if `MAX_RECEIVE_COUNT` is not a positive number.
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
        }
        if needs == Needs::Queue {
            function = function
                .dead_letters(SqsDeadLetters::from_env().await?)
                .redelivery(SqsVisibility::from_env().await);
        }
        Ok(function)
    }

    /// Handles each record once: by its event id with a [`Store`], or as an [`Idempotency`] says.
    ///
    /// # Panics
    /// If a handler takes a [`Transaction`](crate::Transaction) and the store cannot commit one
    /// ([`Store::COMMITS`]): no record of that handler could ever be handled.
    pub fn idempotent<St: Store>(mut self, idempotency: impl Into<Idempotency<St>>) -> Self {
        let commits = |handler: &&HandlerDescription| handler.claim == ClaimKind::Transaction;
        let committing = self.handlers.iter().find(commits);
        assert!(
            St::COMMITS.are_possible() || committing.is_none(),
            "the handler {} takes a Transaction, and the store {} only leases keys: give the function a store that is a `CommitStore` and says so in `Store::COMMITS`",
            committing.map_or("", |handler| &handler.name),
            std::any::type_name::<St>(),
        );
        let idempotency = idempotency.into();
        self.once = Some(idempotency.describe());
        self.claims = Some(Arc::new(idempotency));
        self
    }

    /// Puts a tower layer around the handler, inside idempotency: it sees a record once it is
    /// claimed. A later layer is outside an earlier one.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<BoxCloneSyncService<Record, Reply, Error>>,
        L::Service:
            Service<Record, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
        <L::Service as Service<Record>>::Future: Send + 'static,
    {
        // Inside idempotency, so that a layer's panic gives the lease back like a handler's.
        self.handler = boxed(Around::new(layer.layer(self.handler), caught));
        self
    }

    /// Sets where records go that cannot be handled. Without it they stay in their source, which
    /// moves them to its own dead-letter queue in the end, without a reason.
    pub fn dead_letters(mut self, destination: impl DeadLetters) -> Self {
        self.policy.dead_letters = Some(Arc::new(destination));
        self
    }

    /// Sets who is told when a record is to come back. Without it records come back when the
    /// queue's visibility timeout ends.
    pub fn redelivery(mut self, redelivery: impl Redelivery) -> Self {
        self.policy.redelivery = Some(Arc::new(redelivery));
        self
    }

    /// Sets when records come back that do not say so themselves.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// Sets how many records of a batch are handled at once; 10 unless set.
    pub fn concurrency(mut self, records: usize) -> Self {
        self.policy.concurrency = records;
        self
    }

    /// Sets what happens to the rest of a message group when one of its records is parked.
    pub fn on_park(mut self, on_park: OnPark) -> Self {
        self.policy.on_park = on_park;
        self
    }

    /// Sets what happens to records that cannot be read: they are parked unless set.
    pub fn on_malformed(mut self, on_malformed: OnMalformed) -> Self {
        self.policy.on_malformed = on_malformed;
        self
    }

    /// What happens to the rest of a message group when one of its records is parked.
    #[cfg(feature = "testing")]
    pub(crate) fn halts(&self) -> OnPark {
        self.policy.on_park
    }

    /// Sets how long before the invocation's end handlers are stopped; the larger of 500 ms and 5 %
    /// of the invocation's time unless set. Leases are released and failures reported in it.
    pub fn deadline_margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Says that the function publishes `E`, by whatever way: `surehand check` holds the template's
    /// rules against it. It changes nothing in what the function does.
    pub fn publishes<E: Event>(mut self) -> Self {
        let event = EventType::of::<E>();
        if !self.publishes.contains(&event) {
            self.publishes.push(event);
        }
        self
    }

    /// Writes [metrics](crate::Metrics) under a namespace, or as an [`Emf`] says. Without it the
    /// environment decides, when the function is [run](Self::run): see [`Emf`].
    pub fn metrics(mut self, metrics: impl Into<Emf>) -> Self {
        self.emf = Some(metrics.into());
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.policy.clock = clock;
        self
    }

    /// Handles one event, as Lambda would have it handled. Tests call it; it needs no Lambda.
    ///
    /// # Errors
    /// What makes the invocation fail: an event that cannot be answered, and for sources without
    /// partial failures the handler's own error.
    pub async fn invoke(&self, event: So::Event, context: Context) -> Result<So::Response> {
        self.handle(event, context, false).await
    }

    /// One invocation with its metrics, which are written when this is done, however it ends.
    async fn handle(
        &self,
        event: So::Event,
        context: Context,
        is_cold: bool,
    ) -> Result<So::Response> {
        let start = Start {
            function: &context.env_config.function_name,
            request_id: &context.request_id,
            is_cold,
            now_ms: epoch_ms(self.policy.clock.now()),
        };
        let (metrics, _flush) = Metrics::start(self.emf.as_ref(), start);
        let (batch, deadline) = self.split(event, context)?;
        let service = self.service(None);
        let span = trace::batch(&batch.records);
        let outcomes = batch::run(&service, batch, &deadline, &self.policy, &metrics);
        let outcomes = outcomes.instrument(span).await;
        self.source.join(outcomes)
    }

    /// What is to be handled, and until when.
    fn split(&self, event: So::Event, context: Context) -> Result<(Batch, Deadline)> {
        let mut deadline = Deadline::new(context.deadline(), &self.policy.clock);
        if let Some(margin) = self.margin {
            deadline = deadline.with_margin(margin);
        }
        let batch = self.source.split(event, context, deadline.clone())?;
        Ok((batch, deadline))
    }

    /// What handles a record. In a rehearsal the claims are made in a store of its own.
    fn service(&self, rehearsal: Option<&MemoryStore>) -> RecordService {
        let handler = self.handler.clone();
        match &self.claims {
            Some(claims) => claims.around(handler, rehearsal),
            None => handler,
        }
    }

    /// One invocation with its span, which has ended when this is done.
    pub(crate) async fn handle_in_span(
        &self,
        event: So::Event,
        context: Context,
        is_cold: bool,
    ) -> Result<So::Response> {
        let span = telemetry::invocation_span(&context, is_cold);
        let invoked = async {
            let result = self.handle(event, context, is_cold).await;
            if let Err(error) = &result {
                trace::failed(error.kind());
                tracing::error!(kind = %error.kind(), error = %format!("{error:#}"), "invocation failed");
            }
            result
        };
        invoked.instrument(span).await
    }

    /// What the function is made of. Its variables are only known in a process that was started to be
    /// [described](crate::description).
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
                backoff_base_ms: milliseconds(self.policy.backoff.base),
                backoff_cap_ms: milliseconds(self.policy.backoff.cap),
                margin_ms: self.margin.map(milliseconds),
            },
            idempotency: self.once.clone(),
            dead_letters: (self.policy.dead_letters.as_ref()).map(|dead_letters| {
                DeadLetterSettings {
                    destination: dead_letters.kind().to_owned(),
                    max_receive_count: dead_letters.max_receive_count(),
                }
            }),
            redelivery: (self.policy.redelivery.as_ref()).map(|it| it.kind().to_owned()),
            variables: environment::recorded(),
        }
    }

    /// Runs the function on Lambda, until Lambda ends the process. With `SUREHAND_DESCRIBE=1` in
    /// the environment it prints its [description](crate::description) instead, and returns; with
    /// `SUREHAND_REHEARSE=1` it [rehearses](crate::rehearsal) what it is given.
    ///
    /// # Errors
    /// If the process does not run on Lambda, or Lambda's runtime interface fails.
    pub async fn run(self) -> Result<(), BoxError> {
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

    async fn serve(mut self) -> Result<(), BoxError> {
        telemetry::init();
        if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
            return Err("this program is a Lambda function, and Lambda's environment is missing: run it with `surehand dev` or `sam local invoke`, or call `Function::invoke` in a test".into());
        }
        self.emf = self.emf.or_else(Emf::from_env);
        if let Some(emf) = &self.emf {
            emf.check()?;
        }
        let service = Invocations {
            function: Arc::new(self),
            cold: Arc::new(AtomicBool::new(true)),
        };
        lambda_runtime::run_concurrent(service).await
    }
}

/// An [`Idempotency`] over any store.
trait Claims: Send + Sync {
    fn around(&self, handler: RecordService, rehearsal: Option<&MemoryStore>) -> RecordService;
}

impl<St: Store> Claims for Idempotency<St> {
    fn around(&self, handler: RecordService, rehearsal: Option<&MemoryStore>) -> RecordService {
        // Reading the key runs the user's code too, and a store may be the user's own.
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

/// The function as Lambda's runtime calls it.
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
