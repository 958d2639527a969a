//! Two attempts at one key, of which the first outlives its lease.

use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use surehand::{
    Clock, Direct, Error, ErrorKind, Function, Idempotency, Json, Result, State,
    idempotency::Store, testing,
};
use tokio::{sync::Notify, task::JoinHandle};

/// A claims and outlives its lease, B claims, and A ends late: A is refused, and B's result stays.
///
/// `open` opens the store with the given clock; all that it opens must share their claims. Nothing
/// here waits for time to pass: B's clock is simply ahead of A's.
pub async fn check<St: Store>(open: impl Fn(Clock) -> St) {
    for end in [End::Completes, End::Fails] {
        for successor in [Successor::StillWorks, Successor::IsDone] {
            a_late_end_changes_nothing(&open, end, successor).await;
        }
    }
}

/// How the late attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a completion.
    Completes,
    /// With a release.
    Fails,
}

/// The state of its successor by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    StillWorks,
    IsDone,
}

const TIMEOUT: Duration = Duration::from_secs(30);
const SKEW: Duration = Duration::from_secs(1);

async fn a_late_end_changes_nothing<St: Store>(
    open: &impl Fn(Clock) -> St,
    end: End,
    successor: Successor,
) {
    let what = format!("the late attempt {end:?} while its successor {successor:?}");
    let scope = format!("fencing#{end:?}#{successor:?}");
    let start = SystemTime::now();
    let later = start + TIMEOUT + SKEW * 2;
    let process = |now: SystemTime| Process::new(open(Clock::from_fn(move || now)), now, &scope);

    let a = process(start).begin(end).await;
    let b = process(later).begin(End::Completes).await;
    if successor == Successor::IsDone {
        assert_eq!(b.go_on().await.unwrap(), json!("done at last"), "{what}");
        let error = a.go_on().await.unwrap_err();
        check_late_error(&error, end, &what);
    } else {
        let error = a.go_on().await.unwrap_err();
        check_late_error(&error, end, &what);
        // B's lease is unchanged.
        let error = process(later).run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InProgress, "{what}");
        let rest = error.delay().unwrap();
        assert!(
            rest > TIMEOUT && rest <= TIMEOUT + SKEW + Duration::from_millis(1),
            "{what}: the key is held for {rest:?}"
        );
        assert_eq!(b.go_on().await.unwrap(), json!("done at last"), "{what}");
    }
    // A duplicate gets B's reply, and runs nothing.
    let reply = process(later).run().await.unwrap();
    assert_eq!(reply, json!("done at last"), "{what}");
}

fn check_late_error(error: &Error, end: End, what: &str) {
    let kind = match end {
        End::Completes => ErrorKind::Fenced,
        // The attempt failed anyway, so it does not matter that it could not release the key.
        End::Fails => ErrorKind::Transient,
    };
    assert_eq!(error.kind(), kind, "{what}");
    assert!(error.is_retryable(), "{what}");
}

/// A process that handles the only request. It shares only the store with other processes.
struct Process {
    function: Function<Direct>,
    attempt: Attempt,
    now: SystemTime,
}

#[derive(Clone)]
struct Attempt {
    end: Arc<std::sync::Mutex<Option<End>>>,
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

async fn work(State(attempt): State<Attempt>) -> Result<&'static str> {
    let end = attempt.end.lock().unwrap().take();
    let end = end.expect("only an attempt that acquires the key runs");
    attempt.begun.notify_one();
    attempt.go_on.notified().await;
    match end {
        End::Completes => Ok("done at last"),
        End::Fails => Err(Error::transient("failed at last")),
    }
}

impl Process {
    fn new<St: Store>(store: St, now: SystemTime, scope: &str) -> Self {
        let clock = Clock::from_fn(move || now);
        let once = Idempotency::new(store)
            .scope(scope)
            .key(|request: Json<Value>| request.0["key"].as_str().map(str::to_owned))
            .clock_skew(SKEW)
            .clock(clock.clone());
        let attempt = Attempt {
            end: Arc::default(),
            begun: Arc::default(),
            go_on: Arc::default(),
        };
        Self {
            function: Function::new(Direct, work, attempt.clone())
                .clock(clock)
                .idempotent(once),
            attempt,
            now,
        }
    }

    /// Handles the request until its handler has the key, and stops there.
    async fn begin(self, end: End) -> Begun {
        *self.attempt.end.lock().unwrap() = Some(end);
        let (begun, go_on) = (self.attempt.begun.clone(), self.attempt.go_on.clone());
        let mut running = tokio::spawn(self.run());
        tokio::select! {
            () = begun.notified() => Begun { go_on, running },
            result = &mut running => panic!("the attempt did not get the key: {result:?}"),
        }
    }

    async fn run(self) -> Result<Value> {
        let end = self.now + TIMEOUT;
        let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut context = testing::context();
        context.deadline = u64::try_from(since.as_millis()).unwrap();
        let request = testing::direct_event(&json!({ "key": "the only one" }));
        let reply = self.function.invoke(request, context).await?;
        Ok(serde_json::from_str(reply.get())?)
    }
}

struct Begun {
    go_on: Arc<Notify>,
    running: JoinHandle<Result<Value>>,
}

impl Begun {
    async fn go_on(self) -> Result<Value> {
        self.go_on.notify_one();
        self.running.await.unwrap()
    }
}
