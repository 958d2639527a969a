//! Publishing events.
//!
//! A [`Publisher`] sends events by a [`Transport`]: [`EventBus`] for EventBridge, [`SqsQueue`] for a queue, and
//! [`BySource`] for several of them. A handler that takes one as an argument publishes events that are caused by its
//! record, with ids that are the same in each attempt; a [`Transaction`](crate::Transaction) commits its events
//! with the claim.
//!
//! A transport of your own implements [`Transport`]:
//!
//! - `Ok` means that the service has accepted every event.
//! - A [`PublishError`] names the events that the service has accepted, and with the reason each that it has
//!   not. An event without an answer counts as not accepted.
//! - It sends events of one partition key in their order, if it can keep one, and sends none after one that
//!   was not accepted.
//! - It may send an event twice: consumers know it by its id.

mod by_source;
#[cfg(any(feature = "eventbridge", feature = "sqs"))]
mod deliver;
mod error;
#[cfg(feature = "eventbridge")]
mod eventbridge;
#[cfg(feature = "sqs")]
mod sqs;

pub use crate::envelope::Destination;
pub use by_source::BySource;
pub use error::{PublishError, Unpublished};
#[cfg(feature = "eventbridge")]
pub use eventbridge::EventBus;
#[cfg(feature = "sqs")]
pub use sqs::SqsQueue;

use crate::{
    Event, Record, Result,
    envelope::Outgoing,
    extract::{FromRecord, FromRef},
    lineage::Lineage,
    trace,
};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};

/// Sends events off.
///
/// It may rely on events that are complete, each with an id that is its own, and on being given at least one.
/// What it must keep to is on the [module's page](self).
///
/// ```
/// use futures_util::future::BoxFuture;
/// use serde::{Deserialize, Serialize};
/// use surehand::{
///     ErrorKind, Event, Publisher,
///     envelope::Outgoing,
///     publish::{PublishError, Transport, Unpublished},
/// };
///
/// /// Prints events, if their line is not too long.
/// struct Printer { columns: usize }
///
/// impl Transport for Printer {
///     fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
///         Box::pin(async move {
///             let (mut printed, mut refused) = (Vec::new(), Vec::new());
///             for event in events {
///                 if event.data().len() > self.columns {
///                     refused.push(Unpublished::new(event, "TooLong", "the line is too long"));
///                 } else {
///                     println!("{}", event.data());
///                     printed.push(event.id().to_owned());
///                 }
///             }
///             if refused.is_empty() { Ok(()) } else { Err(PublishError::new(printed, refused)) }
///         })
///     }
/// }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// struct OrderPlaced { order_id: String }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// let publisher = Publisher::new(Printer { columns: 80 });
/// publisher.publish(&OrderPlaced { order_id: "42".into() }).await?;
///
/// let long = OrderPlaced { order_id: "4".repeat(100) };
/// let error = publisher.publish(&long).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Publish);
/// let refused = error.downcast_ref::<PublishError>().unwrap().unpublished();
/// assert_eq!(refused[0].code(), "TooLong");
/// # Ok(()) }
/// ```
pub trait Transport: Send + Sync + 'static {
    /// Sends the events, in order if the transport keeps one.
    ///
    /// # Errors
    /// If an event was not accepted: the error says which events were accepted and why each of the
    /// others was not. An event whose response was lost counts as not accepted: sent again, it has
    /// the same id.
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Returns where the event goes, for its spans; none if that has no name.
    fn destination(&self, event: &Outgoing) -> Option<Destination<'_>> {
        let _ = event;
        None
    }
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        (**self).send(events)
    }

    fn destination(&self, event: &Outgoing) -> Option<Destination<'_>> {
        (**self).destination(event)
    }
}

