//! The spans of two functions, of which one handles what the other published.

use super::export::{Waiting, layer_to};
use crate::{
    Direct, Envelope, Error, Event, FromRef, Function, Json, Publisher, Result, Sqs,
    envelope::Outgoing,
    publish::{Destination, PublishError, Transport},
    testing::{self, Message, RecordedEvents},
};
use opentelemetry::{
    KeyValue, Value,
    trace::{SpanId, SpanKind, Status, TraceId},
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order: u32,
}

#[derive(Clone)]
struct Shop(Publisher);

impl FromRef<Shop> for Publisher {
    fn from_ref(shop: &Shop) -> Self {
        shop.0.clone()
    }
}

async fn place(order: Json<u32>, publisher: Publisher) -> Result<u32> {
    publisher.publish(&OrderPlaced { order: order.0 }).await?;
    Ok(order.0)
}

async fn reserve(placed: Envelope<OrderPlaced>) -> Result<()> {
    tracing::info!("reserving");
    match placed.data.order {
        2 => Err(Error::transient("no connection")),
        _ => Ok(()),
    }
}

/// A bus with a name.
struct Named(RecordedEvents);

impl Transport for Named {
    fn send<'a>(
        &'a self,
        events: &'a [Outgoing],
    ) -> futures_util::future::BoxFuture<'a, Result<(), PublishError>> {
        self.0.send(events)
    }

    fn destination(&self, _: &Outgoing) -> Option<Destination<'_>> {
        Some(Destination::at_end_of(
            "aws_eventbridge",
            "arn:aws:events:eu-central-1:1:event-bus/shop",
        ))
    }
}

const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// Runs both functions for the orders 1 and 2, and returns what they published and all spans.
fn spans(xray: &str) -> (RecordedEvents, Vec<SpanData>) {
    let waiting = Waiting::new(false);
    let layer = layer_to(waiting.clone(), Resource::builder_empty().build());
    let subscriber = tracing_subscriber::registry().with(layer);
    let events = RecordedEvents::default();
    let shop = Shop(Publisher::new(Named(events.clone())));
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let place = Function::new(Direct, place, shop);
            for order in [1, 2] {
                let mut context = testing::context();
                context.xray_trace_id = Some(xray.to_owned());
                let call = place.handle_in_span(testing::direct_event(&order), context, false);
                call.await.unwrap();
            }
            let reserve = Function::new(Sqs, reserve, ());
            let messages = events
                .sent()
                .iter()
                .map(Message::outgoing)
                .collect::<Vec<_>>();
            let batch = testing::sqs_event("reserve-stock", messages);
            let call = reserve.handle_in_span(batch, testing::context(), false);
            call.await.unwrap();
        });
    });
    (events, waiting.take())
}

fn named<'a>(spans: &'a [SpanData], name: &str, kind: SpanKind) -> Vec<&'a SpanData> {
    let all = spans.iter();
    all.filter(|span| span.name == name && span.span_kind == kind)
        .collect()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|a| a.key.as_str() == key);
    found.map(|KeyValue { value, .. }| match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    })
}

fn trace(span: &SpanData) -> TraceId {
    span.span_context.trace_id()
}

