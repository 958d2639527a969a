//! Functions that break one rule each, at a seam. The simulation must see each of them, within as
//! many seeds as the runs have.

use super::shop::Scenario;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use surehand::{
    Change, Clock, Deadline, DynamoDbStream, Function, IdempotencyKey, MemoryStore, Publisher,
    Record, Result, Sqs,
    dead_letter::{DeadLetters, FailureNote},
    envelope::Outgoing,
    extract::FromRecord,
    idempotency::{
        AttemptFailure, AttemptStart, Begun, Claim, ClaimRequest, Commit, CommitStore, Commits,
        Committed, Lease, Store,
    },
    outbox::OutboxStream,
    publish::{PublishError, Transport},
    record::{Batch, Outcome},
    source::Source,
    testing::simulation::{
        self, Process, Report, SimulatedDeadLetters, SimulatedStore, SimulatedTransport, Simulation,
    },
};

const SEEDS: u64 = super::runs::RUNS;

/// Counts how often a mutation made a difference.
#[derive(Clone, Debug, Default)]
struct Exercised(Arc<AtomicUsize>);

impl Exercised {
    fn mark(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Checks that the mutated function breaks a promise whose violation contains `part`, and that
/// without the mutation the same seed does not.
fn caught(
    name: &str,
    part: &str,
    exercised: &Exercised,
    run: impl Fn(Simulation, bool) -> Report + Sync,
) {
    let (summary, wrong) = simulation::search(0..SEEDS, |simulation| run(simulation, true));
    let times = exercised.0.load(Ordering::Relaxed);
    assert!(times > 0, "{name} was never exercised");
    let report = wrong.unwrap_or_else(|| panic!("{name} is not caught in {SEEDS} seeds"));
    let violations = report.violations().join("; ");
    assert!(
        report.violations().iter().any(|v| v.contains(part)),
        "{name} breaks another promise: {report}"
    );
    println!(
        "{name}: caught with seed {}, after {} runs, exercised {times} times: {violations}",
        report.seed(),
        summary.runs
    );
    run(Simulation::new(report.seed()), false).assert();
}

/// A store that breaks a rule, over one that keeps it.
#[derive(Clone)]
struct Mutant<St> {
    inner: St,
    mutation: Mutation,
    process: Process,
    exercised: Exercised,
    /// The owner of each key.
    owners: Arc<Mutex<Vec<(IdempotencyKey, String)>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mutation {
    DropTheFence,
    AckBeforeCommit,
    EmitOutsideTheTransaction,
    LeaseWithoutExpiry,
    ReuseAToken,
    ForgetTheUnknown,
    SettleByAPark,
}

impl<St: CommitStore> Mutant<St> {
    fn is(&self, mutation: Mutation) -> bool {
        let is = self.mutation == mutation;
        if is {
            self.exercised.mark();
        }
        is
    }

    /// Returns the lease of the key's current owner.
    fn unfenced(&self, lease: &Lease) -> Lease {
        let owners = self.owners.lock().expect("no panic while it is locked");
        let last = owners.iter().rev().find(|(key, _)| *key == lease.key);
        let mut unfenced = lease.clone();
        if self.mutation == Mutation::DropTheFence
            && let Some((_, owner)) = last
            && *owner != lease.owner
        {
            self.exercised.mark();
            unfenced.owner = owner.clone();
        }
        unfenced
    }
}

impl<St: CommitStore> Store for Mutant<St> {
    const COMMITS: Commits<Self> = Commits::with_claims();

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let mut request = request.clone();
        if self.is(Mutation::LeaseWithoutExpiry) {
            request.until += Duration::from_secs(365 * 24 * 60 * 60);
        }
        if self.is(Mutation::ReuseAToken) {
            request.owner = "the owner".into();
        }
        if request.settled.is_some() && self.is(Mutation::ForgetTheUnknown) {
            request.settled = None;
        }
        let claim = self.inner.claim(&request).await?;
        let is_parked = request.settled.is_some() && matches!(claim, Claim::Suspect(_));
        if is_parked && self.is(Mutation::SettleByAPark) {
            request.settled = None;
            if let Claim::Acquired(lease) = self.inner.claim(&request).await? {
                self.inner.release(&lease, false, "parked").await?;
            }
        }
        if let Claim::Acquired(lease) = &claim {
            let mut owners = self.owners.lock().expect("no panic while it is locked");
            owners.push((lease.key.clone(), lease.owner.clone()));
        }
        Ok(claim)
    }

    async fn complete(
        &self,
        lease: &Lease,
        data: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<()> {
        if self.is(Mutation::AckBeforeCommit) {
            let (inner, lease) = (self.inner.clone(), lease.clone());
            self.process.spawn(async move {
                drop(inner.complete(&lease, None, expires_at).await);
            });
            return Ok(());
        }
        let lease = self.unfenced(lease);
        self.inner.complete(&lease, data, expires_at).await
    }

    async fn release(&self, lease: &Lease, counts: bool, error: &str) -> Result<()> {
        let lease = self.unfenced(lease);
        self.inner.release(&lease, counts, error).await
    }

    async fn abandon(&self, lease: &Lease, error: &str) -> Result<()> {
        let lease = self.unfenced(lease);
        if self.is(Mutation::SettleByAPark) {
            return self.inner.release(&lease, true, error).await;
        }
        self.inner.abandon(&lease, error).await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Claim>> {
        self.inner.find(key).await
    }

    async fn begin(&self, attempt: &AttemptStart) -> Result<Begun> {
        self.inner.begin(attempt).await
    }

    async fn failed(&self, failure: &AttemptFailure) -> Result<Begun> {
        self.inner.failed(failure).await
    }
}

impl<St: CommitStore> CommitStore for Mutant<St> {
    async fn commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        let mut commit = commit.clone();
        if self.is(Mutation::AckBeforeCommit) {
            let inner = self.inner.clone();
            let (key, fingerprint) = (commit.key.clone(), commit.fingerprint.to_owned());
            let owner = commit.owner.to_owned();
            let (now, expires_at) = (commit.now, commit.expires_at);
            let (writes, events) = (commit.writes.to_vec(), commit.events.to_vec());
            self.process.spawn(async move {
                let mut commit = Commit::new(&key, &fingerprint, &owner, now, expires_at);
                (commit.writes, commit.events) = (&writes, &events);
                drop(inner.commit(&commit).await);
            });
            return Ok(Committed::Done);
        }
        if self.is(Mutation::ReuseAToken) {
            commit.owner = "the owner";
        }
        if self.is(Mutation::EmitOutsideTheTransaction) {
            let events = std::mem::take(&mut commit.events);
            let committed = self.inner.commit(&commit).await?;
            if committed == Committed::Done && !events.is_empty() {
                let key = IdempotencyKey::new(format!("emitted#{}", commit.key));
                let owner = format!("emitter of {}", commit.owner);
                let (now, expires_at) = (commit.now, commit.expires_at);
                let mut emit = Commit::new(&key, "", &owner, now, expires_at);
                emit.events = events;
                self.inner.commit(&emit).await?;
            }
            return Ok(committed);
        }
        self.inner.commit(&commit).await
    }
}

/// A mutated store over the network.
fn over_the_network(
    mutation: Mutation,
    process: &Process,
    exercised: &Exercised,
) -> Mutant<SimulatedStore<MemoryStore>> {
    Mutant {
        inner: process.store(),
        mutation,
        process: process.clone(),
        exercised: exercised.clone(),
        owners: Arc::default(),
    }
}

fn store_mutation(name: &str, part: &str, mutation: Mutation, is_lease: bool) {
    let exercised = Exercised::default();
    caught(name, part, &exercised, |simulation, is_mutated| {
        let scenario = Scenario::new(simulation);
        let connect = |process: &Process, function: Function<Sqs>| {
            if !is_mutated {
                return process.connect(function);
            }
            let store = over_the_network(mutation, process, &exercised);
            process.connect_to(store, function)
        };
        if is_lease {
            scenario.with_lease(connect)
        } else {
            scenario.with_transaction(connect)
        }
    });
}

/// A store without the condition on the owner: it obeys any caller.
#[test]
fn the_fence_is_dropped() {
    let exercised = Exercised::default();
    caught(
        "drop the fence",
        "a fenced owner",
        &exercised,
        |simulation, is_mutated| {
            let owners = Arc::default();
            Scenario::new(simulation).with_lease(|process, function| {
                if !is_mutated {
                    return process.connect(function);
                }
                let unfenced = Mutant {
                    inner: process.memory(),
                    mutation: Mutation::DropTheFence,
                    process: process.clone(),
                    exercised: exercised.clone(),
                    owners: Arc::clone(&owners),
                };
                process.connect_to(process.over(unfenced), function)
            })
        },
    );
}

#[test]
fn a_commit_is_acked_before_it_is_made() {
    let part = "is acked, but neither done nor parked";
    store_mutation("ack before commit", part, Mutation::AckBeforeCommit, false);
    store_mutation(
        "ack before completion",
        part,
        Mutation::AckBeforeCommit,
        true,
    );
}

#[test]
fn events_are_emitted_outside_the_transaction() {
    let part = "rows and events";
    let mutation = Mutation::EmitOutsideTheTransaction;
    store_mutation("emit outside the transaction", part, mutation, false);
}

#[test]
fn a_lease_does_not_end() {
    let part = "though nothing fails any more";
    let mutation = Mutation::LeaseWithoutExpiry;
    store_mutation("lease without expiry", part, mutation, true);
}

#[test]
fn a_token_is_reused_with_other_bytes() {
    let part = "for other bytes";
    store_mutation("reuse a token", part, Mutation::ReuseAToken, false);
    store_mutation("reuse an owner", part, Mutation::ReuseAToken, true);
}

fn parking_mutation(name: &str, mutation: Mutation) {
    let exercised = Exercised::default();
    let part = "times, and at most";
    caught(name, part, &exercised, |simulation, is_mutated| {
        let scenario = Scenario::new(simulation);
        if !is_mutated {
            return scenario.with_parking(Process::store);
        }
        scenario.with_parking(|process| over_the_network(mutation, process, &exercised))
    });
}

#[test]
fn an_end_that_is_not_known_is_taken_for_a_failure() {
    parking_mutation("forget the unknown", Mutation::ForgetTheUnknown);
}

/// The event may be in another message, which nobody has put back.
#[test]
fn a_park_settles_what_is_not_known() {
    parking_mutation("settle by a park", Mutation::SettleByAPark);
}

/// A source that does not report groups.
struct Ungrouped(Exercised);

impl Source for Ungrouped {
    type Event = <Sqs as Source>::Event;
    type Response = <Sqs as Source>::Response;

    fn split(
        &self,
        event: Self::Event,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let mut batch = Sqs.split(event, context, deadline)?;
        self.0.mark();
        let records = batch.records.into_iter();
        batch.records = records.map(|record| record.with_lane(None)).collect();
        Ok(batch)
    }

    fn join(&self, outcomes: Vec<Outcome>) -> Result<Self::Response> {
        Sqs.join(outcomes)
    }
}

#[test]
fn the_group_rule_is_skipped() {
    let exercised = Exercised::default();
    // Seen in the response, or by the effects.
    let part = "same group";
    caught(
        "skip the group rule",
        part,
        &exercised,
        |simulation, is_mutated| {
            let scenario = Scenario::new(simulation);
            if !is_mutated {
                return scenario.with_transaction(Process::connect);
            }
            scenario.with_transaction_from(|| Ungrouped(exercised.clone()), Process::connect)
        },
    );
}

/// The function never learns that time passes, so that no handler is stopped in time.
#[test]
fn the_deadline_is_ignored() {
    let exercised = Exercised::default();
    let part = "gave no response in time";
    caught(
        "ignore the deadline",
        part,
        &exercised,
        |simulation, is_mutated| {
            Scenario::new(simulation).with_transaction(|process, function| {
                let function = process.connect(function);
                if !is_mutated {
                    return function;
                }
                let (clock, exercised) = (process.clock(), exercised.clone());
                function.clock(Clock::from_fn(move || {
                    exercised.mark();
                    clock.now() - Duration::from_secs(3_600)
                }))
            })
        },
    );
}

/// A destination that confirms every record, even if it was refused.
struct Careless {
    inner: SimulatedDeadLetters,
    exercised: Exercised,
}

impl DeadLetters for Careless {
    fn park<'a>(
        &'a self,
        record: &'a Record,
        note: &'a FailureNote,
    ) -> futures_util::future::BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.inner.park(record, note).await.is_err() {
                self.exercised.mark();
            }
            Ok(())
        })
    }
}

