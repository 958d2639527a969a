//! Lambda: processes, invocations, and the order in which they get on.

use super::{
    fault::Fault,
    process::Process,
    world::{Dead, Invocation, InvocationState, Plan, START_MS, World},
};
use crate::{
    Function, MemoryStore, Result,
    source::{QueueEvent, Source},
};
use aws_lambda_events::sqs::SqsBatchResponse;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// The longest time of a run: one that is not over by then never ends.
const LAST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest time of a run, in steps.
const MOST_POLLS: usize = 1_000_000;

/// The processes and tasks of a run.
pub(super) struct Driver<'a, So> {
    world: World,
    memory: MemoryStore,
    build: &'a mut dyn FnMut(&Process) -> Function<So>,
    timeout: Duration,
    /// How many concurrent invocations one process takes.
    per_process: usize,
    zero: Instant,
    timer: Pin<Box<Sleep>>,
    processes: Vec<Simulated<So>>,
    tasks: Vec<Task>,
    polls: usize,
    /// Since when only writes without a caller have been left.
    alone_since: Option<Duration>,
}

struct Simulated<So> {
    process: Process,
    function: Arc<Function<So>>,
    frozen_until: Option<Duration>,
    /// Whether it gets no more messages.
    is_over: bool,
}

struct Task {
    invocation: Option<usize>,
    future: BoxFuture<'static, Option<Result<SqsBatchResponse>>>,
    wake: Arc<Woken>,
}

/// Records whether a task has something to do.
struct Woken {
    is_woken: AtomicBool,
    driver: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.driver.wake_by_ref();
    }
}

