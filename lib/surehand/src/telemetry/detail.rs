//! What is too detailed for the log, and is there when a record fails: its lines are kept until it is
//! known what became of it.

use super::{
    json_lines::JsonLines,
    names::{RECORD, TARGET, VERDICT},
    sample::Sample,
};
use std::{
    collections::VecDeque,
    fmt,
    io::Write,
    mem,
    sync::{Mutex, PoisonError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

/// How many lines are kept of a record: the last ones.
pub(super) const MAX_LINES: usize = 200;
/// How many bytes are kept of a record. A batch handles ten records concurrently.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// A layer that sees the lines of a record that the log's own level leaves out.
pub(super) struct Detail<W> {
    pub(super) lines: JsonLines,
    pub(super) writer: W,
    /// Whether lines are kept until their record fails; otherwise only those of the sample are
    /// written.
    pub(super) keeps: bool,
    pub(super) sample: Sample,
}

/// The lines that are kept at a record's span.
#[derive(Default)]
struct Kept {
    is_sampled: bool,
    lines: VecDeque<String>,
    bytes: usize,
    dropped: usize,
    /// Whether the record's verdict has been logged.
    is_decided: bool,
}

impl Kept {
    fn push(&mut self, line: String) {
        if self.is_decided {
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }
}

impl<S, W> Layer<S> for Detail<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !is_record(attributes.metadata()) {
            return;
        }
        let mut story = Story::default();
        attributes.record(&mut story);
        let kept = Kept {
            is_sampled: self.sample.contains(&story.0),
            ..Kept::default()
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Mutex::new(kept));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let record = context
            .event_scope(event)
            .and_then(|mut scope| scope.find(|span| is_record(span.metadata())));
        let Some(record) = record else { return };
        let metadata = event.metadata();
        if metadata.name() == VERDICT {
            let kept = take(&record);
            if *metadata.level() <= Level::WARN {
                self.write(&record, kept);
            }
            return;
        }
        let Some(is_sampled) = with_kept(&record, |kept| kept.is_sampled) else {
            return;
        };
        if !is_sampled && !self.keeps {
            return;
        }
        // The line reads the span, so it is made while no part of the span is borrowed.
        let Ok(line) = self.lines.line(event, context.event_scope(event)) else {
            return;
        };
        if is_sampled {
            self.print(&line);
        } else {
            with_kept(&record, |kept| kept.push(line));
        }
    }

    /// A record that was cut off gets no verdict inside its span.
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id) {
            let kept = take(&span);
            self.write(&span, kept);
        }
    }
}

impl<W> Detail<W>
where
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn write<'a, R: LookupSpan<'a>>(&self, record: &SpanRef<'a, R>, kept: Kept) {
        if kept.dropped > 0 {
            let line = self.lines.dropped(record, kept.dropped);
            self.print(&line.unwrap_or_default());
        }
        for line in kept.lines {
            self.print(&line);
        }
    }

    fn print(&self, line: &str) {
        // If this fails, there is no place to report it.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

fn take<'a, R: LookupSpan<'a>>(record: &SpanRef<'a, R>) -> Kept {
    let taken = with_kept(record, |kept| {
        let decided = Kept {
            is_decided: true,
            ..Kept::default()
        };
        mem::replace(kept, decided)
    });
    taken.unwrap_or_default()
}

fn with_kept<'a, R: LookupSpan<'a>, T>(
    record: &SpanRef<'a, R>,
    use_it: impl FnOnce(&mut Kept) -> T,
) -> Option<T> {
    let extensions = record.extensions();
    let kept = extensions.get::<Mutex<Kept>>()?;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    Some(use_it(&mut kept))
}

fn is_record(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.name() == RECORD && metadata.target() == TARGET
}

/// What records of one story share.
#[derive(Default)]
struct Story(String);

impl Visit for Story {
    fn record_str(&mut self, field: &Field, value: &str) {
        let is_first = self.0.is_empty();
        if field.name() == "correlation_id" || (field.name() == "message_id" && is_first) {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_both_bounds() {
        let mut kept = Kept::default();
        for n in 0..MAX_LINES + 5 {
            kept.push(format!("{n}"));
        }
        assert_eq!((kept.lines.len(), kept.dropped), (MAX_LINES, 5));
        assert_eq!(kept.lines[0], "5");
        kept.push("x".repeat(MAX_BYTES - 3));
        assert_eq!(kept.lines.len(), 2);
        kept.push("x".repeat(MAX_BYTES + 1));
        assert_eq!((kept.lines.len(), kept.bytes), (0, 0));
        assert_eq!(kept.dropped, MAX_LINES + 7);
    }
}