/// Runs a test in a process whose environment says that X-Ray's header is to be continued.
fn continuing_xray(test: &str, run: impl FnOnce()) {
    const VARIABLE: &str = "OTEL_PROPAGATORS";
    if super::export::continues_xray() {
        return run();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", &format!("trace::tests::{test}")]);
    let output = child.env(VARIABLE, "tracecontext,xray").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn one_story_is_one_trace() {
    continuing_xray("one_story_is_one_trace", story);
}

fn story() {
    let (events, spans) = spans(XRAY);
    let root = TraceId::from_hex("5759e988bd862e3fe1be46a994272793").unwrap();
    let caller = SpanId::from_hex("53995c3f42cd8ad8").unwrap();

    let servers = named(&spans, "test-function", SpanKind::Server);
    let [first, _, third] = servers[..] else {
        panic!("{servers:#?}")
    };
    assert_eq!((trace(first), first.parent_span_id), (root, caller));
    // The second function's invocation has no caller, so it is another trace.
    assert_ne!(trace(third), root);

    // request -> handler -> event -> record
    let requests = named(&spans, "place", SpanKind::Internal);
    assert_eq!(requests[0].parent_span_id, first.span_context.span_id());
    let created = named(&spans, "create OrderPlaced", SpanKind::Producer);
    assert_eq!(
        created[0].parent_span_id,
        requests[0].span_context.span_id()
    );
    let records = named(&spans, "process reserve-stock", SpanKind::Consumer);
    let batch = named(&spans, "batch reserve-stock", SpanKind::Internal);
    assert_eq!((batch.len(), records.len()), (1, 2));
    // Whoever counts what is processed counts records.
    assert_eq!(attribute(batch[0], "messaging.operation.type"), None);
    for (record, creation) in records.iter().zip(&created) {
        assert_eq!(trace(record), root);
        assert_eq!(record.parent_span_id, creation.span_context.span_id());
        let links: Vec<_> = record.links.iter().map(|l| &l.span_context).collect();
        assert_eq!(links, [&batch[0].span_context]);
    }
    let sent = named(&spans, "send OrderPlaced", SpanKind::Client);
    assert_eq!(sent[0].parent_span_id, created[0].span_context.span_id());
    assert_eq!(
        sent[0].links.iter().next().unwrap().span_context,
        requests[0].span_context
    );

    // The batch's span belongs to its invocation, and links to where each of its records began.
    assert_eq!(batch[0].parent_span_id, third.span_context.span_id());
    let began: Vec<SpanId> = batch[0]
        .links
        .iter()
        .map(|l| l.span_context.span_id())
        .collect();
    let creations: Vec<SpanId> = created.iter().map(|c| c.span_context.span_id()).collect();
    assert_eq!(began, creations);

    // A reader of X-Ray's header finds the same trace.
    let header = events.sent()[0].trace_header().unwrap().to_owned();
    let expected = format!(
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent={};Sampled=1",
        creations[0]
    );
    assert_eq!(header, expected);
}

#[test]
fn spans_say_what_the_conventions_ask_for() {
    let (events, spans) = spans(XRAY);
    let records = named(&spans, "process reserve-stock", SpanKind::Consumer);
    let second = events.sent().swap_remove(1);
    let (id, story) = (second.id().to_owned(), second.metadata().correlation_id());
    let failed = records
        .iter()
        .find(|span| attribute(span, "event_id").as_ref() == Some(&id))
        .unwrap();
    for (key, value) in [
        ("messaging.system", "aws_sqs"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "reserve-stock"),
        ("messaging.message.conversation_id", story),
        ("error.type", "transient"),
        ("handler", "reserve"),
    ] {
        assert_eq!(attribute(failed, key).as_deref(), Some(value), "{key}");
    }
    // Both sides have the event's id.
    let sent = named(&spans, "send OrderPlaced", SpanKind::Client);
    let created = named(&spans, "create OrderPlaced", SpanKind::Producer);
    for producer in [sent[0], created[0]] {
        let of = |key| attribute(producer, key);
        assert_eq!(of("messaging.system").as_deref(), Some("aws_eventbridge"));
        assert_eq!(of("messaging.destination.name").as_deref(), Some("shop"));
    }
    for side in [failed, sent[1]] {
        assert_eq!(attribute(side, "messaging.message.id").as_ref(), Some(&id));
    }
    assert!(matches!(failed.status, Status::Error { .. }));
    let servers = named(&spans, "test-function", SpanKind::Server);
    for (key, value) in [
        ("faas.name", "test-function"),
        ("faas.coldstart", "false"),
        ("faas.trigger", "other"),
        ("cold_start", "false"),
    ] {
        assert_eq!(attribute(servers[0], key).as_deref(), Some(value), "{key}");
    }
    let trigger = attribute(servers[2], "faas.trigger");
    assert_eq!(trigger.as_deref(), Some("pubsub"));
}

#[test]
fn an_invocation_names_its_function_without_the_alias() {
    let waiting = Waiting::new(false);
    let layer = layer_to(waiting.clone(), Resource::builder_empty().build());
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:shop";
    let mut context = testing::context();
    context.invoked_function_arn = format!("{arn}:live");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        drop(crate::telemetry::invocation_span(&context, true));
    });
    let spans = waiting.take();
    for (key, value) in [
        ("cloud.resource_id", arn),
        ("cloud.account.id", "123456789012"),
        ("aws.lambda.invoked_arn", &context.invoked_function_arn),
        ("faas.coldstart", "true"),
    ] {
        assert_eq!(attribute(&spans[0], key).as_deref(), Some(value), "{key}");
    }
}

#[test]
fn xrays_span_is_linked_unless_it_is_to_be_continued() {
    let (_, spans) = spans(&XRAY.replace("Sampled=1", "Sampled=0"));
    let first = named(&spans, "test-function", SpanKind::Server)[0];
    assert_eq!(first.parent_span_id, SpanId::INVALID);
    let linked: Vec<_> = first
        .links
        .iter()
        .map(|l| l.span_context.span_id())
        .collect();
    assert_eq!(linked, [SpanId::from_hex("53995c3f42cd8ad8").unwrap()]);
}

fn collected(run: impl AsyncFnOnce()) -> Vec<SpanData> {
    let waiting = Waiting::new(false);
    let layer = layer_to(waiting.clone(), Resource::builder_empty().build());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run());
    });
    waiting.take()
}

