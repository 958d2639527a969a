//! A process that dies at a step of its journal, for tests of what a resume makes of it.

use futures_util::future::BoxFuture;
use rustix::process::{Signal, getpid, kill_process};
use surehand::dead_letter::{Entry, FileJournal, Journal};

/// `before 3` or `after 3`: kills the process there, as seen from its third write to the journal. Only in builds for
/// development.
const VARIABLE: &str = "SUREHAND_TEST_KILL";

/// A journal in which one write may be the last thing that the process does.
pub(super) struct Mortal {
    journal: FileJournal,
    /// How many writes are still to come, and whether the last of them is done.
    death: Option<(u64, bool)>,
}

impl Mortal {
    pub(super) fn new(journal: FileJournal) -> Self {
        let wish = std::env::var(VARIABLE)
            .ok()
            .filter(|_| cfg!(debug_assertions));
        let death = wish.and_then(|wish| {
            let (when, count) = wish.split_once(' ')?;
            Some((count.parse().ok()?, when == "after"))
        });
        Self { journal, death }
    }
}

impl Journal for Mortal {
    fn append<'a>(&'a mut self, entries: &'a [Entry]) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(async move {
            if let Some((left, _)) = &mut self.death {
                *left = left.saturating_sub(1);
            }
            if self.death == Some((0, false)) {
                die();
            }
            self.journal.append(entries).await?;
            if self.death == Some((0, true)) {
                die();
            }
            Ok(())
        })
    }
}

/// As somebody else would kill it: nothing is tidied up.
fn die() {
    // The signal cannot be blocked; nobody is left to look at an error.
    let _ = kill_process(getpid(), Signal::KILL);
}
