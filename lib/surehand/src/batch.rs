//! Concurrency and order inside a batch, and what becomes of each record.

use crate::{
    Deadline, Delivery, Error, ErrorKind, Metrics, OnMalformed, OnPark, Record, Reply, Result,
    companion::{Companion, Ending},
    dead_letter::{DeadLetters, FailureNote},
    error::Disposition,
    handler::HandlerTraits,
    layers::without_panic,
    record::{Batch, Outcome},
    redelivery::{Backoff, Redelivery},
    telemetry::{self, Attempt},
    trace,
};
use futures_util::{StreamExt, stream};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tracing::{Instrument, Span};

/// What handles one record: the handler with all its layers.
pub(crate) type RecordService = BoxCloneSyncService<Record, Reply, Error>;

/// Has a record handled: in a batch, and in a rehearsal.
pub(crate) async fn attempt_at(
    record: &Record,
    service: &RecordService,
    companion: Companion,
) -> Result<Reply> {
    let record = record.with_companion(companion);
    service.clone().oneshot(record).await
}

/// How a function treats its batches.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) traits: Arc<dyn Fn(&Record) -> HandlerTraits + Send + Sync>,
    pub(crate) concurrency: usize,
    pub(crate) on_park: OnPark,
    pub(crate) on_malformed: OnMalformed,
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) redelivery: Option<Arc<dyn Redelivery>>,
    pub(crate) clock: crate::Clock,
    /// How long leases last beyond their invocation.
    pub(crate) skew: Duration,
}

/// Handles a batch. Every record has an outcome when it returns, in the batch's order, and it
/// returns before the deadline's last call, whatever the handlers do.
pub(crate) async fn run(
    service: &RecordService,
    batch: Batch,
    deadline: &Deadline,
    policy: &Policy,
    metrics: &Metrics,
) -> Vec<Outcome> {
    let started = tokio::time::Instant::now();
    if let Some(collector) = metrics.collector() {
        collector.batch(batch.records.len());
    }
    let run = Run {
        service,
        deadline,
        policy,
        metrics,
        places: Mutex::new(batch.records.iter().map(|_| Place::Waits).collect()),
    };
    if tokio::time::timeout_at(deadline.last_call(), run.all(lanes(&batch.records)))
        .await
        .is_err()
    {
        deadline.cancel();
    }
    let places = run
        .places
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    // Whatever has no verdict was stopped in the middle, and its lease lasts as long as the
    // invocation might have.
    let rest = deadline
        .ends_at()
        .duration_since(policy.clock.now())
        .unwrap_or_default();
    let cut_off = |record: &Record, span: Span, was_called: bool| {
        let error = Deadline::error();
        // It still holds in the millisecond in which it ends.
        let lease = rest.saturating_add(policy.skew) + Duration::from_millis(1);
        let receives = record.delivery().receive_count.max(1);
        let delay = match was_called {
            true => lease,
            false => lease.max(Backoff::uncounted().delay(receives)),
        };
        span.in_scope(|| {
            trace::failed(error.kind());
            Attempt::cut_off(record, metrics, started).retried(&error, delay);
        });
        Verdict::Retry { error, delay }
    };
    let verdicts: Vec<Verdict> = batch
        .records
        .iter()
        .zip(places)
        .map(|(record, place)| match place {
            Place::Settled(verdict) => verdict,
            Place::Runs(span, ending) => cut_off(record, span, ending.was_called()),
            Place::Waits => {
                let span = record_span(record, (policy.traits)(record));
                cut_off(record, span, false)
            }
        })
        .collect();
    delay_failures(&batch.records, &verdicts, deadline, policy).await;
    let outcomes = batch.records.iter().zip(verdicts);
    outcomes
        .map(|(record, verdict)| Outcome {
            id: record.id().to_owned(),
            result: match verdict {
                Verdict::Done(reply) => Ok(reply),
                Verdict::Parked { .. } | Verdict::Discarded { .. } => Ok(Reply::none()),
                Verdict::Retry { error, .. } => Err(error),
            },
        })
        .collect()
}