#[test]
fn a_failed_park_is_acked() {
    let exercised = Exercised::default();
    let part = "is acked, but neither done nor parked";
    caught(
        "ack a failed park",
        part,
        &exercised,
        |simulation, is_mutated| {
            Scenario::new(simulation).with_lease(|process, function| {
                let function = process.connect(function);
                if !is_mutated {
                    return function;
                }
                function.dead_letters(Careless {
                    inner: process.dead_letters(),
                    exercised: exercised.clone(),
                })
            })
        },
    );
}

/// Treats refused events as accepted.
#[derive(Clone, Debug)]
struct Hopeful {
    inner: SimulatedTransport,
    exercised: Exercised,
}

impl Transport for Hopeful {
    fn send<'a>(
        &'a self,
        events: &'a [Outgoing],
    ) -> futures_util::future::BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            if self.inner.send(events).await.is_err() {
                self.exercised.mark();
            }
            Ok(())
        })
    }
}

#[test]
fn a_refused_event_is_taken_for_published() {
    let exercised = Exercised::default();
    let part = "which is neither published nor parked";
    caught(
        "take refused events for published",
        part,
        &exercised,
        |simulation, is_mutated| {
            Scenario::new(simulation).with_relay(
                || OutboxStream,
                |process| {
                    if !is_mutated {
                        return process.outbox();
                    }
                    process.outbox_to(Publisher::new(Hopeful {
                        inner: process.transport(),
                        exercised: exercised.clone(),
                    }))
                },
            )
        },
    );
}

