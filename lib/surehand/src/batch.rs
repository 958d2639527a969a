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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
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
    let started = Instant::now();
    if let Some(collector) = metrics.collector() {
        collector.batch(batch.records.len());
    }
    let run = Run {
        records: &batch.records,
        service,
        deadline,
        policy,
        metrics,
        places: Mutex::new(batch.records.iter().map(|_| Place::Waits).collect()),
    };
    if tokio::time::timeout_at(deadline.last_call(), run.all())
        .await
        .is_err()
    {
        deadline.cancel();
    }
    run.cut_off(started);
    run.delay_failures(deadline.response_due()).await;
    let places = run
        .places
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let outcomes = batch.records.iter().zip(places);
    outcomes
        .map(|(record, place)| Outcome {
            id: record.id().to_owned(),
            result: match place {
                Place::Settled { verdict, .. } => verdict.result(),
                Place::Waits | Place::Runs(..) => Err(Deadline::not_started()),
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

impl Verdict {
    fn result(self) -> Result<Reply> {
        match self {
            Self::Done(reply) => Ok(reply),
            Self::Parked { .. } | Self::Discarded { .. } => Ok(Reply::none()),
            Self::Retry { error, .. } => Err(error),
        }
    }
}

/// What came of a record's turn.
enum Handled {
    Settled(Verdict),
    /// Its attempts began and did not all end: its turn comes later.
    Suspected {
        deaths: u32,
        error: Error,
    },
}

/// The one with the fewest attempts that never ended, and of those the first in the batch.
fn take_least_suspected<'a>(suspected: &mut Vec<Suspected<'a>>) -> Option<Suspected<'a>> {
    let least =
        (0..suspected.len()).min_by_key(|&at| (suspected[at].deaths, suspected[at].record.0))?;
    Some(suspected.swap_remove(least))
}

/// How far a record of the batch is.
enum Place {
    Waits,
    /// Its span and its end, which must be told too if it is cut off.
    Runs(Span, Ending),
    Settled {
        verdict: Verdict,
        /// Whether its source knows when it is to come back.
        is_delayed: bool,
    },
}

impl From<Verdict> for Place {
    fn from(verdict: Verdict) -> Self {
        Self::Settled {
            verdict,
            is_delayed: false,
        }
    }
}

fn record_span(record: &Record, handler: HandlerTraits) -> Span {
    let span = telemetry::record_span(record, handler.name);
    trace::record(&span, record);
    span
}

struct Run<'a> {
    records: &'a [Record],
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

/// A record whose attempts began and did not all end, and what is behind it in its lane.
struct Suspected<'a> {
    record: Indexed<'a>,
    lane: Lane<'a>,
    span: Span,
    /// How many of the attempts never ended.
    deaths: u32,
    /// Why it was not handled.
    error: Error,
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

impl<'a> Run<'a> {
    /// Handles all lanes, side by side, and then a suspect, alone.
    async fn all(&self) {
        let found = Mutex::new(Vec::new());
        let lanes = stream::iter(lanes(self.records));
        let first = lanes.for_each_concurrent(self.policy.concurrency.max(1), |lane| async {
            let suspected = self.lane(lane, None).await;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(suspected);
        });
        first.await;
        let suspected = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let can_come_back = |record: &Record| record.delivery().receipt_handle.is_some();
        match self.records.iter().all(can_come_back) {
            true => self.one_of(suspected).await,
            false => self.each_of(suspected).await,
        }
    }

    /// Handles the suspect with the fewest attempts that never ended, since what kills the process is among those with
    /// the most, and has the others come back in batches of their own. What has to come back is told so before: if
    /// the process dies, it takes nothing along but what is done, and what is behind the suspect in its lane.
    ///
    /// What was parked would be parked again then, so that no suspect is handled where another's attempts were used
    /// up.
    async fn one_of(&self, mut suspected: Vec<Suspected<'a>>) {
        let next = match self.has_parked_a_suspect() {
            true => None,
            false => take_least_suspected(&mut suspected),
        };
        let mut turns = u32::from(next.is_some())..;
        let mut give_back = async |suspected| {
            let turn = turns.next().unwrap_or(u32::MAX);
            self.give_back(suspected, turn).await;
        };
        while let Some(other) = take_least_suspected(&mut suspected) {
            give_back(other).await;
        }
        if let Some(next) = next {
            // It needs the time more than the source does.
            let until = Instant::now() + self.deadline.remaining() / 2;
            self.delay_failures(until).await;
            if let Some(behind) = self.run_alone(next).await {
                give_back(behind).await;
            }
        }
    }

    /// Handles all suspects, one after the other, where none can come back without all that is behind it, or all that
    /// was delivered with it: there it uses up nothing that is counted.
    async fn each_of(&self, mut suspected: Vec<Suspected<'a>>) {
        while let Some(next) = take_least_suspected(&mut suspected) {
            suspected.extend(self.run_alone(next).await);
        }
    }

    fn has_parked_a_suspect(&self) -> bool {
        let is_parked_suspect = |place: &Place| match place {
            Place::Settled { verdict, .. } => {
                matches!(verdict, Verdict::Parked { error } if error.kind() == ErrorKind::Interrupted)
            }
            Place::Waits | Place::Runs(..) => false,
        };
        self.places().iter().any(is_parked_suspect)
    }

    /// Handles a suspect, and what is behind it in its lane.
    async fn run_alone(&self, suspected: Suspected<'a>) -> Option<Suspected<'a>> {
        let mut lane = suspected.lane;
        lane.rest.push_front(suspected.record);
        self.lane(lane, Some(suspected.span)).await
    }

    /// Leaves a suspect, and what is behind it in its lane, to another batch: the later, the more come before it. Each
    /// may take as long as this one.
    async fn give_back(&self, suspected: Suspected<'a>, turn: u32) {
        let (index, record) = suspected.record;
        let receives = record.delivery().receive_count.max(1);
        let delay = self.deadline.length().saturating_mul(turn);
        let delay = delay.saturating_add(Backoff::uncounted().delay(receives));
        let error = suspected.error;
        suspected.span.in_scope(|| {
            trace::failed(error.kind());
            let now = self.policy.clock.now();
            Attempt::start(record, self.metrics, now).retried(&error, delay);
        });
        let mut lane = suspected.lane;
        lane.halted = Some(Halt {
            by: record.id().to_owned(),
            delay,
        });
        self.is_at(index, Verdict::Retry { error, delay }.into());
        // Nothing of it is handled, so that no other suspect is found.
        drop(self.lane(lane, None).await);
    }

    /// Handles a lane's records one after the other, until one must come back: what follows it must
    /// not overtake it. With the span of its first record that one is a suspect, whose turn is now. Another one's
    /// turn comes after all that is delivered with it.
    async fn lane(&self, mut lane: Lane<'a>, mut suspect: Option<Span>) -> Option<Suspected<'a>> {
        while let Some((index, record)) = lane.rest.pop_front() {
            let handler = (self.policy.traits)(record);
            let is_alone = self.records.len() == 1 || suspect.is_some();
            let span = suspect
                .take()
                .unwrap_or_else(|| record_span(record, handler));
            let ending = Ending::default();
            self.is_at(index, Place::Runs(span.clone(), ending.clone()));
            let handled = self.handle(record, handler, lane.halted.as_ref(), !is_alone, ending);
            let verdict = match handled.instrument(span.clone()).await {
                Handled::Settled(verdict) => verdict,
                Handled::Suspected { deaths, error } => {
                    self.is_at(index, Place::Waits);
                    return Some(Suspected {
                        record: (index, record),
                        lane,
                        span,
                        deaths,
                        error,
                    });
                }
            };
            if lane.halted.is_none() {
                lane.halted = self.halts(record, &verdict);
            }
            self.is_at(index, verdict.into());
        }
        None
    }

    fn is_at(&self, index: usize, place: Place) {
        self.places()[index] = place;
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
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
        let verdict = match (result, ending.suspect()) {
            (Ok(reply), _) => Verdict::Done(reply),
            (Err(error), Some(deaths)) => return Handled::Suspected { deaths, error },
            (Err(error), None) => self.settle(record, handler, error, &ending).await,
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

    /// Settles what has no verdict: it was stopped in the middle, or its turn never came.
    fn cut_off(&self, started: Instant) {
        let (ends_at, now) = (self.deadline.ends_at(), self.policy.clock.now());
        let rest = ends_at.duration_since(now).unwrap_or_default();
        // A lease that it may have lasts as long as the invocation might have, and still holds in the millisecond in
        // which it ends.
        let lease = rest.saturating_add(self.policy.skew) + Duration::from_millis(1);
        let mut delays: HashMap<&str, Duration> = HashMap::new();
        for (record, place) in self.records.iter().zip(self.places().iter_mut()) {
            let (span, error, was_called) = match place {
                Place::Settled { .. } => continue,
                Place::Runs(span, ending) => (span.clone(), Deadline::error(), ending.was_called()),
                Place::Waits => {
                    let span = record_span(record, (self.policy.traits)(record));
                    (span, Deadline::not_started(), false)
                }
            };
            let receives = record.delivery().receive_count.max(1);
            let own = match was_called {
                true => lease,
                false => lease.max(Backoff::uncounted().delay(receives)),
            };
            // What follows comes back together with what it waits for.
            let delay = match record.lane() {
                Some(lane) => *delays.entry(lane).or_insert(own),
                None => own,
            };
            span.in_scope(|| {
                trace::failed(error.kind());
                Attempt::cut_off(record, self.metrics, started).retried(&error, delay);
            });
            *place = Verdict::Retry { error, delay }.into();
        }
    }

    /// Tells the source when to deliver again what has failed until now.
    async fn delay_failures(&self, until: Instant) {
        let Some(redelivery) = &self.policy.redelivery else {
            return;
        };
        let mut indices = Vec::new();
        let mut failed: Vec<(Delivery, Duration)> = Vec::new();
        for (index, place) in self.places().iter().enumerate() {
            if let Place::Settled {
                verdict: Verdict::Retry { delay, .. },
                is_delayed: false,
            } = place
            {
                indices.push(index);
                failed.push((self.records[index].delivery().clone(), *delay));
            }
        }
        if failed.is_empty() {
            return;
        }
        let delay = without_panic("the redelivery", || redelivery.delay(&failed));
        let problem = match tokio::time::timeout_at(until, delay).await {
            Ok(Ok(())) => {
                let mut places = self.places();
                for index in indices {
                    if let Place::Settled { is_delayed, .. } = &mut places[index] {
                        *is_delayed = true;
                    }
                }
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer in time".into(),
        };
        tracing::warn!(error = %problem, records = failed.len(), "redelivery not delayed, the records come back by the queue's own timeout");
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
            ["hangs-1 deadline", "good-2 skipped", "good-3 ok"]
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
