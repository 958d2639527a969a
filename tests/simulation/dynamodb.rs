//! The same over a DynamoDB.
//!
//! It is a server in this process, on a thread of its own and in real time. A call blocks the
//! simulation's thread until it is answered, so that no virtual time passes in it and nothing else
//! happens meanwhile: the runs stay what their seeds make them. Latency and faults are before the
//! store, as they are before the one in memory.

use super::shop::Scenario;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use std::{
    sync::mpsc,
    time::{Duration, SystemTime},
};
use surehand::{
    DynamoDbStore, IdempotencyKey, Result,
    idempotency::{
        AttemptFailure, AttemptStart, Begun, Claim, ClaimRequest, Commit, CommitStore, Commits,
        Committed, Lease, Store,
    },
    testing::simulation::{self, Simulation},
    transaction::Item,
};
use surehand_test_support::dynamodb;
use tokio::runtime::Handle;

const RUNS: u64 = 150;
const TABLE: &str = "idempotency";

/// The runtime in which real time passes.
fn real_time() -> Handle {
    let (handle, handles) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        drop(handle.send(runtime.handle().clone()));
        runtime.block_on(std::future::pending::<()>());
    });
    handles.recv().expect("the runtime runs")
}

/// Waits without letting virtual time pass.
fn wait<T: Send + 'static>(handle: &Handle, future: impl Future<Output = T> + Send + 'static) -> T {
    let (answer, answers) = mpsc::channel();
    handle.spawn(async move { answer.send(future.await) });
    answers
        .recv_timeout(Duration::from_secs(30))
        .expect("the embedded DynamoDB answers")
}

#[derive(Clone)]
struct Blocking {
    store: DynamoDbStore,
    handle: Handle,
}

impl Store for Blocking {
    const COMMITS: Commits<Self> = Commits::with_claims();

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let (store, request) = (self.store.clone(), request.clone());
        wait(&self.handle, async move { store.claim(&request).await })
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        let (store, lease, data) = (self.store.clone(), lease.clone(), data.map(str::to_owned));
        wait(&self.handle, async move {
            store.complete(&lease, data.as_deref(), expires_at).await
        })
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        let (store, lease, error) = (self.store.clone(), lease.clone(), error.to_owned());
        wait(&self.handle, async move {
            store.release(&lease, counts, &error).await
        })
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        let (store, lease, error) = (self.store.clone(), lease.clone(), error.to_owned());
        wait(
            &self.handle,
            async move { store.abandon(&lease, &error).await },
        )
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        let (store, key) = (self.store.clone(), key.clone());
        wait(&self.handle, async move { store.find(&key).await })
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Begun> {
        let (store, attempt) = (self.store.clone(), attempt.clone());
        wait(&self.handle, async move { store.begin(&attempt).await })
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        let (store, failure) = (self.store.clone(), failure.clone());
        wait(&self.handle, async move { store.failed(&failure).await })
    }
}

impl CommitStore for Blocking {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        let store = self.store.clone();
        let (key, fingerprint) = (commit.key.clone(), commit.fingerprint.to_owned());
        let (owner, data) = (commit.owner.to_owned(), commit.data.map(str::to_owned));
        let (now, expires_at) = (commit.now, commit.expires_at);
        let (writes, events) = (commit.writes.to_vec(), commit.events.to_vec());
        wait(&self.handle, async move {
            let commit = Commit::new(&key, &fingerprint, &owner, now, expires_at);
            let mut commit = commit.with_data(data.as_deref());
            (commit.writes, commit.events) = (&writes, &events);
            store.commit(&commit).await
        })
    }
}

/// A run's own tables.
fn tables(handle: &Handle) -> Client {
    wait(handle, async {
        let (client, _) = dynamodb::embedded().await;
        dynamodb::make_idempotency_table(&client, TABLE).await;
        dynamodb::make_idempotency_table(&client, "ledger").await;
        client
    })
}

fn items(handle: &Handle, client: &Client, table: &'static str) -> Vec<Item> {
    let client = client.clone();
    let scanned = wait(handle, async move {
        client.scan().table_name(table).send().await
    });
    scanned
        .expect("the table is there")
        .items
        .unwrap_or_default()
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .map_or("", String::as_str)
}

/// The bodies of the events that wait in an item.
fn outbox(item: &Item) -> impl Iterator<Item = &str> {
    let events = item.get("outbox").and_then(|value| value.as_l().ok());
    let bodies = events.into_iter().flatten();
    bodies.filter_map(|event: &AttributeValue| Some(text(event.as_m().ok()?, "body")))
}

#[test]
fn leases_keep_their_promises_in_dynamodb() {
    let handle = real_time();
    let summary = simulation::check(0..RUNS, |simulation: Simulation| {
        let client = tables(&handle);
        Scenario::new(simulation).with_lease(|process, function| {
            let store = DynamoDbStore::new(client.clone(), TABLE).with_clock(process.clock());
            let handle = handle.clone();
            process.connect_to(process.over(Blocking { store, handle }), function)
        })
    });
    println!("leases in DynamoDB: {summary:?}");
}

#[test]
fn transactions_keep_their_promises_in_dynamodb() {
    let handle = real_time();
    let summary = simulation::check(0..RUNS, |simulation: Simulation| {
        let client = tables(&handle);
        let scenario = Scenario::new(simulation);
        let report = scenario.run_transactions(|process, function| {
            let store = DynamoDbStore::new(client.clone(), TABLE).with_clock(process.clock());
            let handle = handle.clone();
            process.connect_to(process.over(Blocking { store, handle }), function)
        });
        let rows = items(&handle, &client, "ledger");
        let claims = items(&handle, &client, TABLE);
        scenario.check_booked(report, |id| {
            let of_order = |row: &&Item| text(row, "id").starts_with(&format!("{id}/"));
            let cause = format!("\"causationid\":\"{id}\"");
            let events = claims.iter().flat_map(outbox);
            (
                rows.iter().filter(of_order).count(),
                events.filter(|body| body.contains(&cause)).count(),
            )
        })
    });
    println!("transactions in DynamoDB: {summary:?}");
}
