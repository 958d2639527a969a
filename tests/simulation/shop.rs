//! The functions that are simulated, and what is sent to them.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use surehand::{
    Change, Envelope, Error, Event, Function, Idempotency, IdempotencyKey, Metadata, OnPark,
    OnUnknown, Result, Sqs, State, Transaction,
    handler::{Handler, Signature},
    idempotency::Store,
    outbox::{Outbox, OutboxStream},
    source::{Source, StreamEvent},
    testing::simulation::{Faults, Process, Queue, Report, Simulation},
};

#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(
    source = "shop.orders",
    detail_type = "OrderPlaced",
    partition_key = "{customer}"
)]
pub(crate) struct OrderPlaced {
    customer: String,
    /// How many rows it is booked in, and how many events it has.
    rows: usize,
    events: usize,
    is_rejected: bool,
}

#[derive(Serialize, Deserialize, Event)]
#[event(
    source = "shop.ledger",
    detail_type = "Booked",
    partition_key = "{customer}"
)]
struct Booked {
    customer: String,
    number: usize,
}

/// SQS's own limit, for what dies before any claim.
const RECEIVES: u32 = 50;

/// The scenario of a run, drawn by the seed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    simulation: Simulation,
    max_attempts: u32,
    on_park: OnPark,
    orders: Vec<(String, OrderPlaced)>,
}

impl Scenario {
    pub(crate) fn new(simulation: Simulation) -> Self {
        let mut rng = fastrand::Rng::with_seed(simulation.seed() ^ 0x5eed);
        let queue = if rng.bool() {
            Queue::fifo("orders.fifo")
        } else {
            Queue::standard("orders")
        };
        let max_attempts = rng.u32(1..=6);
        let queue = queue
            .max_receive_count(RECEIVES)
            .batch_size(rng.usize(1..=10))
            .concurrency(rng.usize(1..=4));
        let mut simulation = simulation
            .queue(queue)
            .faults(Faults::all())
            .timeout(Duration::from_secs([3, 30][rng.usize(..2)]));
        let customers = rng.usize(1..=3);
        let mut orders: Vec<(String, OrderPlaced)> = Vec::new();
        for _ in 0..rng.usize(2..=8) {
            match rng.u8(..20) {
                0 => simulation = simulation.send_body("no event", "customer-0"),
                1 if !orders.is_empty() => {
                    let (id, order) = &orders[rng.usize(..orders.len())];
                    simulation = simulation.send_as(id.clone(), order);
                }
                kind => {
                    let order = OrderPlaced {
                        customer: format!("customer-{}", rng.usize(..customers)),
                        rows: rng.usize(1..=2),
                        events: rng.usize(..=2),
                        is_rejected: kind == 2,
                    };
                    simulation = simulation.send(&order);
                    orders.push((format!("e-{}", orders.len() + 1), order));
                }
            }
        }
        let on_park = match rng.u8(..3) {
            0 => OnPark::Halt,
            _ => OnPark::Proceed,
        };
        Self {
            simulation,
            max_attempts,
            on_park,
            orders,
        }
    }

    /// A handler with effects outside the store.
    pub(crate) fn with_lease(
        &self,
        connect: impl Fn(&Process, Function<Sqs>) -> Function<Sqs>,
    ) -> Report {
        let run = self.simulation.clone();
        let report = run.run(|process| connect(process, self.function(Sqs, notify, process)));
        self.check_rejected(report)
    }

    /// The same, parked where nobody knows what an attempt has done.
    pub(crate) fn with_parking<St: Store>(&self, store: impl Fn(&Process) -> St) -> Report {
        let run = self.simulation.clone();
        let report = run.run(|process| {
            let once = Idempotency::new(store(process))
                .clock(process.clock())
                .on_unknown(OnUnknown::Park);
            process
                .connect(self.function(Sqs, notify, process))
                .idempotent(once)
        });
        self.check_rejected(report)
    }

    /// A handler with effects in a transaction.
    pub(crate) fn with_transaction(
        &self,
        connect: impl Fn(&Process, Function<Sqs>) -> Function<Sqs>,
    ) -> Report {
        self.with_transaction_from(|| Sqs, connect)
    }

    /// A handler that sees its own effects, and refuses to have them again.
    pub(crate) fn with_refusals(&self) -> Report {
        let run = self.simulation.clone();
        let report = run.run(|process| process.connect(self.function(Sqs, book_new, process)));
        self.check_rejected(report)
    }

    /// The same, with the queue seen through another source.
    pub(crate) fn with_transaction_from<So>(
        &self,
        source: impl Fn() -> So,
        connect: impl Fn(&Process, Function<So>) -> Function<So>,
    ) -> Report
    where
        So: Source<Event = <Sqs as Source>::Event, Response = <Sqs as Source>::Response>,
    {
        let report = self.run_transactions_from(source, connect);
        let rows: Vec<String> = report.store().writes().iter().map(row_of).collect();
        let events: Vec<(String, usize)> = self
            .orders
            .iter()
            .map(|(id, _)| (id.clone(), report.events_caused_by(id)))
            .collect();
        self.check_booked(report, |id| {
            let rows = rows.iter().filter(|row| row.starts_with(&format!("{id}/")));
            let events = events.iter().find(|(event_id, _)| event_id == id);
            (rows.count(), events.map_or(0, |(_, count)| *count))
        })
    }

