//! An EventBridge bus.

use super::{
    PublishError, Transport,
    deliver::{Call, Parcel, Refusal, deliver},
};
use crate::{Outgoing, Result, aws, description::Use, environment};
use aws_sdk_eventbridge::{
    Client,
    error::ProvideErrorMetadata,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use futures_util::future::BoxFuture;

/// An EventBridge bus to publish on, by PutEvents.
///
/// Requests hold up to ten events. Those that EventBridge refuses are sent again alone, with
/// backoff, four times in all; calls that fail as a whole are retried by the client.
///
/// The program's role needs `events:PutEvents` on the bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    bus: String,
    max_request_size: usize,
}

/// The [documented](https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html)
/// limit of a PutEvents request, in bytes.
pub const MAX_REQUEST_SIZE: usize = 256 * 1024;
/// What an entry's time counts for.
const TIME_SIZE: usize = 14;

impl EventBus {
    /// The bus with this name or ARN.
    pub fn new(client: Client, bus: impl Into<String>) -> Self {
        Self {
            client,
            bus: bus.into(),
            max_request_size: MAX_REQUEST_SIZE,
        }
    }

    /// The bus that the environment variable `EVENT_BUS_NAME` names, with the environment's AWS
    /// configuration.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env() -> Result<Self> {
        let bus = environment::used("EVENT_BUS_NAME", Use::EventBus)?;
        Ok(Self::new(Client::new(aws::config().await), bus))
    }

    /// Sets how many bytes the events of a request may have together; 256 KiB unless set.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }

    fn entry(&self, event: &Outgoing) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(event.source())
            .detail_type(event.detail_type())
            .detail(event.detail())
            .set_time(event.metadata().time.map(DateTime::from))
            .set_trace_header(event.trace_header().map(str::to_owned))
            .build()
    }
}

impl Transport for EventBus {
    fn send<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let parcels = events.iter().map(|event| Parcel {
                event,
                size: size(event),
                lane: None,
            });
            let parcels: Vec<Parcel<'_>> = parcels.collect();
            deliver(&parcels, self.max_request_size, self).await
        })
    }
}

impl Call for EventBus {
    async fn call(&self, events: &[&Outgoing]) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let entries = events.iter().map(|event| self.entry(event));
        let request = self
            .client
            .put_events()
            .set_entries(Some(entries.collect()));
        let output = request.send().await;
        let output = output.map_err(|error| Refusal::of_call(error.code(), &error))?;
        Ok(output.entries().iter().map(result).collect())
    }
}

/// As [documented](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html).
fn size(event: &Outgoing) -> usize {
    let time = if event.metadata().time.is_some() {
        TIME_SIZE
    } else {
        0
    };
    event.source().len() + event.detail_type().len() + event.detail().len() + time
}

/// An event was taken if it has an id; a code says why it was not.
fn result(entry: &PutEventsResultEntry) -> Result<(), Refusal> {
    if entry.error_code().is_none() && entry.event_id().is_some() {
        return Ok(());
    }
    let code = entry.error_code().unwrap_or("UnexpectedResponse");
    Err(Refusal {
        code: code.to_owned(),
        message: entry.error_message().unwrap_or_default().to_owned(),
        permanent: is_permanent(code),
    })
}

/// Whether another attempt would meet the same refusal of an event. Throttling and failures inside
/// EventBridge pass, and so may what is not known here.
pub fn is_permanent(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException"
            | "InvalidArgument"
            | "InvalidAccountIdException"
            | "MalformedDetail"
            | "NotAuthorizedForDetailTypeException"
            | "NotAuthorizedForSourceException"
            | "RedactionFailure"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Event)]
    #[event(source = "shop", detail_type = "Placed")]
    struct Placed {
        note: String,
    }

    #[test]
    fn entries_carry_what_rules_and_traces_need() {
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(aws_sdk_eventbridge::config::BehaviorVersion::latest())
            .build();
        let bus = EventBus::new(Client::from_conf(config), "shop-bus");
        let mut event = Outgoing::new(&Placed { note: "ü".into() }).unwrap();
        event.set_trace_header(Some("Root=1-2-3".into()));
        let entry = bus.entry(&event);
        assert_eq!(entry.event_bus_name(), Some("shop-bus"));
        assert_eq!(entry.source(), Some("shop"));
        assert_eq!(entry.detail_type(), Some("Placed"));
        assert_eq!(entry.detail(), Some(event.detail().as_str()));
        assert_eq!(entry.trace_header(), Some("Root=1-2-3"));
        assert!(entry.time().is_some());
        // Bytes are counted, not characters.
        assert_eq!(size(&event), 4 + 6 + event.detail().len() + 14);
    }

    #[test]
    fn an_entry_without_an_id_was_not_taken() {
        let entry = PutEventsResultEntry::builder;
        assert_eq!(result(&entry().event_id("1").build()), Ok(()));
        assert!(!result(&entry().build()).unwrap_err().permanent);
        let refused = |code| result(&entry().error_code(code).build()).unwrap_err();
        assert!(!refused("ThrottlingException").permanent);
        assert!(!refused("InternalFailure").permanent);
        assert!(refused("NotAuthorizedForSourceException").permanent);
    }
}
