//! Events back onto a bus.

use crate::{
    bus_event::BusEvent,
    parcel::{Accepted, Parcel},
};
use aws_sdk_eventbridge::Client;
use surehand::aws::{Entries, Refusal, events};

/// Sends up to ten parcels in one call.
pub(super) async fn send(client: &Client, bus: &str, parcels: &[Parcel]) -> Entries<Accepted> {
    let events: Vec<_> = parcels.iter().map(event).collect();
    let entries: Vec<_> = events.iter().flatten().map(entry).collect();
    let count = entries.len();
    let results = events::put(client, bus, entries).await;
    let mut results = results
        .unwrap_or_else(|refusal| vec![Err(refusal); count])
        .into_iter();
    let accepted = events.iter().map(|event| match event {
        Ok(_) => accepted(results.next().unwrap_or_else(|| Err(Refusal::unanswered()))),
        Err(refusal) => Err(refusal.clone()),
    });
    accepted.collect()
}

/// What is put, and under which trace header.
type Event<'a> = (BusEvent<'a>, Option<&'a str>);

fn event(parcel: &Parcel) -> Result<Event<'_>, Refusal> {
    let event = BusEvent::of(&parcel.body);
    let event = event.map_err(|problem| Refusal::permanent("NoEvent", problem))?;
    Ok((event, parcel.trace_header.as_deref()))
}

fn entry<'a>((event, trace_header): &'a Event<'_>) -> events::Entry<'a> {
    events::Entry {
        source: &event.source,
        detail_type: &event.detail_type,
        detail: event.detail.get().into(),
        time: event.time.map(Into::into),
        resources: &event.resources,
        trace_header: *trace_header,
    }
}

fn accepted(id: Result<String, Refusal>) -> Result<Accepted, Refusal> {
    Ok(Accepted {
        message_id: id?,
        ..Accepted::default()
    })
}
