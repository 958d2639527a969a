//! A DynamoDB in a process of its own, and a client that counts its calls.

use super::orders::{RECORDS, number, text};
use aws_sdk_dynamodb::{
    Client,
    config::{
        BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
        interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::BoxError,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType,
    },
};
use dynoxide::Database;
use rustix::time::{ClockId, clock_gettime};
use std::{
    env,
    io::{BufRead, BufReader, Write, stdin},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Builder};

/// The argument by which the benchmark starts itself as a store.
pub(crate) const SERVE: &str = "--serve-store";

/// The store's process, which ends when this is dropped.
pub(crate) struct Store {
    child: Child,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl Store {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let url = line(&mut answers);
        Self {
            child,
            answers,
            url,
        }
    }

    /// Returns the processor time that the store has used so far.
    pub(crate) fn cpu(&mut self) -> Duration {
        let questions = self.child.stdin.as_mut().unwrap();
        questions.write_all(b"cpu\n").unwrap();
        Duration::from_nanos(line(&mut self.answers).parse().unwrap())
    }

    pub(crate) fn client(&self) -> (Client, Calls) {
        let calls = Calls::default();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .endpoint_url(&self.url)
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .interceptor(calls.clone())
            .build();
        (Client::from_conf(config), calls)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(answers: &mut impl BufRead) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Prints the store's address and then, for every line of input, the processor time that it has
/// used. It ends with its input.
pub(crate) fn serve() {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(dynoxide::server::serve_with_shutdown(
        listener,
        Database::memory().unwrap(),
        std::future::pending(),
    ));
    for _question in stdin().lines() {
        let used: Duration = clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap();
        println!("{}", used.as_nanos());
    }
}

/// Counts the requests that leave the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "calls"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Creates the tables, with more stock than is ever ordered.
pub(crate) async fn fill(client: &Client) {
    let index = GlobalSecondaryIndex::builder()
        .index_name("outbox")
        .key_schema(key("outbox_shard", KeyType::Hash))
        .key_schema(key("outbox_since", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        );
    let idempotency = client
        .create_table()
        .table_name("idempotency")
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("outbox_shard", ScalarAttributeType::S))
        .attribute_definitions(attribute("outbox_since", ScalarAttributeType::N))
        .key_schema(key("id", KeyType::Hash))
        .global_secondary_indexes(index.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest);
    idempotency.send().await.unwrap();
    let shop = client
        .create_table()
        .table_name("shop")
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .key_schema(key("id", KeyType::Hash))
        .billing_mode(BillingMode::PayPerRequest);
    shop.send().await.unwrap();
    for index in 0..RECORDS {
        let stock = client
            .put_item()
            .table_name("shop")
            .item("id", text(&format!("sku-{index}")))
            .item("available", number(1_000_000_000));
        stock.send().await.unwrap();
    }
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind)
        .build()
        .unwrap()
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(kind)
        .build()
        .unwrap()
}