/// Publishes events.
///
/// A handler takes it as an argument. It is taken from the function's state and bound to the
/// record:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use surehand::{Envelope, Event, FromRef, Publisher};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// # struct OrderPlaced { order_id: String }
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(source = "shop.stock", detail_type = "StockReserved")]
/// # struct StockReserved { order_id: String }
///
/// #[derive(Clone)]
/// struct Shop { publisher: Publisher }
///
/// impl FromRef<Shop> for Publisher {
///     fn from_ref(shop: &Shop) -> Self { shop.publisher.clone() }
/// }
///
/// async fn reserve(order: Envelope<OrderPlaced>, publisher: Publisher) -> surehand::Result<()> {
///     publisher.publish(&StockReserved { order_id: order.data.order_id }).await?;
///     Ok(())
/// }
/// ```
///
/// The events of a bound publisher continue the record's story: their cause is the record's event,
/// whose correlation id and trace context they carry on. Their ids are made from the record's
/// idempotency key, the type, and a count: the first `StockReserved` of a record has the same id in
/// each attempt. If an attempt fails after publishing, idempotent consumers therefore see the
/// events of the next attempt as duplicates. A handler must thus publish the same events, in the
/// same order per type, in each attempt. To consumers, another payload under the same id is a
/// reused key ([`ErrorKind::KeyReused`](crate::ErrorKind::KeyReused)), never a second event.
///
/// In a program that is not a handler, every event gets a new id.
#[derive(Clone)]
pub struct Publisher {
    transport: Arc<dyn Transport>,
    producer: Option<Arc<str>>,
    lineage: Option<Arc<Lineage>>,
}

impl Publisher {
    /// Makes a publisher that sends by `transport`.
    pub fn new(transport: impl Transport) -> Self {
        Self {
            transport: Arc::new(transport),
            producer: None,
            lineage: None,
        }
    }

    /// Sets the service that events name as their producer, for example `shop.checkout`.
    pub fn producer(mut self, name: impl Into<Arc<str>>) -> Self {
        self.producer = Some(name.into());
        self
    }

    /// Publishes an event and returns its id.
    ///
    /// The id is assigned when this is called, not when the future is first polled.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`](crate::ErrorKind::Publish), made from a [`PublishError`] unless the
    /// event does not serialize.
    pub fn publish<'a, E: Event>(
        &'a self,
        event: &E,
    ) -> impl Future<Output = Result<String>> + Send + use<'a, E> {
        let outgoing = self.prepare(event);
        async move {
            let outgoing = outgoing?;
            let id = outgoing.id().to_owned();
            self.send(&[outgoing]).await?;
            Ok(id)
        }
    }

    /// Publishes events of one type, in order if the transport keeps one, and returns their ids.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish). Some events may have been published nevertheless; the
    /// [`PublishError`] says which.
    pub fn publish_all<'a, 'e, E: Event + 'e>(
        &'a self,
        events: impl IntoIterator<Item = &'e E>,
    ) -> impl Future<Output = Result<Vec<String>>> + Send {
        let outgoing: Result<Vec<Outgoing>> = events.into_iter().map(|e| self.prepare(e)).collect();
        let this = self.clone();
        async move {
            let outgoing = outgoing?;
            this.send(&outgoing).await?;
            let ids = outgoing.iter().map(|event| event.id().to_owned());
            Ok(ids.collect())
        }
    }

    /// Prepares an event for [`send`](Self::send), to send events of several types in one call.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`](crate::ErrorKind::Publish) if the event does not serialize.
    pub fn prepare<E: Event>(&self, event: &E) -> Result<Outgoing> {
        let mut outgoing = Outgoing::new(event)?;
        outgoing.metadata_mut().producer = self.producer.as_deref().map(str::to_owned);
        if let Some(lineage) = &self.lineage {
            lineage.mark(&mut outgoing);
        }
        let destination = self.transport.destination(&outgoing);
        trace::created(&mut outgoing, destination);
        Ok(outgoing)
    }

    /// Returns where an event goes, if the transport knows.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn destination(&self, event: &Outgoing) -> Option<Destination<'_>> {
        self.transport.destination(event)
    }

    /// Sends prepared events unchanged.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`](crate::ErrorKind::Publish), made from a [`PublishError`].
    pub async fn send(&self, events: &[Outgoing]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let sending = trace::sending(events, |event| self.transport.destination(event));
        let sent = self.transport.send(events).await;
        sent.map_err(|error| {
            for event in error.unpublished() {
                sending.failed(event.id(), event.code());
            }
            error.into_error()
        })
    }

    /// Returns the same publisher bound to `record`, for the events that its handling causes.
    pub fn bound_to(&self, record: &Record) -> Self {
        Self {
            lineage: Some(Arc::new(Lineage::new(record))),
            ..self.clone()
        }
    }
}