/// What becomes of a record.
enum Verdict {
    Done(Reply),
    /// The dead-letter destination has it.
    Parked {
        error: Error,
    },
    /// Nobody wants it.
    Discarded {
        error: Error,
    },
    Retry {
        error: Error,
        delay: Duration,
    },
}

/// What came of a record's turn.
enum Handled {
    Settled(Verdict),
    /// Its attempts began and did not all end: its turn comes later.
    Suspected {
        deaths: u32,
    },
}

/// The one with the fewest attempts that never ended, and of those the first in the batch.
fn take_least_suspected<'a>(suspected: &mut Vec<Suspected<'a>>) -> Option<Suspected<'a>> {
    let place = |it: &Suspected<'_>| it.lane.rest.front().map(|(index, _)| *index);
    let least = (0..suspected.len())
        .min_by_key(|&index| (suspected[index].deaths, place(&suspected[index])))?;
    Some(suspected.swap_remove(least))
}

/// How far a record of the batch is.
enum Place {
    Waits,
    /// Its span and its end, which must be told too if it is cut off.
    Runs(Span, Ending),
    Settled(Verdict),
}

fn record_span(record: &Record, handler: HandlerTraits) -> Span {
    let span = telemetry::record_span(record, handler.name);
    trace::record(&span, record);
    span
}

struct Run<'a> {
    service: &'a RecordService,
    deadline: &'a Deadline,
    policy: &'a Policy,
    metrics: &'a Metrics,
    places: Mutex<Vec<Place>>,
}

/// A record and its index in the batch.
type Indexed<'a> = (usize, &'a Record);

/// Records that are handled one after the other.
#[derive(Default)]
struct Lane<'a> {
    /// Those that are still to come.
    rest: VecDeque<Indexed<'a>>,
    halted: Option<Halt>,
}

/// A lane whose first record is a suspect.
struct Suspected<'a> {
    /// How many attempts at the record never ended.
    deaths: u32,
    lane: Lane<'a>,
    span: Span,
}

/// The batch's lanes, by their first records. A record without a lane is one of its own.
fn lanes(records: &[Record]) -> Vec<Lane<'_>> {
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for place in records.iter().enumerate() {
        let next = lanes.len();
        let lane = match place.1.lane() {
            Some(name) => *by_name.entry(name).or_insert(next),
            None => next,
        };
        if lane == next {
            lanes.push(Lane::default());
        }
        lanes[lane].rest.push_back(place);
    }
    lanes
}

