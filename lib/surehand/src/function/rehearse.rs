//! Runs records so that nothing comes of it.

#[cfg(feature = "dynamodb")]
mod staged;

use super::Function;
use crate::{
    BoxError, Deadline, Error, FailureNote, MemoryStore, Record, Reply, Result, Source,
    clock::epoch_ms,
    publish::Published,
    rehearsal::{Finding, Trial, Verdict},
    telemetry,
};
use lambda_runtime::Context;
use std::{
    io::{BufRead, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tower::ServiceExt;
use tracing::Instrument;

/// Set to 1 to run handlers whose effects cannot be held back.
const EFFECTS: &str = "SUREHAND_REHEARSE_EFFECTS";

/// In the extensions of a record that is only rehearsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rehearsal {
    /// Takes the place of the function's own store.
    pub(crate) store: MemoryStore,
    staged: Arc<Mutex<Vec<String>>>,
}

impl Rehearsal {
    /// Keeps what would be committed.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn capture(&self, staged: &crate::transaction::Staged) {
        let mut lines = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(staged.writes.iter().map(|it| staged::write(&it.write)));
        lines.extend(staged.events.iter().map(staged::event));
    }

    /// The same claims, for the next record.
    fn next(&self) -> Self {
        Self {
            store: self.store.clone(),
            staged: Arc::default(),
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<So: Source> Function<So> {
    /// Answers each line of standard input.
    pub(super) async fn rehearse(self) -> Result<(), BoxError> {
        telemetry::init_on_stderr();
        let with_effects = std::env::var(EFFECTS).is_ok_and(|value| value == "1");
        let rehearsal = Rehearsal::default();
        for line in std::io::stdin().lock().lines() {
            let trial: Trial = serde_json::from_str(&line?)?;
            // Whatever the handlers print to standard output ends before a line of ours begins.
            let mut answers = String::new();
            for finding in self.try_out(trial, &rehearsal, with_effects).await {
                answers.push('\n');
                answers.push_str(&serde_json::to_string(&finding)?);
            }
            answers.push('\n');
            let mut out = std::io::stdout().lock();
            out.write_all(answers.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }

    /// What comes of each record, without any of it happening: see [`rehearsal`](crate::rehearsal).
    pub(crate) async fn try_out(
        &self,
        trial: Trial,
        rehearsal: &Rehearsal,
        with_effects: bool,
    ) -> Vec<Finding> {
        let context = self.rehearsed_context(trial.timeout_ms);
        let mut deadline = Deadline::new(context.deadline(), &self.policy.clock);
        if let Some(margin) = self.margin {
            deadline = deadline.with_margin(margin);
        }
        let batch = serde_json::from_value(trial.event)
            .map_err(|error| Error::malformed(format!("the event does not decode: {error}")))
            .and_then(|event| self.source.split(event, context.clone(), deadline.clone()));
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                // Only a record can carry a reason: one that stands for the whole event.
                let record = Record::new(Default::default(), "", context, deadline);
                return vec![Finding {
                    record: None,
                    verdict: Verdict::Failed,
                    handler: None,
                    staged: Vec::new(),
                    failure: Some(self.failure(&record, "", &error)),
                }];
            }
        };
        let mut findings = Vec::new();
        for record in batch.records {
            findings.push(self.try_one(record, rehearsal.next(), with_effects).await);
        }
        findings
    }

    async fn try_one(&self, record: Record, rehearsal: Rehearsal, with_effects: bool) -> Finding {
        let handler = (self.policy.traits)(&record);
        let id = Some(record.id().to_owned());
        let finding = |verdict, failure| Finding {
            record: id,
            verdict,
            handler: Some(handler.name.to_owned()),
            staged: rehearsal.take(),
            failure,
        };
        let failed = |error: &Error| Some(self.failure(&record, handler.name, error));
        if !handler.commits && !with_effects {
            return match record.event() {
                Ok(_) => finding(Verdict::NotRun, None),
                Err(error) => finding(Verdict::Failed, failed(&error)),
            };
        }
        let mut rehearsed = record.clone();
        rehearsed.extensions.insert(Published::default());
        rehearsed.extensions.insert(rehearsal.clone());
        #[cfg(feature = "dynamodb")]
        if handler.commits {
            rehearsed.extensions.insert(crate::idempotency::Commits);
        }
        let service = match &self.idempotency {
            Some(idempotency) => idempotency(self.handler.clone()),
            None => self.handler.clone(),
        };
        let span = telemetry::record_span(&record, handler.name);
        let result: Result<Reply> = service.oneshot(rehearsed).instrument(span).await;
        match result {
            Ok(reply) if reply.is_duplicate() => finding(Verdict::Duplicate, None),
            Ok(_) => finding(Verdict::Handled, None),
            Err(error) => finding(Verdict::Failed, failed(&error)),
        }
    }

    fn failure(&self, record: &Record, handler: &str, error: &Error) -> FailureNote {
        FailureNote::new(record, error, handler, self.policy.clock.now())
    }

    fn rehearsed_context(&self, timeout_ms: u64) -> Context {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let ends_at = self.policy.clock.now() + Duration::from_millis(timeout_ms);
        let config = lambda_runtime::Config {
            // Keys have the function's name in them, and a store refuses to do without.
            function_name: match variable("AWS_LAMBDA_FUNCTION_NAME") {
                name if name.is_empty() => "rehearsal".to_owned(),
                name => name,
            },
            version: "$LATEST".into(),
            ..Default::default()
        };
        let mut context = Context::default();
        context.request_id = uuid::Uuid::now_v7().to_string();
        context.deadline = epoch_ms(ends_at);
        context.env_config = Arc::new(config);
        context
    }
}

#[cfg(feature = "dynamodb")]
#[cfg(test)]
mod tests;