impl<S> FromRecord<S> for Publisher
where
    Publisher: FromRef<S>,
{
    fn from_record(record: &Record, state: &S) -> Result<Self> {
        Ok(Self::from_ref(state).bound_to(record))
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("producer", &self.producer)
            .field("lineage", &self.lineage)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock, Deadline, Delivery, ErrorKind, IdempotencyKey, Metrics, companion::Companion,
    };
    use futures_util::FutureExt;
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use std::{sync::Mutex, time::SystemTime};

    #[derive(Serialize, Deserialize, Event)]
    #[event(
        source = "shop.stock",
        detail_type = "StockReserved",
        partition_key = "{order_id}"
    )]
    struct StockReserved {
        order_id: String,
    }

    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop.stock", detail_type = "StockShort")]
    struct StockShort {}

    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "elsewhere", detail_type = "Elsewhere")]
    struct Elsewhere {}

    fn reserved() -> StockReserved {
        StockReserved {
            order_id: "42".into(),
        }
    }

    #[derive(Default)]
    struct Outbox(Mutex<Vec<Outgoing>>);
    impl Transport for Outbox {
        fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
            self.0.lock().unwrap().extend(events.iter().cloned());
            async { Ok(()) }.boxed()
        }
    }

    struct Refusing;
    impl Transport for Refusing {
        fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
            let all = events
                .iter()
                .map(|e| Unpublished::new(e, "Throttled", "busy"));
            let error = PublishError::new(Vec::new(), all.collect());
            async { Err(error) }.boxed()
        }
    }

    fn record(event_id: &str) -> Record {
        let body = json!({
            "metadata": {"id": event_id, "correlationid": "story-1", "traceparent": "00-ab-cd-01"},
            "data": {}
        });
        let mut context = lambda_runtime::Context::default();
        context.xray_trace_id = Some("Root=1-2-3".into());
        let deadline = Deadline::new(SystemTime::now(), &Clock::system());
        let delivery = Delivery {
            message_id: "m-1".into(),
            ..Delivery::default()
        };
        Record::new(delivery, body.to_string(), context, deadline)
            .with_companion(Companion::new(Metrics::default(), false))
    }

    async fn ids_of(record: &Record) -> Vec<String> {
        let publisher = Publisher::new(Outbox::default());
        let first: Publisher = FromRecord::from_record(record, &publisher).unwrap();
        let second: Publisher = FromRecord::from_record(record, &publisher).unwrap();
        let mut ids = vec![
            first.publish(&reserved()).await.unwrap(),
            second.publish(&reserved()).await.unwrap(),
            first.publish(&StockShort {}).await.unwrap(),
        ];
        ids.extend(second.publish_all(&[reserved()]).await.unwrap());
        ids
    }

    #[tokio::test]
    async fn every_attempt_at_a_record_publishes_the_same_ids() {
        let first = ids_of(&record("e-1")).await;
        assert_eq!(first, ids_of(&record("e-1")).await);
        let mut all = ids_of(&record("e-2")).await;
        let mut keyed = record("e-1");
        keyed.companion_mut().key = Some(IdempotencyKey::new("stock#e-1"));
        all.extend(ids_of(&keyed).await);
        all.extend(first);
        assert_eq!(all.len(), 12);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 12, "no two events have one id");
    }

    #[tokio::test]
    async fn what_a_record_causes_carries_on_its_story() {
        let outbox = Arc::new(Outbox::default());
        let publisher = Publisher::new(Arc::clone(&outbox)).producer("shop.stock");
        let bound = publisher.bound_to(&record("e-1"));
        let id = bound.publish(&reserved()).await.unwrap();
        let unbound = publisher.publish(&reserved()).await.unwrap();

        let sent = outbox.0.lock().unwrap();
        let m = sent[0].metadata();
        assert_eq!(m.id, id);
        assert_eq!(m.causation_id.as_deref(), Some("e-1"));
        assert_eq!(m.correlation_id.as_deref(), Some("story-1"));
        assert_eq!(m.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!(m.producer.as_deref(), Some("shop.stock"));
        assert_eq!(m.partition_key.as_deref(), Some("42"));
        assert_eq!(sent[0].trace_header(), Some("Root=1-2-3"));

        let m = sent[1].metadata();
        assert_eq!(m.id, unbound);
        assert_eq!(uuid::Uuid::parse_str(&m.id).unwrap().get_version_num(), 7);
        assert_eq!(m.causation_id, None);
        assert_eq!(m.producer.as_deref(), Some("shop.stock"));
    }

    #[tokio::test]
    async fn ids_are_given_when_publish_is_called() {
        let publisher = Publisher::new(Outbox::default());
        let (one, two) = (
            publisher.bound_to(&record("e")),
            publisher.bound_to(&record("e")),
        );
        let (early, late) = (one.publish(&reserved()), one.publish(&reserved()));
        let (late, early) = (late.await.unwrap(), early.await.unwrap());
        assert_eq!(early, two.publish(&reserved()).await.unwrap());
        assert_eq!(late, two.publish(&reserved()).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_not_published_is_an_error_of_its_own_kind() {
        let error = Publisher::new(Refusing)
            .publish(&reserved())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Publish);
        let inner: &PublishError = error.downcast_ref().unwrap();
        assert_eq!(inner.unpublished()[0].code(), "Throttled");
        assert!(error.to_string().contains("StockReserved"), "{error}");
    }

    #[tokio::test]
    async fn each_event_goes_where_its_source_belongs() {
        let (bus, queue) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
        let routes = BySource::new(Arc::clone(&bus)).route("shop.stock", Arc::clone(&queue));
        let publisher = Publisher::new(routes.clone());
        publisher.publish(&reserved()).await.unwrap();
        publisher.publish(&Elsewhere {}).await.unwrap();
        let types = |outbox: &Outbox| -> Vec<String> {
            let sent = outbox.0.lock().unwrap();
            sent.iter()
                .map(|event| event.detail_type().to_owned())
                .collect()
        };
        assert_eq!(
            (types(&bus), types(&queue)),
            (vec!["Elsewhere".into()], vec!["StockReserved".into()])
        );

        // One destination's failure does not hide what the other one took.
        let half = Publisher::new(BySource::new(Refusing).route("shop.stock", queue));
        let events = [
            half.prepare(&Elsewhere {}).unwrap(),
            half.prepare(&reserved()).unwrap(),
        ];
        let error = half.send(&events).await.unwrap_err();
        let error: &PublishError = error.downcast_ref().unwrap();
        assert_eq!(error.accepted(), [events[1].id()]);
        assert_eq!(error.unpublished()[0].id(), events[0].id());
    }

    #[tokio::test]
    async fn nothing_to_publish_is_no_call() {
        let none: Vec<StockShort> = Vec::new();
        let ids = Publisher::new(Refusing).publish_all(&none).await.unwrap();
        assert!(ids.is_empty());
    }
}