impl Run<'_> {
    /// Handles all lanes, side by side, and then the suspects, each alone: those with the fewest attempts that never
    /// ended first, since what kills the process is among those with the most. What is behind a suspect in its
    /// lane follows it.
    async fn all(&self, lanes: Vec<Lane<'_>>) {
        let has_neighbours = lanes.len() > 1;
        let found = Mutex::new(Vec::new());
        let lanes = stream::iter(lanes);
        let first = lanes.for_each_concurrent(self.policy.concurrency.max(1), |lane| async {
            let suspected = self.lane(lane, None, has_neighbours).await;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(suspected);
        });
        first.await;
        let mut suspected = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        while let Some(next) = take_least_suspected(&mut suspected) {
            let again = self.lane(next.lane, Some(next.span), !suspected.is_empty());
            suspected.extend(again.await);
        }
    }

    /// Handles a lane's records one after the other, until one must come back: what follows it must
    /// not overtake it. With the span of its first record that one is a suspect, whose turn is now. Another one's
    /// turn comes after all that has neighbours.
    async fn lane<'a>(
        &self,
        mut lane: Lane<'a>,
        mut suspect: Option<Span>,
        has_neighbours: bool,
    ) -> Option<Suspected<'a>> {
        while let Some((index, record)) = lane.rest.pop_front() {
            let handler = (self.policy.traits)(record);
            let is_alone = !has_neighbours || suspect.is_some();
            let span = suspect
                .take()
                .unwrap_or_else(|| record_span(record, handler));
            let ending = Ending::default();
            self.is_at(index, Place::Runs(span.clone(), ending.clone()));
            let handled = self.handle(record, handler, lane.halted.as_ref(), !is_alone, ending);
            let verdict = match handled.instrument(span.clone()).await {
                Handled::Settled(verdict) => verdict,
                Handled::Suspected { deaths } => {
                    self.is_at(index, Place::Waits);
                    lane.rest.push_front((index, record));
                    return Some(Suspected { deaths, lane, span });
                }
            };
            if lane.halted.is_none() {
                lane.halted = self.halts(record, &verdict);
            }
            self.is_at(index, Place::Settled(verdict));
        }
        None
    }

    fn is_at(&self, index: usize, place: Place) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)[index] = place;
    }

    async fn handle(
        &self,
        record: &Record,
        handler: HandlerTraits,
        halted: Option<&Halt>,
        has_neighbours: bool,
        ending: Ending,
    ) -> Handled {
        let attempt = Attempt::start(record, self.metrics, self.policy.clock.now());
        let result = match halted {
            Some(halt) => Err(halt.error()),
            None if self.deadline.is_over() => Err(Deadline::not_started()),
            None => {
                let companion = Companion {
                    limit: self.limit(record),
                    retries_malformed: self.policy.on_malformed == OnMalformed::Retry,
                    has_neighbours,
                    ending: ending.clone(),
                    ..Companion::new(self.metrics.clone(), handler.commits)
                };
                attempt_at(record, self.service, companion).await
            }
        };
        if let Some(deaths) = ending.suspect() {
            return Handled::Suspected { deaths };
        }
        let verdict = match result {
            Ok(reply) => Verdict::Done(reply),
            Err(error) => self.settle(record, handler, error, &ending).await,
        };
        if let Verdict::Parked { error }
        | Verdict::Discarded { error }
        | Verdict::Retry { error, .. } = &verdict
        {
            trace::failed(error.kind());
        }
        match &verdict {
            Verdict::Done(reply) => attempt.handled(reply),
            Verdict::Parked { error } => attempt.parked(error),
            Verdict::Discarded { error } => attempt.discarded(error),
            Verdict::Retry { error, delay } => attempt.retried(error, *delay),
        }
        Handled::Settled(verdict)
    }

    /// Where its dead letters go, unless somebody waits for a reply, who learns of the error by it.
    fn dead_letters(&self, record: &Record) -> Option<&Arc<dyn DeadLetters>> {
        let dead_letters = self.policy.dead_letters.as_ref();
        dead_letters.filter(|_| !record.wants_reply())
    }

    fn limit(&self, record: &Record) -> Option<u32> {
        self.dead_letters(record).map(|_| self.policy.max_attempts)
    }

    /// Parks a record that failed, or has it come back.
    async fn settle(
        &self,
        record: &Record,
        handler: HandlerTraits,
        error: Error,
        ending: &Ending,
    ) -> Verdict {
        let receives = record.delivery().receive_count.max(1);
        let attempt = ending.attempt(receives);
        let counted = attempt.filter(|_| error.counts());
        let delay = error.delay().unwrap_or_else(|| match counted {
            Some(attempt) => self.policy.backoff.delay(attempt),
            None => Backoff::uncounted().delay(receives),
        });
        let delay = delay.max(error.least_delay());
        let is_malformed = error.kind() == ErrorKind::Malformed;
        if is_malformed && self.policy.on_malformed == OnMalformed::Discard && !record.wants_reply()
        {
            return Verdict::Discarded { error };
        }
        let Some(dead_letters) = self.dead_letters(record) else {
            return Verdict::Retry { error, delay };
        };
        let is_last = counted.is_some_and(|attempt| attempt >= self.policy.max_attempts);
        let comes_back = match error.disposition() {
            Disposition::Retry => true,
            // Where nobody counts, it would come back for ever.
            Disposition::Park => {
                is_malformed
                    && self.policy.on_malformed == OnMalformed::Retry
                    && ending.is_counted(record.delivery().receive_count)
            }
        };
        if comes_back && !is_last {
            return Verdict::Retry { error, delay };
        }
        let now = self.policy.clock.now();
        let attempts = attempt.unwrap_or(receives);
        let note = FailureNote::new(record, &error, handler.name, attempts, now);
        let park = || dead_letters.park(record, &note);
        match without_panic("the dead-letter destination", park).await {
            Ok(()) => {
                if let Some(settle) = ending.parked() {
                    let settled = || async move {
                        settle.await;
                        Ok(())
                    };
                    // The dead letter is where it belongs, whatever becomes of the claim.
                    let _ = without_panic("the store", settled).await;
                }
                Verdict::Parked { error }
            }
            Err(refused) => {
                Attempt::not_parked(&refused);
                Verdict::Retry { error, delay }
            }
        }
    }

    fn halts(&self, record: &Record, verdict: &Verdict) -> Option<Halt> {
        match verdict {
            Verdict::Done(_) | Verdict::Discarded { .. } => None,
            Verdict::Parked { .. } if self.policy.on_park == OnPark::Proceed => None,
            Verdict::Parked { .. } => Some(Halt {
                by: record.id().to_owned(),
                delay: Duration::ZERO,
            }),
            Verdict::Retry { delay, .. } => Some(Halt {
                by: record.id().to_owned(),
                delay: *delay,
            }),
        }
    }
}