    /// Makes the same run without checking the outcome.
    pub(crate) fn run_transactions(
        &self,
        connect: impl Fn(&Process, Function<Sqs>) -> Function<Sqs>,
    ) -> Report {
        self.run_transactions_from(|| Sqs, connect)
    }

    /// Runs the transactions, and the function that publishes their events.
    pub(crate) fn with_relay<So>(
        &self,
        source: impl Fn() -> So,
        outbox: impl Fn(&Process) -> Outbox,
    ) -> Report
    where
        So: Source<Event = StreamEvent, Response = <OutboxStream as Source>::Response>,
    {
        self.run_transactions(Process::connect).relay(|process| {
            Function::new(source(), publish, outbox(process)).clock(process.clock())
        })
    }

    fn run_transactions_from<So>(
        &self,
        source: impl Fn() -> So,
        connect: impl Fn(&Process, Function<So>) -> Function<So>,
    ) -> Report
    where
        So: Source<Event = <Sqs as Source>::Event, Response = <Sqs as Source>::Response>,
    {
        let run = self.simulation.clone();
        run.run(|process| connect(process, self.function(source(), book, process)))
    }

    fn function<So, H, Args>(&self, source: So, handler: H, process: &Process) -> Function<So>
    where
        So: Source,
        H: Handler<Args, Process> + Signature<Args>,
        Args: 'static,
    {
        Function::new(source, handler, process.clone())
            .max_attempts(self.max_attempts)
            .on_park(self.on_park)
    }

    /// Checks that all rows and events of an order are there, once, or none of them.
    pub(crate) fn check_booked(
        &self,
        mut report: Report,
        found: impl Fn(&str) -> (usize, usize),
    ) -> Report {
        for (id, order) in &self.orders {
            let expected = if report.is_done(id) {
                (order.rows, order.events)
            } else {
                (0, 0)
            };
            let found = found(id);
            report.expect(
                found == expected,
                format!("{id} has {found:?} rows and events, but {expected:?} were expected"),
            );
        }
        self.check_rejected(report)
    }

    fn check_rejected(&self, mut report: Report) -> Report {
        for (id, order) in &self.orders {
            let is_done = report.is_done(id);
            report.expect(
                is_done != order.is_rejected,
                format!("{id} is done: {is_done}, rejected: {}", order.is_rejected),
            );
        }
        report
    }
}

/// `e-1/0` of a put of that row.
fn row_of(write: &aws_sdk_dynamodb::types::TransactWriteItem) -> String {
    let id = write.put().and_then(|put| put.item().get("id"));
    id.and_then(|id| id.as_s().ok())
        .cloned()
        .unwrap_or_default()
}

/// The beginning of every handler.
async fn try_to_work(process: &Process, order: &OrderPlaced) -> Result<()> {
    process.work(Duration::from_millis(500)).await;
    if order.is_rejected {
        return Err(Error::rejected("this customer does not pay"));
    }
    if process.fails(0.05) {
        process.note("the handler fails");
        return Err(Error::transient("the ledger is locked"));
    }
    if process.fails(0.02) {
        process.note("the handler panics");
        std::panic::resume_unwind(Box::new("a bug"));
    }
    if process.fails(0.05) {
        process.note("the handler takes long");
        process.work(Duration::from_secs(60)).await;
    }
    Ok(())
}

async fn notify(
    order: Envelope<OrderPlaced>,
    key: IdempotencyKey,
    State(process): State<Process>,
) -> Result<()> {
    try_to_work(&process, &order.data).await?;
    process.effect(&key);
    Ok(())
}

/// Reads before it books, and mistakes its own earlier success for another attempt's.
async fn book_new(
    order: Envelope<OrderPlaced>,
    metadata: Metadata,
    State(process): State<Process>,
    tx: Transaction,
) -> Result<()> {
    let row = format!("{}/0", metadata.id);
    if process
        .memory()
        .writes()
        .iter()
        .any(|write| row_of(write) == row)
    {
        return Err(Error::rejected("the order is booked already"));
    }
    book(order, metadata, State(process), tx).await
}

async fn book(
    order: Envelope<OrderPlaced>,
    metadata: Metadata,
    State(process): State<Process>,
    tx: Transaction,
) -> Result<()> {
    for row in 0..order.data.rows {
        tx.put_item("ledger", &json!({ "id": format!("{}/{row}", metadata.id) }));
    }
    try_to_work(&process, &order.data).await?;
    for number in 0..order.data.events {
        // The second one is of another partition key, which it shares with other commits.
        let customer = match number {
            0 => order.data.customer.clone(),
            _ => "customer-0".to_owned(),
        };
        tx.publish(&Booked { customer, number });
    }
    Ok(())
}

async fn publish(change: Change, State(outbox): State<Outbox>) -> Result<()> {
    if let Some(item) = &change.new_image {
        outbox.publish_item(item).await?;
    }
    Ok(())
}
