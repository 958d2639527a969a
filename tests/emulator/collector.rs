//! A collector of OpenTelemetry's protocol, and behind it whoever reads what it collected.

use axum::{Router, body::Bytes, extract::State, routing::post};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use std::{
    fs::File,
    io::Read as _,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use surehand_test_support::cargo;

/// Spans with the functions they are of.
type Collected = Arc<Mutex<Vec<(String, Span)>>>;

pub(crate) struct Collector {
    process: Child,
    pub(crate) endpoint: String,
    collected: Collected,
}

/// How long it may take to listen.
const START: Duration = Duration::from_secs(120);

impl Collector {
    /// Starts a collector for traces over HTTP, which passes them on immediately.
    pub(crate) async fn start() -> Self {
        let tools = tokio::task::spawn_blocking(cargo::tools).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reader = listener.local_addr().unwrap();
        let collected = Collected::default();
        let routes = Router::new()
            .route("/v1/traces", post(collect))
            .with_state(Arc::clone(&collected));
        tokio::spawn(async move { axum::serve(listener, routes).await });

        // Both ports are free now, and no other program on this machine asks for ports by number.
        let (http, grpc) = (free_address(), free_address());
        let folder = cargo::workspace().join(".surehand");
        let log = File::create(folder.join("collector.log")).unwrap();
        let found = Command::new(tools.join("bin/python"))
            .args([
                "-c",
                "import pathlib, rotel; print(pathlib.Path(rotel.__file__).parent / 'rotel-agent')",
            ])
            .output()
            .unwrap();
        let program = String::from_utf8(found.stdout).unwrap();
        let process = Command::new(program.trim())
            .arg("start")
            .args(["--otlp-http-endpoint", &http.to_string()])
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &format!("http://{reader}")])
            .arg("--disable-batching")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let collector = Self {
            process,
            endpoint: format!("http://{http}"),
            collected,
        };
        let started = Instant::now();
        while std::net::TcpStream::connect(http).is_err() {
            assert!(started.elapsed() < START, "see .surehand/collector.log");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        collector
    }

    /// Returns the spans so far.
    pub(crate) fn spans(&self) -> Vec<(String, Span)> {
        self.collected.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn collect(State(collected): State<Collected>, body: Bytes) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The collector compresses regardless of its settings.
    GzDecoder::new(&*body).read_to_end(&mut bytes).unwrap();
    let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let mut collected = collected.lock().unwrap();
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.unwrap_or_default().attributes;
        let function = text(&attributes, "faas.name").unwrap_or_default();
        let spans = of_resource.scope_spans.into_iter().flat_map(|it| it.spans);
        collected.extend(spans.map(|span| (function.to_owned(), span)));
    }
    ExportTraceServiceResponse::default().encode_to_vec()
}

/// The text of an attribute.
pub(crate) fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
