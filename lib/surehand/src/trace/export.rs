//! Sends spans off at the end of each invocation: between invocations a function's process stands
//! still, and whatever waits in it, waits with it.

use crate::redact::{is_payload, payloads_are_allowed, redacted};
use opentelemetry::{Context, KeyValue, StringValue, Value, trace::TracerProvider as _};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};
use std::{
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// The process's spans that are to be exported. None if no endpoint is set.
static EXPORT: OnceLock<Export> = OnceLock::new();

/// How many spans wait at most; an invocation has a few for each of its records.
const MAX_WAITING: usize = 4_096;

/// How long a collector may take unless `OTEL_EXPORTER_OTLP_TIMEOUT` is set. The invocation and its
/// caller wait for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes the layer that turns `tracing`'s spans into OpenTelemetry's. None unless the environment
/// names an endpoint.
pub(crate) fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let export = match Export::from_env()? {
        Ok(export) => EXPORT.get_or_init(|| export),
        Err(error) => {
            // There is no log yet, and a function without traces is better than no function.
            eprintln!("no traces are exported: {error}");
            return None;
        }
    };
    Some(layer_to(export.waiting.clone(), resource()))
}

/// Makes a layer that puts ended spans into `waiting`.
pub(super) fn layer_to<S>(
    waiting: Waiting,
    resource: Resource,
) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::Tracer>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(waiting)
        .build();
    tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_tracer(provider.tracer("surehand"))
}

/// Sends the waiting spans within `time`. Spans that cannot be sent are dropped: the next
/// invocation has spans of its own.
pub(crate) async fn flush(time: Duration) {
    let Some(export) = EXPORT.get() else { return };
    let spans = export.waiting.take();
    if spans.is_empty() {
        return;
    }
    let count = spans.len();
    let sent = tokio::time::timeout(time, export.exporter.export(spans)).await;
    let problem = match sent {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the collector did not answer in time".to_owned(),
    };
    tracing::warn!(spans = count, error = problem, "spans not exported");
}

struct Export {
    waiting: Waiting,
    exporter: SpanExporter,
}

impl Export {
    fn from_env() -> Option<Result<Self, crate::BoxError>> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let is_off = var("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || var("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        if is_off {
            return None;
        }
        let endpoint = var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| var("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        let timeout = var("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
            .or_else(|| var("OTEL_EXPORTER_OTLP_TIMEOUT"))
            .and_then(|milliseconds| milliseconds.parse().ok())
            .map_or(PATIENCE, Duration::from_millis);
        Some(Self::new(&endpoint, timeout))
    }

    fn new(endpoint: &str, timeout: Duration) -> Result<Self, crate::BoxError> {
        let mut builder = SpanExporter::builder().with_http().with_timeout(timeout);
        // Reading the system's certificates takes longer than starting the function, and a
        // collector beside it needs none.
        if endpoint.starts_with("https:") {
            let connector = hyper_rustls::HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
                .https_only()
                .enable_http1()
                .build();
            builder = builder.with_http_client(HyperClient::new(connector, timeout, None));
        }
        let mut exporter = builder.build()?;
        exporter.set_resource(&resource());
        Ok(Self {
            waiting: Waiting::new(payloads_are_allowed(|name| std::env::var(name).ok())),
            exporter,
        })
    }
}

/// Returns the service that the spans belong to. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`
/// override it.
fn resource() -> Resource {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let known = [
        ("cloud.region", var("AWS_REGION")),
        // In a trace each function is a service of its own; what they are together is their
        // namespace.
        ("service.namespace", var("SUREHAND_SERVICE_NAME")),
        ("faas.name", var("AWS_LAMBDA_FUNCTION_NAME")),
        ("faas.version", var("AWS_LAMBDA_FUNCTION_VERSION")),
        ("faas.instance", var("AWS_LAMBDA_LOG_STREAM_NAME")),
    ];
    let memory = var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|mib| mib.parse::<i64>().ok());
    let memory = memory.map(|mib| KeyValue::new("faas.max_memory", mib * 1024 * 1024));
    let log_group = var("AWS_LAMBDA_LOG_GROUP_NAME").map(|name| {
        let names = Value::Array(vec![StringValue::from(name)].into());
        KeyValue::new("aws.log.group.names", names)
    });
    let known = known
        .into_iter()
        .filter_map(|(key, value)| Some(KeyValue::new(key, value?)));
    let mut builder = Resource::builder()
        .with_attribute(KeyValue::new("cloud.provider", "aws"))
        .with_attribute(KeyValue::new("cloud.platform", "aws_lambda"))
        .with_attributes(known.chain(memory).chain(log_group));
    let service = var("OTEL_SERVICE_NAME").or_else(|| var("AWS_LAMBDA_FUNCTION_NAME"));
    if let Some(service) = service {
        builder = builder.with_service_name(service);
    }
    builder.build()
}

/// Whether the environment names X-Ray among the propagators: then a trace goes on with what X-Ray's header says.
pub(super) fn continues_xray() -> bool {
    static IS_NAMED: LazyLock<bool> = LazyLock::new(|| {
        let names = std::env::var("OTEL_PROPAGATORS").unwrap_or_default();
        let mut names = names.split(',').map(str::trim);
        names.any(|name| matches!(name, "xray" | "xray-lambda"))
    });
    *IS_NAMED
}

/// Spans that have ended and wait to be sent.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    spans: Arc<Mutex<Vec<SpanData>>>,
    /// Whether they may contain bodies and payloads.
    payloads: bool,
}

impl Waiting {
    pub(super) fn new(payloads: bool) -> Self {
        Self {
            spans: Arc::default(),
            payloads,
        }
    }

    pub(super) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Replaces payloads by their lengths, as in the log.
fn redact(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        if is_payload(attribute.key.as_str()) {
            attribute.value = redacted(&attribute.value.as_str()).into();
        }
    }
}

impl SpanProcessor for Waiting {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        if !self.payloads {
            redact(&mut span.attributes);
            let events = span.events.events.iter_mut();
            events.for_each(|event| redact(&mut event.attributes));
        }
        let mut waiting = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if span.span_context.is_sampled() && waiting.len() < MAX_WAITING {
            waiting.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
