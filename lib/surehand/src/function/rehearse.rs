//! Runs records so that nothing comes of it.

#[cfg(feature = "dynamodb")]
mod staged;

use super::Function;
use crate::{
    BoxError, Deadline, Error, MemoryStore, Metrics, Record,
    batch::{RecordService, attempt_at},
    clock::epoch_ms,
    companion::Companion,
    dead_letter::FailureNote,
    rehearsal::{Ending, Finding, Trial},
    source::Source,
    telemetry,
};
use lambda_runtime::Context;
use std::{
    io::{BufRead, Write},
    sync::Arc,
    time::Duration,
};
use tracing::Instrument;

/// Set to 1 to run handlers whose effects cannot be held back.
const EFFECTS: &str = "SUREHAND_REHEARSE_EFFECTS";

impl<So: Source> Function<So> {
    /// Rehearses the event in each line of standard input, and prints the findings as one line
    /// each.
    pub(super) async fn rehearse(self) -> Result<(), BoxError> {
        telemetry::init_on_stderr();
        let with_effects = std::env::var(EFFECTS).is_ok_and(|value| value == "1");
        let store = MemoryStore::new();
        for line in std::io::stdin().lock().lines() {
            let trial: Trial = serde_json::from_str(&line?)?;
            // The handlers may print to standard output; that line ends before one of ours begins.
            let mut answers = String::new();
            for finding in self.try_out(trial, &store, with_effects).await {
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

    /// Returns what each record would lead to, without any effect: see
    /// [`rehearsal`](crate::rehearsal). The claims are made in `store`.
    pub(crate) async fn try_out(
        &self,
        trial: Trial,
        store: &MemoryStore,
        with_effects: bool,
    ) -> Vec<Finding> {
        let context = self.rehearsed_context(trial.timeout_ms);
        let batch = serde_json::from_value(trial.event)
            .map_err(|error| Error::malformed(format!("the event does not decode: {error}")))
            .and_then(|event| self.split(event, context.clone()));
        let (batch, _) = match batch {
            Ok(batch) => batch,
            Err(error) => {
                // Only a record can carry a reason, so this record stands for the whole event.
                let deadline = Deadline::new(context.deadline(), &self.policy.clock);
                let record = Record::new(Default::default(), "", context, deadline);
                return vec![Finding {
                    record: None,
                    verdict: Ending::Failed,
                    handler: None,
                    staged: Vec::new(),
                    conditions: 0,
                    failure: Some(self.failure(&record, "", &error)),
                }];
            }
        };
        let service = self.service(Some(store));
        let mut findings = Vec::new();
        for record in batch.records {
            let mut finding = self.try_one(record, &service, with_effects).await;
            (finding.staged, finding.conditions) = committed(store);
            findings.push(finding);
        }
        findings
    }

    async fn try_one(
        &self,
        record: Record,
        service: &RecordService,
        with_effects: bool,
    ) -> Finding {
        let handler = (self.policy.traits)(&record);
        let id = Some(record.id().to_owned());
        let finding = |verdict, failure| Finding {
            record: id,
            verdict,
            handler: Some(handler.name.to_owned()),
            staged: Vec::new(),
            conditions: 0,
            failure,
        };
        let failed = |error: &Error| Some(self.failure(&record, handler.name, error));
        if !handler.commits && !with_effects {
            return match record.event() {
                Ok(_) => finding(Ending::NotRun, None),
                Err(error) => finding(Ending::Failed, failed(&error)),
            };
        }
        let span = telemetry::record_span(&record, handler.name);
        let metrics = Metrics::default();
        let result = attempt_at(
            &record,
            service,
            Companion::new(metrics.clone(), handler.commits),
        );
        match result.instrument(span).await {
            Ok(reply) if reply.is_duplicate() => finding(Ending::Duplicate, None),
            Ok(_) => finding(Ending::Handled, None),
            Err(error) => finding(Ending::Failed, failed(&error)),
        }
    }

    fn failure(&self, record: &Record, handler: &str, error: &Error) -> FailureNote {
        let received = record.delivery().receive_count;
        FailureNote::new(record, error, handler, received, self.policy.clock.now())
    }

    fn rehearsed_context(&self, timeout_ms: u64) -> Context {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let ends_at = self.policy.clock.now() + Duration::from_millis(timeout_ms);
        let config = lambda_runtime::Config {
            // Keys contain the function's name, and stores refuse an empty one.
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

/// Describes what was committed since the last call, and counts the conditions of it.
#[cfg(feature = "dynamodb")]
fn committed(store: &MemoryStore) -> (Vec<String>, usize) {
    let (writes, events) = store.take_committed();
    let conditions = writes.iter().filter(|it| staged::has_condition(it)).count();
    let events = events.iter().map(staged::event);
    let lines = writes.iter().map(staged::write).chain(events);
    (lines.collect(), conditions)
}

#[cfg(not(feature = "dynamodb"))]
fn committed(_: &MemoryStore) -> (Vec<String>, usize) {
    (Vec::new(), 0)
}

#[cfg(feature = "dynamodb")]
#[cfg(test)]
mod tests;
