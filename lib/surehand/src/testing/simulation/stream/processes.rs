//! Processes on the stream, and what happens to them.

use super::{Run, Stream, Warm};
use crate::{
    Result,
    testing::simulation::{fault::Fault, process::Process},
};
use std::{future::poll_fn, sync::Arc, task::Poll};
use tokio::time::Instant;

impl<So> Stream<'_, So> {
    /// Runs an invocation under the faults of processes; none if it did not end by itself.
    pub(super) async fn run_on(
        &self,
        process: &Process,
        mut run: Run,
        has_deadline: bool,
    ) -> Option<Result<Vec<String>>> {
        self.invocations.set(self.invocations.get() + 1);
        let id = process.id;
        let limit = Instant::now() + self.timeout;
        let steps = |stream: &Self| stream.draw(|rng| rng.u32(1..=40));
        let kill = self.world.meets(Fault::Kill).then(|| steps(self));
        let freeze = self.world.meets(Fault::Freeze).then(|| steps(self));
        let hang = self.world.meets(Fault::Timeout).then(|| steps(self));
        let stops = [kill, freeze, hang].into_iter().flatten().min();
        let mut polls = 0;
        let ended = tokio::time::timeout_at(
            limit,
            poll_fn(|cx| match run.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => {
                    polls += 1;
                    match stops {
                        Some(after) if polls >= after => Poll::Ready(None),
                        _ => Poll::Pending,
                    }
                }
            }),
        )
        .await;
        match ended {
            Ok(Some(answer)) => return Some(answer),
            Err(_) => {
                self.world
                    .note(format_args!("process {id} is ended by Lambda"));
                // A process whose clock is behind could not know that its time was up.
                if has_deadline && process.skew_ms >= 0 {
                    self.world
                        .violation(format!("process {id} gave no response in time"));
                }
            }
            Ok(None) if stops == kill => {
                self.world.note(format_args!("process {id} dies"));
            }
            Ok(None) => {
                let most = self.timeout * 3;
                let time = most.mul_f64(self.draw(fastrand::Rng::f64));
                self.world
                    .note(format_args!("process {id} stands still for {time:.1?}"));
                let (clock, thaws) = (self.clock.clone(), Instant::now() + time);
                if stops == freeze {
                    let goes_on = async move {
                        tokio::time::sleep_until(thaws).await;
                        clock.world.note(format_args!("process {id} goes on"));
                        drop(run.await);
                    };
                    let clock = self.clock.clone();
                    let thawing = tokio::spawn(async move { clock.keep(goes_on).await });
                    self.thawing.borrow_mut().push(thawing);
                }
                tokio::time::sleep_until(limit).await;
            }
        }
        None
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.world.state().rng)
    }

    pub(super) fn start(&self) -> Warm<So> {
        let process = self.process();
        let function = Arc::new((self.build.borrow_mut())(&process));
        Warm { process, function }
    }

    pub(super) fn process(&self) -> Process {
        let id = self.processes.get();
        self.processes.set(id + 1);
        Process::start(self.world, id, self.memory)
    }
}