impl<'a, So> Driver<'a, So>
where
    So: Source<Event = QueueEvent, Response = SqsBatchResponse>,
{
    /// Makes the driver, inside the runtime with the virtual time.
    pub(super) fn new(
        world: World,
        memory: MemoryStore,
        timeout: Duration,
        build: &'a mut dyn FnMut(&Process) -> Function<So>,
    ) -> Self {
        let per_process = world.state().rng.usize(1..=2);
        Self {
            world,
            memory,
            build,
            timeout,
            per_process,
            zero: Instant::now(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            processes: Vec::new(),
            tasks: Vec::new(),
            polls: 0,
            alone_since: None,
        }
    }

    /// Runs until the queue is empty and nothing is under way.
    pub(super) async fn run_until_quiet(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Ends all processes, so that later invocations run on new ones.
    pub(super) fn restart(&mut self) {
        self.processes.iter_mut().for_each(|p| p.is_over = true);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.world.set_now(self.zero.elapsed());
        loop {
            let now = self.world.now();
            self.end_overdue(now);
            self.take_on_background(cx);
            self.dispatch(now, cx);
            if let Some(task) = self.choose(now) {
                self.step(task, now);
                self.polls += 1;
            } else if self.is_quiet(now) {
                return Poll::Ready(());
            } else {
                let next = self
                    .next_change(now)
                    .unwrap_or(now + Duration::from_secs(60));
                self.timer.as_mut().reset(self.zero + next);
                if self.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.world.set_now(self.zero.elapsed());
            }
            if now > LAST || self.polls > MOST_POLLS {
                self.world.violation("the run does not end");
                return Poll::Ready(());
            }
        }
    }

    /// Ends the invocations that are out of time, as Lambda does.
    fn end_overdue(&mut self, now: Duration) {
        let overdue: Vec<usize> = {
            let state = self.world.state();
            let all = state.invocations.iter().enumerate();
            all.filter(|(_, i)| i.state == InvocationState::Running && i.ends_at <= now)
                .map(|(id, _)| id)
                .collect()
        };
        for id in overdue {
            let (process, was_frozen) = {
                let state = self.world.state();
                let invocation = &state.invocations[id];
                if invocation.state != InvocationState::Running {
                    continue;
                }
                (invocation.process, invocation.frozen_at.is_some())
            };
            let simulated = &mut self.processes[process];
            // A process that stood still, or whose clock is behind, could not know that its time
            // was up.
            if !was_frozen && simulated.process.skew_ms >= 0 {
                self.world
                    .violation(format!("invocation {id} gave no response in time"));
            }
            if simulated.frozen_until.is_some_and(|until| until > now) {
                let mut state = self.world.state();
                let at = state.note(now, format_args!("invocation {id} is given up by Lambda"));
                let invocation = &mut state.invocations[id];
                invocation.state = InvocationState::Forgotten;
                invocation.ended_at = Some(at);
                simulated.is_over = true;
            } else {
                self.kill(process, "is ended by Lambda: an invocation is out of time");
            }
        }
    }

    fn kill(&mut self, process: usize, why: &str) {
        let now = self.world.now();
        self.processes[process].is_over = true;
        {
            let mut state = self.world.state();
            let at = state.note(now, format_args!("process {process} {why}"));
            for invocation in state.of_process(process) {
                if invocation.state == InvocationState::Running {
                    invocation.state = InvocationState::Killed;
                }
                invocation.ended_at.get_or_insert(at);
            }
        }
        // The dropped tasks lock the state themselves.
        let (dead, alive) = std::mem::take(&mut self.tasks)
            .into_iter()
            .partition(|task: &Task| {
                let state = self.world.state();
                task.invocation
                    .is_some_and(|id| state.invocations[id].process == process)
            });
        self.tasks = alive;
        drop::<Vec<Task>>(dead);
    }

    fn take_on_background(&mut self, cx: &Context<'_>) {
        let new = std::mem::take(&mut self.world.state().background);
        for future in new {
            self.tasks.push(Task {
                invocation: None,
                future: Box::pin(async move {
                    future.await;
                    None
                }),
                wake: woken(cx),
            });
        }
    }

    /// Gives messages to processes as long as there are both.
    fn dispatch(&mut self, now: Duration, cx: &Context<'_>) {
        loop {
            let mut guard = self.world.state();
            let state = &mut *guard;
            if state.running().count() >= state.messages.queue.concurrency {
                return;
            }
            let (is_calm, faults_end) = (state.is_calm, state.faults_end);
            let (rates, met) = (&state.rates, &mut state.met);
            let received = state.messages.receive(now, &mut state.rng, |fault, rng| {
                let rate = rates.of(fault);
                let is_met = !is_calm && now < faults_end && rng.f64() < rate;
                if is_met {
                    *met.entry(fault).or_default() += 1;
                }
                is_met
            });
            for message in received.moved {
                super::invariants::moved(state, message, now);
                state.dead.push(Dead {
                    message,
                    note: None,
                    invocation: None,
                });
            }
            if received.messages.is_empty() {
                return;
            }
            drop(guard);
            let process = self.process_for_next(now);
            self.invoke(process, &received.messages, now, cx);
        }
    }

    /// Returns a process that has room, or a new one.
    fn process_for_next(&mut self, now: Duration) -> usize {
        let free: Vec<usize> = {
            let state = self.world.state();
            let running = |process| state.running().filter(|i| i.process == process).count();
            let all = 0..self.processes.len();
            all.filter(|&p| !self.processes[p].is_over)
                .filter(|&p| {
                    self.processes[p]
                        .frozen_until
                        .is_none_or(|until| until <= now)
                })
                .filter(|&p| running(p) < self.per_process)
                .collect()
        };
        let warm = {
            let mut state = self.world.state();
            let is_cold = free.is_empty() || state.rng.u8(..5) == 0;
            (!is_cold).then(|| free[state.rng.usize(..free.len())])
        };
        warm.unwrap_or_else(|| self.start_process())
    }

    fn start_process(&mut self) -> usize {
        let id = self.processes.len();
        let process = Process::start(&self.world, id, &self.memory);
        let function = Arc::new((self.build)(&process));
        self.world.state().on_park = function.halts();
        self.world.state().parks_unknown = function.parks_unknown();
        self.world.state().max_attempts = function.attempts();
        self.processes.push(Simulated {
            process,
            function,
            frozen_until: None,
            is_over: false,
        });
        id
    }

    fn invoke(&mut self, process: usize, messages: &[usize], now: Duration, cx: &Context<'_>) {
        let plan = self.plan(now);
        let mut state = self.world.state();
        let state = &mut *state;
        let id = state.invocations.len();
        let mut names = Vec::new();
        let mut batch = Vec::new();
        let mut records: Vec<Value> = Vec::new();
        for &place in messages {
            let message = &mut state.messages.all[place];
            message.last_invocation = Some(id);
            names.push(format!("{} (receive {})", message.id, message.receives));
            batch.push((place, message.receipt()));
            records.push(state.messages.all[place].to_json(&state.messages.queue, START_MS));
        }
        let line = format!("invocation {id} on process {process}: {}", names.join(", "));
        state.note(now, line);
        let ends_at = now + self.timeout;
        state.invocations.push(Invocation {
            process,
            batch,
            ends_at,
            polls: 0,
            plan,
            state: InvocationState::Running,
            frozen_at: None,
            ended_at: None,
            incomplete: Vec::new(),
            store_failed: false,
            park_failed: BTreeSet::new(),
        });
        let mut context = crate::testing::context();
        context.request_id = format!("invocation-{id}");
        context.deadline = START_MS + u64::try_from(ends_at.as_millis()).unwrap_or(u64::MAX);
        let function = Arc::clone(&self.processes[process].function);
        self.tasks.push(Task {
            invocation: Some(id),
            future: Box::pin(async move {
                match serde_json::from_value(json!({ "Records": records })) {
                    Ok(event) => Some(function.invoke(event, context).await),
                    Err(error) => Some(Err(error.into())),
                }
            }),
            wake: woken(cx),
        });
    }

    fn plan(&self, now: Duration) -> Plan {
        let mut plan = Plan::default();
        let mut state = self.world.state();
        let after = |rng: &mut fastrand::Rng| rng.u32(1..=60);
        if state.meets(Fault::Kill, now) {
            plan.kill = Some(after(&mut state.rng));
        }
        if state.meets(Fault::Timeout, now) {
            plan.timeout = Some(after(&mut state.rng));
        }
        if state.meets(Fault::Freeze, now) {
            let most = match state.rng.u8(..3) {
                0 => self.timeout,
                1 => state.messages.visibility,
                _ => state.messages.visibility * 3,
            };
            let time = most.mul_f64(state.rng.f64());
            plan.freeze = Some((after(&mut state.rng), time));
        }
        plan
    }

    /// Chooses one of the tasks that have something to do.
    fn choose(&mut self, now: Duration) -> Option<usize> {
        let mut ready = Vec::new();
        {
            let mut state = self.world.state();
            for (place, task) in self.tasks.iter().enumerate() {
                if !task.wake.is_woken.load(Ordering::Relaxed) {
                    continue;
                }
                if let Some(id) = task.invocation {
                    let process = state.invocations[id].process;
                    let frozen_until = self.processes[process].frozen_until;
                    if frozen_until.is_some_and(|until| until > now) {
                        continue;
                    }
                    if self.processes[process].frozen_until.take().is_some() {
                        state.note(now, format_args!("process {process} goes on"));
                    }
                }
                ready.push(place);
            }
            (!ready.is_empty()).then(|| ready[state.rng.usize(..ready.len())])
        }
    }

    fn step(&mut self, place: usize, now: Duration) {
        let task = &mut self.tasks[place];
        task.wake.is_woken.store(false, Ordering::Relaxed);
        self.world.state().current = task.invocation;
        let waker = Waker::from(Arc::clone(&task.wake));
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        self.world.state().current = None;
        match (polled, task.invocation) {
            (Poll::Ready(answer), invocation) => {
                drop(self.tasks.swap_remove(place));
                if let (Some(answer), Some(id)) = (answer, invocation) {
                    self.answered(id, answer, now);
                }
            }
            (Poll::Pending, Some(id)) => self.interfere(id, now),
            (Poll::Pending, None) => {}
        }
    }

    /// Carries out the plan for an invocation that waits.
    fn interfere(&mut self, id: usize, now: Duration) {
        let mut state = self.world.state();
        let invocation = &mut state.invocations[id];
        invocation.polls += 1;
        let (polls, process, plan) = (
            invocation.polls,
            invocation.process,
            invocation.plan.clone(),
        );
        let frozen_for = if plan.timeout == Some(polls) {
            // It makes no progress until Lambda ends it.
            Some(invocation.ends_at.saturating_sub(now))
        } else {
            plan.freeze
                .filter(|(after, _)| *after == polls)
                .map(|(_, time)| time)
        };
        if let Some(time) = frozen_for.filter(|time| !time.is_zero()) {
            let at = state.note(
                now,
                format_args!("process {process} stands still for {time:.1?}"),
            );
            self.processes[process].frozen_until = Some(now + time);
            let of_process = state.of_process(process);
            for invocation in of_process.filter(|i| i.state != InvocationState::Answered) {
                invocation.frozen_at.get_or_insert(at);
            }
        }
        let is_dying = state.dying.remove(&process);
        drop(state);
        if is_dying {
            self.kill(process, "dies of what it handles");
        } else if plan.kill == Some(polls) {
            self.kill(process, "dies");
        }
    }

    fn answered(&self, id: usize, answer: Result<SqsBatchResponse>, now: Duration) {
        let mut state = self.world.state();
        let state = &mut *state;
        if state.invocations[id].state == InvocationState::Forgotten {
            state.note(now, format_args!("invocation {id} answers too late"));
            return;
        }
        state.invocations[id].state = InvocationState::Answered;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                state.violation(now, format!("invocation {id} failed as a whole: {error:#}"));
                return;
            }
        };
        let failures = response.batch_item_failures.into_iter();
        let failed: Vec<String> = failures.map(|failure| failure.item_identifier).collect();
        state.note(
            now,
            format_args!("invocation {id} answers, failed: [{}]", failed.join(", ")),
        );
        super::invariants::answered(state, id, &failed, now);
        for (place, receipt) in state.invocations[id].batch.clone() {
            if !failed.contains(&state.messages.all[place].id) {
                state.messages.delete(place, &receipt, &mut state.rng);
            }
        }
    }

    /// Returns true if no task is left, or only writes without a caller have been left for a while,
    /// since they may never get an answer.
    fn is_quiet(&mut self, now: Duration) -> bool {
        const PATIENCE: Duration = Duration::from_secs(60);
        let has_background = !self.world.state().background.is_empty();
        let is_alone = self.tasks.iter().all(|task| task.invocation.is_none());
        if has_background || !is_alone || !self.world.state().messages.is_empty() {
            self.alone_since = None;
            return false;
        }
        self.tasks.is_empty() || now >= *self.alone_since.get_or_insert(now) + PATIENCE
    }

    fn next_change(&self, now: Duration) -> Option<Duration> {
        let state = self.world.state();
        let ends = state.running().map(|i| i.ends_at);
        let thaws = self.processes.iter().filter_map(|p| p.frozen_until);
        let messages = state.messages.next_change(now);
        ends.chain(thaws)
            .chain(messages)
            .filter(|&at| at > now)
            .min()
    }
}

fn woken(cx: &Context<'_>) -> Arc<Woken> {
    Arc::new(Woken {
        is_woken: AtomicBool::new(true),
        driver: cx.waker().clone(),
    })
}
