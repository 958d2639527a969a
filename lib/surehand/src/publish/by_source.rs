//! Events to one of several destinations.

use super::{Destination, PublishError, Transport, Unpublished};
use crate::envelope::Outgoing;
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};

/// Sends each event to the transport of its `source`, and events of any other source to the
/// default: one publisher for a bus and for the queues beside it.
///
/// ```no_run
/// use surehand::{EventBus, Publisher, SqsQueue, publish::BySource};
///
/// # async fn connect(ledger: SqsQueue) -> surehand::Result<Publisher> {
/// Ok(Publisher::new(BySource::new(EventBus::from_env().await?).route("shop.ledger", ledger)))
/// # }
/// ```
#[derive(Clone)]
pub struct BySource {
    default: Arc<dyn Transport>,
    routes: Vec<(String, Arc<dyn Transport>)>,
}

impl BySource {
    /// Sends all events to `default`.
    pub fn new(default: impl Transport) -> Self {
        Self {
            default: Arc::new(default),
            routes: Vec::new(),
        }
    }

    /// Sends events of this source to `transport`.
    pub fn route(mut self, source: impl Into<String>, transport: impl Transport) -> Self {
        self.routes.push((source.into(), Arc::new(transport)));
        self
    }

    fn transport(&self, index: Option<usize>) -> &Arc<dyn Transport> {
        index.map_or(&self.default, |index| &self.routes[index].1)
    }

    fn index_for(&self, event: &Outgoing) -> Option<usize> {
        self.routes
            .iter()
            .position(|(source, _)| source == event.source())
    }
}

impl fmt::Debug for BySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.routes.iter().map(|(source, _)| source);
        f.debug_list().entries(sources).finish()
    }
}

impl Transport for BySource {
    fn destination(&self, event: &Outgoing) -> Option<Destination<'_>> {
        self.transport(self.index_for(event)).destination(event)
    }

    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let (mut accepted, mut unpublished) = (Vec::new(), Vec::<Unpublished>::new());
            let destinations = std::iter::once(None).chain((0..self.routes.len()).map(Some));
            for destination in destinations {
                let ours: Vec<Outgoing> = events
                    .iter()
                    .filter(|event| self.index_for(event) == destination)
                    .cloned()
                    .collect();
                if ours.is_empty() {
                    continue;
                }
                match self.transport(destination).send(&ours).await {
                    Ok(()) => accepted.extend(ours.iter().map(|event| event.id().to_owned())),
                    Err(error) => {
                        accepted.extend(error.accepted().iter().cloned());
                        unpublished.extend(error.unpublished().iter().cloned());
                    }
                }
            }
            if unpublished.is_empty() {
                return Ok(());
            }
            Err(PublishError::new(accepted, unpublished))
        })
    }
}
