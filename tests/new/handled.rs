//! What has become of the events that were published, as the functions log it.

use serde_json::Value;
use std::time::{Duration, Instant};
use surehand_test_support::run::Run;

/// How long a function may take to start and to receive its message.
const PATIENCE: Duration = Duration::from_secs(600);

/// The outcomes are sorted, because a standard queue has no order.
#[derive(Debug, Default)]
pub(crate) struct Handled {
    /// Returns the outcome of each record.
    pub(crate) outcomes: Vec<String>,
    /// The users whom the handler has welcomed, as often as it did.
    pub(crate) welcomed: Vec<String>,
}

impl Handled {
    pub(crate) fn publish(run: &Run, lines: &str) {
        let output = run.surehand(&["publish", "-"], lines);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// Waits until there is an outcome of as many records.
    pub(crate) async fn of(run: &Run, records: usize) -> Self {
        let started = Instant::now();
        loop {
            let handled = Self::in_log(&run.log());
            if handled.outcomes.len() >= records {
                return handled;
            }
            let log = run.emulator_log();
            assert!(started.elapsed() < PATIENCE, "only {handled:?}: {log}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn in_log(lines: &[Value]) -> Self {
        let of_message = |message: &str, field: &str| {
            let lines = lines.iter().filter(|line| line["message"] == message);
            let mut values: Vec<String> = lines
                .map(|line| line[field].as_str().unwrap().to_owned())
                .collect();
            values.sort();
            values
        };
        Self {
            outcomes: of_message("record handled", "outcome"),
            welcomed: of_message("welcome", "user_id"),
        }
    }
}
