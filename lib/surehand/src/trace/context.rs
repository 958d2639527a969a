//! Trace context as it travels: W3C's and X-Ray's.

use opentelemetry::{
    Context,
    propagation::TextMapPropagator as _,
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;

const TRACEPARENT: &str = "traceparent";

/// Returns the span that a `traceparent` names; none if it names none.
pub(super) fn remote(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    // The context is a new one: a header that does not parse must not yield a child of the current
    // context.
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

pub(super) fn traceparent(span: &SpanContext) -> String {
    format!(
        "00-{}-{}-{:02x}",
        span.trace_id(),
        span.span_id(),
        span.trace_flags().to_u8()
    )
}

/// Returns X-Ray's header. It takes any W3C trace id, cut into the parts of its own format.
pub(super) fn xray(span: &SpanContext) -> String {
    let trace = span.trace_id().to_string();
    let (time, unique) = trace.split_at(8);
    format!(
        "Root=1-{time}-{unique};Parent={};Sampled={}",
        span.span_id(),
        u8::from(span.is_sampled())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace_header::w3c_from_xray;

    #[test]
    fn a_traceparent_is_read_and_written() {
        let text = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        let span = remote(text).unwrap();
        assert_eq!(traceparent(&span), text);
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(w3c_from_xray(&xray(&span)).as_deref(), Some(text));
        let unsampled = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00";
        assert_eq!(traceparent(&remote(unsampled).unwrap()), unsampled);
    }

    #[test]
    fn an_invalid_traceparent_names_no_span() {
        for text in [
            "",
            "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-0000000000000000-01",
            "ü",
        ] {
            assert_eq!(remote(text), None, "{text}");
        }
    }
}