/// Why the rest of a lane is not handled.
struct Halt {
    by: String,
    delay: Duration,
}

impl Halt {
    /// What follows comes back together with what it waits for.
    fn error(&self) -> Error {
        Error::new(
            ErrorKind::Skipped,
            format!("record {} of the same group was not handled", self.by),
        )
        .with_retry_after(self.delay)
    }
}

async fn delay_failures(
    records: &[Record],
    verdicts: &[Verdict],
    deadline: &Deadline,
    policy: &Policy,
) {
    let Some(redelivery) = &policy.redelivery else {
        return;
    };
    let failed: Vec<(Delivery, Duration)> = records
        .iter()
        .zip(verdicts)
        .filter_map(|(record, verdict)| match verdict {
            Verdict::Retry { delay, .. } => Some((record.delivery().clone(), *delay)),
            Verdict::Done(_) | Verdict::Parked { .. } | Verdict::Discarded { .. } => None,
        })
        .collect();
    if failed.is_empty() {
        return;
    }
    let delay = without_panic("the redelivery", || redelivery.delay(&failed));
    let result = tokio::time::timeout_at(deadline.response_due(), delay).await;
    let problem = match result {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "no answer before the response was due".into(),
    };
    tracing::warn!(error = %problem, records = failed.len(), "redelivery not delayed, the records come back by the queue's own timeout");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, layers::Around};
    use futures_util::future::BoxFuture;

    fn record(id: &str, lane: Option<&str>, deadline: &Deadline) -> Record {
        let delivery = Delivery {
            message_id: id.into(),
            receive_count: 1,
            ..Delivery::default()
        };
        let context = lambda_runtime::Context::default();
        Record::new(delivery, "{}", context, deadline.clone()).with_lane(lane.map(str::to_owned))
    }

    fn clock() -> Clock {
        Clock::virtual_from(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
    }

    fn deadline(clock: &Clock) -> Deadline {
        Deadline::new(clock.now() + Duration::from_secs(30), clock)
    }

    fn policy(clock: &Clock) -> Policy {
        Policy {
            traits: Arc::new(|_| HandlerTraits::of::<Policy>(false)),
            concurrency: 10,
            on_park: OnPark::default(),
            on_malformed: OnMalformed::default(),
            max_attempts: 5,
            backoff: Backoff::default(),
            dead_letters: None,
            redelivery: None,
            clock: clock.clone(),
            skew: Duration::ZERO,
        }
    }

    /// A record is handled as its id says.
    fn handler() -> RecordService {
        let ready = tower::service_fn(|_: Record| async { Ok::<_, Error>(Reply::none()) });
        RecordService::new(Around::new(ready, |_, record: Record| async move {
            match record.id().split('-').next() {
                Some("fails") => Err(Error::transient("busy")),
                Some("never") => Err(Error::rejected("no such order")),
                Some("hangs") => std::future::pending().await,
                _ => Ok(Reply::none()),
            }
        }))
    }

    async fn outcomes(
        ids: &[(&str, Option<&str>)],
        change: impl FnOnce(&mut Policy),
    ) -> Vec<String> {
        let clock = clock();
        let (deadline, mut policy) = (deadline(&clock), policy(&clock));
        change(&mut policy);
        let records = ids.iter().map(|(id, lane)| record(id, *lane, &deadline));
        let batch = Batch {
            records: records.collect(),
        };
        let metrics = Metrics::default();
        let outcomes = run(&handler(), batch, &deadline, &policy, &metrics).await;
        let kind = |outcome: &Outcome| match &outcome.result {
            Ok(_) => format!("{} ok", outcome.id),
            Err(error) => format!("{} {}", outcome.id, error.kind()),
        };
        outcomes.iter().map(kind).collect()
    }

    #[test]
    fn a_record_without_a_lane_is_one_of_its_own() {
        let deadline = deadline(&Clock::system());
        let records = [("a", Some("x")), ("b", None), ("c", Some("x")), ("d", None)];
        let records = records.map(|(id, lane)| record(id, lane, &deadline));
        let lanes = lanes(&records);
        let ids = |lane: &Lane<'_>| lane.rest.iter().map(|(_, it)| it.id().to_owned()).collect();
        let ids: Vec<Vec<String>> = lanes.iter().map(ids).collect();
        assert_eq!(ids, [vec!["a", "c"], vec!["b"], vec!["d"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_a_lane_follows_a_record_that_must_come_back() {
        let batch = [
            ("fails-1", Some("x")),
            ("good-2", Some("x")),
            ("good-3", Some("y")),
            ("good-4", None),
        ];
        assert_eq!(
            outcomes(&batch, |_| {}).await,
            [
                "fails-1 transient",
                "good-2 skipped",
                "good-3 ok",
                "good-4 ok"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_record_has_an_outcome_in_time() {
        let batch = [
            ("hangs-1", Some("x")),
            ("good-2", Some("x")),
            ("good-3", None),
        ];
        assert_eq!(
            outcomes(&batch, |_| {}).await,
            ["hangs-1 deadline", "good-2 deadline", "good-3 ok"]
        );
    }

    struct Panicking;

    impl DeadLetters for Panicking {
        fn park<'a>(&'a self, record: &'a Record, _: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
            // One of them before there is a future, one in it.
            assert!(!record.id().ends_with('1'), "no destination");
            Box::pin(async { panic!("no destination") })
        }
    }

    impl Redelivery for Panicking {
        fn delay<'a>(&'a self, _: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>> {
            panic!("no delay")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_destination_is_a_park_that_was_refused() {
        let batch = [("never-1", None), ("never-2", None), ("good-3", None)];
        let outcomes = outcomes(&batch, |policy| {
            policy.dead_letters = Some(Arc::new(Panicking));
            policy.redelivery = Some(Arc::new(Panicking));
        });
        assert_eq!(
            outcomes.await,
            ["never-1 rejected", "never-2 rejected", "good-3 ok"]
        );
    }

    struct Destination {
        refuses: bool,
    }

    impl DeadLetters for Destination {
        fn park<'a>(&'a self, _: &'a Record, _: &'a FailureNote) -> BoxFuture<'a, Result<()>> {
            let refuses = self.refuses;
            Box::pin(async move {
                match refuses {
                    true => Err(Error::transient("the queue refused")),
                    false => Ok(()),
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_parked_is_done_only_once_its_destination_has_it() {
        let batch = [("never-1", Some("x")), ("good-2", Some("x"))];
        for (refuses, on_park, expected) in [
            (false, OnPark::Proceed, ["never-1 ok", "good-2 ok"]),
            (false, OnPark::Halt, ["never-1 ok", "good-2 skipped"]),
            (
                true,
                OnPark::Proceed,
                ["never-1 rejected", "good-2 skipped"],
            ),
        ] {
            let outcomes = outcomes(&batch, |policy| {
                policy.on_park = on_park;
                policy.dead_letters = Some(Arc::new(Destination { refuses }));
            });
            assert_eq!(outcomes.await, expected, "{refuses} {on_park:?}");
        }
    }
}
