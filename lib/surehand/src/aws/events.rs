//! PutEvents.

use super::{Entries, Refusal};
use aws_sdk_eventbridge::{
    Client,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use std::{borrow::Cow, time::SystemTime};

/// An event to be put on a bus.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    /// Its `source`.
    pub source: &'a str,
    /// Its `detail-type`.
    pub detail_type: &'a str,
    /// Its `detail`, an object in JSON.
    pub detail: Cow<'a, str>,
    /// Its `time`; without one EventBridge sets it.
    pub time: Option<SystemTime>,
    /// Its `resources`.
    pub resources: &'a [String],
    /// X-Ray's trace header.
    pub trace_header: Option<&'a str>,
}

/// The bytes that an entry's time counts for.
const TIME_SIZE: usize = 14;

impl Entry<'_> {
    /// Returns how many bytes the entry has in a request, as
    /// [documented](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html).
    pub fn size(&self) -> usize {
        let time = if self.time.is_some() { TIME_SIZE } else { 0 };
        let resources: usize = self.resources.iter().map(String::len).sum();
        self.source.len() + self.detail_type.len() + self.detail.len() + time + resources
    }

    fn for_bus(self, bus: &str) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source(self.source)
            .detail_type(self.detail_type)
            .detail(self.detail)
            .set_time(self.time.map(DateTime::from))
            .set_resources((!self.resources.is_empty()).then(|| self.resources.to_vec()))
            .set_trace_header(self.trace_header.map(str::to_owned))
            .build()
    }
}

/// Puts events on a bus, given by its name or ARN, and returns the id that EventBridge assigned to
/// each, in the request's order.
///
/// A request takes ten [entries](super::limits::ENTRIES) and 1 MiB
/// ([`EVENT_BYTES`](super::limits::EVENT_BYTES)). The caller needs `events:PutEvents` on the bus.
///
/// # Errors
/// If the call as a whole was refused. Events may have been put nevertheless.
pub async fn put(
    client: &Client,
    bus: &str,
    entries: Vec<Entry<'_>>,
) -> Result<Entries<String>, Refusal> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let count = entries.len();
    let entries = entries.into_iter().map(|entry| entry.for_bus(bus));
    let request = client.put_events().set_entries(Some(entries.collect()));
    let output = request.send().await;
    let output = output.map_err(|error| Refusal::of_call(&error))?;
    results(count, output.entries())
}

/// Matches results with entries by position, since results have no ids.
fn results(entries: usize, answers: &[PutEventsResultEntry]) -> Result<Entries<String>, Refusal> {
    if answers.len() == entries {
        return Ok(answers.iter().map(result).collect());
    }
    let message = format!(
        "EventBridge returned {} results for {entries} events",
        answers.len()
    );
    Err(Refusal::transient("UnexpectedResponse", message))
}

/// An event was accepted if its result has an id; otherwise a code says why it was not.
fn result(answer: &PutEventsResultEntry) -> Result<String, Refusal> {
    match (answer.event_id(), answer.error_code()) {
        (Some(id), None) => Ok(id.to_owned()),
        (_, Some(code)) => {
            let message = answer.error_message().unwrap_or_default();
            Err(Refusal::of_code(code, message))
        }
        (None, None) => Err(Refusal::unanswered()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_carry_what_rules_and_traces_need() {
        let resources = ["order/42".to_owned()];
        let event = Entry {
            source: "shop",
            detail_type: "Placed",
            detail: r#"{"note":"ü"}"#.into(),
            time: Some(SystemTime::UNIX_EPOCH),
            resources: &resources,
            trace_header: Some("Root=1-2-3"),
        };
        // Bytes are counted, not characters.
        assert_eq!(event.size(), 4 + 6 + 13 + 14 + 8);
        let entry = event.for_bus("shop-bus");
        assert_eq!(entry.event_bus_name(), Some("shop-bus"));
        assert_eq!(entry.source(), Some("shop"));
        assert_eq!(entry.detail_type(), Some("Placed"));
        assert_eq!(entry.detail(), Some(r#"{"note":"ü"}"#));
        assert_eq!(entry.trace_header(), Some("Root=1-2-3"));
        assert_eq!(entry.resources(), resources);
        assert!(entry.time().is_some());
    }

    #[test]
    fn an_entry_without_an_id_was_not_taken() {
        let answer = PutEventsResultEntry::builder;
        assert_eq!(result(&answer().event_id("1").build()), Ok("1".into()));
        assert!(!result(&answer().build()).unwrap_err().permanent);
        let refused = |code| result(&answer().error_code(code).build()).unwrap_err();
        assert!(!refused("ThrottlingException").permanent);
        assert!(!refused("InternalFailure").permanent);
        assert!(refused("NotAuthorizedForSourceException").permanent);
    }

    #[test]
    fn an_answer_of_another_length_is_no_events_result() {
        let taken = PutEventsResultEntry::builder().event_id("1").build();
        for answers in [
            &[][..],
            std::slice::from_ref(&taken),
            &vec![taken.clone(); 3],
        ] {
            let refusal = results(2, answers).unwrap_err();
            assert_eq!(refusal.code, "UnexpectedResponse");
            assert!(!refusal.permanent);
        }
    }
}
