//! Where `dlq redrive` keeps its plans and journals, and `surehand dlq runs`, which lists them.

use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use surehand_redrive::{Action, Ledger, Plan, Progress};

use super::{
    apply::{journal_of, ledger_of},
    context::{Context, End},
    grid::Grid,
    plan,
    read::end_of,
    target,
};
use crate::terminal::say;

/// The ending of a plan's file.
const PLAN: &str = "plan";

/// The folder of the plans that were not given a name. It is the user's, since whoever is called at night has no
/// project at hand; only its owner may read it, since journals hold whole messages.
fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || Some(set("HOME")?.join(".local/state"));
    let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(home).context(
        "no folder for plans: set HOME or XDG_STATE_HOME, or use `surehand dlq plan --out FILE` and `apply`",
    )?;
    Ok(state.join("surehand/redrives"))
}

/// The path of a new plan for a queue.
pub(super) fn new_plan(plan: &Plan) -> Result<PathBuf> {
    let folder = folder()?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    check(&folder)?;
    let time = plan.header.created.get(..19).unwrap_or_default();
    let queue = target::name_of(&plan.header.queue);
    // Two runs of one second do not meet.
    let id: String = plan.header.plan.chars().rev().take(4).collect();
    let name = format!("{queue}.{}.{id}.{PLAN}", time.replace(':', ""));
    Ok(folder.join(name))
}

/// The plan that is meant: a file, or a run by its name.
pub(super) fn plan_of(given: &Path) -> Result<PathBuf> {
    let is_name = given.components().count() == 1;
    if given.exists() || !is_name {
        return Ok(given.to_owned());
    }
    let Some(folder) = folder().ok().filter(|it| it.join(given).exists()) else {
        return Ok(given.to_owned());
    };
    check(&folder)?;
    Ok(folder.join(given))
}

/// Checks that a plan of the folder is what its owner wrote: whoever else can write there could put another in its
/// place, which sends the messages elsewhere.
fn check(folder: &Path) -> Result<()> {
    let metadata = fs::metadata(folder);
    let metadata = metadata.with_context(|| format!("cannot read {}", folder.display()))?;
    let elsewhere = "set XDG_STATE_HOME to a folder of your own, or use `surehand dlq plan --out FILE` and `apply`";
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} belongs to another user: {elsewhere}", folder.display());
    }
    if metadata.mode() & 0o022 != 0 {
        bail!(
            "others may write to {}: take that right from them, {elsewhere}",
            folder.display()
        );
    }
    Ok(())
}

/// `dlq runs`.
pub(super) fn run(context: &Context<'_>) -> Result<End> {
    let folder = folder()?;
    let mut paths = Vec::new();
    match fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|it| it == PLAN) {
                    paths.push(path);
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    }
    let mut rows: Vec<Row> = paths.into_iter().map(Row::of).collect();
    rows.sort_by(|a, b| b.made.cmp(&a.made));
    if context.json {
        for row in &rows {
            say!("{}", row.json());
        }
    } else if rows.is_empty() {
        say!("no runs in {}", folder.display());
    } else {
        let mut table = Grid::new(
            [
                "run",
                "queue",
                "account, region",
                "made",
                "done",
                "of",
                "state",
            ],
            &[4, 5],
            &[1, 2, 6],
        );
        for row in &rows {
            table.add_row(row.cells());
        }
        say!("{table}");
        say!(
            "`surehand dlq resume RUN --yes` continues one, `undo RUN --yes` returns its messages"
        );
    }
    Ok(end_of(rows.len()))
}

/// A plan, and how far it has come.
struct Row {
    name: String,
    made: String,
    /// What is known of it; else why it cannot be read.
    known: Result<Known, String>,
}

struct Known {
    queue: String,
    /// The account and the region.
    place: String,
    of: usize,
    done: usize,
    restored: usize,
}

impl Row {
    fn of(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let (made, known) = match plan::load(&path) {
            Ok(plan) => {
                let known = Known::of(&path, &plan).map_err(|error| format!("{error:#}"));
                (plan.header.created, known)
            }
            Err(error) => (String::new(), Err(format!("{error:#}"))),
        };
        Self { name, made, known }
    }

    fn state(&self) -> &str {
        match &self.known {
            Err(why) => why,
            Ok(known) if known.restored > 0 => "undone",
            Ok(known) if known.done >= known.of => "finished",
            Ok(_) => "open",
        }
    }

    fn cells(&self) -> [String; 7] {
        let [queue, place, done, of] = match &self.known {
            Ok(known) => [
                known.queue.clone(),
                known.place.clone(),
                known.done.to_string(),
                known.of.to_string(),
            ],
            Err(_) => ["-"; 4].map(str::to_owned),
        };
        let made = self.made.get(..19).unwrap_or("-").to_owned();
        let state = self.state().to_owned();
        [self.name.clone(), queue, place, made, done, of, state]
    }

    fn json(&self) -> serde_json::Value {
        let mut line = json!({"run": self.name, "made": self.made, "state": self.state()});
        if let Ok(known) = &self.known {
            line["queue"] = known.queue.as_str().into();
            line["place"] = known.place.as_str().into();
            line["done"] = known.done.into();
            line["letters"] = known.of.into();
        }
        line
    }
}

impl Known {
    fn of(path: &Path, plan: &Plan) -> Result<Self> {
        let journal = journal_of(path, None);
        let ledger = match journal.exists() {
            true => ledger_of(&journal)?,
            false => Ledger::default(),
        };
        let steps = plan.steps().iter();
        let arn = plan.header.queue_arn.as_deref().unwrap_or_default();
        let part = |index| arn.split(':').nth(index).unwrap_or("?");
        Ok(Self {
            queue: target::name_of(&plan.header.queue).to_owned(),
            place: format!("{}, {}", part(4), part(3)),
            of: steps.filter(|it| it.action != Action::Hold).count(),
            done: ledger.count(Progress::Done),
            restored: ledger.count(Progress::Restored) + ledger.count(Progress::Restoring),
        })
    }
}