#[test]
fn an_event_that_nobody_has_is_taken_for_parked() {
    let exercised = Exercised::default();
    caught(
        "take an event for parked that was not",
        "which is neither published nor parked",
        &exercised,
        |simulation, is_mutated| {
            Scenario::new(simulation).with_relay(
                || OutboxStream,
                |process| match is_mutated {
                    false => process.outbox(),
                    true => process.outbox().dead_letters(Careless {
                        inner: process.dead_letters(),
                        exercised: exercised.clone(),
                    }),
                },
            )
        },
    );
}

/// Which changes are handled in order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lanes {
    /// Those that share any partition key.
    Shared,
    /// Those with the same first partition key.
    FirstKeys,
    /// Those of one item.
    Items,
}

fn first_key(record: &Record) -> Option<String> {
    let change = Change::from_record(record, &()).ok()?;
    let image = change.new_image?;
    let event = image.get("outbox")?.as_l().ok()?.first()?;
    let body = event.as_m().ok()?.get("body")?.as_s().ok()?;
    Outgoing::from_body(body)
        .ok()?
        .metadata()
        .partition_key
        .clone()
}

/// A stream's source without one of its rules.
struct Streamed {
    lanes: Lanes,
    names_the_last: bool,
    exercised: Exercised,
}

impl Source for Streamed {
    type Event = <OutboxStream as Source>::Event;
    type Response = <OutboxStream as Source>::Response;

