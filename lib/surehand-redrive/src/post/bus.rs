//! Events back onto a bus.

use crate::{
    bus_event::BusEvent,
    parcel::{Accepted, Parcel},
    queue::Entries,
    refusal::Refusal,
};
use aws_sdk_eventbridge::{
    Client,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use futures_util::future::join_all;
use surehand::aws;

/// Events of one call, by their place among the parcels.
#[derive(Default)]
struct Call {
    places: Vec<usize>,
    entries: Vec<PutEventsRequestEntry>,
    bytes: usize,
}

/// Sends up to ten parcels. What is larger than a call may be goes alone, for the service to decide.
pub(super) async fn send(client: &Client, bus: &str, parcels: &[Parcel]) -> Entries<Accepted> {
    let mut results: Entries<Accepted> = parcels
        .iter()
        .map(|_| Err(Refusal::transient("NoResult", "the bus does not name it")))
        .collect();
    let mut calls = vec![Call::default()];
    for (place, parcel) in parcels.iter().enumerate() {
        let entry = match entry(bus, parcel) {
            Ok(entry) => entry,
            Err(refusal) => {
                results[place] = Err(refusal);
                continue;
            }
        };
        let bytes = parcel.body.len();
        let last = calls.last().map_or(0, |call| call.bytes);
        if last > 0 && last + bytes > aws::MAX_PUT_EVENTS {
            calls.push(Call::default());
        }
        if let Some(call) = calls.last_mut() {
            call.places.push(place);
            call.entries.push(entry);
            call.bytes += bytes;
        }
    }
    let calls = calls.into_iter().filter(|call| !call.places.is_empty());
    let answers = join_all(calls.map(|call| async {
        let request = client.put_events().set_entries(Some(call.entries));
        (call.places, request.send().await)
    }));
    for (places, answer) in answers.await {
        match answer {
            Ok(output) => {
                let entries = output.entries.unwrap_or_default();
                for (place, entry) in places.into_iter().zip(&entries) {
                    results[place] = accepted(entry);
                }
            }
            Err(error) => {
                let refusal = Refusal::of_call(&error, is_permanent);
                for place in places {
                    results[place] = Err(refusal.clone());
                }
            }
        }
    }
    results
}

fn entry(bus: &str, parcel: &Parcel) -> Result<PutEventsRequestEntry, Refusal> {
    let event =
        BusEvent::of(&parcel.body).map_err(|problem| Refusal::permanent("NoEvent", problem))?;
    Ok(PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(event.source)
        .detail_type(event.detail_type)
        .detail(event.detail.get())
        .set_time(
            event
                .time
                .map(|time| DateTime::from(std::time::SystemTime::from(time))),
        )
        .set_resources((!event.resources.is_empty()).then_some(event.resources))
        .set_trace_header(parcel.trace_header.clone())
        .build())
}

/// An event was taken if it has an id; a code says why it was not.
fn accepted(entry: &PutEventsResultEntry) -> Result<Accepted, Refusal> {
    match (entry.event_id(), entry.error_code()) {
        (Some(id), None) => Ok(Accepted {
            message_id: id.to_owned(),
            ..Accepted::default()
        }),
        (_, code) => {
            let code = code.unwrap_or("UnexpectedResponse");
            Err(Refusal {
                code: code.to_owned(),
                message: entry.error_message().unwrap_or_default().to_owned(),
                permanent: is_permanent(code),
            })
        }
    }
}

fn is_permanent(code: &str) -> bool {
    aws::is_refused_for_good(code)
        || matches!(code, "ResourceNotFoundException" | "ValidationException")
}
