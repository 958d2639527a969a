//! What is compared.

use super::{builds, events, service::Lambda};
use std::path::{Path, PathBuf};

/// A function with the settings with which it is started.
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) telemetry: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    pub(crate) batch: fn(usize) -> String,
    sends: Sends,
}

/// What the function must send, so that the comparison includes what it claims to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sends {
    Nothing,
    Spans,
}

/// A placeholder for the address of the collector.
pub(crate) const HERE: &str = "here";

const QUIET: (&str, &str) = ("AWS_LAMBDA_LOG_LEVEL", "ERROR");
const METRICS: (&str, &str) = ("SUREHAND_METRICS_NAMESPACE", "Bench");
const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", HERE);

/// `bare`, and then each function in each way.
pub(crate) fn compared() -> Vec<Variant> {
    let bare = builds::example("bare", builds::PLAIN);
    let mut all = vec![variant("bare", "a log line a record", &bare, events::acts)];
    let faults = [builds::PLAIN, builds::OTEL].map(|build| builds::example("faults", build));
    all.extend(ways("faults", &faults, events::acts));
    let reserve = [builds::PLAIN, builds::OTEL].map(|build| builds::shop("reserve-stock", build));
    all.extend(ways("reserve-stock", &reserve, events::orders));
    all
}

/// A function without the feature `otel` and with it, with what can be turned on.
fn ways(name: &str, [plain, otel]: &[PathBuf; 2], batch: fn(usize) -> String) -> Vec<Variant> {
    let variant = |telemetry, path: &Path, variables: &[_], sends| Variant {
        variables: variables.to_vec(),
        sends,
        ..variant(name, telemetry, path, batch)
    };
    vec![
        variant("off: errors alone", plain, &[QUIET], Sends::Nothing),
        variant("log", plain, &[], Sends::Nothing),
        variant("log, metrics", plain, &[METRICS], Sends::Nothing),
        variant("log; `otel`, not configured", otel, &[], Sends::Nothing),
        variant("log; `otel`, traces sent", otel, &[TRACES], Sends::Spans),
        variant(
            "log, metrics; `otel`, traces sent",
            otel,
            &[METRICS, TRACES],
            Sends::Spans,
        ),
    ]
}

fn variant(
    name: &str,
    telemetry: &'static str,
    path: &Path,
    batch: fn(usize) -> String,
) -> Variant {
    Variant {
        name: format!("`{name}`"),
        telemetry,
        path: path.to_owned(),
        variables: Vec::new(),
        batch,
        sends: Sends::Nothing,
    }
}

impl Variant {
    /// A binary that is only started.
    pub(crate) fn other(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy();
        variant(&name, "", path, events::acts)
    }

    /// Panics unless the function has sent what it is compared for.
    pub(crate) fn check(&self, lambda: &Lambda, batches: usize) {
        let expected = match self.sends {
            Sends::Nothing => 0,
            Sends::Spans => batches,
        };
        let exports = lambda.exports();
        assert_eq!(exports, expected, "{} {}", self.name, self.telemetry);
    }
}