    fn split(
        &self,
        event: Self::Event,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        if self.lanes == Lanes::Shared {
            return OutboxStream.split(event, context, deadline);
        }
        self.exercised.mark();
        let mut batch = DynamoDbStream.split(event, context, deadline)?;
        if self.lanes == Lanes::FirstKeys {
            let records = batch.records.into_iter();
            let records = records.map(|record| match first_key(&record) {
                Some(key) => record.with_lane(Some(key)),
                None => record,
            });
            batch.records = records.collect();
        }
        Ok(batch)
    }

    fn join(&self, mut outcomes: Vec<Outcome>) -> Result<Self::Response> {
        let failures = outcomes.iter().filter(|outcome| outcome.result.is_err());
        if self.names_the_last && failures.count() > 1 {
            self.exercised.mark();
            outcomes.reverse();
        }
        OutboxStream.join(outcomes)
    }
}

fn stream_mutation(name: &str, part: &str, lanes: Lanes, names_the_last: bool) {
    let exercised = Exercised::default();
    caught(name, part, &exercised, |simulation, is_mutated| {
        let source = || Streamed {
            lanes: if is_mutated { lanes } else { Lanes::Shared },
            names_the_last: names_the_last && is_mutated,
            exercised: exercised.clone(),
        };
        Scenario::new(simulation).with_relay(source, Process::outbox)
    });
}

#[test]
fn a_checkpoint_passes_what_failed() {
    let part = "which is neither published nor parked";
    stream_mutation("name the last failure", part, Lanes::Shared, true);
}

#[test]
fn changes_of_one_partition_key_are_handled_side_by_side() {
    let part = "which was committed before it";
    stream_mutation("lanes by item", part, Lanes::Items, false);
    stream_mutation("lanes by first key", part, Lanes::FirstKeys, false);
}
