//! One function for several types of event.
//!
//! A [`Router`] is a handler, made of a handler for each type. It is for a queue in which events of several types
//! arrive; where a rule can tell them apart, a function for each is easier to operate.

use crate::{
    Error, Event, Record, Reply, Result,
    description::HandlerDescription,
    handler::{Consumes, Handler, HandlerTraits, Signature},
    redact,
};
use futures_util::future::BoxFuture;
use std::{collections::HashMap, fmt, sync::Arc};

/// Passes each record to the handler of its type.
///
/// The type is that of the handler's first argument, an [`Envelope`](crate::Envelope).
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use surehand::{Envelope, Event, Function, Router, Sqs};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// # struct OrderPlaced {}
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(source = "shop.orders", detail_type = "OrderCancelled")]
/// # struct OrderCancelled {}
/// async fn placed(order: Envelope<OrderPlaced>) -> surehand::Result<()> { Ok(()) }
/// async fn cancelled(order: Envelope<OrderCancelled>) -> surehand::Result<()> { Ok(()) }
///
/// let function = Function::new(Sqs, Router::new().on(placed).on(cancelled), ());
/// ```
///
/// A record of any other type is malformed and parked, unless there is a handler for the rest:
/// [`Router::otherwise`].
pub struct Router<S> {
    routes: Arc<HashMap<(&'static str, &'static str), Route<S>>>,
    otherwise: Option<Route<S>>,
}

struct Route<S> {
    description: Arc<[HandlerDescription]>,
    traits: Arc<dyn Fn(&Record) -> HandlerTraits + Send + Sync>,
    call: Arc<dyn Fn(Record, S) -> BoxFuture<'static, Result<Reply>> + Send + Sync>,
}

impl<S> Clone for Route<S> {
    fn clone(&self) -> Self {
        Self {
            description: Arc::clone(&self.description),
            traits: Arc::clone(&self.traits),
            call: Arc::clone(&self.call),
        }
    }
}

/// The arguments of a [`Router`], which takes what its routes take.
#[derive(Debug)]
pub struct Routed;

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// Makes a router without routes.
    pub fn new() -> Self {
        Self {
            routes: Arc::default(),
            otherwise: None,
        }
    }

    /// Adds the handler for the event in its first argument.
    ///
    /// # Panics
    /// If the router already has a handler for that event: one of the two would never run.
    pub fn on<H, Args>(mut self, handler: H) -> Self
    where
        H: Signature<Args> + Handler<Args, S>,
        Args: Consumes + 'static,
    {
        let key = (
            <Args::Event as Event>::SOURCE,
            <Args::Event as Event>::DETAIL_TYPE,
        );
        let routes = Arc::make_mut(&mut self.routes);
        let previous = routes.insert(key, route(handler));
        assert!(
            previous.is_none(),
            "the router has two handlers for {} from {}, of which only one could run: remove one",
            key.1,
            key.0
        );
        self
    }

    /// Sets the handler for all records that no other handler takes.
    pub fn otherwise<H, Args>(mut self, handler: H) -> Self
    where
        H: Signature<Args> + Handler<Args, S>,
        Args: 'static,
    {
        self.otherwise = Some(route(handler));
        self
    }

    fn find(&self, record: &Record) -> Result<Route<S>> {
        let m = &record.event()?.metadata;
        let (source, detail_type) = (
            m.source.as_deref().unwrap_or_default(),
            m.detail_type.as_deref().unwrap_or_default(),
        );
        // The keys are static, but a look-up with the record's own strings needs a shorter
        // lifetime.
        let routes: &HashMap<(&str, &str), Route<S>> = &self.routes;
        routes
            .get(&(source, detail_type))
            .or(self.otherwise.as_ref())
            .cloned()
            .ok_or_else(|| {
                let [detail_type, source, id] = [detail_type, source, &m.id].map(redact::name);
                Error::malformed(format!(
                    "no handler for detail-type `{detail_type}` from source `{source}` (event {id}): add one with `Router::on` or `Router::otherwise`",
                ))
            })
    }
}

fn route<S, H, Args>(handler: H) -> Route<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<Args, S>,
    Args: 'static,
{
    Route {
        description: handler.describe().into(),
        traits: Arc::new({
            let handler = handler.clone();
            move |record| handler.traits(record)
        }),
        call: Arc::new(move |record, state| Box::pin(handler.clone().call(record, state))),
    }
}

impl<S> Signature<Routed> for Router<S> {}

#[diagnostic::do_not_recommend]
impl<S: Clone + Send + Sync + 'static> Handler<Routed, S> for Router<S> {
    fn traits(&self, record: &Record) -> HandlerTraits {
        match self.find(record) {
            Ok(route) => (route.traits)(record),
            Err(_) => HandlerTraits::of::<Self>(false),
        }
    }

    fn describe(&self) -> Vec<HandlerDescription> {
        let mut handlers: Vec<HandlerDescription> = (self.routes.values())
            .chain(&self.otherwise)
            .flat_map(|route| route.description.iter().cloned())
            .collect();
        // The order of a hash map differs from process to process.
        handlers.sort_by(|a, b| (&a.consumes, &a.name).cmp(&(&b.consumes, &b.name)));
        handlers
    }

    async fn call(self, record: Record, state: S) -> Result<Reply> {
        let route = self.find(&record)?;
        (route.call)(record, state).await
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Self {
            routes: Arc::clone(&self.routes),
            otherwise: self.otherwise.clone(),
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("routes", &self.routes.keys())
            .field("otherwise", &self.otherwise.is_some())
            .finish()
    }
}