fn parented(n: u32, id: &str) -> Message {
    let body = serde_json::json!({
        "metadata": {
            "id": id, "traceparent": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"
        },
        "data": {"order": n}
    });
    Message::body(body.to_string()).id(id)
}

#[test]
fn a_record_that_is_cut_off_has_one_span_and_it_has_failed() {
    /// Is not stopped at the deadline, as handlers are, but dropped before the response is due.
    #[derive(Clone)]
    struct Hangs<S>(S);
    impl<S> tower::Service<crate::Record> for Hangs<S> {
        type Response = crate::Reply;
        type Error = Error;
        type Future = futures_util::future::BoxFuture<'static, Result<crate::Reply>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: crate::Record) -> Self::Future {
            Box::pin(std::future::pending())
        }
    }
    let spans = collected(async || {
        let clock = crate::Clock::virtual_from(std::time::SystemTime::now());
        let function = Function::new(Sqs, reserve, ())
            .clock(clock.clone())
            .concurrency(1)
            .layer(tower::layer::layer_fn(Hangs));
        let event = testing::sqs_event("reserve-stock", [parented(1, "a"), parented(1, "b")]);
        let mut context = testing::context();
        context.deadline = crate::clock::epoch_ms(clock.now()) + 10_000;
        let call = function.handle_in_span(event, context, false);
        assert_eq!(testing::failed_ids(&call.await.unwrap()), ["a", "b"]);
    });
    let records = named(&spans, "process reserve-stock", SpanKind::Consumer);
    assert_eq!(records.len(), 2, "one span for each record");
    let kinds: std::collections::BTreeSet<_> = records
        .iter()
        .filter_map(|record| attribute(record, "error.type"))
        .collect();
    // The second one's turn never came.
    assert!(kinds.iter().eq(["deadline", "skipped"]), "{kinds:?}");
    for record in records {
        assert!(matches!(record.status, Status::Error { .. }));
        let parent = SpanId::from_hex("53995c3f42cd8ad8").unwrap();
        assert_eq!(record.parent_span_id, parent);
        let system = attribute(record, "messaging.system");
        assert_eq!(system.as_deref(), Some("aws_sqs"));
    }
}

#[test]
fn a_record_that_is_discarded_has_failed() {
    let spans = collected(async || {
        let function = Function::new(Sqs, reserve, ()).on_malformed(crate::OnMalformed::Discard);
        let event = testing::sqs_event("reserve-stock", [Message::body("{").id("a")]);
        let call = function.handle_in_span(event, testing::context(), false);
        assert_eq!(testing::failed_ids(&call.await.unwrap()), [""; 0]);
    });
    let record = named(&spans, "process reserve-stock", SpanKind::Consumer)[0];
    let kind = attribute(record, "error.type");
    assert_eq!(kind.as_deref(), Some("malformed"));
}

#[test]
fn the_span_of_whoever_calls_a_function_says_nothing_of_the_function() {
    let spans = collected(async || {
        use tracing::Instrument as _;
        let function = Function::new(Sqs, reserve, ());
        let event = testing::sqs_event("reserve-stock", [parented(1, "a")]);
        let call = function.invoke(event, testing::context());
        let own = tracing::info_span!("own");
        call.instrument(own).await.unwrap();
    });
    let own = named(&spans, "own", SpanKind::Internal)[0];
    assert_eq!(attribute(own, "faas.trigger"), None);
}

#[test]
fn payloads_are_in_no_span() {
    let kept = |payloads| {
        let waiting = Waiting::new(payloads);
        let layer = layer_to(waiting.clone(), Resource::builder_empty().build());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("pay", payload = "4111", order = "o-1");
            span.in_scope(|| tracing::info!(body = "4111", "paying"));
        });
        format!("{:?}", waiting.take())
    };
    assert!(kept(true).contains("4111"));
    let redacted = kept(false);
    assert!(!redacted.contains("4111"), "{redacted}");
    assert!(
        redacted.contains("[4 bytes]") && redacted.contains("o-1"),
        "{redacted}"
    );
}

#[test]
fn what_is_not_sampled_is_not_kept_but_passed_on() {
    continuing_xray("what_is_not_sampled_is_not_kept_but_passed_on", not_sampled);
}

fn not_sampled() {
    let (events, spans) = spans(&XRAY.replace("Sampled=1", "Sampled=0"));
    let kept: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
    // The second function's own invocation has no parent.
    assert_eq!(kept, ["batch reserve-stock", "test-function"]);
    let metadata = events.sent()[0].metadata().clone();
    let traceparent = metadata.traceparent.unwrap();
    assert!(
        traceparent.starts_with("00-5759e988bd862e3fe1be46a994272793-"),
        "{traceparent}"
    );
    assert!(traceparent.ends_with("-00"), "{traceparent}");
}
