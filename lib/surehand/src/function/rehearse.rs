//! Runs records so that nothing comes of it.

#[cfg(feature = "dynamodb")]
mod staged;
#[cfg(feature = "dynamodb")]
mod store;

/// Without transactions nothing is proposed.
#[cfg(not(feature = "dynamodb"))]
pub(super) use crate::MemoryStore as RehearsalStore;
#[cfg(feature = "dynamodb")]
use store::Ask;
#[cfg(feature = "dynamodb")]
pub(super) use store::RehearsalStore;

use super::Function;
use crate::{
    BoxError, Deadline, Error, Metrics, Record,
    batch::{RecordService, attempt_at},
    clock::epoch_ms,
    companion::Companion,
    dead_letter::FailureNote,
    rehearsal::{Ending, Finding, Marked, Said, Trial},
    source::Source,
    telemetry,
};
#[cfg(feature = "dynamodb")]
use crate::{
    Result,
    rehearsal::{Proposal, Ruling},
};
use lambda_runtime::Context;
use std::{
    io::{self, Write},
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
        let store = RehearsalStore::default();
        while let Some(line) = heard()? {
            let trial: Trial = serde_json::from_str(&line)?;
            let voice = Voice {
                token: trial.token.clone(),
            };
            voice.say([Said::Heard])?;
            #[cfg(feature = "dynamodb")]
            let store = {
                let voice = voice.clone();
                let ask: Ask = Arc::new(move |proposal| voice.ask(proposal));
                store.asking(trial.answers.then_some(ask))
            };
            let findings = self.try_out(trial, &store, with_effects).await;
            voice.say(findings.into_iter().map(|it| Said::Finding(Box::new(it))))?;
        }
        Ok(())
    }

    /// Returns what each record would lead to, without any effect: see
    /// [`rehearsal`](crate::rehearsal). The claims are made in `store`.
    pub(crate) async fn try_out(
        &self,
        trial: Trial,
        store: &RehearsalStore,
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
            (finding.staged, finding.conditions) = staged(store);
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

/// Says what the records since the last call have staged, and how many of its conditions nobody has looked at.
#[cfg(feature = "dynamodb")]
fn staged(store: &RehearsalStore) -> (Vec<String>, usize) {
    let staged = store.take_staged();
    (staged.lines, staged.conditions)
}

#[cfg(not(feature = "dynamodb"))]
fn staged(_: &RehearsalStore) -> (Vec<String>, usize) {
    (Vec::new(), 0)
}

/// How whoever rehearses knows the function's own lines.
#[derive(Clone)]
struct Voice {
    token: Option<String>,
}

impl Voice {
    /// Asks whoever rehearses.
    #[cfg(feature = "dynamodb")]
    fn ask(&self, proposal: Proposal) -> Result<Ruling> {
        self.say([Said::Proposal(proposal)])?;
        let line = heard()?.ok_or_else(|| Error::transient("the rehearsal has ended"))?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Prints lines to standard output. Handlers may print there as well; that line ends before ours begin.
    fn say(&self, all: impl IntoIterator<Item = Said>) -> io::Result<()> {
        let mut lines = String::from("\n");
        for said in all {
            let line = match (&self.token, said) {
                (Some(token), said) => serde_json::to_string(&Marked {
                    token: token.clone(),
                    said,
                }),
                (None, Said::Heard) => return Ok(()),
                (None, Said::Proposal(proposal)) => serde_json::to_string(&proposal),
                (None, Said::Finding(finding)) => serde_json::to_string(&finding),
            };
            lines.push_str(&line?);
            lines.push('\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(lines.as_bytes())?;
        out.flush()
    }
}

/// The next line of standard input. It is not locked in between, since there are two who read it.
fn heard() -> io::Result<Option<String>> {
    let mut line = String::new();
    Ok((io::stdin().read_line(&mut line)? > 0).then_some(line))
}

#[cfg(feature = "dynamodb")]
#[cfg(test)]
mod tests;
