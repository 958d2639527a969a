//! `surehand dlq rehearse`: letters through the new local build of their function, with nothing coming of it.

mod process;
mod replica;
mod report;

use std::{collections::BTreeSet, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::{Map, Value, json};
use surehand::{record::AttributeValue, rehearsal::Trial};
use surehand_redrive::{Destination, Letter};

use self::{process::Stage, replica::Replica, report::Tally};
use super::{
    binary::binary,
    context::{Coded, Context, End},
    new_file::NewFile,
    outcomes::TABLE,
    read,
    select::SelectArgs,
    target::{SourceArgs, TargetArgs},
};
use crate::terminal::say;
use crate::{
    application::{
        compile::{Compiler, Profile},
        project::Project,
    },
    cloud::Cloud,
};

#[derive(Debug, Clone, Args)]
pub(super) struct RehearseArgs {
    /// The function whose local build to run: its short name, logical id or full name
    #[arg(long, short)]
    function: String,
    /// Read a snapshot written by `pull` instead of the function's dead-letter queue
    #[arg(long = "in", value_name = "FILE")]
    snapshot: Option<PathBuf>,
    #[command(flatten)]
    select: SelectArgs,
    /// Also run handlers without a transaction; their effects then happen
    #[arg(long)]
    allow_effects: bool,
    /// Build in the release profile
    #[arg(long)]
    release: bool,
}

pub(super) async fn run(arguments: &RehearseArgs, context: &Context<'_>) -> Result<End> {
    let project = Project::here()?;
    let cloud = context.connect().await?;
    let binary = binary(&cloud, &project, &arguments.function)?;
    let name = cloud.full_name(&arguments.function)?;

    // Written down first, so that the queue has its letters back before anything slow begins.
    let folder = project.state()?.join("rehearsal");
    std::fs::create_dir_all(&folder)?;
    let mut scratch = None;
    let snapshot = match &arguments.snapshot {
        Some(file) => file.clone(),
        None => {
            let file = folder.join(format!("{}.jsonl", std::process::id()));
            let source = SourceArgs {
                target: TargetArgs {
                    queue: None,
                    function: Some(arguments.function.clone()),
                    despite_redrive_policy: false,
                },
                snapshot: None,
            };
            let mut out = NewFile::create(&file)?;
            read::each(&source, &arguments.select, context, &mut |letter| {
                serde_json::to_writer(&mut out.writer, &letter)?;
                Ok(out.writer.write_all(b"\n")?)
            })
            .await?;
            out.writer.flush()?;
            // It goes with the command.
            scratch = Some(out);
            file
        }
    };
    let outcome = rehearse(
        arguments, &cloud, &project, &binary, &name, &snapshot, context,
    )
    .await;
    drop(scratch);
    outcome
}

async fn rehearse(
    arguments: &RehearseArgs,
    cloud: &Cloud,
    project: &Project,
    binary: &str,
    name: &str,
    snapshot: &std::path::Path,
    context: &Context<'_>,
) -> Result<End> {
    let selection = arguments.select.selection();
    let selected = || -> Result<_> {
        let letters = read::snapshot(snapshot)?;
        Ok(letters.filter(|it| it.as_ref().map_or(true, |letter| selection.matches(letter))))
    };
    let total = selected()?.count() as u64;
    if total == 0 {
        if !context.json {
            say!("no letters");
        }
        return Ok(End::Nothing);
    }
    let configuration = cloud.configuration(name).await?;
    let profile = match arguments.release {
        true => Profile::Release,
        false => Profile::Dev,
    };
    let workspace = {
        let project = project.clone();
        tokio::task::spawn_blocking(move || project.workspace()).await??
    };
    let packages = project.state()?.join("rehearsal");
    let binaries = BTreeSet::from([binary.to_owned()]);
    let compiler = Compiler::new(project, &workspace, binaries, profile, packages)?;
    let step = context.progress.task(format!("building {binary}"));
    let mut executables = compiler.executables(&step).await?;
    step.done("");
    let executable = executables
        .remove(binary)
        .with_context(|| format!("cargo built no executable for `{binary}`"))?;

    let timeout = u64::try_from(configuration.timeout.unwrap_or(3)).unwrap_or(3) * 1_000;
    let variables = configuration
        .environment
        .and_then(|environment| environment.variables)
        .unwrap_or_default();
    let mut replica = Replica::new(cloud, variables.get(TABLE))?;
    let mut stage = Stage::new(executable, name, variables, cloud, arguments.allow_effects);

    let step = context.progress.task(format!("rehearsing {binary}"));
    let mut tally = Tally::default();
    let mut done = 0;
    for letter in selected()? {
        if context.is_stopped() {
            return Err(Coded::INTERRUPTED.into());
        }
        let letter = letter?;
        let trial = Trial {
            event: event(&letter),
            timeout_ms: timeout,
            answers: true,
            token: None,
        };
        let answer = stage.answer(&letter, trial, &mut replica).await?;
        let line = tally.add(&letter, answer)?;
        if context.json {
            say!("{line}");
        }
        done += 1;
        step.rate(done, total, "");
    }
    step.done(tally.summary());
    match context.json {
        true => tally.groups().for_each(|line| say!("{line}")),
        false => say!("{}", tally.report()),
    }
    Ok(match tally.is_fixed() {
        true => End::Done,
        false => End::Partly,
    })
}

/// What Lambda would deliver for the letter, once it is put back.
fn event(letter: &Letter) -> Value {
    let payload = letter
        .payload()
        .unwrap_or_else(|| letter.body.as_str().into());
    if let Some(Destination::Function(_)) = letter.destination() {
        return serde_json::from_str(&payload).unwrap_or(Value::Null);
    }
    let mut attributes = Map::new();
    for (name, attribute) in letter.lasting_attributes() {
        let mut value = json!({
            "dataType": attribute.data_type, "stringListValues": [], "binaryListValues": [],
        });
        match &attribute.value {
            AttributeValue::Text(text) => value["stringValue"] = text.as_str().into(),
            AttributeValue::Binary(bytes) => value["binaryValue"] = STANDARD.encode(bytes).into(),
        }
        attributes.insert(name.to_owned(), value);
    }
    let mut system = json!({
        "ApproximateReceiveCount": "1",
        "SentTimestamp": letter.sent_at_ms.unwrap_or_default().to_string(),
    });
    if let Some(group) = &letter.group {
        system["MessageGroupId"] = group.as_str().into();
    }
    if let Some(header) = &letter.trace_header {
        system["AWSTraceHeader"] = header.as_str().into();
    }
    let source = match letter.origin() {
        surehand_redrive::Origin::Parked { note, .. } => note.source_queue.clone(),
        _ => letter.source_arn.clone(),
    };
    json!({"Records": [{
        "messageId": letter.id,
        "receiptHandle": "rehearsal",
        "body": payload,
        "attributes": system,
        "messageAttributes": attributes,
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": source.unwrap_or_else(|| "arn:aws:sqs:us-east-1:000000000000:rehearsal".to_owned()),
        "awsRegion": "us-east-1",
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_delivered_as_lambda_would() {
        let mut letter = Letter::new("m-1", r#"{"n": 1}"#);
        letter.group = Some("g".to_owned());
        let event = event(&letter);
        let record = &event["Records"][0];
        assert_eq!(record["messageId"], "m-1");
        assert_eq!(record["body"], r#"{"n": 1}"#);
        assert_eq!(record["attributes"]["MessageGroupId"], "g");
    }
}
