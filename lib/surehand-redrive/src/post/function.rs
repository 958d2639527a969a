//! Payloads back to a function.

use crate::parcel::{Accepted, Parcel};
use aws_sdk_lambda::{Client, operation::RequestId, primitives::Blob, types::InvocationType};
use futures_util::future::join_all;
use http::HeaderValue;
use surehand::aws::{Entries, Refusal};

/// What carries X-Ray's header to Lambda.
const TRACE_HEADER: &str = "X-Amzn-Trace-Id";
/// Lambda has the event, and invokes the function later.
const ACCEPTED: i32 = 202;

/// Invokes the function once a parcel, side by side.
pub(super) async fn send(client: &Client, arn: &str, parcels: &[Parcel]) -> Entries<Accepted> {
    join_all(parcels.iter().map(|parcel| invoke(client, arn, parcel))).await
}

/// As it was invoked before: asynchronously, so that Lambda's retries and its failure destination are
/// there again.
async fn invoke(client: &Client, arn: &str, parcel: &Parcel) -> Result<Accepted, Refusal> {
    let trace_header = parcel.trace_header.as_deref();
    let trace_header = trace_header.and_then(|header| HeaderValue::from_str(header).ok());
    let request = client
        .invoke()
        .function_name(arn)
        .invocation_type(InvocationType::Event)
        .payload(Blob::new(parcel.body.as_bytes()))
        .customize()
        .mutate_request(move |request| {
            if let Some(header) = &trace_header {
                request.headers_mut().insert(TRACE_HEADER, header.clone());
            }
        });
    let output = request.send().await;
    let output = output.map_err(|error| Refusal::of_call(&error))?;
    if output.status_code() != ACCEPTED || output.function_error().is_some() {
        return Err(Refusal::transient(
            "NotAccepted",
            format!(
                "Lambda answers with {} instead of {ACCEPTED}, so that nobody knows whether it has the event",
                output.status_code()
            ),
        ));
    }
    Ok(Accepted {
        // The record of a failure has this id.
        message_id: output.request_id().unwrap_or_default().to_owned(),
        ..Accepted::default()
    })
}
