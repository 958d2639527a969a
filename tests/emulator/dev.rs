//! The shop's `surehand dev`, and what of it only its processes and its emulator's log tell.

use super::processes::{self, FunctionProcess};
use std::{collections::BTreeMap, ops::Deref, path::PathBuf};
use surehand_test_support::{
    cargo,
    run::{Place, Run},
};

/// The run's name.
const RUN: &str = "tests";

/// The timeout in seconds. It is short, because a message whose process dies stays invisible for
/// six times as long.
const FUNCTION_TIMEOUT: &str = "FunctionTimeout=3";

pub(crate) struct Dev {
    run: Run,
}

/// What a function did not finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Lost as a whole.
    pub(crate) batches: usize,
    /// Returned, of batches that were answered.
    pub(crate) records: usize,
}

impl Dev {
    /// Returns once it has deployed the application, which exports its traces to `collector`.
    pub(crate) async fn start(collector: &str) -> Self {
        let collector = format!("OtlpEndpoint={collector}");
        let arguments = ["--parameter", FUNCTION_TIMEOUT, "--parameter", &collector];
        let place = Place {
            folder: cargo::workspace().to_owned(),
            variables: Vec::new(),
        };
        let run = Run::start(place, RUN, &arguments).await;
        Self { run }
    }

    /// Checks that another run in the same folder is refused, and does not disturb this one.
    pub(crate) fn check_lock(&self) {
        let output = self.surehand(&["dev"], "");
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "error: a run named {RUN} is already active in this project: stop it, or pass another --run\n"
        );
        assert_eq!(said, expected);
        assert!(!output.status.success());
    }

    /// The processes of functions at this moment.
    pub(crate) fn functions(&self) -> Vec<FunctionProcess> {
        processes::functions_below(&folder().join("tmp"))
    }

    /// How many batches each function has lost as a whole, and how many records it has returned of
    /// others, by its full name.
    pub(crate) fn unfinished(&self) -> BTreeMap<String, Unfinished> {
        let mut unfinished = BTreeMap::<String, Unfinished>::new();
        for line in self.emulator_log().lines() {
            let Some((_, rest)) = line.split_once("ESM: Lambda ") else {
                continue;
            };
            let Some((function, what)) = rest.split_once(' ') else {
                continue;
            };
            let of_function = unfinished.entry(function.to_owned()).or_default();
            if what.starts_with("failed processing SQS batch") {
                of_function.batches += 1;
            }
            let returned = what
                .strip_suffix(" partial failures)")
                .and_then(|what| what.rsplit_once('('))
                .map(|(_, count)| count.parse::<usize>().unwrap());
            of_function.records += returned.unwrap_or_default();
        }
        unfinished
    }

    /// Ends it as Ctrl-C does, and checks that no process is left.
    pub(crate) async fn end(mut self) {
        let functions = self.functions();
        assert!(!functions.is_empty(), "no function ever ran");
        let launcher = folder().join("launch.py");
        let emulators = processes::with_argument(launcher.to_str().unwrap());
        assert_eq!(emulators.len(), 1, "{emulators:?}");

        self.run.end();
        for pid in functions.iter().map(|process| process.pid).chain(emulators) {
            assert!(!processes::is_alive(pid), "{pid:?} is left");
        }
        // Nor any that was started since.
        assert_eq!(self.functions(), []);
    }
}

impl Deref for Dev {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

/// Of the run's state.
pub(crate) fn folder() -> PathBuf {
    cargo::workspace().join(".surehand").join(RUN)
}
