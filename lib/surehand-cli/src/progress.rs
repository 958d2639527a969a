//! Progress of long steps: a spinner with the elapsed time on a terminal, plain lines elsewhere.
//!
//! Everything goes to standard error, so that standard output holds results only and can be piped.

use std::{
    borrow::Cow,
    fmt,
    io::IsTerminal,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::terminal;

/// How often a busy step prints a line if there is no terminal, so that a log shows progress.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where steps and log lines are shown; clones share the screen.
#[derive(Clone)]
pub(crate) struct Progress {
    /// `None` when standard error is not a terminal.
    bars: Option<MultiProgress>,
    /// How many steps have begun and not ended.
    open: Arc<AtomicUsize>,
    /// Whether the command was asked to end: a step that ends now has not failed.
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            open: Arc::default(),
            interrupted: Arc::default(),
        }
    }

    /// Notes that the command was asked to end; returns true if a step was in progress.
    pub(crate) fn interrupt(&self) -> bool {
        self.interrupted.store(true, Ordering::Relaxed);
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Begins a step; it is reported as failed when it is dropped without [`Step::done`].
    pub(crate) fn step(&self, title: impl Into<Cow<'static, str>>) -> Step {
        self.begin(title.into(), false)
    }

    /// Begins a step of a command whose output or error shows the result: without a terminal the
    /// step prints nothing unless it takes long.
    pub(crate) fn task(&self, title: impl Into<Cow<'static, str>>) -> Step {
        self.begin(title.into(), true)
    }

    fn begin(&self, title: Cow<'static, str>, is_task: bool) -> Step {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(spinner());
            bar.set_prefix(title.clone().into_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() && !is_task {
            terminal::err("", &format!("{title} ..."));
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Step {
            title,
            bar,
            is_task,
            progress: self.clone(),
            started: Instant::now(),
            last_line: Mutex::new(Instant::now()),
            finished: false,
        }
    }

    /// Prints a line above the spinners without tearing them.
    pub(crate) fn line(&self, line: &str) {
        match &self.bars {
            // The bars' own printing leaves the cursor at the end of the line if there is no bar to
            // draw.
            Some(bars) => bars.suspend(|| terminal::err(line, "")),
            None => terminal::err(line, ""),
        }
    }
}

/// One long step.
pub(crate) struct Step {
    title: Cow<'static, str>,
    bar: Option<ProgressBar>,
    is_task: bool,
    progress: Progress,
    started: Instant,
    last_line: Mutex<Instant>,
    finished: bool,
}

impl Step {
    /// Shows what the step is doing.
    pub(crate) fn say(&self, message: impl Into<Cow<'static, str>>) {
        let message = message.into();
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            return;
        }
        // A poisoned lock only means that another thread panicked while printing.
        let mut last = self
            .last_line
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= HEARTBEAT {
            *last = Instant::now();
            let elapsed = elapsed(self.started);
            terminal::err("", &format!("{} ... {elapsed} {message}", self.title));
        }
    }

    /// Turns the spinner into a bar of `total` items and shows how many are done.
    pub(crate) fn count(&self, done: u64, total: u64, message: impl Into<Cow<'static, str>>) {
        match &self.bar {
            Some(bar) => {
                if bar.length() != Some(total) {
                    bar.set_length(total);
                    bar.set_style(counted());
                }
                bar.set_position(done);
                bar.set_message(message);
            }
            None => self.say(format!("{done}/{total} {}", message.into())),
        }
    }

    /// Shows progress as [`Step::count`], with the rate per second and the time left.
    pub(crate) fn rate(&self, done: u64, total: u64, message: impl Into<Cow<'static, str>>) {
        let message = message.into();
        match &self.bar {
            Some(bar) => {
                self.count(done, total, message);
                bar.set_style(rated());
            }
            None => {
                let a_second = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
                self.say(format!("{done}/{total}, {a_second:.0} a second {message}"));
            }
        }
    }

    /// Ends the step well; `result` is shown after the time it took.
    pub(crate) fn done(mut self, result: impl AsRef<str>) {
        self.finish(style("✓").green().for_stderr().to_string(), result.as_ref());
    }

    fn finish(&mut self, mark: String, result: &str) {
        self.finished = true;
        self.progress.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let is_seen = self.bar.is_some() && !result.is_empty();
        if self.is_task && !is_seen {
            return;
        }
        let elapsed = elapsed(self.started);
        let separator = if result.is_empty() { "" } else { ": " };
        self.progress.line(&format!(
            "{mark} {} ({elapsed}){separator}{}",
            self.title,
            terminal::plain(result)
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.progress.interrupted.load(Ordering::Relaxed) {
            self.finish("-".to_owned(), "interrupted");
        } else {
            self.finish(style("✗").red().for_stderr().to_string(), "");
        }
    }
}

fn elapsed(since: Instant) -> String {
    duration(since.elapsed())
}

/// Writes a duration in the same units throughout.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds / 60 {
        0 => format!("{:.1} s", duration.as_secs_f64()),
        minutes => format!("{minutes} min {} s", seconds % 60),
    }
}

/// Writes a number of things; `one` is the word for a single one.
pub(crate) fn number_of(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

fn with_time(style: ProgressStyle) -> ProgressStyle {
    style.with_key(
        "time",
        |state: &ProgressState, line: &mut dyn fmt::Write| {
            // If the line cannot be written, it is not shown; there is no place to report it.
            let _ = write!(line, "{}", duration(state.elapsed()));
        },
    )
}

fn spinner() -> ProgressStyle {
    with_time(
        ProgressStyle::with_template("{spinner} {prefix} {time:.dim} {wide_msg:.dim}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    )
}

fn rated() -> ProgressStyle {
    ProgressStyle::with_template(
        "{spinner} {prefix} [{bar:30}] {pos}/{len} {rate}, {eta} left {wide_msg:.dim}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .with_key(
        "rate",
        |state: &ProgressState, line: &mut dyn fmt::Write| {
            // If the line cannot be written, it is not shown; there is no place to report it.
            let _ = write!(line, "{:.1}/s", state.per_sec());
        },
    )
}

fn counted() -> ProgressStyle {
    with_time(
        ProgressStyle::with_template(
            "{spinner} {prefix} {time:.dim} [{bar:30}] {pos}/{len} {wide_msg:.dim}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_same_units_throughout() {
        let write = |seconds| duration(Duration::from_secs_f64(seconds));
        assert_eq!(write(0.04), "0.0 s");
        assert_eq!(write(59.94), "59.9 s");
        assert_eq!(write(86.5), "1 min 26 s");
        assert_eq!(write(120.0), "2 min 0 s");
    }

    #[test]
    fn one_thing_is_not_plural() {
        assert_eq!(number_of(1, "function"), "1 function");
        assert_eq!(number_of(0, "event"), "0 events");
    }

    #[test]
    fn an_interrupted_step_is_known() {
        let progress = Progress::new();
        let step = progress.task("working");
        assert!(progress.interrupt());
        drop(step);
        assert!(!progress.interrupt());
    }
}
