//! An EventBridge bus.

use super::{
    Destination, PublishError, Transport,
    deliver::{Call, ToSend, deliver},
};
use crate::{
    Result,
    aws::{self, Entries, Refusal, events, events::Entry, limits::EVENT_BYTES},
    description::Use,
    envelope::Outgoing,
    environment,
};
use aws_sdk_eventbridge::Client;
use futures_util::future::BoxFuture;

/// An EventBridge bus to publish to, by PutEvents.
///
/// Requests hold up to ten events. Events that EventBridge refuses are sent again by themselves,
/// with backoff, up to four times in total; the client retries calls that fail as a whole.
///
/// The program's role needs `events:PutEvents` on the bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    bus: String,
    max_request_size: usize,
}

impl EventBus {
    /// Publishes to the bus with this name or ARN. The client keeps its own time limits.
    pub fn new(client: Client, bus: impl Into<String>) -> Self {
        Self {
            client,
            bus: bus.into(),
            max_request_size: EVENT_BYTES,
        }
    }

    /// Publishes to the bus in the environment variable `EVENT_BUS_NAME`, with the environment's
    /// AWS configuration. A call that gets no answer within 2 s is repeated, as
    /// [`aws::with_time_limits`](crate::aws::with_time_limits) describes.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env() -> Result<Self> {
        let bus = environment::used("EVENT_BUS_NAME", Use::EventBus)?;
        Ok(Self::new(Client::new(aws::limited_config().await), bus))
    }

    /// Sets how many bytes the events of a request may have in total; 1 MiB unless set.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }
}

impl Transport for EventBus {
    fn destination(&self, _: &Outgoing) -> Option<Destination<'_>> {
        Some(Destination::at_end_of("aws_eventbridge", &self.bus))
    }

    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let to_send = events.iter().map(|event| ToSend {
                event,
                size: entry(event).size(),
                lane: None,
            });
            let to_send: Vec<ToSend<'_>> = to_send.collect();
            deliver(&to_send, self.max_request_size, self).await
        })
    }
}

impl Call for EventBus {
    async fn call(&self, events: &[&Outgoing]) -> Result<Entries<()>, Refusal> {
        let entries = events.iter().map(|event| entry(event)).collect();
        let results = events::put(&self.client, &self.bus, entries).await?;
        Ok(results.into_iter().map(|result| result.map(drop)).collect())
    }
}

fn entry(event: &Outgoing) -> Entry<'_> {
    Entry {
        source: event.source(),
        detail_type: event.detail_type(),
        detail: event.detail().into(),
        time: event.metadata().time,
        trace_header: event.trace_header(),
        ..Entry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop", detail_type = "Drawn")]
    struct Drawn {
        picture: String,
    }

    #[tokio::test]
    async fn only_what_no_request_can_hold_is_refused_without_a_call() {
        // This client cannot call anything.
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(aws_sdk_eventbridge::config::BehaviorVersion::latest())
            .build();
        let bus = EventBus::new(Client::from_conf(config), "shop");
        for (kib, is_refused) in [(300, false), (900, false), (1_024, true)] {
            let event = Outgoing::new(&Drawn {
                picture: "x".repeat(kib * 1024),
            });
            let error = bus.send(&[event.unwrap()]).await.unwrap_err();
            let code = error.unpublished()[0].code();
            assert_eq!(code == "TooLarge", is_refused, "{kib} KiB: {error}");
        }
    }
}
