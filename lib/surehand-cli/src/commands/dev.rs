//! `surehand dev`: the application on this machine, followed and kept up to date until it is interrupted.

mod checks;

use std::{cell::RefCell, collections::BTreeSet, path::PathBuf};

use anyhow::Result;
use comfy_table::{Table, presets::NOTHING};
use console::style;
use tokio::sync::mpsc;

use self::checks::Checks;
use crate::terminal;
use crate::{
    application::{project::Project, templates::Templates},
    local::{
        logs::Reader,
        painter::Painter,
        run::{Local, Options},
        stack::Stack,
        watch::Watcher,
    },
    progress::Progress,
};

/// Runs until an error. An interrupt drops the future, which takes everything down.
///
/// With `is_verbose` the rows of records have their ids.
pub(crate) async fn run(options: Options, is_verbose: bool, progress: &Progress) -> Result<()> {
    // It is dropped last, when the emulator has ended.
    let mut farewell = Farewell {
        progress,
        folder: None,
    };
    let mut local = Local::start(options, progress).await?;
    farewell.folder = Some(local.folder().to_owned());
    terminal::out(&describe(&local.stack).trim_fmt());
    progress.line(
        "ready: watching the sources, press Ctrl-C to stop; queues, tables and events end with this run",
    );

    let reader = Reader::new(&local.config, &local.stack.functions).await?;
    let (deployed, functions) = mpsc::unbounded_channel();
    let painter = RefCell::new(Painter::new(is_verbose));
    painter.borrow_mut().deployed(&local.stack.functions);
    let logs = reader.follow(functions, |lines| {
        for row in (painter.borrow_mut()).paint(lines, terminal::error_width()) {
            progress.line(&row);
        }
    });
    tokio::pin!(logs);
    let project = local.project().clone();
    let mut checks = Checks::new(project.clone(), progress);
    checks.begin(local.executables());
    let mut watcher = Watcher::new(&sources(&project).await?, &templates(&project))?;
    loop {
        let changed = tokio::select! {
            changed = watcher.changed() => changed,
            ended = local.emulator.ended() => return ended,
            failed = &mut logs => return failed,
        };
        let updating = async {
            let is_other = update(&mut local, &changed, progress).await?;
            // The deployment may have added functions, packages and templates.
            watcher.add(&sources(&project).await?, &templates(&project))?;
            anyhow::Ok(is_other)
        };
        tokio::select! {
            // If a change does not compile or deploy, the error is shown and the application runs
            // on unchanged.
            outcome = updating => match outcome {
                Ok(is_other) => {
                    if is_other {
                        checks.begin(local.executables());
                    }
                    painter.borrow_mut().deployed(&local.stack.functions);
                    // The receiver is dropped when the command ends.
                    drop(deployed.send(local.stack.functions.clone()));
                }
                Err(error) => {
                    progress.line(&format!("{} {error:#}", style("error:").red().for_stderr()));
                }
            },
            failed = &mut logs => return failed,
        }
    }
}

/// Says what is gone and what stays, however the application that was running ends.
struct Farewell<'a> {
    progress: &'a Progress,
    /// Where the run keeps its files; none as long as there is no application.
    folder: Option<PathBuf>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let folder = folder.display().to_string();
            self.progress.line(&format!(
                "stopped: the queues, tables and events of this run are gone; the built functions and the emulator's log stay in {}",
                terminal::plain(&folder)
            ));
        }
    }
}

/// The folders of the workspace's packages, as it is now.
async fn sources(project: &Project) -> Result<BTreeSet<PathBuf>> {
    let project = project.clone();
    tokio::task::spawn_blocking(move || project.workspace().map(|it| it.source_folders())).await?
}

/// Builds and deploys what has changed. Returns whether anything is another than before.
async fn update(
    local: &mut Local,
    changed: &BTreeSet<PathBuf>,
    progress: &Progress,
) -> Result<bool> {
    let mut is_other = false;
    let is_source = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "rs" || extension == "toml")
    };
    if changed.iter().any(is_source) {
        let updated = local.rebuild(progress).await?;
        is_other = !updated.is_empty();
        if updated.is_empty() {
            progress.line("no function changed");
        } else {
            progress.line(&format!("updated {}", updated.join(", ")));
        }
    }
    // A deployment that failed because a binary was missing may succeed now.
    if !local.is_current() || !changed.is_disjoint(&templates(local.project())) {
        local.deploy(progress).await?;
        is_other = true;
    }
    Ok(is_other)
}

/// The template and those that it nests, as it is now.
fn templates(project: &Project) -> BTreeSet<PathBuf> {
    let template = project.template();
    let mut templates = BTreeSet::from([template.to_owned()]);
    // What does not parse is said when it is deployed.
    if let Ok(parsed) = Templates::read(project) {
        templates.extend(parsed.paths());
    }
    templates
}

/// The endpoint, outputs and functions, as a table.
fn describe(stack: &Stack) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |kind: &str, name: &str, value: &str| {
        table.add_row([kind, name, value]);
    };
    row("endpoint", "", &stack.endpoint);
    let queues: BTreeSet<&str> = stack.queues().map(|(_, url)| url).collect();
    for (key, value) in &stack.outputs {
        if !queues.contains(value.as_str()) {
            row("output", key, value);
        }
    }
    for (name, url) in stack.queues() {
        row("queue", name, url);
    }
    for function in &stack.functions {
        row("function", &function.binary, &function.name);
    }
    table
}
