//! `surehand dlq edit`: one letter's event in an editor.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use surehand_redrive::{Action, Letter, Plan, Selection, edited};

use super::{
    context::{Context, End, said},
    new_file::NewFile,
    plan, read,
    target::TargetArgs,
    trust::Claims,
};
use crate::terminal::say;

#[derive(Debug, Clone, Args)]
pub(super) struct EditArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The dead letter's message id or event id
    #[arg(long)]
    id: String,
    /// The plan to add the step to; created if it does not exist
    #[arg(long, short)]
    plan: PathBuf,
    /// Read the new event from this file instead of opening $EDITOR
    #[arg(long = "with", value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn run(arguments: &EditArgs, context: &Context<'_>) -> Result<End> {
    let existing = existing(&arguments.plan)?;
    let (cloud, target) = arguments.target.find(context).await?;
    if let Some(existing) = existing.as_ref().filter(|it| it.header.queue != target.url) {
        bail!(
            "{} is for {}, not for {}",
            arguments.plan.display(),
            existing.header.queue,
            target.url
        );
    }
    let selection = Selection {
        ids: vec![arguments.id.clone()],
        ..Selection::default()
    };
    let mut found = Vec::new();
    let (_, info) = read::queue(&cloud, &target, &selection, context, &mut |letter| {
        found.push(letter);
        Ok(())
    })
    .await?;
    let letter = match found.len() {
        1 => found.remove(0),
        0 => bail!("no dead letter `{}` in {}", arguments.id, target.name()),
        count => bail!(
            "{count} dead letters have the id `{}`: pass a message id",
            arguments.id
        ),
    };
    let payload = letter
        .payload()
        .context("a batch of stream records has no event to edit")?;
    let before = serde_json::from_str::<Value>(&payload)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| payload.to_string());
    let after = match &arguments.file {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
        None => in_editor(&before).await?,
    };
    if after.trim() == before.trim() {
        match context.json {
            true => say!("{}", json!({"id": letter.id, "plan": null})),
            false => say!("nothing was changed"),
        }
        return Ok(End::Nothing);
    }
    check(&letter, &after)?;
    let body = edited(&letter, &after).map_err(said)?;
    let known = existing.map(|plan| plan.header.plan);
    // An editor may be open for long, and another edit may have been added meanwhile.
    let existing = self::existing(&arguments.plan)?;
    let is_elsewhere = |plan: &Plan| {
        plan.header.queue != target.url || known.is_some_and(|it| it != plan.header.plan)
    };
    if existing.as_ref().is_some_and(is_elsewhere) {
        bail!(
            "{} is another plan now: the edit is not added to it",
            arguments.plan.display()
        );
    }
    let mut plan = existing.unwrap_or_else(|| Plan::new(&target.url).queue_arn(&info.arn));
    let allowed = plan.header.destinations.take();
    let mut claims = Claims::default();
    let action = Action::Edit { body };
    let step = plan.add(&letter, action.clone());
    claims.note(&letter, step, &action);
    plan.header.destinations = allowed;
    if plan.header.to.is_none() {
        claims.settle(&mut plan, &cloud, &[]).await?;
    }
    let step = plan.step(&letter.id);
    if let Some(step) = step.filter(|step| step.action == Action::Hold) {
        let problem = step.note.as_deref().unwrap_or_default();
        bail!("the edited letter cannot be put back: {problem}");
    }
    let mut draft = arguments.plan.clone().into_os_string();
    draft.push(format!(".{}.draft", std::process::id()));
    let draft = PathBuf::from(draft);
    plan::write(&plan, NewFile::create(&draft)?)?;
    fs::rename(&draft, &arguments.plan)
        .with_context(|| format!("cannot write {}", arguments.plan.display()))?;
    if context.json {
        say!("{}", json!({"id": letter.id, "plan": arguments.plan}));
    } else {
        say!("{} is a step of {}", letter.id, arguments.plan.display());
    }
    Ok(End::Done)
}

/// The plan that the file has, if there is one.
fn existing(path: &Path) -> Result<Option<Plan>> {
    match path.exists() {
        true => plan::load(path).map(Some),
        false => Ok(None),
    }
}

/// The new event must be one, of the type of the old one. Whether its handler takes it, `rehearse` tells.
fn check(letter: &Letter, body: &str) -> Result<()> {
    serde_json::from_str::<Value>(body).context("the edited text is not JSON")?;
    let Some(before) = letter.event() else {
        return Ok(());
    };
    let Some(after) = Letter::new(&letter.id, body).event() else {
        bail!("the edited text is no longer an event");
    };
    let kind = |event: &surehand_redrive::EventSummary| {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        format!("{} of {}", known(&event.event_type), known(&event.source))
    };
    if kind(&before) != kind(&after) {
        bail!(
            "the edit changes the type of the event: {} instead of {}",
            kind(&after),
            kind(&before)
        );
    }
    Ok(())
}

async fn in_editor(text: &str) -> Result<String> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        })
        .context("no editor: set EDITOR, or pass --with FILE")?;
    let path = std::env::temp_dir().join(format!("surehand-edit-{}.json", std::process::id()));
    // It is removed at the end, also if the editor has replaced it.
    let mut file = NewFile::create(&path)?;
    file.writer.write_all(text.as_bytes())?;
    file.writer.flush()?;
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = tokio::process::Command::new(program)
        .args(words)
        .arg(&path)
        .stdin(Stdio::inherit())
        .status()
        .await
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    fs::read_to_string(&path).context("cannot read the edited file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_stays_an_event_of_its_type() {
        let body = |kind: &str| {
            format!(
                r#"{{"id":"b","source":"shop","detail-type":"{kind}","detail":{{"metadata":{{"id":"e"}},"data":{{}}}}}}"#
            )
        };
        let letter = Letter::new("m", body("OrderPlaced"));
        check(&letter, &body("OrderPlaced").replace("{}", r#"{"n":1}"#)).unwrap();
        let error = |body: &str| check(&letter, body).unwrap_err().to_string();
        assert_eq!(error("{"), "the edited text is not JSON");
        assert_eq!(
            error(&body("OrderPaid")),
            "the edit changes the type of the event: OrderPaid of shop instead of OrderPlaced of shop"
        );
    }
}
