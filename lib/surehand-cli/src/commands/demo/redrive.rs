//! The chapter on dead letters: the commands that an operator would type, in that order.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use anyhow::{Result, anyhow, bail};
use console::style;
use serde_json::Value;
use surehand_redrive::FileJournal;

use super::{
    clients::Clients,
    mishap::{self, Before},
    observation::{MOVED, NO_NOTE, Observation},
    scene::Scene,
};
use crate::terminal::{self, plain};
use crate::{
    cloud::{Cloud, Wanted},
    dlq::{self, Dlq, End, Facts},
    private,
    progress::Progress,
};

/// Adds to dead letters without a note what the idempotency table knows about their attempts.
pub(super) async fn explain(run: &str, clients: &Clients, seen: &mut Observation) -> Result<()> {
    let wanted = Wanted {
        run: Some(run.to_owned()),
        ..Wanted::default()
    };
    let facts = Facts::of_function(Cloud::connect(&wanted).await?, None);
    for letter in &mut seen.dead_letters {
        if let (NO_NOTE, Some(event)) = (letter.reason.as_str(), &letter.event)
            && let Some(attempts) = facts.of_event(&clients.notify_customer, event).await
        {
            letter.reason = MOVED.to_owned();
            letter.message = attempts;
        }
    }
    Ok(())
}

/// Looks at the dead letters, removes their causes, and redrives them. Returns the purged events,
/// as in the archive.
pub(super) async fn chapter(scene: &Scene<'_>, before: Before) -> Result<Vec<Value>> {
    let Scene { folder, run, .. } = scene;
    // The files of an earlier run are about queues that no longer exist.
    drop(fs::remove_dir_all(folder));
    private::folder(folder)?;
    let file = |name: &str| near(&folder.join(name));
    let shell = Shell {
        run,
        progress: scene.progress,
    };

    let in_stock = ["--function", "reserve-stock"];
    let in_mails = ["--function", "notify-customer"];
    shell.run(&["list"], End::Done).await?;
    shell.run(&with("groups", in_stock, &[]), End::Done).await?;
    shell.run(&with("groups", in_mails, &[]), End::Done).await?;
    let one = ["--limit", "1"];
    shell.run(&with("show", in_mails, &one), End::Done).await?;

    mishap::mend(&scene.clients, &scene.plan, before).await?;
    let repair = style("# the stock's row is corrected, and both functions are reconfigured").dim();
    terminal::styled(&format!("\n{repair}"));

    // An event that is not an order cannot be handled after the repair either.
    shell
        .run(&with("rehearse", in_stock, &[]), End::Partly)
        .await?;
    let archive = file("malformed.archive");
    let malformed = ["--kind", "malformed", "--archive", &archive, "--yes"];
    shell
        .run(&with("purge", in_stock, &malformed), End::Done)
        .await?;
    for function in [in_stock, in_mails] {
        let plan = file(&format!("{}.plan", function[1]));
        let out = ["--out", &plan];
        shell.run(&with("plan", function, &out), End::Done).await?;
        shell.run(&["apply", &plan], End::Done).await?;
        shell
            .run(&["apply", &plan, "--wait", "60", "--yes"], End::Done)
            .await?;
    }
    archived(&archive)
}

/// Returns the events of an archive's dead letters.
fn archived(archive: &str) -> Result<Vec<Value>> {
    let letters = FileJournal::letters(archive).map_err(|error| anyhow!("{error:#}"))?;
    letters
        .map(|letter| {
            let letter = letter.map_err(|error| anyhow!("{error:#}"))?;
            let event: Value = serde_json::from_str(&letter.body)?;
            Ok(event["detail"].clone())
        })
        .collect()
}

/// Returns a path relative to the current folder.
fn near(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Returns a command's arguments: its name, its function, and any others.
fn with<'a>(command: &'a str, function: [&'a str; 2], more: &[&'a str]) -> Vec<&'a str> {
    [&[command][..], &function, more].concat()
}

/// Runs commands as a user would type them.
struct Shell<'a> {
    run: &'a str,
    progress: &'a Progress,
}

impl Shell<'_> {
    async fn run(&self, arguments: &[&str], expected: End) -> Result<()> {
        let line = format!("$ surehand dlq {} --run {}", arguments.join(" "), self.run);
        terminal::styled(&format!("\n{}", style(plain(&line)).bold()));
        let dlq = Dlq::of(arguments)?;
        let end = dlq::run(
            dlq,
            Some(self.run.to_owned()),
            self.progress,
            &AtomicBool::new(false),
        )
        .await?;
        if end != expected {
            bail!("`{line}` ended with {end:?} instead of {expected:?}");
        }
        Ok(())
    }
}
