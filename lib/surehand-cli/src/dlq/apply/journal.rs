//! The journal of a plan: where it is, and whether it is that plan's.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use surehand_redrive::{Entry, FileJournal, Ledger, Plan};

use crate::dlq::context::said;

pub(in crate::dlq) fn journal_of(plan: &Path, given: Option<&Path>) -> PathBuf {
    match given {
        Some(journal) => journal.to_owned(),
        None => {
            let mut name = plan.as_os_str().to_owned();
            name.push(".journal");
            name.into()
        }
    }
}

/// What a journal says, without opening it for writing.
pub(in crate::dlq) fn ledger_of(path: &Path) -> Result<Ledger> {
    let entries = FileJournal::entries(path).map_err(said)?;
    entries.collect::<Result<_, _>>().map_err(said)
}

/// A journal names its plan in its first line. Without one it was not begun.
pub(super) fn check_journal(path: &Path, plan: &Plan) -> Result<()> {
    let first = FileJournal::entries(path).map_err(said)?.next();
    match first.transpose().map_err(said)? {
        Some(Entry::Begun { plan: of, .. }) if of != plan.header.plan => bail!(
            "{} is the journal of plan {of}, not of plan {}",
            path.display(),
            plan.header.plan
        ),
        _ => Ok(()),
    }
}
