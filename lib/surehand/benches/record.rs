//! What Surehand costs a record: Lambda's bytes in, Lambda's bytes out, for a batch of ten.
//!
//! `cargo bench -p surehand --no-default-features --bench record`. The handler is the same each time and does nothing, and nobody
//! listens to the log; what remains is reading, dispatch, claims and the response. Times are of the
//! processor.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use criterion::{
    BatchSize, Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use lambda_runtime::Context;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    cell::{Cell, RefCell},
    hint::black_box,
    rc::Rc,
    time::{Duration, SystemTime},
};
use surehand::{Envelope, Event, Function, Idempotency, MemoryStore, Sqs, metrics::Emf};
use tokio::runtime::{Builder, Runtime};

const RECORDS: u64 = 10;
/// The store is replaced now and then: a store that grows for ever would be measured for its
/// memory.
const EVENTS_A_STORE: u64 = 1_000;

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
    customer: String,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
    price: f64,
}

/// The work of both handlers.
fn handle(order: &OrderPlaced) {
    black_box((&order.order_id, &order.customer));
    for line in &order.lines {
        black_box((&line.sku, line.quantity, line.price));
    }
}

async fn on_surehand(order: Envelope<OrderPlaced>) -> surehand::Result<()> {
    handle(&order.data);
    Ok(())
}

/// Handles a batch as it would be written without a framework: a body that does not decode fails
/// alone.
async fn on_bare_types(event: SqsEvent) -> SqsBatchResponse {
    #[derive(Deserialize)]
    struct Body {
        detail: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        data: OrderPlaced,
    }
    let mut response = SqsBatchResponse::default();
    for message in event.records {
        match serde_json::from_str::<Body>(message.body.as_deref().unwrap_or_default()) {
            Ok(body) => handle(&body.detail.data),
            Err(_) => response.add_failure(message.message_id.unwrap_or_default()),
        }
    }
    response
}

/// Makes the event that SQS delivers from a rule. Events of different numbers have different ids.
fn event(number: u64) -> Vec<u8> {
    let records = (0..RECORDS).map(|index| {
        let id = format!("0190a7c4-7e5b-7c3d-9f10-{number:08}{index:04}");
        let body = json!({
            "version": "0", "id": id, "detail-type": "OrderPlaced", "source": "shop.orders",
            "account": "123456789012", "time": "2026-11-21T10:00:00Z", "region": "eu-central-1",
            "resources": [],
            "detail": {
                "metadata": {
                    "id": id, "time": "2026-11-21T10:00:00.123Z", "version": 1,
                    "subject": "order/42", "correlationid": id, "producer": "shop.checkout"
                },
                "data": {
                    "order_id": "42", "customer": "customer-7",
                    "lines": [
                        {"sku": "mug-blue", "quantity": 2, "price": 12.5},
                        {"sku": "tea-green", "quantity": 1, "price": 4.99}
                    ]
                }
            }
        });
        json!({
            "messageId": id, "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": body.to_string(), "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "attributes": {
                "ApproximateReceiveCount": "1", "SentTimestamp": "1780000000000",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": "1780000000001"
            },
            "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
            "awsRegion": "eu-central-1"
        })
    });
    let records: Vec<_> = records.collect();
    json!({ "Records": records }).to_string().into_bytes()
}

fn context() -> Context {
    let end = SystemTime::now() + Duration::from_secs(900);
    let since = end.duration_since(SystemTime::UNIX_EPOCH);
    let mut context = Context::default();
    context.deadline = since.map_or(u64::MAX, |since| since.as_millis() as u64);
    context
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts")
}

fn once(cached: usize) -> Function<Sqs> {
    let once = Idempotency::new(MemoryStore::new())
        .scope("bench")
        .cache(cached);
    Function::new(Sqs, on_surehand, ()).idempotent(once)
}

/// Lambda's side: bytes to bytes.
async fn invoke(function: &Function<Sqs>, bytes: &[u8]) -> Vec<u8> {
    let event = serde_json::from_slice(bytes).expect("an SQS event");
    let response = function.invoke(event, context()).await;
    let response = response.expect("a response");
    assert!(response.batch_item_failures.is_empty());
    serde_json::to_vec(&response).expect("JSON")
}

fn record(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("batch of 10");
    group.throughput(Throughput::Elements(RECORDS));
    let bytes = event(0);

    group.bench_function("bare lambda_runtime types", |bencher| {
        bencher.to_async(runtime()).iter(|| async {
            let event: SqsEvent = serde_json::from_slice(&bytes).expect("an SQS event");
            // Lambda's context is made each time, even if it is not used.
            black_box(context());
            let response = on_bare_types(event).await;
            assert!(response.batch_item_failures.is_empty());
            serde_json::to_vec(&response).expect("JSON")
        });
    });

    group.bench_function("surehand, no idempotency", |bencher| {
        let function = Function::new(Sqs, on_surehand, ());
        bencher
            .to_async(runtime())
            .iter(|| invoke(&function, &bytes));
    });

    group.bench_function("surehand, no idempotency, metrics on", |bencher| {
        let emf = Emf::new("Bench").write_to(|line| {
            black_box(line);
        });
        let function = Function::new(Sqs, on_surehand, ()).metrics(emf);
        bencher
            .to_async(runtime())
            .iter(|| invoke(&function, &bytes));
    });

    group.bench_function("surehand, memory store", |bencher| {
        let number = Cell::new(0_u64);
        let function = RefCell::new(Rc::new(once(1_000)));
        let next = || {
            number.set(number.get() + 1);
            if number.get().is_multiple_of(EVENTS_A_STORE) {
                function.replace(Rc::new(once(1_000)));
            }
            (Rc::clone(&function.borrow()), event(number.get()))
        };
        bencher.to_async(runtime()).iter_batched(
            next,
            |(function, bytes)| async move { (invoke(&function, &bytes).await, function, bytes) },
            BatchSize::SmallInput,
        );
    });

    for (name, cached) in [
        ("surehand, duplicates from the store", 0),
        ("surehand, duplicates from the cache", 1_000),
    ] {
        group.bench_function(name, |bencher| {
            let function = once(cached);
            let runtime = runtime();
            runtime.block_on(invoke(&function, &bytes));
            bencher
                .to_async(&runtime)
                .iter(|| invoke(&function, &bytes));
        });
    }
    group.finish();
}

/// Returns the thread's own processor time, so that other work of the machine does not count.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.try_into().expect("a thread's time is not negative")
    }
    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }
    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = record
}
criterion_main!(benches);
