//! Distributed traces, with the feature `otel`.
//!
//! | Span | Kind | Parent | Links |
//! |---|---|---|---|
//! | the function's name | server | with `OTEL_PROPAGATORS=xray` what X-Ray says | else what X-Ray says |
//! | `batch {queue}` | internal | the invocation | each record's creation |
//! | `process {queue}`, a record | consumer | its creation | the batch |
//! | the handler of a request | internal | the invocation | |
//! | `create {detail-type}` | producer | the record | |
//! | `send {detail-type}` | client | its creation | the record that sent it |
//!
//! An event's creation is what its `traceparent` names. A record's span is its child, whatever bus,
//! queue, outbox or dead-letter queue the event went through, so that one trace tells one story; the
//! spans of the invocation and the batch, which may serve several stories, are linked.

#[cfg(feature = "otel")]
mod context;
#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod spans;
#[cfg(feature = "otel")]
#[cfg(test)]
mod tests;

#[cfg(feature = "otel")]
pub(crate) use export::{flush, layer};
#[cfg(not(feature = "otel"))]
pub(crate) use off::{
    batch, created, failed, flush, invocation, kind, layer, name, record, sending, trigger,
};
#[cfg(feature = "otel")]
pub(crate) use spans::{batch, created, failed, invocation, kind, name, record, sending, trigger};
