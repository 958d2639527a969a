//! Events that their destination will never take.

use super::waiting::Waiting;
use crate::{
    Clock, Deadline, Delivery, ErrorKind, Publisher, Record, Result,
    aws::{Fault, lasting_fault},
    clock::epoch_ms,
    dead_letter::{DeadLetters, FailureNote},
    envelope::Outgoing,
    environment,
    publish::PublishError,
};
use std::{fmt, sync::Arc, time::Duration};

/// How long events wait for a destination that is gone, or to which they may not be sent: for whoever is called to
/// mend that, so that all of them are published in their order. What a destination does not take because of the
/// event itself does not wait at all.
const DESTINATION: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a call that parks may take by its record. The handler's own deadline ends it before.
const PARKING: Duration = Duration::from_secs(60);

/// Where events go that are refused for good.
#[derive(Clone)]
pub(super) struct Parking(Arc<dyn DeadLetters>);

impl fmt::Debug for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parking({})", self.0.kind())
    }
}

impl Parking {
    pub(super) fn new(destination: impl DeadLetters) -> Self {
        Self(Arc::new(destination))
    }

    /// Parks those of the item's events that were refused for good. Returns the ids of those that the
    /// destination has.
    pub(super) async fn park(
        &self,
        waiting: &Waiting,
        refused: &PublishError,
        publisher: &Publisher,
        clock: &Clock,
    ) -> Vec<String> {
        let age_ms = epoch_ms(clock.now()).saturating_sub(waiting.since_ms());
        let mut parked = Vec::new();
        for unpublished in refused.unpublished() {
            let is_over = match lasting_fault(unpublished.code()) {
                Some(Fault::Request) => true,
                Some(Fault::Destination) => u128::from(age_ms) >= DESTINATION.as_millis(),
                None => false,
            };
            let mut events = waiting.events.iter();
            let Some(event) = events.find(|event| is_over && event.id() == unpublished.id()) else {
                continue;
            };
            let (id, code) = (event.id(), unpublished.code());
            let to = match publisher.destination(event) {
                Some(to) => format!("{} ({})", to.name, to.system),
                None => "the destination".to_owned(),
            };
            let message = unpublished.message();
            let problem = format!("{to} refused it for good: {code}: {message}");
            match self.send(event, problem, waiting.failures, clock).await {
                Ok(()) => {
                    tracing::warn!(
                        event_id = id,
                        code,
                        "an event that is refused for good was parked"
                    );
                    parked.push(id.to_owned());
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        event_id = id,
                        code,
                        error,
                        "an event that is refused for good was not parked"
                    );
                }
            }
        }
        parked
    }

    async fn send(
        &self,
        event: &Outgoing,
        problem: String,
        failures: u64,
        clock: &Clock,
    ) -> Result<()> {
        let now = clock.now();
        let attempts = u32::try_from(failures)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let delivery = Delivery {
            message_id: event.id().to_owned(),
            receive_count: attempts,
            sent_at: event.metadata().time,
            trace_header: event.trace_header().map(str::to_owned),
            ..Delivery::default()
        };
        let deadline = Deadline::new(now + PARKING, clock);
        let context = lambda_runtime::Context::default();
        let record = Record::new(delivery, event.body(), context, deadline);
        let note = FailureNote {
            handler: "outbox".into(),
            function: environment::optional("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            event_id: Some(event.id().to_owned()),
            event_type: Some(event.detail_type().to_owned()),
            attempts,
            ..FailureNote::about(ErrorKind::Publish.as_str(), problem, now)
        };
        self.0.park(&record, &note).await
    }
}
